package tcp

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if childMain() {
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// fake is a transport.Stream. It checks the rules of the port: no two turns at
// once, no two Drains at once, Closed once and last.
type fake struct {
	t    testing.TB
	peer transport.Peer
	conn transport.Conn

	inTurn, inDrain atomic.Bool
	dead            atomic.Bool

	mu  sync.Mutex
	out []byte

	onFeed    func(s *fake, b *transport.Batch, p []byte) transport.Wait
	onSecured func(s *fake, b *transport.Batch, f *transport.TLS)
	onTick    func(s *fake, b *transport.Batch, now time.Time) time.Time

	closed   chan struct{} // closed by Closed
	closeErr error
	drained  atomic.Int64
	drains   atomic.Int64
}

func (s *fake) turn() func() {
	if s.dead.Load() {
		s.t.Error("a turn after Closed")
	}
	if !s.inTurn.CompareAndSwap(false, true) {
		s.t.Error("two turns at once")
	}
	return func() { s.inTurn.Store(false) }
}

func (s *fake) Feed(b *transport.Batch, p []byte) transport.Wait {
	defer s.turn()()
	if s.onFeed == nil {
		return nil
	}
	return s.onFeed(s, b, p)
}

func (s *fake) Secured(b *transport.Batch, f *transport.TLS) {
	defer s.turn()()
	if s.onSecured != nil {
		s.onSecured(s, b, f)
	}
}

func (s *fake) Tick(b *transport.Batch, now time.Time) time.Time {
	defer s.turn()()
	if s.onTick == nil {
		return time.Time{}
	}
	return s.onTick(s, b, now)
}

func (s *fake) Drain(dst []byte, limit int) []byte {
	if s.dead.Load() {
		s.t.Error("Drain after Closed")
	}
	if !s.inDrain.CompareAndSwap(false, true) {
		s.t.Error("two Drains at once")
	}
	defer s.inDrain.Store(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(limit, len(s.out))
	if n > 0 {
		s.drains.Add(1)
		s.drained.Add(int64(n))
	}
	dst = append(dst, s.out[:n]...)
	if s.out = s.out[n:]; len(s.out) == 0 {
		s.out = nil
	}
	return dst
}

func (s *fake) Closed(_ *transport.Batch, err error) {
	end := s.turn()
	if s.dead.Swap(true) {
		s.t.Error("Closed twice")
	}
	s.closeErr = err
	end()
	close(s.closed)
}

// queue appends output; the caller flushes.
func (s *fake) queue(p []byte) {
	s.mu.Lock()
	s.out = append(s.out, p...)
	s.mu.Unlock()
}

func (s *fake) wantClosed() error {
	s.t.Helper()
	select {
	case <-s.closed:
		return s.closeErr
	case <-time.After(patience):
		c := s.conn.(*conn)
		s.t.Fatalf("Closed was not called: turn %b phase %d write %d want %b ended %v eof %v deadline %d now %d", c.turn.Load(), c.phase, c.write.state.Load(), c.write.want.Load(), c.write.ended, c.eof, c.deadline.Load(), time.Now().UnixNano())
		return nil
	}
}

func echo(s *fake, b *transport.Batch, p []byte) transport.Wait {
	if len(p) > 0 {
		s.queue(p)
		b.Add(s.conn)
	}
	return nil
}

// harness is a Server with fakes.
type harness struct {
	t       testing.TB
	srv     *Server
	plain   string // addresses
	direct  string
	streams chan *fake
	setup   func(*fake)
	cert    atomic.Pointer[tls.Certificate]
}

// start makes a Server with a clear and a direct TLS listener and stops it when
// the test ends.
func start(t testing.TB, portable bool, change func(*Options), setup func(*fake)) *harness {
	t.Helper()
	h := &harness{t: t, streams: make(chan *fake, 4096), setup: setup}
	h.cert.Store(testCert(t, "example.test"))
	opts := Options{
		Listeners:      []Listener{{Addr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0", DirectTLS: true}},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return h.cert.Load(), nil },
		LingerTimeout:  200 * time.Millisecond,
		Portable:       portable,
	}
	if change != nil {
		change(&opts)
	}
	var err error
	h.srv, err = New(opts, Deps{NewStream: func(p transport.Peer, c transport.Conn) transport.Stream {
		s := &fake{t: t, peer: p, conn: c, closed: make(chan struct{})}
		if h.setup != nil {
			h.setup(s)
		}
		h.streams <- s
		return s
	}})
	if err != nil {
		t.Fatal(err)
	}
	h.srv.sweepEvery = 5 * time.Millisecond
	if err := h.srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := h.srv.Addrs("")
	h.plain = a[0].String()
	if len(a) > 1 {
		h.direct = a[1].String()
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // cut off what is left
		h.srv.Stop(ctx)
		if n := h.srv.Connections(); n != 0 {
			t.Errorf("%d connections after Stop", n)
		}
	})
	return h
}

func (h *harness) stream() *fake {
	h.t.Helper()
	select {
	case s := <-h.streams:
		return s
	case <-time.After(patience):
		h.t.Fatal("no stream")
		return nil
	}
}

func (h *harness) dial(addr string) net.Conn {
	h.t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func clientConfig() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "example.test"}
}

func (h *harness) dialTLS(cfg *tls.Config) *tls.Conn {
	h.t.Helper()
	if cfg == nil {
		cfg = clientConfig()
	}
	c := tls.Client(h.dial(h.direct), cfg)
	if err := c.Handshake(); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// exchange writes p and reads as many bytes back.
func exchange(t testing.TB, c net.Conn, p []byte) []byte {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := c.Write(p)
		done <- err
	}()
	got := make([]byte, len(p))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("read: %v", err)
	}
	if err := <-done; err != nil {
		t.Fatalf("write: %v", err)
	}
	return got
}

func wantEcho(t testing.TB, c net.Conn, p []byte) {
	t.Helper()
	if got := exchange(t, c, p); !bytes.Equal(got, p) {
		t.Fatalf("echo of %d bytes differs", len(p))
	}
}

func testCert(t testing.TB, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// bothBackends runs f with event loops and with goroutines. Where there are no
// event loops, both are the same.
func bothBackends(t *testing.T, f func(t *testing.T, portable bool)) {
	t.Run("loops", func(t *testing.T) { f(t, false) })
	t.Run("portable", func(t *testing.T) { f(t, true) })
}

// newNoStream refuses every connection.
func newNoStream(transport.Peer, transport.Conn) transport.Stream { return nil }
