package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/hexmpp/hexmpp/api/plugin/codec"
	"github.com/hexmpp/hexmpp/api/plugin/wire"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// What an event costs in a plugin, from the bytes of a frame to those of another: 100
// events, each of another key, whose handler answers with a message. Without the socket; what the
// kernel does to make the frame is in it, too.
func BenchmarkEvents(b *testing.B) {
	const n = 100
	reg := extension.Registration{Name: "bench", Components: []extension.Component{{Domain: "c", Handle: func(_ context.Context, h *extension.Host, e *extension.Envelope) error {
		return h.Stanzas.Send(stanza.New(e.Stanza.Header.Reply(stanza.Chat), stanza.El("", "body").WithText("Neither, fair saint")))
	}}}}
	var events []*pluginv1.Event
	for i := range n {
		e, err := codec.Event(&extension.RemoteEvent{Kind: extension.ToComponent, Component: -1, Key: fmt.Sprintf("room%d@c", i), Envelope: extension.Envelope{
			Stanza: stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.Chat, ID: "12345", From: jid.MustParse("romeo@example.org/orchard"), To: jid.MustParse(fmt.Sprintf("room%d@c", i))},
				stanza.El("", "body").WithText("What man art thou that, thus bescreened in night, so stumblest on my counsel?")),
			Origin: extension.Origin{Domain: "example.org", Session: jid.MustParse("romeo@example.org/orchard")},
		}})
		if err != nil {
			b.Fatal(err)
		}
		events = append(events, e)
	}
	p := newProcess(&Plugin{Handlers: 8}, &reg, &pluginv1.ConfigureRequest{Shards: 1}, slog.New(slog.DiscardHandler))
	defer p.cancel()
	if _, err := p.m.Hello(wire.Hello(1, 0)); err != nil {
		b.Fatal(err)
	}
	p.m.Frame(0)
	var in, out []byte
	id := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		for _, e := range events {
			id++
			e.Id = id
		}
		in, _ = proto.MarshalOptions{}.MarshalAppend(in[:0], &pluginv1.KernelFrame{Generation: 1, Events: events})
		f := new(pluginv1.KernelFrame)
		_ = proto.Unmarshal(in, f)
		p.mu.Lock()
		err := p.m.Receive(0, f)
		p.act(0)
		p.mu.Unlock()
		if err != nil {
			b.Fatal(err)
		}
		for got := 0; got < n; {
			<-p.wake[0]
			p.mu.Lock()
			for f := p.m.Frame(0); f != nil; f = p.m.Frame(0) {
				got += len(f.Outcomes)
				out, _ = proto.MarshalOptions{}.MarshalAppend(out[:0], f)
			}
			p.mu.Unlock()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/event")
}

// What an event costs on the way that Inside has it take: 100 events, each of another key, whose handler
// answers with a message. Without what the kernel does.
func BenchmarkInside(b *testing.B) {
	const n = 100
	reg := Inside(extension.Registration{Name: "bench", Forget: func(string) {}, Components: []extension.Component{{Domain: "c", Handle: func(_ context.Context, h *extension.Host, e *extension.Envelope) error {
		return h.Stanzas.Send(stanza.New(e.Stanza.Header.Reply(stanza.Chat), stanza.El("", "body").WithText("Neither, fair saint")))
	}}}})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	reg.Remote.Attach(noReads{ctx: ctx})
	var all sync.WaitGroup
	var events []*extension.RemoteEvent
	for i := range n {
		key := fmt.Sprintf("room%d@c", i)
		events = append(events, &extension.RemoteEvent{Kind: extension.ToComponent, Component: -1, Key: key, Owner: &eventOwner{end: func(error) { all.Done() }}, Envelope: extension.Envelope{
			Stanza: stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.Chat, ID: "12345", From: jid.MustParse("romeo@example.org/orchard"), To: jid.MustParse(key)},
				stanza.El("", "body").WithText("What man art thou that, thus bescreened in night, so stumblest on my counsel?")),
		}})
	}
	b.ReportAllocs()
	for b.Loop() {
		all.Add(n)
		for _, e := range events {
			if err := reg.Remote.Dispatch(e); err != nil {
				b.Fatal(err)
			}
		}
		all.Wait()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/event")
}
