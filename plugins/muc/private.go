package muc

import "github.com/hexmpp/hexmpp/ports/xmpp/stanza"

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
	if o == nil {
		return t.fail(stanza.ItemNotFound, "There is nobody of this name in the room.")
	}
	st := t.in.Patch(t.forged, stanza.El(nsUser, "x"), occupantID(s.of.id))
	st = st.With(stanza.Header{Kind: stanza.Message, Type: t.in.Type, ID: t.in.ID, Lang: t.in.Lang, From: s.of.addr})
	for _, to := range o.sessions {
		if err := t.sendTo(to.jid, st); err != nil {
			return err
		}
	}
	return nil
}
