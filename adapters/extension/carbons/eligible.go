package carbons

import (
	"slices"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Namespaces of what makes a message one of instant messaging (6.1), or none to
// be copied.
const (
	nsReceipts  = "urn:xmpp:receipts"                     // XEP-0184
	nsStates    = "http://jabber.org/protocol/chatstates" // XEP-0085
	nsMarkers   = "urn:xmpp:chat-markers:0"               // XEP-0333
	nsHints     = "urn:xmpp:hints"                        // XEP-0334
	nsDirect    = "jabber:x:conference"                   // XEP-0249
	nsRoomsUser = "http://jabber.org/protocol/muc#user"   // XEP-0045
)

// maxParsed bounds what is looked into, in bytes. Reasons of invitations are shorter.
const maxParsed = 8 << 10

// direction of a message, seen from the account.
type direction bool

const (
	incoming direction = false
	outgoing direction = true
)

// eligible says whether a message of type normal or chat is to be copied (6.1). Of
// the other types groupchat and headline never are: rooms send to each session that
// is there, and headlines are not instant messaging, whatever is in them; for
// errors see answered.go.
//
// Messages of rooms are known by <x xmlns='...muc#user'/>, as 6.1 proposes:
//   - invitations of both kinds are copied, whatever their type;
//   - a private message that comes from an occupant is not: the room sends it to
//     each session of its recipient;
//   - a private message to an occupant is.
//
// All of it is decided while others wait: what is too long is not looked into, and
// counts as no invitation.
func eligible(st *stanza.Stanza, to direction) bool {
	if private(st) || noCopy(st) {
		return false
	}
	if _, ok := st.Child(nsDirect, "x"); ok {
		return true
	}
	if x, ok := st.Child(nsRoomsUser, "x"); ok {
		switch {
		case x.Size() <= maxParsed && st.Element(x).Child("", "invite") != nil:
			return true
		case to == incoming && !st.From.IsBare():
			return false
		case to == outgoing && !st.To.IsBare():
			return true
		}
	}
	return st.Type == stanza.Chat || slices.ContainsFunc(st.Children(), messaging)
}

// messaging says whether a child makes a normal message one to be copied.
func messaging(c stanza.Child) bool {
	switch c.Space {
	case "":
		return c.Local == "body"
	case nsReceipts, nsStates, nsMarkers:
		return true
	}
	return false
}

// private says that the sender wants no copies (section 9).
func private(st *stanza.Stanza) bool {
	_, ok := st.Child(NS, "private")
	return ok
}

// noCopy is the hint that says the same (XEP-0334 4.3). Errors are not asked for
// it (XEP-0334 5): they may have the content of what they answer.
func noCopy(st *stanza.Stanza) bool {
	_, ok := st.Child(nsHints, "no-copy")
	return ok
}
