package tcp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
)

func random(n int) []byte {
	p := make([]byte, n)
	x := uint32(2463534242)
	for i := range p {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		p[i] = byte(x)
	}
	return p
}

func TestEcho(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		h := start(t, portable, nil, func(s *fake) { s.onFeed = echo })
		tls12 := clientConfig()
		tls12.MaxVersion = tls.VersionTLS12
		for _, tc := range []struct {
			name string
			dial func() net.Conn
		}{
			{"clear", func() net.Conn { return h.dial(h.plain) }},
			{"TLS 1.3", func() net.Conn { return h.dialTLS(nil) }},
			{"TLS 1.2", func() net.Conn { return h.dialTLS(tls12) }},
		} {
			t.Run(tc.name, func(t *testing.T) {
				c := tc.dial()
				for _, n := range []int{1, 300, 16384, 16385, 70_000, 2_000_000, 5} {
					wantEcho(t, c, random(n))
				}
				s := h.stream()
				c.Close()
				if err := s.wantClosed(); err != nil {
					t.Errorf("Closed(%v), want nil for an orderly end", err)
				}
			})
		}
	})
}

func TestManyClients(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		h := start(t, portable, nil, func(s *fake) { s.onFeed = echo })
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				nc, err := net.Dial("tcp", []string{h.plain, h.direct}[i%2])
				if err != nil {
					t.Error(err)
					return
				}
				defer nc.Close()
				nc.SetDeadline(time.Now().Add(patience))
				if i%2 == 1 {
					nc = tls.Client(nc, clientConfig())
				}
				for j := range 20 {
					p := fmt.Appendf(nil, "%d/%d", i, j)
					got := make([]byte, len(p))
					if _, err := nc.Write(p); err != nil {
						t.Error(err)
						return
					}
					if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, p) {
						t.Errorf("got %q, %v, want %q", got, err, p)
						return
					}
				}
			})
		}
		wg.Wait()
		for range 60 {
			if err := h.stream().wantClosed(); err != nil {
				t.Errorf("Closed(%v)", err)
			}
		}
	})
}

// countConn counts flushes of a recipient.
type countConn struct {
	transport.Conn
	n atomic.Int64
}

func (c *countConn) Flush() { c.n.Add(1); c.Conn.Flush() }

// Many records that are at hand make one turn, and a recipient is flushed once.
func TestOneFlushForManyRecords(t *testing.T) {
	counted, release := make(chan *countConn, 1), make(chan struct{})
	var feeds atomic.Int64
	h := start(t, false, nil, func(s *fake) {
		cc := &countConn{Conn: s.conn}
		var added bool
		var gate sync.Once
		s.onFeed = func(s *fake, b *transport.Batch, p []byte) transport.Wait {
			first := false
			gate.Do(func() { first = true })
			if first {
				counted <- cc
				// Hold this turn until all records wait in the socket.
				return func(context.Context) { <-release }
			}
			if len(p) == 0 {
				return nil
			}
			feeds.Add(1)
			s.queue(p)
			if !added {
				added = true
				b.Add(cc)
			}
			return nil
		}
	})
	cut := &cutConn{Conn: h.dial(h.direct)}
	c := tls.Client(cut, clientConfig())
	c.Write([]byte("x"))
	cc := <-counted
	const records = 50
	cut.hold = true
	for range records {
		c.Write([]byte("record"))
	}
	cut.Conn.Write(cut.kept) // one segment
	close(release)
	got := make([]byte, records*len("record"))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("%v after %d Feeds", err, feeds.Load())
	}
	if feeds.Load() != records {
		t.Errorf("%d Feeds, want one a record: %d", feeds.Load(), records)
	}
	if n := cc.n.Load(); n != 1 {
		t.Errorf("%d flushes, want 1", n)
	}
	if n := h.stream().drains.Load(); n != 1 {
		t.Errorf("%d Drains with output, want 1", n)
	}
}

// A client that does not read costs its own connection only, and no more
// memory than a piece of output.
func TestStuckReader(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
				h := start(t, portable, nil, func(s *fake) { s.onFeed = echo })
				dial := func() net.Conn { return h.dial(h.plain) }
				if secure {
					dial = func() net.Conn { return h.dialTLS(nil) }
				}
				stuck := dial()
				wantEcho(t, stuck, []byte("hello"))
				s := h.stream()
				big := random(12 << 20)
				s.queue(big)
				s.conn.Flush()
				// Flush does not wait; a second one finds nothing to do.
				s.conn.Flush()
				other := dial()
				for range 50 {
					wantEcho(t, other, []byte("still served"))
				}
				c := s.conn.(*conn)
				c.write.mu.Lock()
				if n := len(c.write.bytes); n > drainClear+h.srv.opts.PendingBytes {
					t.Errorf("%d bytes pending", n)
				}
				c.write.mu.Unlock()
				if d := s.drained.Load(); d == int64(len(big)) && !portable {
					t.Error("all was drained though nobody reads")
				}
				// When the client reads at last, it gets all.
				got := make([]byte, len(big))
				if _, err := io.ReadFull(stuck, got); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, big) {
					t.Error("output differs")
				}
				wantEcho(t, stuck, []byte("alive"))
			})
		}
	})
}

func TestWait(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
				proceed, waiting := make(chan struct{}), make(chan struct{}, 100)
				var waits atomic.Int64
				var busy atomic.Bool
				h := start(t, portable, nil, func(s *fake) {
					var got []byte
					s.onFeed = func(s *fake, b *transport.Batch, p []byte) transport.Wait {
						if busy.Load() {
							t.Error("Feed during a Wait")
						}
						echo(s, b, p)
						before := bytes.Count(got, []byte("W"))
						got = append(got, p...)
						if bytes.Count(got, []byte("W")) == before {
							return nil
						}
						return func(context.Context) {
							busy.Store(true)
							waits.Add(1)
							waiting <- struct{}{}
							<-proceed
							busy.Store(false)
						}
					}
				})
				var c net.Conn
				if secure {
					c = h.dialTLS(nil)
				} else {
					c = h.dial(h.plain)
				}
				in := []byte("oneWtwo")
				c.Write(in)
				<-waiting
				more := bytes.Repeat([]byte("three"), 30_000)
				sent := make(chan struct{})
				go func() { c.Write(more); close(sent) }()
				close(proceed)
				all := append(in, more...)
				got := make([]byte, len(all))
				if _, err := io.ReadFull(c, got); err != nil {
					t.Fatal(err)
				}
				<-sent
				if !bytes.Equal(got, all) {
					t.Error("input was lost or out of order")
				}
				if waits.Load() != 1 {
					t.Errorf("%d Waits", waits.Load())
				}
			})
		}
	})
}

// A Wait ends when its connection is reset, when the server is cut off, and
// when its time is up.
func TestWaitEnds(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		waiting := make(chan struct{}, 1)
		setup := func(s *fake) {
			s.onFeed = func(s *fake, b *transport.Batch, p []byte) transport.Wait {
				if len(p) == 0 {
					echo(s, b, []byte("up"))
					return nil
				}
				return func(ctx context.Context) {
					waiting <- struct{}{}
					<-ctx.Done()
				}
			}
		}
		t.Run("time", func(t *testing.T) {
			h := start(t, portable, func(o *Options) { o.WaitTimeout = 20 * time.Millisecond }, setup)
			c := h.dial(h.plain)
			c.Write([]byte("x"))
			<-waiting
			if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
				t.Error(err)
			}
		})
		t.Run("stop", func(t *testing.T) {
			h := start(t, portable, nil, setup)
			c := h.dial(h.plain)
			c.Write([]byte("x"))
			<-waiting
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := h.srv.Stop(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Stop: %v", err)
			}
			if err := h.stream().wantClosed(); !errors.Is(err, errStopped) {
				t.Errorf("Closed(%v)", err)
			}
		})
		t.Run("close", func(t *testing.T) {
			h := start(t, portable, func(o *Options) { o.WriteTimeout = 20 * time.Millisecond }, setup)
			c := h.dial(h.plain)
			c.Write([]byte("x"))
			<-waiting
			s := h.stream()
			s.conn.Close()
			if err := s.wantClosed(); err != nil {
				t.Errorf("Closed(%v)", err)
			}
		})
		if !portable { // a goroutine that waits to hand over input sees no reset
			t.Run("reset", func(t *testing.T) {
				h := start(t, portable, nil, setup)
				c := h.dial(h.plain)
				c.Write([]byte("x"))
				<-waiting
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
				if err := h.stream().wantClosed(); err == nil {
					t.Error("Closed(nil) after a reset")
				}
			})
		}
	})
}

func TestTick(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		h := start(t, portable, nil, func(s *fake) {
			n := 0
			s.onTick = func(s *fake, b *transport.Batch, now time.Time) time.Time {
				s.queue([]byte{byte('0' + n)})
				b.Add(s.conn)
				if n++; n > 3 {
					return time.Time{}
				}
				return now.Add(time.Millisecond)
			}
		})
		for _, c := range []net.Conn{h.dial(h.plain), h.dialTLS(nil)} {
			got := make([]byte, 4)
			if _, err := io.ReadFull(c, got); err != nil || string(got) != "0123" {
				t.Errorf("got %q, %v", got, err)
			}
		}
	})
}

// Turns of one Stream never overlap and Closed comes once, whatever happens at
// the same time (fake checks it).
func TestRaces(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		h := start(t, portable, nil, func(s *fake) {
			s.onFeed = func(s *fake, b *transport.Batch, p []byte) transport.Wait {
				echo(s, b, p)
				if len(p) > 0 && len(p)%3 == 0 {
					return func(context.Context) {}
				}
				return nil
			}
			s.onTick = func(s *fake, b *transport.Batch, now time.Time) time.Time { return now }
		})
		var clients sync.WaitGroup
		for i := range 40 {
			clients.Go(func() {
				nc, err := net.Dial("tcp", []string{h.plain, h.direct}[i%2])
				if err != nil {
					t.Error(err)
					return
				}
				defer nc.Close()
				nc.SetDeadline(time.Now().Add(patience))
				if i%2 == 1 {
					nc = tls.Client(nc, clientConfig())
				}
				buf := make([]byte, 1000)
				for j := range 15 {
					if _, err := nc.Write(buf[:1+j*60]); err != nil {
						return
					}
					if i%4 > 1 {
						nc.Read(buf)
					}
				}
				if i%5 == 0 {
					if tc, ok := nc.(*net.TCPConn); ok {
						tc.SetLinger(0)
					}
				}
			})
		}
		var kernel sync.WaitGroup
		for i := range 40 {
			s := h.stream()
			kernel.Go(func() {
				for range 20 {
					s.queue([]byte("pushed"))
					s.conn.Flush()
				}
				if i%3 == 0 {
					s.conn.Close()
					s.conn.Close()
				}
				s.conn.Flush()
				s.wantClosed()
				s.conn.Flush()
				s.conn.Close()
			})
		}
		clients.Wait()
		kernel.Wait()
	})
}
