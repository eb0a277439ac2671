package host

import (
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Keys of events, see extension.RemoteEvent. What is about an account has one key, so
// that what an extension keeps of it changes in one order.

// AccountKey is of what is about an account.
func AccountKey(account jid.JID) string { return account.Bare().String() }

// VerdictKey is of what a stage handler decides on behalf of an account. It is another
// one than AccountKey: an outcome may send what such a handler has to see before that
// outcome is at its end, and would wait for itself.
func VerdictKey(account jid.JID) string { return "decide/" + account.Bare().String() }

// ComponentKey is of a stanza to a component.
func ComponentKey(k extension.OrderingKey, s *stanza.Stanza) string {
	switch k {
	case extension.Pair:
		return s.From.Bare().String() + " " + s.To.Bare().String()
	case extension.DomainPair:
		return s.From.Domain() + " " + s.To.Domain()
	}
	return s.To.Bare().String()
}
