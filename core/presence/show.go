package presence

import (
	"github.com/hexmpp/hexmpp/core/roster"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Show tells those who match a pattern of a session (extension.Sessions,
// Announce and Withdraw): subscribers what its presence is, or, together with the
// targets of directed presence, that it is unavailable.
func (p *Presence) Show(b *transport.Batch, s *session.Session, pattern jid.JID, available bool) transport.Wait {
	o := outgoing{p: p, b: b}
	if available {
		o.announce(s, pattern)
	} else {
		o.withdraw(s, pattern)
	}
	return o.rest()
}

func (o *outgoing) announce(s *session.Session, pattern jid.JID) {
	r, e := s.Roster(), s.Entry()
	if r == nil || e.Presence == nil {
		return
	}
	for i, items := 0, r.Snapshot().Items; i < len(items); i++ {
		if contact, ok := shown(&items[i], pattern); ok {
			o.route(to(e.Presence, contact))
			o.check(e, contact)
		}
	}
}

func (o *outgoing) withdraw(s *session.Session, pattern jid.JID) {
	r, gone := s.Roster(), unavailable(s.JID)
	available := s.Presence() != nil
	for _, target := range others(r, s.TakeDirectedTo(pattern), available) {
		o.route(to(gone, target))
	}
	if r == nil || !available {
		return
	}
	for i, items := 0, r.Snapshot().Items; i < len(items); i++ {
		if contact, ok := shown(&items[i], pattern); ok {
			o.route(to(gone, contact))
		}
	}
}

// shown returns the address of a subscriber that a pattern stands for: the
// contact, or one resource of it.
func shown(i *roster.Item, pattern jid.JID) (jid.JID, bool) {
	switch {
	case !i.State.Has(roster.From):
		return jid.JID{}, false
	case !pattern.IsBare() && pattern.Bare() == i.Contact:
		return pattern, true
	}
	return i.Contact, i.Contact.Matches(pattern)
}
