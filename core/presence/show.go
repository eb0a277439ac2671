package presence

import (
	"github.com/hexmpp/hexmpp/core/roster"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Show tells others of a session: extension.Sessions, Announce and Withdraw.
func (p *Presence) Show(b *transport.Batch, s *session.Session, v cluster.Show) transport.Wait {
	if !v.Available {
		return p.withdraw(b, s, &v)
	}
	r := s.Roster()
	if r == nil || s.Presence() == nil {
		return nil
	}
	who := shown(r, &v)
	return transport.Steps(b,
		func(b *transport.Batch) transport.Wait { return p.announce(b, s, who, nil) },
		func(b *transport.Batch) transport.Wait {
			o := outgoing{p: p, b: b}
			for i, items := 0, r.Snapshot().Items; i < len(items); i++ {
				if it := &items[i]; it.State.Has(roster.To) && v.Has(it.Contact) {
					o.probe(s, it.Contact)
				}
			}
			return o.rest()
		})
}

// withdraw tells subscribers and the targets of directed presence that a session
// is unavailable, each of them once.
func (p *Presence) withdraw(b *transport.Batch, s *session.Session, v *cluster.Show) transport.Wait {
	o := outgoing{p: p, b: b}
	gone := unavailable(s.JID)
	r, available := s.Roster(), s.Presence() != nil
	if r != nil && available {
		for _, contact := range shown(r, v) {
			o.route(to(gone, contact))
		}
	}
	for _, target := range others(r, s.TakeDirectedTo(v.Has), available) {
		o.route(to(gone, target))
	}
	return o.rest()
}

// announce tells contacts what the session's presence is, and once more if it has
// changed since: the session's own turn may have told them before this did.
func (p *Presence) announce(b *transport.Batch, s *session.Session, contacts []jid.JID, told *stanza.Stanza) transport.Wait {
	now := s.Presence()
	if now == told {
		return nil
	}
	st := now
	if st == nil {
		st = unavailable(s.JID)
	}
	return transport.Steps(b, func(b *transport.Batch) transport.Wait {
		o := outgoing{p: p, b: b}
		for _, contact := range contacts {
			o.send(to(st, contact))
		}
		return o.rest()
	}, func(b *transport.Batch) transport.Wait { return p.announce(b, s, contacts, now) })
}

// shown returns the addresses of subscribers that v has: contacts, or single
// resources of theirs.
func shown(a *roster.Account, v *cluster.Show) (who []jid.JID) {
	r := a.Snapshot()
	for i := range r.Items {
		if it := &r.Items[i]; it.State.Has(roster.From) && v.Has(it.Contact) {
			who = append(who, it.Contact)
		}
	}
	for j := range v.To {
		bare := j.Bare()
		if j != bare && v.Has(j) && !v.Has(bare) && r.Get(bare).State.Has(roster.From) {
			who = append(who, j)
		}
	}
	return who
}
