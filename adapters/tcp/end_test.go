package tcp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// Close writes what is pending, says close_notify, and then ends.
func TestClose(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		for _, secure := range []bool{false, true} {
			h := start(t, portable, nil, func(s *fake) {
				s.onFeed = func(s *fake, b *transport.Batch, p []byte) transport.Wait {
					if bytes.Contains(p, []byte("bye")) {
						s.queue(random(3 << 20))
						b.Add(s.conn)
						s.conn.Close()
					}
					return nil
				}
			})
			var c net.Conn
			if secure {
				c = h.dialTLS(nil)
			} else {
				c = h.dial(h.plain)
			}
			io.WriteString(c, "bye")
			// tls.Conn gives io.EOF only after close_notify or at a record's end.
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, random(3<<20)) {
				t.Errorf("tls=%v: got %d bytes, %v", secure, len(got), err)
			}
			io.WriteString(c, "more that nobody is fed")
			c.Close()
			if err := h.stream().wantClosed(); err != nil {
				t.Errorf("Closed(%v)", err)
			}
		}
	})
}

// A peer that shuts down its side still gets the answers.
func TestHalfClose(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		h := start(t, portable, nil, func(s *fake) { s.onFeed = echo })
		in := random(200_000)
		t.Run("clear", func(t *testing.T) {
			c := h.dial(h.plain).(*net.TCPConn)
			go func() { c.Write(in); c.CloseWrite() }()
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, in) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if err := h.stream().wantClosed(); err != nil {
				t.Errorf("Closed(%v)", err)
			}
		})
		t.Run("tls", func(t *testing.T) {
			c := h.dialTLS(nil)
			go func() { c.Write(in); c.CloseWrite() }()
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, in) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if err := h.stream().wantClosed(); err != nil {
				t.Errorf("Closed(%v)", err)
			}
		})
	})
}

func TestReset(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		h := start(t, portable, nil, func(s *fake) { s.onFeed = echo })
		for _, dial := range []func() net.Conn{
			func() net.Conn { return h.dial(h.plain) },
			func() net.Conn { return h.dialTLS(nil) },
		} {
			c := dial()
			wantEcho(t, c, []byte("hello"))
			tc, ok := c.(*tls.Conn)
			if ok {
				c = tc.NetConn()
			}
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			err := h.stream().wantClosed()
			if err == nil || !strings.Contains(err.Error(), "reset") || !strings.HasPrefix(err.Error(), "tcp: ") {
				t.Errorf("Closed(%v), want a reset with context", err)
			}
		}
	})
}

// TLS that isn't right ends with an alert for the peer and an error for the
// kernel; a record cut off by the end of the connection is no orderly end.
func TestBrokenTLS(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		h := start(t, portable, nil, func(s *fake) { s.onFeed = echo })
		t.Run("forged record", func(t *testing.T) {
			c := h.dialTLS(nil)
			wantEcho(t, c, []byte("hello"))
			c.NetConn().Write(append([]byte{23, 3, 3, 0, 40}, random(40)...))
			if _, err := io.ReadAll(c); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
				t.Errorf("the client got %v, want the alert", err)
			}
			c.NetConn().Close()
			if err := h.stream().wantClosed(); err == nil {
				t.Error("Closed(nil)")
			}
		})
		t.Run("truncated", func(t *testing.T) {
			c := h.dialTLS(nil)
			wantEcho(t, c, []byte("hello"))
			c.NetConn().Write([]byte{23, 3, 3, 0, 40, 1, 2, 3})
			c.NetConn().Close()
			if err := h.stream().wantClosed(); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("Closed(%v)", err)
			}
		})
	})
}

// Close does not wait for ever for a peer that doesn't read.
func TestCloseStuckPeer(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		h := start(t, portable, func(o *Options) { o.WriteTimeout = 50 * time.Millisecond }, nil)
		h.dial(h.plain)
		s := h.stream()
		s.queue(make([]byte, 20<<20))
		s.conn.Flush()
		s.conn.Close()
		if err := s.wantClosed(); err != nil {
			t.Errorf("Closed(%v): the kernel asked", err)
		}
	})
}

func TestStop(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		t.Run("in order", func(t *testing.T) {
			h := start(t, portable, nil, func(s *fake) { s.onFeed = echo })
			c := h.dialTLS(nil)
			wantEcho(t, c, []byte("x"))
			h.srv.StopAccepting()
			if nc, err := net.Dial("tcp", h.plain); err == nil {
				nc.Close()
				t.Error("accepted after StopAccepting")
			}
			wantEcho(t, c, []byte("still here"))
			stopped := make(chan error, 1)
			go func() { stopped <- h.srv.Stop(context.Background()) }()
			wantEcho(t, c, []byte("and here"))
			s := h.stream()
			s.conn.Close()
			if _, err := io.ReadAll(c); err != nil {
				t.Error(err)
			}
			c.Close()
			if err := <-stopped; err != nil {
				t.Errorf("Stop: %v", err)
			}
			if err := s.wantClosed(); err != nil {
				t.Errorf("Closed(%v)", err)
			}
			if err := h.srv.Stop(context.Background()); err != nil {
				t.Errorf("second Stop: %v", err)
			}
		})
		t.Run("cut off", func(t *testing.T) {
			h := start(t, portable, nil, nil)
			h.dial(h.plain)
			s := h.stream()
			h.dial(h.direct) // never says anything: it has no stream
			for h.srv.Connections() < 2 {
				runtime.Gosched()
			}
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if err := h.srv.Stop(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "2 connections") {
				t.Errorf("Stop: %v", err)
			}
			select {
			case <-s.closed:
			default:
				t.Error("Stop returned before Closed")
			}
			if !errors.Is(s.closeErr, errStopped) {
				t.Errorf("Closed(%v)", s.closeErr)
			}
		})
		t.Run("never started", func(t *testing.T) {
			srv, err := New(Options{Listeners: []Listener{{Addr: "127.0.0.1:0"}}, Portable: portable},
				Deps{NewStream: newNoStream})
			if err != nil {
				t.Fatal(err)
			}
			if err := srv.Stop(context.Background()); err != nil {
				t.Error(err)
			}
			if err := srv.Start(context.Background()); err == nil {
				t.Error("started after Stop")
			}
		})
	})
}

func TestStartErrors(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		h := start(t, portable, nil, nil)
		srv, err := New(Options{Listeners: []Listener{{Addr: "127.0.0.1:0"}, {Addr: h.plain}}, Portable: portable},
			Deps{NewStream: newNoStream})
		if err != nil {
			t.Fatal(err)
		}
		err = srv.Start(t.Context())
		if err == nil || !strings.Contains(err.Error(), h.plain) || !strings.Contains(err.Error(), "another program") {
			t.Errorf("Start on a port in use: %v", err)
		}
		if err := srv.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// An address that the machine does not have is left out if its key has another.
// 192.0.2.0/24 is for documentation.
func TestAbsentAddress(t *testing.T) {
	const absent = "192.0.2.1:0"
	for _, row := range []struct {
		rule      string
		listeners []Listener
		want      string // the error, "" for a warning
	}{
		{"another one of the key", []Listener{{Key: "c2s", Addr: absent}, {Key: "c2s", Addr: "127.0.0.1:0"}}, ""},
		{"another one of another key", []Listener{{Key: "c2s", Addr: absent}, {Key: "tls", Addr: "127.0.0.1:0"}}, "c2s: this machine does not have the address " + absent},
		{"no key", []Listener{{Addr: absent}, {Addr: "127.0.0.1:0"}}, "tcp: this machine does not have the address " + absent},
	} {
		core, logs := observer.New(zap.WarnLevel)
		srv, err := New(Options{Listeners: row.listeners}, Deps{NewStream: newNoStream, Log: zap.New(core)})
		if err != nil {
			t.Fatal(err)
		}
		err = srv.Start(t.Context())
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.HasPrefix(err.Error(), row.want)) {
			t.Errorf("%s: %v", row.rule, err)
		}
		warned := logs.FilterMessage("an address is not listened on").Len() == 1
		if bound := len(srv.Addrs("c2s")) == 1; bound != (row.want == "") || warned != bound {
			t.Errorf("%s: %v, warned %v", row.rule, srv.Addrs("c2s"), warned)
		}
		if err := srv.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestLimits(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		for _, change := range []func(*Options){
			func(o *Options) { o.MaxConnections = 2 },
			func(o *Options) { o.MaxPerAddress = 2 },
		} {
			h := start(t, portable, change, func(s *fake) { s.onFeed = echo })
			a, b := h.dial(h.plain), h.dial(h.plain)
			wantEcho(t, a, []byte("a"))
			wantEcho(t, b, []byte("b"))
			if _, err := h.dial(h.plain).Read(make([]byte, 1)); err == nil || errors.Is(err, errTimeout(err)) {
				t.Errorf("third connection: %v", err)
			}
			s := h.stream()
			s.conn.Close()
			if s.peer.Addr.String() != a.LocalAddr().String() {
				a, b = b, a
			}
			io.ReadAll(a)
			a.Close()
			s.wantClosed()
			for h.srv.Connections() > 1 { // it is counted until a moment after Closed
				runtime.Gosched()
			}
			wantEcho(t, h.dial(h.plain), []byte("there is room again"))
			wantEcho(t, b, []byte("b"))
		}
	})
}

// A listener that was handed in is used and closed.
func TestReadyListener(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h := start(t, portable, func(o *Options) { o.Listeners = []Listener{{Listener: ln}} },
			func(s *fake) { s.onFeed = echo })
		c := h.dial(ln.Addr().String())
		wantEcho(t, c, []byte("x"))
		s := h.stream()
		if s.peer.Addr.String() != c.LocalAddr().String() || s.peer.Local.String() != c.RemoteAddr().String() {
			t.Errorf("peer %+v", s.peer)
		}
	})
}

func TestStreamRefused(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		srv, err := New(Options{Listeners: []Listener{{Addr: "127.0.0.1:0"}}, Portable: portable},
			Deps{NewStream: newNoStream})
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", srv.Addrs("")[0].String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read: %v", err)
		}
		c.Close()
		if err := srv.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TLS 1.3 lets a peer ask for key updates; answers that it doesn't read must
// not pile up.
func TestPendingBound(t *testing.T) {
	h := start(t, false, nil, nil)
	h.dial(h.plain)
	s := h.stream()
	s.queue(make([]byte, 20<<20))
	s.conn.Flush() // the socket is full
	c := s.conn.(*conn)
	var err error
	for range 100_000 {
		if err = c.sendRecord(make([]byte, 27)); err != nil {
			break
		}
	}
	if !errors.Is(err, errPeerStuck) {
		t.Errorf("got %v", err)
	}
	if err := s.wantClosed(); !errors.Is(err, errPeerStuck) {
		t.Errorf("Closed(%v)", err)
	}
}

// Out of file descriptors: the administrator is told the fix, once, and
// accepting goes on when there are some again.
func TestAcceptErrors(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	srv, err := New(Options{Listeners: []Listener{{Addr: "127.0.0.1:0"}}},
		Deps{NewStream: newNoStream, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	srv.serve(&listener{name: "test"}, func() error {
		if calls++; calls == 4 {
			close(srv.stop)
			return net.ErrClosed
		}
		return fmt.Errorf("accept: %w", syscall.EMFILE)
	})
	if calls != 4 {
		t.Errorf("%d calls", calls)
	}
	if all := logs.All(); len(all) != 1 || !strings.Contains(fmt.Sprint(all[0].ContextMap()["fix"]), "ulimit -n") {
		t.Errorf("logged %v", all)
	}
}

// A client that has had the certificate and then takes too long is told of: its
// user may have been asked to trust it. One that never said hello is not.
func TestSlowHandshake(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	cert := testCert(t, "example.test")
	srv, err := New(Options{
		Listeners:        []Listener{{Addr: "127.0.0.1:0", DirectTLS: true}},
		GetCertificate:   func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil },
		HandshakeTimeout: 100 * time.Millisecond, LingerTimeout: 100 * time.Millisecond,
	}, Deps{NewStream: newNoStream, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	srv.sweepEvery = 5 * time.Millisecond
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, hello := range [][]byte{nil, clientHello(t)} {
		c, err := net.Dial("tcp", srv.Addrs("")[0].String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		c.Write(hello)
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("not closed: %v", err)
		}
		c.Close()
		if n := logs.FilterMessageSnippet("did not end its TLS handshake in time").Len(); n != i {
			t.Errorf("hello of %d bytes: %d lines", len(hello), n)
		}
	}
	if err := srv.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// An id of a closed connection finds nobody, also when its slot is used again.
func TestTable(t *testing.T) {
	var tb table
	a, b := new(conn), new(conn)
	tb.add(a)
	old := a.id
	tb.remove(old)
	tb.remove(old)
	tb.add(b)
	if tb.get(old) != nil || tb.get(b.id) != b {
		t.Error("an old id finds a new connection")
	}
	if uint32(old) != uint32(b.id) {
		t.Error("the slot was not used again")
	}
	n := 0
	tb.each(func(*conn) { n++ })
	if n != 1 {
		t.Errorf("each visited %d", n)
	}
}
