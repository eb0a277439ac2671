package offline

import (
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Fate is what becomes of a message that no session takes.
type Fate uint8

const (
	Drop   Fate = iota // nobody is told
	Refuse             // the sender gets service-unavailable
	Keep               // it is stored
)

// Namespaces that the rule looks at.
const (
	nsChatStates = "http://jabber.org/protocol/chatstates" // XEP-0085
	nsHints      = "urn:xmpp:hints"                        // XEP-0334
	nsIDs        = "urn:xmpp:sid:0"                        // XEP-0359
	nsOccupant   = "urn:xmpp:occupant-id:0"                // XEP-0421
	nsAddresses  = "http://jabber.org/protocol/address"    // XEP-0033
	nsHeaders    = "http://jabber.org/protocol/shim"       // XEP-0131
)

// Fate decides by the message alone, never by the account: whether that is
// there can't be told from the answer. Types are those of RFC 6121 8.5.2.2.1 and
// 8.5.3.2.1, payloads those of XEP-0160 section 3 and XEP-0334.
//
//   - What is for a room goes back, headlines and errors are dropped.
//   - A full JID without a session is no place for a normal message: it goes
//     back. (A chat message is for the bare JID then.)
//   - A mere chat state is dropped, unless its sender asks to store it: nobody
//     waits for one, least of all an answer to it.
//   - What its sender does not want to be stored goes back, so that a message is
//     never lost in silence. no-permanent-store is about archives, not about a
//     message that waits for its delivery.
func (o *Offline) Fate(st *stanza.Stanza) Fate { return o.fate(st, st.To.IsBare()) }

// fate is Fate for a message to the bare JID, or to a full one.
func (o *Offline) fate(st *stanza.Stanza, bare bool) Fate {
	switch st.Type {
	case stanza.GroupChat:
		return Refuse
	case stanza.Headline, stanza.TypeError:
		return Drop
	case stanza.Chat:
	default:
		if !bare {
			return Refuse
		}
	}
	noStore := hinted(st, "no-store")
	switch {
	case transient(st) && (noStore || !hinted(st, "store")):
		return Drop
	case o.quota <= 0, noStore:
		return Refuse
	}
	return Keep
}

// Keeps says whether a stanza is kept if a session leaves it: addressed to a full
// JID or not (see router.Router.Lost).
func (o *Offline) Keeps(st *stanza.Stanza) bool {
	return st.Kind == stanza.Message && o.fate(st, true) == Keep
}

func hinted(st *stanza.Stanza, hint string) bool {
	_, ok := st.Child(nsHints, hint)
	return ok
}

// transient says whether a message tells a chat state and nothing else. A
// thread, hints and IDs may go with it (XEP-0085 5.5), and what says from whom,
// by which way and when it came: a session that leaves it has it stamped.
func transient(st *stanza.Stanza) (state bool) {
	for _, c := range st.Children() {
		switch {
		case c.Space == nsChatStates:
			state = true
		case c.Space == nsHints, c.Space == nsIDs, c.Space == NSDelay:
		case c.Space == nsOccupant, c.Space == nsAddresses, c.Space == nsHeaders:
		case c.Space == "" && c.Local == "thread":
		default:
			return false
		}
	}
	return state
}
