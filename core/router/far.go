package router

import (
	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// far handles a stanza to a domain that nobody here answers for: it goes to the extension that
// claims far domains (RFC 6120 10.4), if there is one. Subdomains of hosted domains are
// none: with a wildcard in the DNS they would loop. For x see toward.
func (r *Router) far(b *transport.Batch, e *extension.Envelope, x *Way) transport.Wait {
	g := r.Registry.Far(e.Stanza.To.Domain())
	if g == nil {
		return r.refuse(b, e, stanza.Err(stanza.RemoteServerNotFound, "")) // RFC 6120 10.4.3
	}
	return r.toFar(b, g, e, nil, x)
}

// Far implements host.Router.
func (r *Router) Far(b *transport.Batch, domain string, s *stanza.Stanza, to []jid.JID) transport.Wait {
	g := r.Registry.Far(domain)
	if len(to) == 1 {
		h := s.Header
		h.To, to = to[0], nil
		s = s.With(h)
	}
	return r.toFar(b, g, &extension.Envelope{Stanza: s}, to, nil)
}

// toFar dispatches what goes to a far domain: a stanza, or copies of one for many there. Nobody waits
// for it. A client's message is in the spool until it has an answer, and safe when it is there (XEP-0198 4): a peer that
// is away for minutes holds up neither the stream nor its resumption. e is borrowed.
func (r *Router) toFar(b *transport.Batch, g *host.Guest, e *extension.Envelope, many []jid.JID, x *Way) transport.Wait {
	domain := e.Stanza.To.Domain()
	if len(many) > 0 {
		domain = many[0].Domain()
	}
	v := &host.Event{RemoteEvent: extension.RemoteEvent{
		Kind: extension.ToFar, Key: domain, Component: -1, Far: &extension.FarEvent{Domain: domain, Stanza: e.Stanza, Recipients: many},
	}}
	v.Answer = func(b *transport.Batch, _ *extension.Outcome, err error) transport.Wait {
		if err == nil {
			return nil
		}
		return r.bounce(b, v.Far, stanza.AsError(err))
	}
	var receipt cluster.Receipt
	if r.Safe != nil && x.ours() && r.Offline.Keeps(e.Stanza) {
		receipt = r.Safe.AcceptFar(x.Session, x.number(), e.Stanza, r.Offline.Now())
		v.Over = func(*transport.Batch) { receipt.Done() }
	}
	if err := g.DispatchFar(v, e.Origin); err != nil {
		receipt.Done()
		return r.bounce(b, v.Far, host.FarError(err))
	}
	return nil
}

// bounce tells the sender of what did not get to a far domain. Presence is not
// answered: a contact whose server is away is nothing that a session could do something about.
func (r *Router) bounce(b *transport.Batch, e *extension.FarEvent, err *stanza.Error) transport.Wait {
	if e.Stanza.Kind == stanza.Presence {
		return nil
	}
	if len(e.Recipients) == 0 {
		return r.refuse(b, &extension.Envelope{Stanza: e.Stanza}, err)
	}
	steps := make([]transport.Step, len(e.Recipients))
	for i, to := range e.Recipients {
		steps[i] = func(b *transport.Batch) transport.Wait {
			h := e.Stanza.Header
			h.To = to
			return r.refuse(b, &extension.Envelope{Stanza: e.Stanza.With(h)}, err)
		}
	}
	return transport.Steps(b, steps...)
}
