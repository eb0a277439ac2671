package csi

import (
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

const nsRoomsUser = "http://jabber.org/protocol/muc#user" // XEP-0045

// presence says whether presence can wait, and under which key: the last one
// of each full JID counts. Of the other types, subscriptions want an answer and
// errors tell of what the client did itself.
//
// What the session hears of itself does not wait, since its client may wait for
// it: presence from its own full JID (RFC 6121 4.4.2), and what a room tells an
// occupant of himself (XEP-0045 7.2.2, 9.1, 10.9): that he is in, under which
// name, that he was kicked or banned, that the room is gone.
func (o Options) presence(e *extension.Envelope) (key string, waits bool) {
	st := e.Stanza
	switch {
	case !o.Presence, st.From == e.Session, st.From.IsZero():
		return "", false
	case st.Type != "" && st.Type != stanza.Unavailable:
		return "", false
	case aboutOneself(st):
		return "", false
	}
	return "presence" + separator + st.From.String(), true
}

// aboutOneself says whether presence from a room may be about the occupant who
// gets it. Any status code counts, not only the 110 that says so: what it means
// is mostly urgent.
func aboutOneself(st *stanza.Stanza) bool {
	c, there := st.Child(nsRoomsUser, "x")
	if !there || c.Size() > maxParsed {
		return there
	}
	x := st.Element(c)
	return x.Child("", "status") != nil || x.Child("", "destroy") != nil
}
