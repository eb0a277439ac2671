package router

import (
	"strconv"
	"time"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/core/registry"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// What goes to an extension that runs elsewhere is dispatched as an event. What is for
// a component goes on there: the stream that sent it does not wait, and order is kept
// by the event's key. Requests of clients to the server and to accounts are waited for, as
// those are that are handled here, so that what follows a request finds what it did; but by
// the stream alone, which holds no goroutine meanwhile: an extension that hangs is in nobody
// else's way.

// toElsewhere dispatches a stanza to a component; x is its way if it is a client's message.
func (r *Router) toElsewhere(b *transport.Batch, e *extension.Envelope, c *registry.Component, x *Way) transport.Wait {
	st := e.Stanza
	v := &host.Event{RemoteEvent: extension.RemoteEvent{
		Kind: extension.ToComponent, Handler: c.Index, Key: host.ComponentKey(c.Spec.Key, st), Envelope: *e,
	}}
	v.Answer = func(b *transport.Batch, _ *extension.Outcome, err error) transport.Wait {
		if err == nil {
			return nil
		}
		c.Guest.Log("component "+c.JID.String(), err)
		return r.refuse(b, &v.Envelope, stanza.AsError(err))
	}
	if st.Kind == stanza.IQ && (st.Type == stanza.Get || st.Type == stanza.Set) {
		return r.dispatch(b, v, c.Guest, e, host.AnswerTime)
	}
	switch {
	case x == nil:
	case x.again != nil:
		v.At, v.Ticket, v.Over = x.again.at, x.again.ticket, x.again.over
		x.again.over = nil
	case x.ours(): // until the outcome is applied it is in no table: XEP-0198 4
		n := x.number()
		if v.Over = x.Session.Ticket(n, st.Size()); v.Over != nil {
			v.Ticket.ID, _ = x.Session.Sender()
			v.Ticket.N = n
		}
	}
	return r.dispatch(b, v, c.Guest, e, 0)
}

// again is what is known of a stanza that an earlier process has saved (Again).
type again struct {
	at     time.Time // of receipt
	ticket storage.SavedTicket
	over   func(b *transport.Batch) // nil when somebody else calls it
}

// Again takes a stanza, which a component elsewhere had when an earlier process stopped, to
// it once more. over, unless it is nil, ends the sender's ticket: when it has an outcome, or the
// sender an error as the answer. It is called behind Start of the extensions, before clients come.
func (r *Router) Again(b *transport.Batch, s *storage.SavedEvent, over func(b *transport.Batch)) transport.Wait {
	a := &again{s.At, s.Ticket, over}
	e := &extension.Envelope{Stanza: s.Stanza, Origin: extension.Origin{
		Session: s.Origin.Session, Fence: r.fence(s.Origin.Session), Domain: s.Origin.Domain, Addr: s.Origin.Addr, Secure: s.Origin.Secure,
	}}
	w := r.toward(b, e, &Way{again: a})
	if a.over == nil {
		return w
	}
	return transport.Steps(b, func(*transport.Batch) transport.Wait { return w }, func(b *transport.Batch) transport.Wait {
		a.over(b)
		return nil
	})
}

// fence is that of a session that is there by now, 0 if it is not.
func (r *Router) fence(session jid.JID) uint64 {
	if session.IsZero() {
		return 0
	}
	for _, s := range r.Sessions.Sessions(session.Bare()) {
		if s.JID == session {
			return s.Fence
		}
	}
	return 0
}

// askItems asks a component for its items.
func (r *Router) askItems(b *transport.Batch, q extension.IQ, c *registry.Component) transport.Wait {
	v := &host.Event{RemoteEvent: extension.RemoteEvent{
		Kind: extension.ItemsAsked, Handler: c.Index, Key: host.ComponentKey(c.Spec.Key, q.Stanza), IQ: q,
	}}
	v.Answer = func(b *transport.Batch, o *extension.Outcome, err error) transport.Wait {
		if err != nil {
			c.Guest.Log("items of "+c.JID.String(), err)
			return r.route(b, q.ErrorReply(stanza.AsError(err)))
		}
		return r.route(b, stanza.New(q.Reply(stanza.Result), registry.Items(o.Items)))
	}
	return r.dispatch(b, v, c.Guest, &extension.Envelope{Stanza: q.Stanza, Origin: q.Origin}, host.AnswerTime)
}

// dispatch dispatches what nobody waits for; most, unless 0, is when a request is
// answered at last. e is borrowed.
func (r *Router) dispatch(b *transport.Batch, v *host.Event, g *host.Guest, e *extension.Envelope, most time.Duration) transport.Wait {
	err := g.Dispatch(v, e.Origin)
	if err == nil {
		if most > 0 {
			v.Within(most)
		}
		return nil
	}
	if v.Over != nil {
		defer v.Over(b)
	}
	if e.Stanza.Kind == stanza.Presence {
		return nil
	}
	return r.refuse(b, e, host.Undelivered(err))
}

// askElsewhere dispatches a request. One to a component is not waited for. For x see toward.
func (r *Router) askElsewhere(b *transport.Batch, q *question, x *Way) transport.Wait {
	c := &q.claim
	v := &host.Event{RemoteEvent: extension.RemoteEvent{
		Kind: extension.Asked, Handler: c.Index, Component: c.Component, IQ: q.IQ,
	}}
	v.Answer = func(b *transport.Batch, o *extension.Outcome, err error) transport.Wait {
		if err == nil {
			q.result = o.Result
		}
		return q.done(b, err)
	}
	if c.Component >= 0 {
		v.Key = host.ComponentKey(c.Guest.Reg.Components[c.Component].Key, q.Stanza)
		return r.dispatch(b, v, c.Guest, &extension.Envelope{Stanza: q.Stanza, Origin: q.Origin}, host.AnswerTime)
	}
	switch {
	case !q.To.IsZero() && q.To.Local() != "": // an account: whoever asks
		v.Key = host.AccountKey(q.To)
	case !q.From.IsZero():
		v.Key = host.AccountKey(q.From)
	default: // a stream that is not logged in
		v.Key = "stream " + strconv.FormatUint(r.streams.Add(1), 10)
	}
	if !x.asks() { // an extension's, whose outcome waits for no other one
		return r.dispatch(b, v, c.Guest, &extension.Envelope{Stanza: q.Stanza, Origin: q.Origin}, host.AnswerTime)
	}
	return r.hold(b, v, q, x)
}

// hold dispatches a request of a client, behind what the guest has still to be told of its
// key. The client's stream waits until it was answered, and all is done that its outcome asked for; nobody else does.
func (r *Router) hold(b *transport.Batch, v *host.Event, q *question, x *Way) transport.Wait {
	g := q.claim.Guest
	about := q.To
	if about.Local() == "" {
		about = q.From
	}
	over := x.hold(q.Stanza)
	refused := func(b *transport.Batch, err error, over func(b *transport.Batch)) transport.Wait {
		return transport.Steps(b, func(b *transport.Batch) transport.Wait { return q.done(b, err) }, func(b *transport.Batch) transport.Wait {
			over(b)
			return nil
		})
	}
	ask := func(over func(b *transport.Batch)) transport.Step {
		return func(b *transport.Batch) transport.Wait {
			v.Over = over
			if err := g.Dispatch(v, q.Origin); err != nil {
				return refused(b, host.Undelivered(err), over)
			}
			v.Within(host.AnswerTime)
			return nil
		}
	}
	if !q.claim.Handler.Ordered {
		return g.Behind(b, about, ask(over))
	}
	return g.InTurn(b, q.From.Bare(), func(b *transport.Batch, leave func(b *transport.Batch)) transport.Wait {
		return g.Behind(b, about, ask(func(b *transport.Batch) {
			over(b)
			leave(b)
		}))
	}, func(b *transport.Batch, err error) transport.Wait { return refused(b, err, over) })
}
