package tcp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
)

// counted is a connection whose room somebody counts.
type counted struct {
	net.Conn
	released chan struct{}
}

func (c *counted) NetConn() net.Conn { return c.Conn }
func (c *counted) Release()          { close(c.released) }

// adoptable accepts one connection and gives both ends of it; with TLS the
// handshake is done.
func adoptable(t *testing.T, h *harness, secure bool) (near net.Conn, c *counted, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if far, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c = &counted{accepted, make(chan struct{})}
	deadline := time.Now().Add(patience)
	far.SetDeadline(deadline)
	if !secure {
		return c, c, far
	}
	over := NewFront(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return h.cert.Load(), nil }, "http/1.1").Server(c)
	done := make(chan error, 1)
	go func() { done <- over.HandshakeContext(t.Context()) }()
	client := tls.Client(far, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err := errors.Join(client.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	return over, c, client
}

func TestAdopt(t *testing.T) {
	for _, portable := range []bool{false, true} {
		for _, secure := range []bool{false, true} {
			h := start(t, portable, nil, nil)
			near, counted, far := adoptable(t, h, secure)
			// What the other server has read in part is not lost: half of a line is still in TLS.
			const line = "a line that somebody else begins to read\n"
			if _, err := io.WriteString(far, line); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(near, make([]byte, 7)); err != nil {
				t.Fatal(err)
			}
			place, err := h.srv.Reserve(addrPort(near.RemoteAddr()))
			if err != nil {
				t.Fatal(err)
			}
			var s *fake
			err = place.Take(near, transport.Peer{Addr: addrPort(near.RemoteAddr())}, func(p transport.Peer, c transport.Conn) transport.Stream {
				s = &fake{t: t, peer: p, conn: c, closed: make(chan struct{}), onFeed: echo}
				return s
			})
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-counted.released:
			default:
				t.Error("the room is still counted elsewhere")
			}
			got := make([]byte, len(line)-7)
			if _, err := io.ReadFull(far, got); err != nil || string(got) != line[7:] {
				t.Fatalf("portable %v, TLS %v: %q, %v", portable, secure, got, err)
			}
			big := bytes.Repeat([]byte(strings.Repeat("x", 999)+"\n"), 300)
			go far.Write(big)
			if got := make([]byte, len(big)); true {
				if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, big) {
					t.Fatal("another echo", err)
				}
			}
			if (s.peer.TLS != nil) != secure || !s.peer.Local.IsValid() {
				t.Errorf("%+v", s.peer)
			}
			if secure {
				if key, err := s.peer.TLS.Exporter(); err != nil || len(key) != 32 || len(s.peer.TLS.EndPoint) == 0 {
					t.Error("no channel bindings", err)
				}
			}
			far.Close()
			if err := s.wantClosed(); err != nil {
				t.Error(err)
			}
		}
	}
}

// A place counts by the limits, and one that is given back does not; a server that stops
// has none, and Stop waits for a place that is taken late.
func TestReserve(t *testing.T) {
	for _, portable := range []bool{false, true} {
		h := start(t, portable, func(o *Options) { o.MaxPerAddress = 1 }, nil)
		near, _, far := adoptable(t, h, false)
		from := addrPort(near.RemoteAddr())
		first, err := h.srv.Reserve(from)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.srv.Reserve(from); !errors.Is(err, ErrRefused) {
			t.Error(err)
		}
		first.Release()
		if first, err = h.srv.Reserve(from); err != nil {
			t.Fatal(err)
		}
		stopped := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			stopped <- h.srv.Stop(ctx)
		}()
		for {
			second, err := h.srv.Reserve(addrPort(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}))
			if err != nil {
				break // it stops
			}
			second.Release()
		}
		err = first.Take(near, transport.Peer{Addr: from}, func(transport.Peer, transport.Conn) transport.Stream {
			t.Error("a Stream though the server stops")
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		select {
		case <-stopped:
		case <-time.After(patience):
			t.Fatal("Stop waits for ever")
		}
		if _, err := far.Read(make([]byte, 1)); err == nil {
			t.Error("the connection lives on")
		}
	}
	if _, err := (&Server{}).Reserve(addrPort(&net.TCPAddr{})); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}
