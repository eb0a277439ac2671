// Package presence keeps who is told of a session's availability (RFC 6121
// section 4): presence broadcast among the resources of an account, directed
// presence, and the end of both.
//
// What needs a roster (subscriptions of section 3, probes of 4.3) is not here
// yet: nobody but the own resources is subscribed to an account.
package presence

import (
	"strconv"
	"strings"

	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Route takes directed presence to wherever it is addressed.
type Route func(b *transport.Batch, e *extension.Envelope) transport.Wait

// Presence has no state of its own: it is in the sessions and in the registry.
type Presence struct {
	sessions cluster.Registry
	route    Route
	spawn    func(transport.Wait)
}

// New returns a Presence. route is the router's; spawn runs what nobody waits
// for.
func New(sessions cluster.Registry, route Route, spawn func(transport.Wait)) *Presence {
	return &Presence{sessions, route, spawn}
}

// FromClient handles presence that a client sent, from is stamped. An error is
// for the sender.
func (p *Presence) FromClient(b *transport.Batch, s *session.Session, e *extension.Envelope) (transport.Wait, *stanza.Error) {
	st := e.Stanza
	switch st.Type {
	case "", stanza.Unavailable:
		if st.To.IsZero() {
			return nil, p.broadcast(b, s, st)
		}
		if !s.Direct(st.To, st.Type == "") {
			return nil, stanza.Err(stanza.ResourceConstraint, "directed presence to too many addresses")
		}
		return p.route(b, e), nil
	case stanza.TypeError, stanza.Subscribe, stanza.Subscribed, stanza.Unsubscribe, stanza.Unsubscribed, stanza.Probe:
		if st.To.IsZero() {
			return nil, stanza.Err(stanza.BadRequest, "presence of this type needs an address")
		}
		return p.route(b, e), nil
	}
	return nil, stanza.Err(stanza.BadRequest, "unknown type of presence") // RFC 6121 4.7.1
}

// broadcast handles presence without an address (RFC 6121 4.2, 4.4, 4.5): an
// account is implicitly subscribed to its own presence.
func (p *Presence) broadcast(b *transport.Batch, s *session.Session, st *stanza.Stanza) *stanza.Error {
	entry := cluster.Entry{JID: s.JID, Fence: s.Fence(), Receiver: s}
	if st.Type == "" {
		prio, err := priority(st)
		if err != nil {
			return err
		}
		entry.Available, entry.Priority, entry.Presence = true, prio, st
	}
	before, ok := s.SetPresence(entry.Presence)
	if !ok || !entry.Available && before == nil {
		return nil
	}
	p.sessions.Update(entry)
	own := s.JID.Bare()
	for _, other := range p.sessions.Sessions(own) {
		if !other.Available && other.JID != s.JID {
			continue
		}
		other.Receiver.Deliver(b, addressed(st, own))
		if before == nil && other.JID != s.JID && other.Presence != nil { // initial presence
			s.Deliver(b, addressed(other.Presence, own))
		}
	}
	if !entry.Available {
		p.tellDirected(b, s, st)
	}
	return nil
}

// Leave tells that a session is gone (RFC 6121 4.5.3, 4.6.4). The session is
// in the registry no more.
func (p *Presence) Leave(b *transport.Batch, s *session.Session) {
	gone := stanza.New(stanza.Header{Kind: stanza.Presence, Type: stanza.Unavailable, From: s.JID})
	last, directed := s.TakePresence()
	own := s.JID.Bare()
	if last != nil {
		for _, other := range p.sessions.Sessions(own) {
			if other.Available {
				other.Receiver.Deliver(b, addressed(gone, own))
			}
		}
	}
	p.direct(b, gone, directed)
}

// tellDirected passes unavailable presence on to the targets of directed
// presence and forgets them (RFC 6121 4.6.3).
func (p *Presence) tellDirected(b *transport.Batch, s *session.Session, st *stanza.Stanza) {
	_, directed := s.TakePresence()
	p.direct(b, st, directed)
}

func (p *Presence) direct(b *transport.Batch, st *stanza.Stanza, targets []jid.JID) {
	for _, to := range targets {
		if w := p.route(b, &extension.Envelope{Stanza: addressed(st, to)}); w != nil {
			p.spawn(w)
		}
	}
}

func addressed(st *stanza.Stanza, to jid.JID) *stanza.Stanza {
	h := st.Header
	h.To = to
	return st.With(h)
}

// priority reads <priority/> (RFC 6121 4.7.2.3).
func priority(st *stanza.Stanza) (int8, *stanza.Error) {
	e := st.Find("", "priority")
	if e == nil {
		return 0, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(e.Text()), 10, 8)
	if err != nil {
		return 0, stanza.Err(stanza.BadRequest, "priority is a whole number from -128 to 127")
	}
	return int8(n), nil
}
