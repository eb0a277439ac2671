package plugin

import (
	"context"
	"log/slog"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/hexmpp/hexmpp/api/plugin/codec"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Loopback returns a registration whose handlers do what those of reg do, in the way of a
// process: each call is an event that is written as a message and read again, the handler
// runs on the Host that it has in a process, and its outcome is written, read, and asked
// of the Host that the caller gave. So tests of an extension (package extensiontest) show
// that it runs both ways. Package plugintest is the door to it.
//
// Start and Stop are those of reg, as they are.
func Loopback(reg extension.Registration) extension.Registration {
	l := &loop{reg: reg}
	out := reg
	out.IQ = l.requests(reg.IQ, -1)
	out.Stages = slices.Clone(reg.Stages)
	for i := range out.Stages {
		out.Stages[i].Handle = func(ctx context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
			o, err := l.do(ctx, h, &extension.RemoteEvent{Kind: extension.Staged, Handler: i, Envelope: *e, Residents: l.residents(ctx, h, e)})
			if err != nil {
				return extension.Verdict{}, err
			}
			return o.Verdict, nil
		}
	}
	out.Elements = slices.Clone(reg.Elements)
	for i := range out.Elements {
		out.Elements[i].Handle = func(ctx context.Context, h *extension.Host, session jid.JID, x *stanza.Element) error {
			_, err := l.do(ctx, h, &extension.RemoteEvent{Kind: extension.ElementSent, Handler: i, Session: session, Element: x})
			return err
		}
	}
	out.Components = slices.Clone(reg.Components)
	for i := range out.Components {
		c := &out.Components[i]
		c.IQ = l.requests(c.IQ, i)
		if c.Items != nil {
			c.Items = func(ctx context.Context, h *extension.Host, q extension.IQ) ([]extension.Item, error) {
				o, err := l.do(ctx, h, &extension.RemoteEvent{Kind: extension.ItemsAsked, Handler: i, IQ: q})
				if err != nil {
					return nil, err
				}
				return o.Items, nil
			}
		}
		if c.Handle != nil {
			c.Handle = func(ctx context.Context, h *extension.Host, e *extension.Envelope) error {
				_, err := l.do(ctx, h, &extension.RemoteEvent{Kind: extension.ToComponent, Handler: i, Envelope: *e})
				return err
			}
		}
	}
	out.Calls = callsThrough(reg.Calls, func() *process {
		return &process{reg: &l.reg, log: slog.New(slog.DiscardHandler), ctx: context.Background()}
	})
	if reg.Reply != nil {
		out.Reply = func(ctx context.Context, h *extension.Host, r extension.Reply) error {
			_, err := l.do(ctx, h, &extension.RemoteEvent{Kind: extension.Replied, Reply: r})
			return err
		}
	}
	if reg.Timer != nil {
		out.Timer = func(ctx context.Context, h *extension.Host, t extension.Timer) error {
			_, err := l.do(ctx, h, &extension.RemoteEvent{Kind: extension.Fired, Timer: t})
			return err
		}
	}
	if reg.Notice != nil {
		out.Notice = func(ctx context.Context, h *extension.Host, n extension.Notice) error {
			_, err := l.do(ctx, h, &extension.RemoteEvent{Kind: extension.Noticed, Notice: n})
			return err
		}
	}
	return out
}

type loop struct{ reg extension.Registration }

func (l *loop) requests(list []extension.IQHandler, component int) []extension.IQHandler {
	list = slices.Clone(list)
	for i := range list {
		list[i].Handle = func(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
			o, err := l.do(ctx, h, &extension.RemoteEvent{Kind: extension.Asked, Handler: i, Component: component, IQ: q})
			if err != nil {
				return nil, err
			}
			return o.Result, nil
		}
	}
	return list
}

// residents are what the kernel sends along.
func (l *loop) residents(ctx context.Context, h *extension.Host, e *extension.Envelope) (list []extension.Entry) {
	for _, key := range l.reg.Residents {
		if entry, ok, err := h.Store.Get(ctx, e.Account, key); ok && err == nil {
			list = append(list, entry)
		}
	}
	return list
}

// do handles an event on a Host that takes the effects, too. The error is the handler's.
func (l *loop) do(ctx context.Context, h *extension.Host, e *extension.RemoteEvent) (*extension.Outcome, error) {
	e.At = h.Now()
	if e.Kind != extension.Asked {
		e.Component = -1
	}
	newIDs := func(n int) (ids []uint64) {
		for range n {
			ids = append(ids, h.Archive.NewID())
		}
		return ids
	}
	out, err := l.handle(ctx, h, newIDs, e)
	switch {
	case err != nil:
		return nil, err
	case out.Err != nil:
		return nil, out.Err
	case out.Effects != nil:
		return out, out.Effects(h)
	}
	return out, nil
}

// limits are those that a server has for plugins, unless it is configured otherwise.
var limits = codec.Limits{XML: xmlstream.Limits{StanzaBytes: storage.MaxValue + 128<<10, Depth: 128, Attributes: 80}}

// handle handles an event, for which h is read. The error is not the handler's: something
// can't be written or read as the contract has it.
func (l *loop) handle(ctx context.Context, h *extension.Host, newIDs func(n int) []uint64, e *extension.RemoteEvent) (*extension.Outcome, error) {
	log := h.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &process{
		reg: &l.reg, log: log, domains: h.Domains, served: h.Served, permissions: l.reg.Permissions, bounds: boundsOf(&pluginv1.ConfigureRequest{}), now: h.Now,
	}
	o, _, err := through(ctx, p, e, func(ctx context.Context, q *pluginv1.Request) (*pluginv1.Response, error) {
		return codec.Answer(ctx, h, newIDs, q), nil
	})
	if err != nil {
		return nil, err
	}
	return limits.Outcome(o, e.Kind)
}

// through handles an event with all messages written and read. The error is not the
// handler's; void is that of process.outcome.
func through(ctx context.Context, p *process, e *extension.RemoteEvent, call codec.Call) (o *pluginv1.Outcome, void bool, err error) {
	m, err := codec.Event(e)
	if err != nil {
		return nil, true, err
	}
	if m, err = copied(m); err != nil {
		return nil, true, err
	}
	o, void = p.handle(ctx, m, func(ctx context.Context, q *pluginv1.Request) (*pluginv1.Response, error) {
		q, err := copied(q)
		if err != nil {
			return nil, err
		}
		a, err := call(ctx, q)
		if err != nil {
			return nil, err
		}
		return copied(a)
	})
	o, err = copied(o)
	return o, void, err
}

// copied writes a message and reads it.
func copied[M proto.Message](m M) (M, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return m, err
	}
	out := m.ProtoReflect().New().Interface().(M)
	return out, proto.Unmarshal(b, out)
}
