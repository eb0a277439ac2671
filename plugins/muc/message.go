package muc

import (
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/mam"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// message takes a message to the room or to an occupant.
func (t *turn) message() error {
	switch {
	case t.in.Type == stanza.TypeError:
		return t.bounced()
	case t.r == nil:
		return t.fail(stanza.ItemNotFound, "There is no such room.")
	case !t.in.To.IsBare():
		return t.toOccupant()
	case t.in.Type == stanza.GroupChat:
		return t.toAll()
	}
	return t.toRoom()
}

// toAll takes a message to everybody in the room (7.4).
func (t *turn) toAll() error {
	s := t.r.session(t.in.From)
	switch {
	case s == nil:
		return t.fail(stanza.NotAcceptable, "You are not in the room.")
	case t.in.Size() > t.s.options.MaxMessage:
		return t.failAs(stanza.Modify, stanza.PolicyViolation, "The message is too long.")
	case t.r.Locked:
		return t.fail(stanza.ItemNotFound, "The room is being made.")
	}
	if isSubject(t.in) {
		return t.changeSubject(s)
	}
	if s.of.role < Participant {
		return t.fail(stanza.Forbidden, "You have no voice in this room.")
	}
	if err := t.mayTalk(s, keeps(t.in)); err != nil {
		return err
	}
	row, said, err := t.retracts(s)
	if err != nil {
		return err
	}
	id := t.Archive.NewID()
	st := t.heard(s.of, id)
	if err := t.say(s, id, st, row != nil); err != nil || row == nil {
		return err
	}
	return t.bury(row, said, stanza.El(nsRetract, "retracted", stanza.At("stamp", stamp(t.Now())), stanza.At("id", st.ID)))
}

// heard returns the message of the turn as it goes to everybody. The id of the archive is its own if
// its sender gave it none.
func (t *turn) heard(o *occupant, id uint64) *stanza.Stanza {
	st := t.in.Patch(func(c stanza.Child) bool { return t.forged(c) }, occupantID(o.id))
	h := stanza.Header{Kind: stanza.Message, Type: stanza.GroupChat, ID: t.in.ID, Lang: t.in.Lang, From: o.addr}
	if h.ID == "" {
		h.ID = t.keys.ids.Write(id)
	}
	return st.With(h)
}

// forged says of a child of a message that occupants may not send it.
func (t *turn) forged(c stanza.Child) bool {
	if c.Space == mam.NSIDs && c.Local == "stanza-id" {
		by, _ := t.in.ChildAttr(c, "by")
		j, err := jid.Parse(by)
		return err != nil || j.Bare() == t.addr
	}
	// XEP-0425 5: what looks like a tombstone could not be moderated any more
	return reservedChild(c) || c.Space == nsModerate || c.Space == nsRetract && c.Local == "retracted"
}

// say sends a message to everybody, with an id of the archive (XEP-0359). It is kept if it means something,
// or has to be.
func (t *turn) say(s *session, id uint64, st *stanza.Stanza, keep bool) error {
	st = st.Patch(func(stanza.Child) bool { return false }, mam.StanzaID(t.addr.String(), t.keys.ids.Write(id)))
	if t.r.Config.Archive && (keep || mam.Keeps(st)) {
		t.Archive.Append(storage.Row{Owner: t.addr, ID: id, Stamp: t.Now(), With: s.of.addr, XML: t.signed(s, st).XML(xmpp.NSClient)})
	}
	return t.Groups.Send(t.group(), extension.Cast{Stanza: st})
}

// keeps says whether a message is one that is read: what who enters is sent of the past.
func keeps(st *stanza.Stanza) bool {
	_, body := st.Child("", "body")
	return body
}

// isSubject says whether a message changes the subject (8.1).
func isSubject(st *stanza.Stanza) bool {
	_, subject := st.Child("", "subject")
	_, body := st.Child("", "body")
	_, thread := st.Child("", "thread")
	return subject && !body && !thread
}

// changeSubject sets the subject (8.1).
func (t *turn) changeSubject(s *session) error {
	if s.of.role < Moderator && !(t.r.Config.ChangeSubject && s.of.role >= Participant) {
		return t.fail(stanza.Forbidden, "You may not change the subject.")
	}
	if err := t.mayTalk(s, false); err != nil {
		return err
	}
	id := t.Archive.NewID()
	st := t.heard(s.of, id)
	t.r.Subject = &subject{Nick: s.of.Nick, XML: st.Content(), ID: t.in.ID, At: t.Now().UTC(), Row: id}
	if err := t.saveRoom(); err != nil {
		return err
	}
	return t.say(s, id, st, false)
}

// sendSubject tells who enters of the subject, empty if there is none (7.2.15).
func (t *turn) sendSubject(s *session) error {
	h := stanza.Header{Kind: stanza.Message, Type: stanza.GroupChat, From: t.addr, To: s.jid}
	sub := t.r.Subject
	if sub == nil {
		return t.Stanzas.Send(stanza.New(h, stanza.El("", "subject")))
	}
	if from, err := t.addr.WithResource(sub.Nick); err == nil {
		h.From = from
	}
	h.ID = sub.ID
	st := stanza.Raw(h, "", sub.XML, nil).Patch(func(c stanza.Child) bool { return c.Local != "subject" || c.Space != "" }, t.delay(stamp(sub.At)))
	return t.Stanzas.Send(st)
}

// delay says when the room got something (XEP-0203).
func (t *turn) delay(at string) *stanza.Element {
	return stanza.El(nsDelay, "delay", stanza.At("from", t.addr.String()), stanza.At("stamp", at))
}

// tellAll sends what the room itself says to everybody.
func (t *turn) tellAll(st *stanza.Stanza) error {
	return t.Groups.Send(t.group(), extension.Cast{Stanza: st})
}
