// Package router decides where a stanza goes (RFC 6120 section 10, RFC 6121
// section 8). Route is the one switch; the files beside it are its branches.
//
// A method that returns a transport.Wait has finished if it is nil; otherwise
// the rest of the stanza's way is in it, and whoever called runs it before it
// lets the next stanza of the same sender follow (RFC 6120 10.1). Messages of clients
// that wait for nothing but a commit or a verdict are not waited for (underway.go). What was
// taken does not end with its sender's connection: handlers and writes have the
// kernel's time (host.Hosts.Own).
package router

import (
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/core/registry"
	"github.com/hexmpp/hexmpp/core/safe"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Router is used by any goroutine; it has next to no state of its own.
type Router struct {
	Registry *registry.Registry
	Sessions cluster.Registry
	Pipeline *pipeline.Pipeline
	Hosts    *host.Hosts
	Presence Presence
	Safe     *safe.Safe
	Offline  *offline.Offline
	Contacts Contacts // nil: strangers may ask full JIDs, too (privacy.strangers: allow)
	Log      *zap.Logger

	streams atomic.Uint64 // that asked something before login
}

// Presence handles presence to an account that is not merely passed on to its
// sessions; package presence is it.
type Presence interface {
	Inbound(b *transport.Batch, e *extension.Envelope) (w transport.Wait, handled bool)
}

// Submit takes a stanza that a local account handed in: the Submit stage, then
// Route. Its from is stamped. e is borrowed.
func (r *Router) Submit(b *transport.Batch, e *extension.Envelope) transport.Wait {
	return r.submit(b, e, nil)
}

// Request is Submit for an iq of a client. x is borrowed until the Wait has run.
func (r *Router) Request(b *transport.Batch, e *extension.Envelope, x *Way) transport.Wait {
	return r.submit(b, e, x)
}

func (r *Router) submit(b *transport.Batch, e *extension.Envelope, x *Way) transport.Wait {
	if !r.wanted(extension.Submit, e) {
		return r.toward(b, e, x)
	}
	return r.stage(b, extension.Submit, e, func(b *transport.Batch, e *extension.Envelope) transport.Wait { return r.toward(b, e, x) })
}

// Next is where a stanza goes behind a stage.
type Next func(*transport.Batch, *extension.Envelope) transport.Wait

// Route takes a stanza to where its to says. e is borrowed.
func (r *Router) Route(b *transport.Batch, e *extension.Envelope) transport.Wait {
	return r.toward(b, e, nil)
}

// toward is Route; x is the way of a client's message or request, nil for all else. It is borrowed,
// too.
func (r *Router) toward(b *transport.Batch, e *extension.Envelope, x *Way) transport.Wait {
	to := e.Stanza.To
	domain := to.Domain()
	switch {
	case to.IsZero():
		return r.own(b, e, x)
	case r.Registry.Hosted(domain) && to.Local() == "":
		return r.server(b, e, x)
	case r.Registry.Hosted(domain) && to.IsBare():
		return r.account(b, e, x)
	case r.Registry.Hosted(domain):
		return r.full(b, e)
	}
	if c := r.Registry.Component(domain); c != nil {
		return r.component(b, e, c, x)
	}
	return r.far(b, e, x)
}

// own handles a stanza without an address on behalf of the account that sent
// it (RFC 6120 10.3). Presence does not come here: see package presence.
func (r *Router) own(b *transport.Batch, e *extension.Envelope, x *Way) transport.Wait {
	if e.Stanza.Kind == stanza.Message {
		own := *e
		own.Stanza = addressed(e.Stanza)
		return r.account(b, &own, x)
	}
	return r.account(b, e, x)
}

// addressed is a message with an address: without one it is for the account that
// sends it (RFC 6120 10.3.1).
func addressed(st *stanza.Stanza) *stanza.Stanza {
	if !st.To.IsZero() {
		return st
	}
	h := st.Header
	h.To = h.From.Bare()
	return st.With(h)
}

// refuse answers a stanza with an error, where one may be sent.
func (r *Router) refuse(b *transport.Batch, e *extension.Envelope, err *stanza.Error) transport.Wait {
	if answer := e.Stanza.ErrorReply(err); answer != nil && !answer.To.IsZero() {
		return r.Route(b, &extension.Envelope{Stanza: answer})
	}
	return nil
}
