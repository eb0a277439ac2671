package router

import (
	"context"

	"github.com/hexmpp/hexmpp/core/iq"
	"github.com/hexmpp/hexmpp/core/registry"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// server handles a stanza to a hosted domain itself (RFC 6120 10.5.1, 10.5.2). For x see toward.
func (r *Router) server(b *transport.Batch, e *extension.Envelope, x *Way) transport.Wait {
	switch e.Stanza.Kind {
	case stanza.IQ:
		if e.Stanza.To.IsBare() {
			return r.request(b, e, extension.ToServer, x)
		}
		if r.answer(b, e) {
			return nil
		}
	case stanza.Presence:
		return nil // nobody at that address is interested
	}
	return r.refuse(b, e, stanza.Err(stanza.ServiceUnavailable, ""))
}

// account handles a stanza to the bare JID of an account, or from a client to
// no address (RFC 6120 10.3, RFC 6121 8.5.2). Accounts that are missing and
// accounts that are not online are answered the same. For x see toward.
func (r *Router) account(b *transport.Batch, e *extension.Envelope, x *Way) transport.Wait {
	switch e.Stanza.Kind {
	case stanza.IQ:
		if e.Stanza.To.IsZero() || e.Stanza.To == e.Stanza.From.Bare() {
			return r.request(b, e, extension.ToOwnAccount, x)
		}
		if !r.wanted(extension.Deliver, e) {
			return r.onBehalf(b, e, x)
		}
		return r.stage(b, extension.Deliver, e, func(b *transport.Batch, e *extension.Envelope) transport.Wait { return r.onBehalf(b, e, x) })
	case stanza.Presence:
		return r.presence(b, e)
	}
	return r.message(b, e)
}

// onBehalf answers the request of another on behalf of an account (RFC 6120
// 10.3.3).
func (r *Router) onBehalf(b *transport.Batch, e *extension.Envelope, x *Way) transport.Wait {
	return r.request(b, e, extension.ToAccount, x)
}

// full handles a stanza to the full JID of an account (RFC 6121 8.5.3).
func (r *Router) full(b *transport.Batch, e *extension.Envelope) transport.Wait {
	if e.Stanza.Kind == stanza.Message {
		return r.message(b, e)
	}
	if e.Stanza.Kind == stanza.Presence && e.Stanza.Type != "" && e.Stanza.Type != stanza.Unavailable && e.Stanza.Type != stanza.TypeError {
		return r.presence(b, e)
	}
	if !r.wanted(extension.Deliver, e) {
		return r.toSession(b, e)
	}
	return r.stage(b, extension.Deliver, e, r.toSession)
}

// toSession gives an iq or presence to the session that it is addressed to
// (RFC 6121 8.5.3.1); without that session an iq is refused and presence is
// ignored (8.5.3.2.2, 8.5.3.2.3).
func (r *Router) toSession(b *transport.Batch, e *extension.Envelope) transport.Wait {
	switch {
	case r.strange(e.Stanza):
		return r.fromStranger(b, e)
	case r.hand(b, cluster.Delivery{Stanza: e.Stanza}), e.Stanza.Kind == stanza.Presence:
		return nil
	}
	return r.refuse(b, e, stanza.Err(stanza.ServiceUnavailable, ""))
}

// hand gives a stanza to the session that it is addressed to. It is false if there
// is none, or it does not take it.
func (r *Router) hand(b *transport.Batch, d cluster.Delivery) bool {
	to, ok := r.Sessions.Session(d.Stanza.To)
	return ok && to.Receiver.Deliver(b, d)
}

// presence handles presence to an account (RFC 6121 8.5.2.1.2, 8.5.2.2.2):
// subscriptions and probes are the server's affair, the rest goes to the
// available sessions. Without any it ends here: the login of a user with many
// contacts has not to load what the stage needs of those that are offline.
func (r *Router) presence(b *transport.Batch, e *extension.Envelope) transport.Wait {
	if !e.Stanza.ManagesSubscription() && len(r.Sessions.Sessions(e.Stanza.To.Bare())) == 0 {
		return nil
	}
	if !r.wanted(extension.Deliver, e) {
		return r.toAvailable(b, e)
	}
	return r.stage(b, extension.Deliver, e, r.toAvailable)
}

func (r *Router) toAvailable(b *transport.Batch, e *extension.Envelope) transport.Wait {
	if w, handled := r.Presence.Inbound(b, e); handled {
		return w
	}
	for _, s := range r.Sessions.Sessions(e.Stanza.To.Bare()) {
		if s.Available {
			s.Receiver.Deliver(b, cluster.Delivery{Stanza: e.Stanza})
		}
	}
	return nil
}

// component gives a stanza to an extension that has this domain. For x see toward.
func (r *Router) component(b *transport.Batch, e *extension.Envelope, c *registry.Component, x *Way) transport.Wait {
	st := e.Stanza
	if st.Kind == stanza.IQ && r.answer(b, e) {
		return nil
	}
	if payload, ok := iq.Request(st); ok && st.To.Local() == "" && st.To.IsBare() {
		claim, ok := c.IQ(payload, st.Type)
		if q := (extension.IQ{Stanza: st, Child: payload, Origin: e.Origin}); !ok && c.AsksItems(q) {
			return r.askItems(b, q, c)
		}
		if !ok {
			claim, ok = c.Disco(payload, st.Type)
		}
		if ok {
			return r.ask(b, e, payload, claim, r.route, nil)
		}
	}
	if c.Spec.Handle == nil {
		return r.refuse(b, e, stanza.Err(stanza.ServiceUnavailable, ""))
	}
	if c.Guest.Elsewhere() {
		return r.toElsewhere(b, e, c, x)
	}
	original := *e // e is borrowed
	return c.Guest.Later(func(ctx context.Context, h *extension.Host) error {
		shown := original // the handler may change what it is shown
		return c.Spec.Handle(ctx, h, &shown)
	}, func(b *transport.Batch, err error) transport.Wait {
		if err == nil {
			return nil
		}
		c.Guest.Log("component "+c.JID.String(), err)
		return r.refuse(b, &original, stanza.AsError(err))
	})
}
