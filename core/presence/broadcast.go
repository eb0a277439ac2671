package presence

import (
	"context"
	"strconv"
	"strings"

	"github.com/hexmpp/hexmpp/core/roster"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// broadcast handles presence without an address: initial presence (RFC 6121
// 4.2), updates (4.4) and unavailable presence (4.5).
func (p *Presence) broadcast(b *transport.Batch, s *session.Session, st *stanza.Stanza) (transport.Wait, *stanza.Error) {
	prio, bad := priority(st)
	if bad != nil {
		return nil, bad
	}
	return p.hold(b, s, func(o *outgoing, r *roster.Account) {
		o.tell(s, func() {
			if st.Type == "" {
				o.available(s, r, st, prio)
			} else {
				o.unavailable(s, r, st)
			}
		})
	}, func(b *transport.Batch, err error) {
		s.Send(b, st.ErrorReply(stanza.AsError(err)))
	}), nil
}

// tell runs f, which tells others of the session's presence: see Session.Tell.
func (o *outgoing) tell(s *session.Session, f func()) {
	w := s.Tell(o.b, func() transport.Wait { f(); return o.rest() })
	if o.waits = nil; w != nil {
		o.waits = []transport.Wait{w}
	}
}

func (o *outgoing) available(s *session.Session, r *roster.Account, st *stanza.Stanza, prio int8) {
	before, ok := o.publish(s, st, prio)
	if !ok {
		return
	}
	own, snap := s.JID.Bare(), r.Snapshot()
	for i := range snap.Items {
		if it := &snap.Items[i]; it.State.Has(roster.From) {
			o.send(to(st, it.Contact))
		}
	}
	for _, other := range o.p.Sessions.Sessions(own) { // an account is subscribed to itself (4.2.2)
		if !other.Available {
			continue
		}
		other.Receiver.Deliver(o.b, cluster.Delivery{Stanza: st, To: own})
		if before == nil && other.JID != s.JID {
			s.Send(o.b, to(other.Presence, own))
		}
	}
	if before == nil {
		o.initial(s, snap)
	}
	o.advertise(s, st)
}

// publish changes what others can see of the session's presence to st, which may
// be unavailable, and returns what that was before. Stored messages come in front
// of what others send from then on (XEP-0160): the way is open for them before
// anybody can see that the session takes messages. When it does not any more, what
// it was not sent goes where it would go now, in front of what comes later. ok is
// false if the session has ended, and nobody is to be told anything.
func (o *outgoing) publish(s *session.Session, st *stanza.Stanza, prio int8) (before *stanza.Stanza, ok bool) {
	now := st
	if st.Type == stanza.Unavailable {
		now = nil
	}
	took, takes := s.Takes(), now != nil && prio >= 0
	if takes && !took {
		o.p.Offline.Begin(o.b, s)
	}
	if took && !takes {
		defer o.p.Offline.Hold(s.JID.Bare())()
	}
	if before, ok = s.SetPresence(now, prio); !ok {
		return nil, false
	}
	if now == nil && before != nil {
		o.p.Gone(s.JID, st) // before anybody can see it
	}
	shown := s.Publish()
	switch {
	case shown && takes && !took:
		o.p.Offline.Fetch(s)
	case took && !takes:
		o.p.Lost(o.b, s, o.p.Offline.End(o.b, s))
	}
	if shown && now != nil && before == nil {
		o.p.Came(s.JID, st) // it can't leave meanwhile: see Session.Tell
	}
	return before, shown || now == nil
}

// initial does what follows initial presence only: probes (4.2.2), and requests
// that wait for an answer (3.1.3).
func (o *outgoing) initial(s *session.Session, snap *roster.Snapshot) {
	for i := range snap.Items {
		it := &snap.Items[i]
		if it.State.Has(roster.To) {
			o.probe(s, it.Contact)
		}
		if it.State.Has(roster.PendingIn) {
			if st := parseRequest(it.Request()); st != nil {
				o.recall(s, st)
			}
		}
	}
}

// recall gives a session a request that has waited.
func (o *outgoing) recall(s *session.Session, st *stanza.Stanza) {
	o.take(func(b *transport.Batch, e *extension.Envelope) transport.Wait {
		e.Session = s.JID
		return o.p.Recall(b, e, func(b *transport.Batch, st *stanza.Stanza, _ error) {
			if st != nil {
				s.Send(b, st)
			}
		})
	}, st)
}

func (o *outgoing) unavailable(s *session.Session, r *roster.Account, st *stanza.Stanza) {
	before, ok := o.publish(s, st, 0)
	if !ok {
		return
	}
	if before != nil {
		o.tellGone(r, st)
		s.Send(o.b, to(st, s.JID.Bare())) // 4.5.2: the one that sent it, too
		o.p.Caps.Forget(o.b, s.Caps())
	}
	o.tellDirected(r, st, s.TakeDirected(), before != nil)
}

// tellGone tells subscribers and the own available resources of unavailable
// presence (4.5.2).
func (o *outgoing) tellGone(r *roster.Account, st *stanza.Stanza) {
	own := st.From.Bare()
	if r != nil {
		for i, items := 0, r.Snapshot().Items; i < len(items); i++ {
			if items[i].State.Has(roster.From) {
				o.send(to(st, items[i].Contact))
			}
		}
	}
	for _, other := range o.p.Sessions.Sessions(own) {
		if other.Available {
			other.Receiver.Deliver(o.b, cluster.Delivery{Stanza: st, To: own})
		}
	}
}

// Leave takes a session out of the registry, tells that it is gone (4.5.3, 4.6.4),
// and calls told when everybody knows. What the session left goes its way before
// its name is free: a session that takes the name is sent nothing in front of it;
// another one has the way open for stored messages first.
func (p *Presence) Leave(b *transport.Batch, s *session.Session, lost []session.Lost, told func()) {
	last, directed, r := s.TakePresence()
	o := outgoing{p: p, b: b}
	gone := unavailable(s.JID)
	if last != nil {
		p.Gone(s.JID, gone) // before anybody can see it
	}
	s.Publish() // it takes nothing any more
	p.Offline.Left(s)
	p.Lost(b, s, lost)
	p.Sessions.Release(s.JID, s.Fence())
	if last != nil {
		o.tellGone(r, gone)
		p.Caps.Forget(b, s.Caps())
	}
	o.tellDirected(r, gone, directed, last != nil)
	if r != nil {
		r.Drop()
	}
	w := o.rest()
	if w == nil || !p.Spawn(func(ctx context.Context) { w(ctx); told() }) {
		told()
	}
}

// maxPriority bounds <priority/>, in bytes: nobody waits while what is longer is
// parsed.
const maxPriority = 1 << 10

// priority reads <priority/> (RFC 6121 4.7.2.3).
func priority(st *stanza.Stanza) (int8, *stanza.Error) {
	c, there := st.Child("", "priority")
	if !there {
		return 0, nil
	}
	if c.Size() <= maxPriority {
		if n, err := strconv.ParseInt(strings.TrimSpace(st.Element(c).Text()), 10, 8); err == nil {
			return int8(n), nil
		}
	}
	return 0, stanza.Err(stanza.BadRequest, "priority is a whole number from -128 to 127")
}
