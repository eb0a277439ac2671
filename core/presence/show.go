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
	st := s.Presence()
	if !available {
		for _, target := range s.TakeDirectedTo(pattern) {
			o.route(to(unavailable(s.JID), target))
		}
		if st != nil {
			st = unavailable(s.JID)
		}
	}
	if r := s.Roster(); r != nil && st != nil {
		for i, items := 0, r.Snapshot().Items; i < len(items); i++ {
			if contact, ok := told(&items[i], pattern); ok {
				o.route(to(st, contact))
			}
		}
	}
	return o.rest()
}

// told returns the address of a subscriber that a pattern stands for: the
// contact, or one resource of it.
func told(i *roster.Item, pattern jid.JID) (jid.JID, bool) {
	switch {
	case !i.State.Has(roster.From):
		return jid.JID{}, false
	case !pattern.IsBare() && pattern.Bare() == i.Contact:
		return pattern, true
	}
	return i.Contact, i.Contact.Matches(pattern)
}
