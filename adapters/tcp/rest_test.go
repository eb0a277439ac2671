package tcp

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// A connection that rests is not read, its output and its ticks go on, and no byte
// is lost or fed before its time.
func TestPause(t *testing.T) {
	const rest = 50 * time.Millisecond
	bothBackends(t, func(t *testing.T, portable bool) {
		h := start(t, portable, nil, func(s *fake) {
			var until atomic.Int64
			s.onFeed = func(s *fake, b *transport.Batch, p []byte) transport.Wait {
				if now := time.Now().UnixNano(); now < until.Load() {
					t.Errorf("fed %v too early", time.Duration(until.Load()-now))
				}
				if len(p) == 0 { // the rest is over
					return nil
				}
				echo(s, b, p)
				until.Store(time.Now().Add(rest).UnixNano())
				s.conn.Pause(rest)
				return nil
			}
			s.onTick = func(s *fake, b *transport.Batch, now time.Time) time.Time {
				if until.Load() > now.UnixNano() {
					s.queue([]byte("tick"))
					b.Add(s.conn)
					return time.Time{}
				}
				return now
			}
		})
		for name, dial := range map[string]func() net.Conn{
			"clear": func() net.Conn { return h.dial(h.plain) },
			"TLS":   func() net.Conn { return h.dialTLS(nil) },
		} {
			t.Run(name, func(t *testing.T) {
				c := dial()
				sent := random(100_000)
				go c.Write(sent)
				// The tick of the first rest comes between two pieces.
				var got []byte
				buf := make([]byte, 64<<10)
				for len(got) < len(sent)+len("tick") {
					n, err := c.Read(buf)
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, buf[:n]...)
				}
				at := 0
				for at < len(sent) && got[at] == sent[at] {
					at++
				}
				if at == 0 || at == len(sent) || string(got[at:at+4]) != "tick" || string(got[at+4:]) != string(sent[at:]) {
					t.Errorf("the echo differs; it has a tick at %d", at)
				}
				s := h.stream()
				c.Close()
				s.wantClosed() // also while it rests
			})
		}
	})
}

// A connection that is held is not read until it is resumed, by whatever goroutine and also
// before Feed has returned; nothing is lost.
func TestHold(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		type feed struct {
			s    *fake
			goOn chan struct{}
		}
		feeds := make(chan feed)
		h := start(t, portable, nil, func(s *fake) {
			var held atomic.Bool
			s.onFeed = func(s *fake, b *transport.Batch, p []byte) transport.Wait {
				if len(p) == 0 {
					return nil
				}
				if held.Load() {
					t.Errorf("fed %q while it is held", p)
				}
				echo(s, b, p)
				held.Store(true)
				s.conn.Hold()
				f := feed{s, make(chan struct{})}
				if p[len(p)-1]%2 == 0 { // before Feed returns
					held.Store(false)
					s.conn.Resume()
					return nil
				}
				go func() {
					feeds <- f
					<-f.goOn
					held.Store(false)
					s.conn.Resume()
				}()
				return nil
			}
		})
		for name, dial := range map[string]func() net.Conn{
			"clear": func() net.Conn { return h.dial(h.plain) },
			"TLS":   func() net.Conn { return h.dialTLS(nil) },
		} {
			t.Run(name, func(t *testing.T) {
				c := dial()
				for i := range byte(20) {
					if _, err := c.Write([]byte{2*i + 1}); err != nil {
						t.Fatal(err)
					}
					f := <-feeds
					if _, err := c.Write([]byte{2 * i, 2 * i}); err != nil { // it has to wait
						t.Fatal(err)
					}
					got := make([]byte, 3)
					if _, err := io.ReadFull(c, got[:1]); err != nil || got[0] != 2*i+1 {
						t.Fatal(got, err) // output goes on
					}
					close(f.goOn)
					if _, err := io.ReadFull(c, got[1:]); err != nil || got[1] != 2*i || got[2] != 2*i {
						t.Fatal(got, err)
					}
				}
				if _, err := c.Write([]byte{1}); err != nil {
					t.Fatal(err)
				}
				f := <-feeds
				f.s.conn.Close() // also while it is held
				io.Copy(io.Discard, c)
				c.Close()
				if err := f.s.wantClosed(); err != nil {
					t.Error(err)
				}
				close(f.goOn) // behind the end
			})
		}
	})
}

// A stream that has much to do lets others have their turns, whatever it does, and
// goes on with what it holds.
func TestOthersHaveTheirTurns(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		var others atomic.Int64
		want := int64(loopCount()) // so that one of them shares its loop
		h := start(t, portable, nil, func(s *fake) {
			busy := false
			s.onFeed = func(s *fake, b *transport.Batch, p []byte) transport.Wait {
				switch {
				case string(p) == "much":
					busy = true
					s.conn.Pause(0)
				case busy && len(p) > 0:
					t.Errorf("fed %q before it is done", p)
				case busy && others.Load() < want:
					s.conn.Pause(0)
				case busy:
					busy = false
					return echo(s, b, []byte("done"))
				case len(p) > 0:
					if len(p) == len("other") {
						others.Add(1)
					}
					return echo(s, b, p)
				}
				return nil
			}
		})
		busy := h.dialTLS(nil)
		busy.Write([]byte("much"))
		busy.Write([]byte("more"))
		for range want {
			wantEcho(t, h.dial(h.plain), []byte("other"))
		}
		got := make([]byte, 8)
		if _, err := io.ReadFull(busy, got); err != nil || string(got) != "donemore" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// No end waits for the end of a rest.
func TestEndsDuringPause(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		resting := make(chan struct{}, 1)
		forEver := func(s *fake) {
			s.onFeed = func(s *fake, b *transport.Batch, p []byte) transport.Wait {
				s.conn.Pause(time.Hour)
				resting <- struct{}{}
				return nil
			}
		}
		begin := func(h *harness, c net.Conn) *fake {
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			<-resting
			return h.stream()
		}
		t.Run("the kernel closes", func(t *testing.T) {
			h := start(t, portable, nil, forEver)
			c := h.dial(h.plain)
			s := begin(h, c)
			s.queue([]byte("the end"))
			s.conn.Close()
			if got := make([]byte, 8); true {
				n, _ := c.Read(got)
				if string(got[:n]) != "the end" {
					t.Errorf("got %q", got[:n])
				}
			}
			c.Close()
			if err := s.wantClosed(); err != nil {
				t.Error(err)
			}
		})
		t.Run("the server stops", func(t *testing.T) {
			h := start(t, portable, nil, forEver)
			s := begin(h, h.dialTLS(nil))
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			h.srv.Stop(ctx)
			s.wantClosed()
		})
		if portable {
			return // there the end is seen behind what was read before
		}
		t.Run("the peer resets", func(t *testing.T) {
			h := start(t, portable, nil, forEver)
			c := h.dial(h.plain)
			s := begin(h, c)
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			if err := s.wantClosed(); err == nil {
				t.Error("the reset was not told")
			}
		})
	})
}

func TestConnects(t *testing.T) {
	one, other := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/64")
	c := newConnects(2)
	for i := range 20 {
		if d, ok := c.admit(one, 0); d != 0 || !ok {
			t.Fatalf("connection %d: %v, %v", i, d, ok)
		}
	}
	for i, row := range []struct {
		from  netip.Prefix
		at    time.Duration
		delay time.Duration
		ok    bool
	}{
		{one, 0, 500 * time.Millisecond, true},
		{one, 0, time.Second, true},
		{other, 0, 0, true},
		{one, time.Second, 500 * time.Millisecond, true},
		{one, 2 * time.Second, 0, true},
		{one, time.Hour, 0, true},
	} {
		if d, ok := c.admit(row.from, row.at); d != row.delay || ok != row.ok {
			t.Errorf("row %d: %v, %v", i, d, ok)
		}
	}
	if len(c.free) != 1 {
		t.Errorf("%d addresses are remembered an hour later", len(c.free))
	}
	refused := 0
	for range 100 {
		if _, ok := c.admit(one, 2*time.Hour); !ok {
			refused++
		}
	}
	if refused != 60 { // 20 at once, 20 within 10 seconds
		t.Errorf("%d of 100 are refused", refused)
	}
	if d, ok := c.admit(one, 2*time.Hour+time.Second); !ok || d > maxDelay {
		t.Errorf("what was refused is counted: %v, %v", d, ok)
	}
	for i := range maxAddresses + 10 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		c.admit(netip.PrefixFrom(a, 32), 2*time.Hour)
	}
	if len(c.free) > maxAddresses {
		t.Errorf("%d addresses are remembered", len(c.free))
	}
	if d, ok := (&connects{}).admit(one, 0); d != 0 || !ok {
		t.Error("without a limit there is one")
	}
}

// Who connects too fast is served later, and all are served when the server stops.
func TestConnectRate(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		delayed := make(chan time.Duration, 100)
		var refused atomic.Int64
		h := &harness{t: t, streams: make(chan *fake, 100)}
		var err error
		h.srv, err = New(Options{Listeners: []Listener{{Addr: "127.0.0.1:0"}}, Portable: portable, ConnectRate: 1}, Deps{
			NewStream: func(p transport.Peer, c transport.Conn) transport.Stream {
				s := &fake{t: t, peer: p, conn: c, closed: make(chan struct{}), onFeed: echo}
				h.streams <- s
				return s
			},
			Observe: observe.Connections{
				Delayed: func(d time.Duration) { delayed <- d },
				Refused: func(limit string) {
					if limit != "connections-per-second" {
						t.Error(limit)
					}
					refused.Add(1)
				},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		at := h.srv.Addrs("")[0].String()
		begin := time.Now()
		for i := range 11 {
			wantEcho(t, h.dial(at), fmt.Append(nil, i))
		}
		if d := time.Since(begin); d < time.Second-100*time.Millisecond {
			t.Errorf("the eleventh was served %v after the first", d)
		}
		gone := h.dial(at) // before it is served
		gone.(*net.TCPConn).SetLinger(0)
		gone.Close()
		late := h.dial(at)
		late.Write([]byte("late"))
		for range 3 {
			<-delayed
		}
		h.srv.StopAccepting()
		if got := make([]byte, 4); true {
			if n, err := late.Read(got); string(got[:n]) != "late" {
				t.Errorf("got %q, %v", got[:n], err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		h.srv.Stop(ctx)
		if n := h.srv.Connections(); n != 0 || refused.Load() != 0 {
			t.Errorf("%d connections are left, %d were refused", n, refused.Load())
		}
	})
}
