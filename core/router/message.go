package router

import (
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// message handles a message to an account: the Deliver stage, then the table
// of RFC 6121 8.5.4, then the Undelivered stage.
func (r *Router) message(b *transport.Batch, e *extension.Envelope) transport.Wait {
	if !r.Pipeline.Wants(extension.Deliver, stanza.Message) {
		return r.deliver(b, e)
	}
	return r.stage(b, extension.Deliver, recipient(e), r.deliver)
}

// deliver gives a message to the sessions that RFC 6121 8.5 names.
func (r *Router) deliver(b *transport.Batch, e *extension.Envelope) transport.Wait {
	st := e.Stanza
	if !st.To.IsBare() {
		if s, ok := r.Sessions.Session(st.To); ok && s.Receiver.Deliver(b, cluster.Delivery{Stanza: st}) {
			return nil // 8.5.3.1
		}
		if st.Type != stanza.Chat {
			return r.undelivered(b, e) // 8.5.3.2.1
		}
	}
	sessions := r.Sessions.Sessions(st.To.Bare())
	least := int8(0)
	switch st.Type {
	case stanza.GroupChat, stanza.TypeError: // never to a bare JID's resources
		return r.undelivered(b, e)
	case stanza.Headline:
	default:
		least = highest(sessions)
	}
	if r.fork(b, st, sessions, least) {
		return nil
	}
	return r.undelivered(b, e)
}

// fork gives a message to each available session of at least this priority.
func (r *Router) fork(b *transport.Batch, st *stanza.Stanza, sessions []cluster.Entry, least int8) (taken bool) {
	d := cluster.Delivery{Stanza: st}
	if len(sessions) > 1 {
		d.Fork = &cluster.Fork{}
		d.Fork.Add() // until all have it
	}
	for _, s := range sessions {
		if !s.Available || s.Priority < least {
			continue
		}
		if d.Fork != nil {
			d.Fork.Add()
		}
		if s.Receiver.Deliver(b, d) {
			taken = true
		} else if d.Fork != nil {
			d.Fork.Lost()
		}
	}
	return !r.lostAll(d.Fork) && taken
}

// lostAll ends the counting of a fork: whether all copies are lost already.
func (r *Router) lostAll(f *cluster.Fork) bool { return f != nil && f.Lost() }

// highest returns the highest priority of the available sessions that take
// messages to the bare JID. The "most available" resources of RFC 6121
// 8.5.2.1.1 are all those that have it.
func highest(sessions []cluster.Entry) int8 {
	best := int8(0)
	for _, s := range sessions {
		if s.Available {
			best = max(best, s.Priority)
		}
	}
	return best
}

// undelivered handles a message that no session took.
func (r *Router) undelivered(b *transport.Batch, e *extension.Envelope) transport.Wait {
	if !r.Pipeline.Wants(extension.Undelivered, stanza.Message) {
		return r.bounce(b, e)
	}
	return r.stage(b, extension.Undelivered, recipient(e), r.bounce)
}

// bounce tells the sender that a message reached nobody; headlines to a bare
// JID and errors are silently dropped (RFC 6121 8.5.2.2.1, 8.5.3.2.1).
func (r *Router) bounce(b *transport.Batch, e *extension.Envelope) transport.Wait {
	if e.Stanza.Type == stanza.Headline && e.Stanza.To.IsBare() {
		return nil
	}
	return r.refuse(b, e, stanza.Err(stanza.ServiceUnavailable, ""))
}
