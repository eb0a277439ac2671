// Package forgery takes out of a stanza what its sender may not assert:
// elements by which servers, accounts and components tell what they know, with
// an address in them that is not the sender's. It does so whether or not an
// extension that makes such elements is on: clients believe them anyway.
//
// rules.go is the list: XEP-0359 3 and 6, XEP-0203 5, XEP-0355, XEP-0356, XEP-0280 7
// and 11. Left out is what is inside of <forwarded/> (XEP-0297): there it
// is quoted, and who quotes may be wrong. Left out are also rooms, which say for
// themselves what occupants may not.
package forgery

import (
	"slices"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Guard knows whose addresses are at stake. Any goroutine may use it.
type Guard struct {
	Hosted    []string                 // hosted domains
	Component func(domain string) bool // says whether a component has this domain
}

// Strip returns the stanza of a client or of a component without what its
// sender, the from that is stamped already, may not assert. Mostly that is the
// stanza itself, at the cost of a look at the names of its children.
func (g *Guard) Strip(s *stanza.Stanza) *stanza.Stanza {
	children := s.Children()
	for i := range children {
		if lengths>>len(children[i].Space)&1 != 0 && g.forged(s, children[i]) {
			return s.Patch(func(c stanza.Child) bool { return g.forged(s, c) })
		}
	}
	return s
}

// forged says whether a rule forbids this child.
func (g *Guard) forged(s *stanza.Stanza, c stanza.Child) bool {
	for i := range rules {
		if r := &rules[i]; r.space == c.Space && (r.local == "" || r.local == c.Local) && slices.Contains(r.in, s.Kind) {
			return r.forged(g, s, c)
		}
	}
	return false
}

// Carbon says whether a stanza looks like a carbon copy to clients, or could to
// some: the bare JID of an account says something of the namespace (XEP-0280 7
// and 11). That an address is absent means the account, too (RFC 6120 8.1.2.1).
// None but the extension of that name may make one.
func (g *Guard) Carbon(s *stanza.Stanza) bool {
	account := s.From.IsBare() && s.From.Local() != "" && g.hosted(s.From)
	if !account && !s.From.IsZero() {
		return false
	}
	_, there := s.Child(nsCarbons, "")
	return there
}

func (g *Guard) hosted(j jid.JID) bool { return slices.Contains(g.Hosted, j.Domain()) }
