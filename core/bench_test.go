package core_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	registry "github.com/hexmpp/hexmpp/adapters/cluster/memory"
	"github.com/hexmpp/hexmpp/adapters/extension/carbons"
	"github.com/hexmpp/hexmpp/adapters/extension/csi"
	store "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// pipe is a connection as cheap as can be: what it is sent is drained into one
// buffer that is used again.
type pipe struct {
	held
	s       transport.Stream
	out     []byte
	written int
	again   bool // the kernel wants to go on when others had their turns
}

func (p *pipe) Flush()              { p.out = p.s.Drain(p.out[:0], 64<<10); p.written += len(p.out) }
func (p *pipe) StartTLS(string)     {}
func (p *pipe) Pause(time.Duration) { p.again = true }
func (p *pipe) Close()              {}

// feed runs one turn, Waits included.
func (p *pipe) feed(b *transport.Batch, in []byte) {
	for wait := p.s.Feed(b, in); wait != nil || p.again || p.over(); wait = p.s.Feed(b, nil) {
		if p.again = false; wait != nil {
			wait(context.Background())
		}
	}
	b.Flush()
}

func (p *pipe) close() {
	var b transport.Batch
	p.s.Closed(&b, nil)
	b.Flush()
}

// benchKernel returns a kernel without clients.
func benchKernel(b testing.TB, regs ...extension.Registration) *core.Kernel {
	b.Helper()
	return benchKernelOn(b, store.New(), regs...)
}

func benchKernelOn(b testing.TB, s storage.Store, regs ...extension.Registration) *core.Kernel {
	b.Helper()
	o := core.Options{Domains: []string{"example.test"}, TLSRequired: true, Offline: offline.Options{Messages: -1}} // pipes are drained by one goroutine
	p := core.Ports{Credentials: open{}, Verifier: open{}, Accounts: open{}, Store: s, Sessions: registry.New(), Log: zap.NewNop()}
	with(regs...)(&o, &p)
	k, err := core.New(o, p)
	if err != nil {
		b.Fatal(err)
	}
	if err := k.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	return k
}

func connect(k *core.Kernel) *pipe {
	p := &pipe{}
	p.s = k.NewStream(overTLS, p)
	return p
}

// negotiate logs a new client in, in as many turns as a real one takes.
func negotiate(k *core.Kernel, user, resource string) *pipe {
	p := connect(k)
	var b transport.Batch
	for _, in := range []string{toUs, plain(user, "pw"), toUs, bind(resource)} {
		p.feed(&b, []byte(in))
	}
	return p
}

func BenchmarkChat(b *testing.B)     { benchChat(b, "juliet@example.test/balcony") }
func BenchmarkChatBare(b *testing.B) { benchChat(b, "juliet@example.test") }

// Extensions that see each message, and want none of it: no session has a mark.
func BenchmarkChatUnmarked(b *testing.B) {
	benchChat(b, "juliet@example.test/balcony", carbons.New(), csi.New(csi.Options{Presence: true, ChatStates: true, PEP: true}))
}

// BenchmarkChatAlone: both clients have carbons, and are the only ones of their
// accounts.
func BenchmarkChatAlone(b *testing.B) {
	k := benchKernel(b, carbons.New())
	chatOn(b, k, "juliet@example.test", carbonsOn)
}

// BenchmarkChatCarbons has a copy for another session of each of the two.
func BenchmarkChatCarbons(b *testing.B) {
	k := benchKernel(b, carbons.New(), csi.New(csi.Options{Presence: true, ChatStates: true, PEP: true}))
	var batch transport.Batch
	for _, user := range []string{"romeo", "juliet"} {
		other := negotiate(k, user, "other")
		defer other.close()
		other.feed(&batch, []byte(carbonsOn))
		defer func() {
			if other.written < 335*b.N {
				b.Errorf("%d bytes of copies: %s", other.written, other.out)
			}
		}()
	}
	chatOn(b, k, "juliet@example.test/balcony", "")
}

func benchChat(b *testing.B, to string, regs ...extension.Registration) {
	chatOn(b, benchKernel(b, regs...), to, "")
}

// chatOn sends a message of 335 bytes, as clients send them; first is what both
// clients say before.
func chatOn(b *testing.B, k *core.Kernel, to, first string) {
	romeo, juliet := negotiate(k, "romeo", "orchard"), negotiate(k, "juliet", "balcony")
	defer romeo.close()
	defer juliet.close()
	var batch transport.Batch
	juliet.feed(&batch, []byte("<presence/>"+first))
	romeo.feed(&batch, []byte(first))
	head := "<message xml:lang='en' to='" + to + "' id='c0ffee00-1234-4321-aaaa-0123456789ab' type='chat'><body>"
	tail := "</body><active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>"
	in := []byte(head + strings.Repeat("x", 335-len(head)-len(tail)) + tail)
	juliet.written = 0
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		romeo.feed(&batch, in)
	}
	if juliet.written < b.N*len(in) {
		b.Fatalf("%d bytes arrived of %d messages", juliet.written, b.N)
	}
}

func BenchmarkPing(b *testing.B) {
	k := benchKernel(b, extension.Registration{Name: "ping", IQ: []extension.IQHandler{{
		Space: "urn:xmpp:ping", Local: "ping", Type: stanza.Get, To: extension.ToServer | extension.ToOwnAccount, Inline: true,
		Handle: func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) { return nil, nil },
	}}})
	romeo := negotiate(k, "romeo", "orchard")
	defer romeo.close()
	var batch transport.Batch
	in := []byte("<iq type='get' id='p1' to='example.test'><ping xmlns='urn:xmpp:ping'/></iq>")
	romeo.written = 0
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		romeo.feed(&batch, in)
	}
	if answer := len("<iq from='example.test' to='romeo@example.test/orchard' id='p1' type='result'/>"); romeo.written != b.N*answer {
		b.Fatalf("%d bytes of answers: %s", romeo.written, romeo.out)
	}
}

// BenchmarkPresenceBroadcast sends presence to five own resources, itself one
// of them: with capabilities, which are found out before, as clients do, and
// without.
func BenchmarkPresenceBroadcast(b *testing.B) {
	b.Run("caps", func(b *testing.B) {
		benchPresence(b, "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://example.org' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>")
	})
	b.Run("plain", func(b *testing.B) {
		benchPresence(b, "<x xmlns='urn:example:something-else-of-this-length' hash='1' node='http://example.org' ver='abcdefghijklmnop'/>")
	})
}

func benchPresence(b *testing.B, more string) {
	k := benchKernel(b)
	var batch transport.Batch
	var own [5]*pipe
	for i := range own {
		own[i] = negotiate(k, "romeo", fmt.Sprint("r", i))
		defer own[i].close()
		own[i].feed(&batch, []byte("<presence/>"))
	}
	in := []byte("<presence><show>away</show><priority>1</priority>" + more + "</presence>")
	own[0].feed(&batch, in)
	if q := capsQuestion.FindSubmatch(own[0].out); q != nil {
		own[0].feed(&batch, []byte(infoResult(string(q[3]), exodus)))
	}
	own[4].written = 0
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		own[0].feed(&batch, in)
	}
	if own[4].written < b.N*len(in) {
		b.Fatal("presence did not arrive")
	}
}

// BenchmarkLogin is all of a client's negotiation behind TLS, and its end.
func BenchmarkLogin(b *testing.B) {
	k := benchKernel(b)
	b.ReportAllocs()
	for range b.N {
		p := negotiate(k, "romeo", "orchard")
		if !strings.Contains(string(p.out), "<jid>romeo@example.test/orchard</jid>") {
			b.Fatal(string(p.out))
		}
		p.close()
	}
}

// BenchmarkIdleSession measures the heap of bound sessions, without connection
// and TLS: 10,000 of them, whatever b.N says.
func BenchmarkIdleSession(b *testing.B) {
	const sessions = 10_000
	for _, presence := range []string{"", "<presence/>"} {
		name := "bound"
		if presence != "" {
			name = "available"
		}
		b.Run(name, func(b *testing.B) {
			for range b.N {
				k := benchKernel(b)
				pipes := make([]*pipe, sessions)
				before := heap()
				for i := range pipes {
					pipes[i] = negotiate(k, fmt.Sprint("user", i), "resource")
					if presence != "" {
						var batch transport.Batch
						pipes[i].feed(&batch, []byte(presence))
					}
					pipes[i].out = nil // the adapter's
				}
				after := heap()
				b.ReportMetric(float64(after-before)/sessions, "B/session")
				for _, p := range pipes {
					p.close()
				}
				runtime.KeepAlive(k)
			}
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// contacts is a store in which each account has the same contacts, subscribed
// both ways.
type contacts struct {
	storage.Store
	names []string
}

func withContacts(s storage.Store, n int) *contacts {
	c := &contacts{Store: s}
	for i := range n {
		c.names = append(c.names, fmt.Sprintf("contact%d@example.test", i))
	}
	slices.Sort(c.names)
	return c
}

func (c *contacts) Roster(context.Context, jid.JID) (storage.Roster, error) {
	r := storage.Roster{Version: 1}
	for _, name := range c.names {
		r.Items = append(r.Items, storage.RosterItem{Contact: jid.MustParse(strings.Clone(name)), Subscription: storage.SubBoth})
	}
	return r, nil
}

// BenchmarkIdleRoster measures what a contact of an available session takes:
// 1,000 sessions with 100 contacts each, whatever b.N says.
func BenchmarkIdleRoster(b *testing.B) {
	const sessions, items = 1_000, 100
	for range b.N {
		k := benchKernelOn(b, withContacts(store.New(), items))
		pipes := make([]*pipe, sessions)
		var batch transport.Batch
		for i := range pipes {
			pipes[i] = negotiate(k, fmt.Sprint("user", i), "resource")
			pipes[i].out = nil // the adapter's
		}
		before := heap()
		for _, p := range pipes {
			p.feed(&batch, []byte("<presence/>"))
			p.out = nil
		}
		b.ReportMetric(float64(heap()-before)/sessions/items, "B/contact")
		for _, p := range pipes {
			p.close()
		}
		runtime.KeepAlive(k)
	}
}

// BenchmarkPresenceContacts sends presence to 100 contacts that are online.
func BenchmarkPresenceContacts(b *testing.B) { benchPresenceContacts(b) }

func benchPresenceContacts(b *testing.B, regs ...extension.Registration) {
	k := benchKernelOn(b, withContacts(store.New(), 100), regs...)
	var batch transport.Batch
	var all []*pipe
	for i := range 100 {
		c := negotiate(k, fmt.Sprint("contact", i), "r")
		defer c.close()
		c.feed(&batch, []byte("<presence/>"))
		all = append(all, c)
	}
	in := []byte("<presence><show>away</show><priority>1</priority></presence>")
	all[99].written = 0
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		all[0].feed(&batch, in)
	}
	if all[99].written < b.N*len(in) {
		b.Fatal("presence did not arrive")
	}
}
