//go:build unix

package pluginhost

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/pluginhost/runner"
	sdk "github.com/hexmpp/hexmpp/api/plugin"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// echoes is a plugin on the SDK that sends each message back.
func echoes() int {
	return sdk.Main(sdk.Plugin{New: func([]byte) (extension.Registration, error) {
		return extension.Registration{Name: "raw", Components: []extension.Component{{Domain: "raw.$domain",
			Handle: func(_ context.Context, h *extension.Host, e *extension.Envelope) error {
				header := e.Stanza.Header
				header.To, header.From = header.From, header.To
				return h.Stanzas.Send(e.Stanza.With(header))
			}}}}, nil
	}}, nil)
}

// counter is an Owner that counts.
type counter struct {
	bench *bench
}

func (c *counter) Apply(_ *transport.Batch, o *extension.Outcome, done func(error)) {
	err := o.Err
	if err == nil && o.Effects != nil {
		err = o.Effects(&c.bench.sink)
	}
	if err != nil {
		c.bench.b.Error(err)
	}
	done(nil)
	c.bench.slots <- struct{}{}
}

func (c *counter) Fail(_ *transport.Batch, err error) {
	c.bench.b.Error(err)
	c.bench.slots <- struct{}{}
}

// all takes all stanzas.
type all struct{ sends }

func (all) Send(*stanza.Stanza) error { return nil }

type bench struct {
	b     *testing.B
	slots chan struct{}
	sink  extension.Host
}

// cpu is what this process and the plugin have used.
func cpu(b *testing.B, p *plugin) (host, process time.Duration) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	its, err := p.instances()[0].proc.Usage()
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), its.CPU
}

// startBench starts a Host with the plugin.
func startBench(b *testing.B, dir, sockets string) *Host {
	h, err := New(Options{Domains: []string{"a.test"}, Version: "test", Data: dir, Folder: sockets, Plugins: []Plugin{{
		Name: "raw", Key: "plugins.raw", Bundled: true, Command: runner.Command{Self: true, Args: []string{"helper=echoes"}}, Folder: dir,
		Limits: Limits{InFlight: 4096},
	}}}, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	regs, err := h.Start(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	regs[0].Remote.Attach(&kernel{ctx: b.Context()})
	if err := regs[0].Start(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	return h
}

// BenchmarkEcho has a plugin on the SDK answer messages, some hundred keys at the same time:
// as fast as it goes with so many in flight, and at a rate. host-us/op
// and plugin-us/op are the CPU time of the two processes.
func BenchmarkEcho(b *testing.B) {
	dir := b.TempDir()
	sockets, err := os.MkdirTemp("", "h")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(sockets)
	for _, c := range []struct{ inFlight, rate int }{{1, 0}, {64, 0}, {512, 0}, {2048, 20_000}, {2048, 100_000}} {
		b.Run(fmt.Sprintf("in-flight=%d/rate=%d", c.inFlight, c.rate), func(b *testing.B) {
			h := startBench(b, dir, sockets)
			defer h.Close()
			p := h.plugins[0]
			x := &bench{b: b, slots: make(chan struct{}, c.inFlight)}
			x.sink.Stanzas = &all{}
			for range c.inFlight {
				x.slots <- struct{}{}
			}
			owner := &counter{x}
			body := "<body>it is the east, and Juliet is the sun; arise, fair sun, and kill the envious moon, who is already sick and pale with grief</body>"
			keys := make([]string, 500)
			for i := range keys {
				keys[i] = fmt.Sprintf("room%d@raw.a.test", i)
			}
			to := jid.MustParse("raw.a.test")
			host, process := cpu(b, p)
			start := time.Now()
			b.ResetTimer()
			for i := range b.N {
				if c.rate > 0 && i%(c.rate/1000) == 0 { // bursts of a millisecond
					if wait := time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(c.rate))); wait > 0 {
						<-time.After(wait)
					}
				}
				<-x.slots
				s := stanza.Raw(stanza.Header{Kind: stanza.Message, Type: "groupchat", ID: "m", From: romeo, To: to}, "", body, nil)
				if err := p.Dispatch(&extension.RemoteEvent{Kind: extension.ToComponent, Component: -1, Key: keys[i%len(keys)], At: start, Envelope: extension.Envelope{Stanza: s}, Owner: owner}); err != nil {
					b.Fatal(err)
				}
			}
			for range c.inFlight {
				<-x.slots
			}
			b.StopTimer()
			host2, process2 := cpu(b, p)
			b.ReportMetric(float64((host2-host).Microseconds())/float64(b.N), "host-us/op")
			b.ReportMetric(float64((process2-process).Microseconds())/float64(b.N), "plugin-us/op")
			m := p.machine.Stats()
			b.ReportMetric(float64(m.Sent)/float64(m.FramesOut), "events/frame")
		})
	}
}
