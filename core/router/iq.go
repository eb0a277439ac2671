package router

import (
	"context"

	"github.com/hexmpp/hexmpp/core/registry"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// CheckIQ says what is wrong with an iq by the rules of RFC 6120 8.2.3: an id,
// a known type, exactly one child of a get or set, at most one of a result.
func CheckIQ(s *stanza.Stanza) *stanza.Error {
	if s.ID == "" {
		return stanza.Err(stanza.BadRequest, "an iq needs an id")
	}
	n := len(s.Children())
	switch s.Type {
	case stanza.Get, stanza.Set:
		if n != 1 {
			return stanza.Err(stanza.BadRequest, "an iq of type get or set has exactly one child")
		}
	case stanza.Result, stanza.TypeError:
	default:
		return stanza.Err(stanza.BadRequest, "an iq is of type get, set, result or error")
	}
	return nil
}

// reply takes the answer to a request to whoever asked.
type reply func(b *transport.Batch, answer *stanza.Stanza) transport.Wait

// request answers an iq get or set by the handler of its payload. Answers of
// others to what an extension asked end here, too.
func (r *Router) request(b *transport.Batch, e *extension.Envelope, to extension.To) transport.Wait {
	if done := r.answer(e); done {
		return nil
	}
	claim, ok := r.Registry.IQ(e.Stanza.Children()[0], e.Stanza.Type, to)
	if !ok {
		return r.refuse(b, e, stanza.Err(stanza.ServiceUnavailable, ""))
	}
	return r.ask(b, e, claim, func(b *transport.Batch, answer *stanza.Stanza) transport.Wait {
		return r.Route(b, &extension.Envelope{Stanza: answer})
	})
}

// answer gives an iq result or error to the extension that waits for it.
func (r *Router) answer(e *extension.Envelope) bool {
	if e.Stanza.Type == stanza.Get || e.Stanza.Type == stanza.Set {
		return false
	}
	r.Hosts.Answer(e.Stanza)
	return true
}

// Before answers an iq on a stream that is not logged in (XEP-0077). ok is
// false if nobody wants it there.
func (r *Router) Before(b *transport.Batch, e *extension.Envelope, send func(*transport.Batch, *stanza.Stanza)) (w transport.Wait, ok bool) {
	if e.Stanza.Type != stanza.Get && e.Stanza.Type != stanza.Set {
		return nil, false
	}
	claim, ok := r.Registry.IQ(e.Stanza.Children()[0], e.Stanza.Type, extension.ToStream)
	if !ok {
		return nil, false
	}
	return r.ask(b, e, claim, func(b *transport.Batch, answer *stanza.Stanza) transport.Wait {
		send(b, answer)
		return nil
	}), true
}

// ask calls a handler: at once if it is Inline, else in the Wait.
func (r *Router) ask(b *transport.Batch, e *extension.Envelope, c registry.Claim, to reply) transport.Wait {
	q := extension.IQ{Stanza: e.Stanza, Child: e.Stanza.Children()[0], Origin: e.Origin}
	var result *stanza.Element
	handle := func(ctx context.Context, h *extension.Host) (err error) {
		result, err = c.Handler.Handle(ctx, h, q)
		return err
	}
	done := func(b *transport.Batch, err error) {
		c.Guest.Log("iq handler of "+q.Child.Space, err)
		answer := stanza.New(q.Reply(stanza.Result), result)
		if err != nil {
			answer = q.ErrorReply(stanza.AsError(err))
		}
		if w := to(b, answer); w != nil {
			r.Hosts.Spawn(w)
		}
	}
	if c.Handler.Inline {
		return c.Guest.Run(context.Background(), b, handle, done)
	}
	return c.Guest.Later(handle, done)
}
