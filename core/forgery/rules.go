package forgery

import (
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// lengths has a bit for each length of a namespace in rules: most children are
// told by it alone.
var lengths = func() (bits uint64) {
	for i := range rules {
		bits |= 1 << len(rules[i].space)
	}
	return bits
}()

const nsCarbons = "urn:xmpp:carbons:2"

// rule says of one element in which kinds of stanzas it asserts something, and
// when that is forged.
type rule struct {
	space, local string // "" as local: all of the namespace
	in           []stanza.Kind
	forged       func(g *Guard, s *stanza.Stanza, c stanza.Child) bool
}

// In an iq these are a payload that somebody asks about, and assert nothing.
var stamped = []stanza.Kind{stanza.Message, stanza.Presence}

var all = []stanza.Kind{stanza.Message, stanza.Presence, stanza.IQ}

// rules are what may not be asserted.
var rules = [...]rule{
	{"urn:xmpp:sid:0", "stanza-id", stamped, anIDThatWeGive}, // XEP-0359; <origin-id/> is the sender's
	{"urn:xmpp:delay", "delay", stamped, aDelayOfOthers},     // XEP-0203
	{"jabber:x:delay", "x", stamped, aDelayOfOthers},         // XEP-0091, its predecessor
	{"urn:xmpp:delegation:1", "", all, notOfAComponent},      // XEP-0355
	{"urn:xmpp:delegation:2", "", all, notOfAComponent},
	{"urn:xmpp:privilege:1", "", all, notOfAComponent}, // XEP-0356
	{"urn:xmpp:privilege:2", "", all, notOfAComponent},
	{nsCarbons, "", []stanza.Kind{stanza.Presence}, aCarbon}, // XEP-0280
}

// anIDThatWeGive: ids are given by accounts, servers and components, and are
// removed by whoever else is said to have given one, nobody else's are (3, rules
// 2 and 3). Each account of ours counts, also one that isn't there: nobody shall
// find out. An address that is none is removed, too: rule 7 wants one, and has
// it prepared by RFC 6122, which takes some that RFC 7622 does not; for a
// client that follows it such an address may be ours. Without an address an id is
// nobody's, and stays by rule 3.
func anIDThatWeGive(g *Guard, s *stanza.Stanza, c stanza.Child) bool {
	value, ok := s.ChildAttr(c, "by")
	if !ok {
		return false
	}
	by, err := jid.Parse(value)
	switch {
	case err != nil:
		return true
	case !by.IsBare() || g.own(s.From, by):
		return false
	}
	return g.hosted(by) || by.Local() == "" && g.Component(by.Domain())
}

// aDelayOfOthers: a recipient's server discards stamps in its own name (5), and
// ours does the same for its accounts and for its components with their rooms.
// The sender may say that it held the stanza itself, as clients do that were
// offline. They mostly leave out from, which is RECOMMENDED only (2): such a
// stamp is in nobody's name and stays, and the server does not take it for its
// own. Malformed addresses are removed for the reason given above.
func aDelayOfOthers(g *Guard, s *stanza.Stanza, c stanza.Child) bool {
	value, ok := s.ChildAttr(c, "from")
	if !ok {
		return false
	}
	from, err := jid.Parse(value)
	switch {
	case err != nil:
		return true
	case g.own(s.From, from), from.Local() != "" && from.Bare() == s.From.Bare():
		return false
	}
	return g.hosted(from) || g.Component(from.Domain())
}

// own says whether an address is one of the component that sends.
func (g *Guard) own(sender, j jid.JID) bool {
	return j.Domain() == sender.Domain() && g.Component(sender.Domain())
}

// notOfAComponent: the server and a managing or privileged component have these
// between them; a client has no part in it.
func notOfAComponent(g *Guard, s *stanza.Stanza, _ stanza.Child) bool {
	return !g.Component(s.From.Domain())
}

// aCarbon: a copy is known by its from, the bare JID of the account, and clients
// ignore one of any other (7, 11), so that it may stay in what has a full JID, which
// is all that clients send but presence that manages subscriptions (RFC 6121
// 3.1.2). What extensions send is refused instead.
func aCarbon(g *Guard, s *stanza.Stanza, _ stanza.Child) bool { return g.Carbon(s) }
