package router

import (
	"context"

	"github.com/hexmpp/hexmpp/core/iq"
	"github.com/hexmpp/hexmpp/core/registry"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// reply takes the answer to a request to whoever asked.
type reply func(b *transport.Batch, answer *stanza.Stanza) transport.Wait

// route is the reply to who has an address.
func (r *Router) route(b *transport.Batch, answer *stanza.Stanza) transport.Wait {
	return r.Route(b, &extension.Envelope{Stanza: answer})
}

// request answers an iq get or set by the handler of its payload. Answers of
// others to what an extension asked end here, too. For x see toward.
func (r *Router) request(b *transport.Batch, e *extension.Envelope, to extension.To, x *Way) transport.Wait {
	if r.answer(b, e) {
		return nil
	}
	payload, ok := iq.Request(e.Stanza)
	if !ok {
		return r.refuse(b, e, stanza.Err(stanza.BadRequest, ""))
	}
	claim, ok := r.Registry.IQ(payload, e.Stanza.Type, to)
	if !ok {
		return r.refuse(b, e, stanza.Err(stanza.ServiceUnavailable, ""))
	}
	return r.ask(b, e, payload, claim, r.route, x)
}

// answer gives an iq result or error to who waits for it.
func (r *Router) answer(b *transport.Batch, e *extension.Envelope) bool {
	if e.Stanza.Type == stanza.Get || e.Stanza.Type == stanza.Set {
		return false
	}
	r.Hosts.Answer(b, e.Stanza)
	return true
}

// Before answers an iq on a stream that is not logged in (XEP-0077). ok is
// false if nobody wants it there.
func (r *Router) Before(b *transport.Batch, e *extension.Envelope, by Asker, send func(*transport.Batch, *stanza.Stanza)) (w transport.Wait, ok bool) {
	payload, ok := iq.Request(e.Stanza)
	if !ok {
		return nil, false
	}
	claim, ok := r.Registry.IQ(payload, e.Stanza.Type, extension.ToStream)
	if !ok {
		return nil, false
	}
	return r.ask(b, e, payload, claim, func(b *transport.Batch, answer *stanza.Stanza) transport.Wait {
		send(b, answer)
		return nil
	}, &Way{Asker: by}), true
}

// question is an iq on its way to its handler and back.
type question struct {
	extension.IQ
	claim  registry.Claim
	to     reply
	result *stanza.Element
}

// ask calls a handler: at once if it is Inline, else in the Wait. The answer
// goes out in the order of the questions. For x see toward.
func (r *Router) ask(b *transport.Batch, e *extension.Envelope, payload stanza.Child, c registry.Claim, to reply, x *Way) transport.Wait {
	q := &question{IQ: extension.IQ{Stanza: e.Stanza, Child: payload, Origin: e.Origin}, claim: c, to: to}
	switch {
	case c.Elsewhere():
		return r.askElsewhere(b, q, x)
	case c.Handler.Inline:
		return c.Guest.RunFor(context.Background(), b, e.Origin, q.handle, q.done)
	case c.Handler.Ordered:
		return c.Guest.AskInTurn(e.Stanza.From.Bare(), e.Origin, q.handle, q.done)
	}
	return c.Guest.Ask(e.Origin, q.handle, q.done)
}

func (q *question) handle(ctx context.Context, h *extension.Host) (err error) {
	q.result, err = q.claim.Handler.Handle(ctx, h, q.IQ)
	return err
}

func (q *question) done(b *transport.Batch, err error) transport.Wait {
	answer := stanza.New(q.Reply(stanza.Result), q.result)
	if err == nil {
		err = q.claim.Guest.MayEmit(answer)
	}
	if err != nil {
		q.claim.Guest.Log("iq handler of "+q.Child.Space, err)
		answer = q.ErrorReply(stanza.AsError(err))
	}
	return q.to(b, answer)
}
