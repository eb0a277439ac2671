package tcp

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
)

// startTLSFake says <proceed/> to <starttls/> like a kernel, and echoes after
// the handshake. secured gets the facts.
func startTLSFake(secured chan<- *transport.TLS) func(*fake) {
	return func(s *fake) {
		tlsOn := s.peer.TLS != nil
		s.onFeed = func(s *fake, b *transport.Batch, p []byte) transport.Wait {
			if tlsOn {
				return echo(s, b, p)
			}
			if bytes.HasPrefix(p, []byte("<starttls/>")) {
				s.queue([]byte("<proceed/>"))
				b.Add(s.conn)
				s.conn.StartTLS("")
			}
			return nil
		}
		s.onSecured = func(s *fake, b *transport.Batch, f *transport.TLS) {
			tlsOn = true
			if secured != nil {
				secured <- f
			}
		}
	}
}

func proceed(t *testing.T, c net.Conn, send string) {
	t.Helper()
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("<proceed/>"))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "<proceed/>" {
		t.Fatalf("got %q, %v, want <proceed/>", got, err)
	}
}

func TestStartTLS(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		secured := make(chan *transport.TLS, 1)
		h := start(t, portable, nil, startTLSFake(secured))
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tls.VersionName(version), func(t *testing.T) {
				c := h.dial(h.plain)
				proceed(t, c, "<starttls/>")
				cfg := clientConfig()
				cfg.MaxVersion = version
				tc := tls.Client(c, cfg)
				wantEcho(t, tc, random(50_000))
				f := <-secured
				cs := tc.ConnectionState()
				if f.Version != version || f.CipherSuite != cs.CipherSuite || f.ServerName != "example.test" {
					t.Errorf("facts %+v", f)
				}
				want, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
				if err != nil {
					t.Fatal(err)
				}
				if f.Exporter == nil {
					t.Fatal("no tls-exporter")
				}
				if got, err := f.Exporter(); err != nil || !bytes.Equal(got, want) {
					t.Errorf("tls-exporter differs: %v", err)
				}
				sum := sha256.Sum256(cs.PeerCertificates[0].Raw)
				if !bytes.Equal(f.EndPoint, sum[:]) {
					t.Error("tls-server-end-point differs")
				}
				s := h.stream()
				if !s.peer.TLSAvailable || s.peer.TLS != nil {
					t.Errorf("peer %+v", s.peer)
				}
				tc.Close()
				if err := s.wantClosed(); err != nil {
					t.Errorf("Closed(%v)", err)
				}
			})
		}
	})
}

// RFC 6120 5.4.3.3: what came in clear behind <starttls/> is discarded.
func TestStartTLSInjection(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		t.Run("same segment", func(t *testing.T) {
			h := start(t, portable, nil, startTLSFake(nil))
			c := h.dial(h.plain)
			proceed(t, c, "<starttls/><iq id='injected'/>")
			tc := tls.Client(c, clientConfig())
			wantEcho(t, tc, []byte("<stream>"))
		})
		t.Run("after proceed", func(t *testing.T) {
			h := start(t, portable, nil, startTLSFake(nil))
			c := h.dial(h.plain)
			proceed(t, c, "<starttls/>")
			io.WriteString(c, "<iq id='injected'/>")
			if err := h.stream().wantClosed(); err == nil {
				t.Error("Closed(nil) after clear text in place of a handshake")
			}
		})
	})
}

// Output in clear goes out before the handshake even if the peer is slow to
// read it, and nothing else is fed meanwhile.
func TestStartTLSAfterPendingOutput(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		clear := random(8 << 20)
		h := start(t, portable, nil, func(s *fake) {
			tlsOn := false
			s.onFeed = func(s *fake, b *transport.Batch, p []byte) transport.Wait {
				if tlsOn {
					return echo(s, b, p)
				}
				s.queue(clear)
				b.Add(s.conn)
				s.conn.StartTLS("")
				return nil
			}
			s.onSecured = func(*fake, *transport.Batch, *transport.TLS) { tlsOn = true }
		})
		c := h.dial(h.plain)
		io.WriteString(c, "x")
		got := make([]byte, len(clear))
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, clear) {
			t.Error("clear output differs")
		}
		wantEcho(t, tls.Client(c, clientConfig()), []byte("secret"))
	})
}

func TestStartTLSNotAvailable(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		setup := func(s *fake) {
			s.onFeed = func(s *fake, _ *transport.Batch, _ []byte) transport.Wait {
				s.conn.StartTLS("")
				return nil
			}
		}
		t.Run("no certificates", func(t *testing.T) {
			h := start(t, portable, func(o *Options) { o.GetCertificate, o.Listeners = nil, o.Listeners[:1] }, setup)
			c := h.dial(h.plain)
			io.WriteString(c, "x")
			s := h.stream()
			if err := s.wantClosed(); !errors.Is(err, errNoStartTLS) || s.peer.TLSAvailable {
				t.Errorf("Closed(%v)", err)
			}
		})
		t.Run("twice", func(t *testing.T) {
			h := start(t, portable, nil, setup)
			io.WriteString(h.dialTLS(nil), "x")
			if err := h.stream().wantClosed(); !errors.Is(err, errNoStartTLS) {
				t.Errorf("Closed(%v)", err)
			}
		})
	})
}

func TestHandshakeFails(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		h := start(t, portable, func(o *Options) { o.HandshakeTimeout = 100 * time.Millisecond }, startTLSFake(nil))
		closedSoon := func(c net.Conn) {
			t.Helper()
			if _, err := io.Copy(io.Discard, c); errors.Is(err, errTimeout(err)) {
				t.Errorf("not closed: %v", err)
			}
		}
		hello := clientHello(t)
		t.Run("silent direct TLS client", func(t *testing.T) { closedSoon(h.dial(h.direct)) })
		t.Run("half a ClientHello", func(t *testing.T) {
			c := h.dial(h.direct)
			c.Write(hello[:len(hello)/2])
			closedSoon(c)
		})
		t.Run("no Finished", func(t *testing.T) {
			c := h.dial(h.direct)
			c.Write(hello)
			closedSoon(c)
		})
		t.Run("not TLS", func(t *testing.T) {
			c := h.dial(h.direct)
			io.WriteString(c, "<?xml version='1.0'?><stream:stream>")
			closedSoon(c)
		})
		t.Run("silent after proceed", func(t *testing.T) {
			c := h.dial(h.plain)
			proceed(t, c, "<starttls/>")
			closedSoon(c)
			if err := h.stream().wantClosed(); err == nil {
				t.Error("Closed(nil) after a handshake that timed out")
			}
		})
		t.Run("closed during the handshake by the kernel", func(t *testing.T) {
			h := start(t, portable, nil, startTLSFake(nil))
			c := h.dial(h.plain)
			proceed(t, c, "<starttls/>")
			s := h.stream()
			s.conn.Close()
			closedSoon(c)
			if err := s.wantClosed(); err != nil {
				t.Errorf("Closed(%v)", err)
			}
		})
		if n := len(h.streams); n != 0 {
			t.Errorf("%d streams for direct TLS connections without handshake", n)
		}
	})
}

// errTimeout returns err if it is a time-out, else an error that nothing is.
func errTimeout(err error) error {
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return err
	}
	return errors.New("no timeout")
}

// clientHello is the first flight of a TLS client.
func clientHello(t *testing.T) []byte {
	t.Helper()
	a, b := net.Pipe()
	go func() { tls.Client(a, clientConfig()).Handshake(); a.Close() }()
	b.SetDeadline(time.Now().Add(patience))
	buf := make([]byte, 8<<10)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	return buf[:n]
}

// Many slow handshakes neither stop others nor leave anything behind.
func TestSlowLoris(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		h := start(t, portable, nil, func(s *fake) { s.onFeed = echo })
		hello := clientHello(t)
		for range 100 {
			h.dial(h.direct).Write(hello[:len(hello)-1])
		}
		wantEcho(t, h.dialTLS(nil), []byte("served"))
	})
}

// XEP-0368 3, rule 8.
func TestALPN(t *testing.T) {
	bothBackends(t, func(t *testing.T, portable bool) {
		h := start(t, portable, nil, func(s *fake) { s.onFeed = echo })
		for _, tc := range []struct {
			offer []string
			ok    bool
		}{
			{nil, true},
			{[]string{"xmpp-client"}, true},
			{[]string{"http/1.1", "xmpp-client"}, true},
			{[]string{"xmpp-server"}, false},
			{[]string{"h2", "http/1.1"}, false},
		} {
			cfg := clientConfig()
			cfg.NextProtos = tc.offer
			c := tls.Client(h.dial(h.direct), cfg)
			err := c.Handshake()
			if (err == nil) != tc.ok {
				t.Errorf("ALPN %q: %v", tc.offer, err)
			}
			if err != nil && !strings.Contains(err.Error(), "no application protocol") {
				t.Errorf("ALPN %q: the client got %v, want the alert", tc.offer, err)
			}
			if err == nil && len(tc.offer) > 0 && c.ConnectionState().NegotiatedProtocol != "xmpp-client" {
				t.Errorf("ALPN %q: chosen %q", tc.offer, c.ConnectionState().NegotiatedProtocol)
			}
		}
	})
}

// RFC 7590 3: TLS 1.2 is the lowest version.
func TestOldTLSRefused(t *testing.T) {
	h := start(t, false, nil, nil)
	cfg := clientConfig()
	cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if err := tls.Client(h.dial(h.direct), cfg).Handshake(); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	if _, err := New(Options{Listeners: []Listener{{Addr: "127.0.0.1:0"}}, MinVersion: tls.VersionTLS11},
		Deps{NewStream: newNoStream}); err == nil {
		t.Error("MinVersion 1.1 was accepted")
	}
}

// A resumed session has the end point of its certificate, and a ticket ends
// with the certificate that it was made under.
func TestResumption(t *testing.T) {
	h := start(t, false, nil, func(s *fake) { s.onFeed = echo })
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := clientConfig()
		cfg.MaxVersion = version
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(10)
		visit := func() (resumed bool, endPoint []byte) {
			c := h.dialTLS(cfg)
			wantEcho(t, c, []byte("x"))
			resumed = c.ConnectionState().DidResume
			c.Close()
			return resumed, h.stream().peer.TLS.EndPoint
		}
		if r, _ := visit(); r {
			t.Fatal("first visit resumed")
		}
		r, ep := visit()
		if !r {
			t.Errorf("%s: not resumed", tls.VersionName(version))
		}
		if sum := sha256.Sum256(h.cert.Load().Certificate[0]); !bytes.Equal(ep, sum[:]) {
			t.Errorf("%s: end point of a resumed session differs", tls.VersionName(version))
		}
		h.cert.Store(testCert(t, "example.test"))
		r, ep = visit()
		if r {
			t.Errorf("%s: resumed though the certificate has changed", tls.VersionName(version))
		}
		if sum := sha256.Sum256(h.cert.Load().Certificate[0]); !bytes.Equal(ep, sum[:]) {
			t.Errorf("%s: end point after renewal differs", tls.VersionName(version))
		}
	}
}

// Without this an idle TLS connection takes 3.5 to 36 KiB more. If it fails
// after an update of Go, adapt strip.go to the new layout.
func TestStripActive(t *testing.T) {
	if !strip.active {
		t.Error("the layout of tls.Conn is not the one that strip.go knows")
	}
	if s := newStripper(reflect.TypeFor[struct{ rawInput bytes.Buffer }]()); s.active {
		t.Error("a layout without the fields was accepted")
	}
	if s := newStripper(reflect.TypeFor[struct{ rawInput, hand, input bytes.Buffer }]()); s.active {
		t.Error("a layout with other types was accepted")
	}
}

// An idle connection holds no buffer, and one in the middle of a record only
// the bytes that came.
func TestIdleHoldsNothing(t *testing.T) {
	h := start(t, false, nil, func(s *fake) { s.onFeed = echo })
	raw := h.dial(h.direct)
	cut := &cutConn{Conn: raw}
	c := tls.Client(cut, clientConfig())
	wantEcho(t, c, random(40_000))
	s := h.stream()
	held := func() (n int) {
		cc := s.conn.(*conn)
		// Take the turns to look inside.
		for !cc.turn.CompareAndSwap(0, turnBusy) {
			runtime.Gosched()
		}
		defer func() {
			var b round
			cc.run(&b)
			b.flush()
		}()
		t := cc.tls.conn
		return field[bytes.Buffer](t, strip.raw).Cap() + field[bytes.Buffer](t, strip.hand).Cap() + cap(cc.tls.in)
	}
	if n := held(); n != 0 {
		t.Errorf("an idle connection holds %d bytes", n)
	}
	cut.hold = true
	if _, err := c.Write(random(10_000)); err != nil {
		t.Fatal(err)
	}
	raw.Write(cut.kept[:2000])
	for held() == 0 {
		runtime.Gosched()
	}
	if n := held(); n > 2100 {
		t.Errorf("2000 bytes of a record hold %d", n)
	}
	raw.Write(cut.kept[2000:])
	cut.hold = false
	if _, err := io.ReadFull(c, make([]byte, 10_000)); err != nil {
		t.Fatal(err)
	}
	if n := held(); n != 0 {
		t.Errorf("afterwards it holds %d bytes", n)
	}
}

// cutConn can keep what is written.
type cutConn struct {
	net.Conn
	hold bool
	kept []byte
}

func (c *cutConn) Write(p []byte) (int, error) {
	if c.hold {
		c.kept = append(c.kept, p...)
		return len(p), nil
	}
	return c.Conn.Write(p)
}
