package muc

import (
	"slices"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// toOccupant takes a private message, which goes to all sessions of an occupant (7.5).
func (t *turn) toOccupant() error {
	s := t.r.session(t.in.From)
	switch {
	case s == nil:
		return t.fail(stanza.NotAcceptable, "You are not in the room.")
	case t.in.Type == stanza.GroupChat:
		return t.fail(stanza.BadRequest, "What is for everybody goes to "+t.addr.String()+".")
	case t.in.Size() > t.s.options.MaxMessage:
		return t.failAs(stanza.Modify, stanza.PolicyViolation, "The message is too long.")
	}
	o := t.r.byNick(t.in.To.Resource())
	switch {
	case o == nil:
		return t.fail(stanza.ItemNotFound, "There is nobody of this name in the room.")
	case !t.r.Config.mayWhisper(s.of.role) && o != s.of:
		return t.fail(stanza.Forbidden, "You may not send private messages in this room.")
	}
	if err := t.mayTalk(s, false); err != nil {
		return err
	}
	st := t.in.Patch(t.forged, stanza.El(nsUser, "x"), occupantID(s.of.id))
	st = st.With(stanza.Header{Kind: stanza.Message, Type: t.in.Type, ID: t.in.ID, Lang: t.in.Lang, From: s.of.addr})
	t.r.whispered(whisper{id: t.in.ID, from: s.jid, by: s.of.addr, to: o})
	for _, to := range o.sessions {
		if err := t.sendTo(to.jid, st); err != nil {
			return err
		}
	}
	return nil
}

// maxWhispers is how many private messages of a room are remembered, for errors that come for them.
const maxWhispers = 50

// whisper is a private message that was passed on.
type whisper struct {
	id   string
	from jid.JID   // full JID of who has sent it
	by   jid.JID   // the occupant JID of that one then, to which errors come
	to   *occupant // who was sent it
}

// whispered remembers a private message, for a while. It is known to this process alone: what an error
// is for is forgotten with it.
func (r *room) whispered(w whisper) {
	if w.id == "" {
		return
	}
	if len(r.whispers) == maxWhispers {
		r.whispers = slices.Delete(r.whispers, 0, 1)
	}
	r.whispers = append(r.whispers, w)
}

// unheard passes on the error that came for a private message, if it is one.
func (t *turn) unheard(s *session) error {
	i := slices.IndexFunc(t.r.whispers, func(w whisper) bool { return w.id == t.in.ID && w.by == t.in.To && w.to == s.of })
	if i < 0 || t.r.session(t.r.whispers[i].from) == nil {
		return nil
	}
	h := stanza.Header{Kind: stanza.Message, Type: stanza.TypeError, ID: t.in.ID, From: s.of.addr, To: t.r.whispers[i].from}
	return t.Stanzas.Send(stanza.New(h, anonymous(t.in).Element()))
}
