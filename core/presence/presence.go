// Package presence keeps who is told of whose availability (RFC 6121 sections
// 2 to 4): presence broadcast, probes, directed presence, subscriptions, and
// the roster as clients edit it.
//
// broadcast.go has sections 4.2 to 4.5, directed.go 4.6, probe.go 4.3,
// outbound.go and inbound.go section 3, roster.go section 2.
package presence

import (
	"context"

	"github.com/hexmpp/hexmpp/core/caps"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/core/roster"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Route takes a stanza to wherever it is addressed.
type Route func(b *transport.Batch, e *extension.Envelope) transport.Wait

// Presence has no state of its own: it is in the sessions, in the registry and
// in the rosters.
type Presence struct {
	Sessions cluster.Registry
	Rosters  *roster.Rosters
	Offline  *offline.Offline
	Caps     *caps.Directory
	Route    Route
	Send     Route                         // Route for presence on behalf of an account: extensions see it first
	Came     func(jid.JID, *stanza.Stanza) // notes that an unavailable session is available
	Gone     func(jid.JID, *stanza.Stanza) // notes that an available session is unavailable
	Recall   func(b *transport.Batch, e *extension.Envelope, then func(b *transport.Batch, st *stanza.Stanza, err error)) transport.Wait
	Lost     func(b *transport.Batch, s *session.Session, lost []session.Lost)
	Spawn    func(transport.Wait) bool    // runs what nobody waits for; false if it is dropped
	Failed   func(what string, err error) // logs what the sender is not told
}

// FromClient handles presence that a client sent, from is stamped. An error is
// for the sender.
func (p *Presence) FromClient(b *transport.Batch, s *session.Session, e *extension.Envelope) (transport.Wait, *stanza.Error) {
	st := e.Stanza
	switch st.Type {
	case "", stanza.Unavailable:
		if st.To.IsZero() {
			return p.broadcast(b, s, st)
		}
		return p.direct(b, s, e)
	case stanza.Subscribe, stanza.Subscribed, stanza.Unsubscribe, stanza.Unsubscribed:
		if st.To.IsZero() || st.To.Bare() == s.JID.Bare() {
			return nil, stanza.Err(stanza.BadRequest, "presence of this type goes to a contact")
		}
		return p.outbound(s, st), nil
	case stanza.Probe: // the server's own business (4.3)
		return nil, nil
	case stanza.TypeError:
		if st.To.IsZero() {
			return nil, stanza.Err(stanza.BadRequest, "presence of this type needs an address")
		}
		return p.Route(b, e), nil
	}
	return nil, stanza.Err(stanza.BadRequest, "unknown type of presence") // 4.7.1
}

// Inbound handles presence to an account that is not merely passed on to its
// sessions: subscriptions and probes. handled is false for all other types.
func (p *Presence) Inbound(b *transport.Batch, e *extension.Envelope) (w transport.Wait, handled bool) {
	switch e.Stanza.Type {
	case stanza.Subscribe, stanza.Subscribed, stanza.Unsubscribe, stanza.Unsubscribed:
		return p.inbound(e.Stanza), true
	case stanza.Probe:
		o := outgoing{p: p, b: b}
		o.probed(e.Stanza)
		return o.rest(), true
	}
	return nil, false
}

// outgoing is what one event makes the kernel send: by b, and by what routes
// left to wait for, in order.
type outgoing struct {
	p     *Presence
	b     *transport.Batch
	waits []transport.Wait
}

// send sends presence on behalf of an account, behind whatever waits already.
func (o *outgoing) send(st *stanza.Stanza) { o.take(o.p.Send, st) }

// route is send for presence that no extension may keep back.
func (o *outgoing) route(st *stanza.Stanza) { o.take(o.p.Route, st) }

func (o *outgoing) take(way Route, st *stanza.Stanza) {
	if len(o.waits) > 0 {
		o.waits = append(o.waits, o.p.later(func(_ context.Context, o *outgoing) { o.take(way, st) }))
		return
	}
	if w := way(o.b, &extension.Envelope{Stanza: st}); w != nil {
		o.waits = append(o.waits, w)
	}
}

// rest returns what is left to wait for.
func (o *outgoing) rest() transport.Wait { return transport.Sequence(o.waits) }

// later returns a Wait that runs f and then what f left to wait for.
func (p *Presence) later(f func(ctx context.Context, o *outgoing)) transport.Wait {
	return func(ctx context.Context) {
		var b transport.Batch
		o := outgoing{p: p, b: &b}
		f(ctx, &o)
		b.Flush()
		if w := o.rest(); w != nil {
			w(ctx)
		}
	}
}

// hold runs use with the session's roster: at once if it is in memory, else in
// the Wait that is returned. That a roster can't be read is told by failed.
func (p *Presence) hold(b *transport.Batch, s *session.Session, use func(o *outgoing, r *roster.Account), failed func(b *transport.Batch, err error)) transport.Wait {
	owner := s.JID.Bare()
	a := s.Roster()
	if a == nil {
		if a = p.Rosters.TryHold(owner); a != nil {
			if a = s.KeepRoster(a); a == nil {
				return nil // the session has ended
			}
		}
	}
	if a != nil {
		o := outgoing{p: p, b: b}
		use(&o, a)
		return o.rest()
	}
	return p.later(func(ctx context.Context, o *outgoing) {
		a, err := p.Rosters.Hold(ctx, owner)
		if err != nil {
			p.Failed("a roster could not be read", err)
			failed(o.b, err)
			return
		}
		if a = s.KeepRoster(a); a != nil {
			use(o, a)
		}
	})
}

// to returns the stanza with another address.
func to(st *stanza.Stanza, addr jid.JID) *stanza.Stanza {
	h := st.Header
	h.To = addr
	return st.With(h)
}

func unavailable(from jid.JID) *stanza.Stanza {
	return stanza.New(stanza.Header{Kind: stanza.Presence, Type: stanza.Unavailable, From: from})
}
