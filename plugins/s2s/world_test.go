package s2s

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/plugins/s2s/dialback"
	"github.com/hexmpp/hexmpp/plugins/s2s/verify"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// authority is a CA of the tests.
type authority struct {
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	roots *x509.CertPool
}

var ca = sync.OnceValue(func() *authority {
	a := &authority{roots: x509.NewCertPool()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, _ := x509.CreateCertificate(rand.Reader, t, t, a.key.Public(), a.key)
	a.cert, _ = x509.ParseCertificate(der)
	a.roots.AddCert(a.cert)
	return a
})

// issue returns a certificate for domains; expired ones ended a minute ago.
func (a *authority) issue(expired bool, domains ...string) *tls.Certificate {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	t := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: domains,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if expired {
		t.NotAfter = time.Now().Add(-time.Minute)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		panic(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) verify(ctx context.Context, chain []*x509.Certificate, domain string) (string, error) {
	v, err := verify.New(verify.Options{Roots: a.roots})
	if err != nil {
		return "", err
	}
	return v.Verify(ctx, chain, domain)
}

// world is the servers of a test, and the way between them.
type world struct {
	t  testing.TB
	mu sync.Mutex
	// at is where the servers of domains are.
	at map[string]*server
	// cut wraps each connection that is made.
	cut     func(net.Conn) net.Conn
	dials   map[string]int
	scripts map[string]func(net.Conn)
}

func newWorld(t testing.TB) *world {
	return &world{t: t, at: map[string]*server{}, dials: map[string]int{}, scripts: map[string]func(net.Conn){}}
}

// Connect implements Dialer.
func (w *world) Connect(ctx context.Context, domain string, try func(ctx context.Context, conn net.Conn, direct bool) error) error {
	w.mu.Lock()
	w.dials[domain]++
	s, script, cut := w.at[domain], w.scripts[domain], w.cut
	var address string
	if s != nil && s.listener != nil {
		address = s.listener.Addr().String()
	}
	w.mu.Unlock()
	if script != nil {
		a, b := tcpPair(w.t)
		if cut != nil {
			a = cut(a)
		}
		go script(b)
		return try(ctx, a, false)
	}
	if s == nil {
		return fmt.Errorf("%w: %s", ErrNotFound, domain)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	if cut != nil {
		conn = cut(conn)
	}
	return try(ctx, conn, s.direct)
}

// tcpPair returns both ends of a connection.
func tcpPair(t testing.TB) (net.Conn, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// server is a kernel with the engine as its plugin. What is in it outlives the engine.
type server struct {
	w        *world
	domains  []string
	cert     *tls.Certificate
	secret   []byte
	direct   bool
	options  Options
	listener net.Listener
	log      *slog.Logger

	mu       sync.Mutex
	memory   map[string][]byte
	got      []*stanza.Stanza // what came from far
	refuse   func(*stanza.Stanza) error
	events   []*extension.FarEvent // unanswered, in order
	answers  map[uint64]error
	answered map[uint64]int
	next     uint64
	sent     map[uint64]*stanza.Stanza
	process  int
	engine   *Engine
	changed  chan struct{}
	takes    sync.Mutex             // the order of Take
	turns    sync.Mutex             // one Do at a time; no other lock is held where it is taken
	fail     func(key string) error // what Do fails with
}

func (w *world) server(cert *tls.Certificate, domains ...string) *server {
	s := &server{
		w: w, domains: domains, cert: cert, secret: []byte(domains[0] + " secret"), options: Defaults, memory: map[string][]byte{}, sent: map[uint64]*stanza.Stanza{},
		answers: map[uint64]error{}, answered: map[uint64]int{}, changed: make(chan struct{}), log: slog.New(slog.DiscardHandler),
	}
	if os.Getenv("S2S_LOG") != "" {
		s.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("server", domains[0])
	}
	s.options.ConnectTime = 10
	w.mu.Lock()
	for _, d := range domains {
		w.at[d] = s
	}
	w.mu.Unlock()
	return s
}

// kernelOf is the kernel as one process sees it.
type kernelOf struct {
	s       *server
	process int
}

var errRelieved = errors.New("another process acts")

func (k *kernelOf) Ours(d string) bool { return slices.Contains(k.s.domains, d) }

func (k *kernelOf) Certificate(context.Context, string) (*tls.Certificate, error) {
	if k.s.cert == nil {
		return nil, errors.New("there is none")
	}
	return k.s.cert, nil
}

// fakeHost buffers effects.
type fakeHost struct {
	extension.Stanzas
	extension.Memory
	s       *server
	effects []func()
}

func (h *fakeHost) Send(x *stanza.Stanza) error {
	if h.s.refuse != nil {
		if err := h.s.refuse(x); err != nil {
			return err
		}
	}
	h.effects = append(h.effects, func() { h.s.got = append(h.s.got, x) })
	return nil
}

func (h *fakeHost) Put(key string, value []byte) error {
	value = slices.Clone(value)
	h.effects = append(h.effects, func() { h.s.memory[key] = value })
	return nil
}

func (h *fakeHost) Delete(key string) {
	h.effects = append(h.effects, func() { delete(h.s.memory, key) })
}

func (h *fakeHost) Get(_ context.Context, key string) (extension.Entry, bool, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	v, ok := h.s.memory[key]
	return extension.Entry{Key: key, Value: v}, ok, nil
}

func (h *fakeHost) Scan(_ context.Context, prefix, after string, limit int) (list []extension.Entry, err error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	for key, v := range h.s.memory {
		if strings.HasPrefix(key, prefix) && key > after {
			list = append(list, extension.Entry{Key: key, Value: v})
		}
	}
	slices.SortFunc(list, func(a, b extension.Entry) int { return strings.Compare(a.Key, b.Key) })
	return list[:min(len(list), limit)], nil
}

type fakeSecrets []byte

func (s fakeSecrets) Secret(context.Context, string) ([]byte, error) { return s, nil }

func (s *server) host() (*extension.Host, *fakeHost) {
	f := &fakeHost{s: s}
	return &extension.Host{Stanzas: f, Memory: f, Secrets: fakeSecrets(s.secret), Domains: s.domains, Now: time.Now, Log: s.log}, f
}

func (k *kernelOf) Do(ctx context.Context, key string, fn func(h *extension.Host) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	k.s.turns.Lock()
	defer k.s.turns.Unlock()
	k.s.mu.Lock()
	fail := k.s.fail
	k.s.mu.Unlock()
	if fail != nil {
		if err := fail(key); err != nil {
			return err
		}
	}
	h, f := k.s.host()
	if err := fn(h); err != nil {
		return err
	}
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	if k.process != k.s.process {
		return errRelieved
	}
	for _, effect := range f.effects {
		effect()
	}
	k.s.notify()
	return nil
}

// notify wakes who waits. s.mu is held.
func (s *server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// run starts a process of the plugin; events that are unanswered are given to it.
func (s *server) run() {
	s.mu.Lock()
	s.process++
	k := &kernelOf{s, s.process}
	s.mu.Unlock()
	e, err := New(s.options, Deps{Kernel: k, Dialer: s.w, Verify: ca().verify, Key: dialback.Key})
	if err != nil {
		s.w.t.Fatal(err)
	}
	e.tick = 100 * time.Millisecond
	e.streams.Tick = 50 * time.Millisecond
	e.streams.Closing = time.Second
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.w.t.Fatal(err)
	}
	h, _ := s.host()
	if err := e.Start(context.Background(), h); err != nil {
		s.w.t.Fatal(err)
	}
	s.mu.Lock()
	s.engine = e
	s.mu.Unlock()
	s.w.mu.Lock()
	s.listener = l
	s.w.mu.Unlock()
	e.tasks.Go(func() { _ = e.Serve(l, s.direct) })
	s.takes.Lock()
	defer s.takes.Unlock()
	s.mu.Lock()
	again := slices.Clone(s.events)
	s.mu.Unlock()
	for _, ev := range again {
		s.give(e, k.process, ev)
	}
}

// give gives an event to a process.
func (s *server) give(e *Engine, process int, ev *extension.FarEvent) {
	s.mu.Lock()
	ev.Attempt++
	given := *ev
	s.mu.Unlock()
	given.Done = func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if process != s.process {
			return
		}
		s.answered[ev.ID]++
		s.answers[ev.ID] = err
		s.events = slices.DeleteFunc(s.events, func(x *extension.FarEvent) bool { return x.ID == ev.ID })
		s.notify()
	}
	e.Take(context.Background(), &given)
}

// kill ends the process, as a kill does.
func (s *server) kill() {
	s.takes.Lock()
	defer s.takes.Unlock()
	s.mu.Lock()
	s.process++
	e := s.engine
	s.engine = nil
	s.mu.Unlock()
	if e != nil {
		e.Kill()
	}
}

// send sends a stanza to a far domain.
func (s *server) send(x *stanza.Stanza, to ...jid.JID) uint64 {
	s.takes.Lock()
	defer s.takes.Unlock()
	s.mu.Lock()
	s.next++
	domain := x.To.Domain()
	if len(to) > 0 {
		domain = to[0].Domain()
	}
	ev := &extension.FarEvent{ID: s.next, Domain: domain, Stanza: x, Recipients: to, Received: time.Now()}
	s.events = append(s.events, ev)
	s.sent[ev.ID] = x
	e, process := s.engine, s.process
	s.mu.Unlock()
	if e != nil {
		s.give(e, process, ev)
	}
	return ev.ID
}

func parse(t testing.TB, text string) *stanza.Stanza {
	t.Helper()
	x, err := xmlstream.ParseStanza([]byte(text), xmpp.NSClient, xmlstream.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func message(t testing.TB, from, to, id string) *stanza.Stanza {
	return parse(t, fmt.Sprintf("<message from='%s' to='%s' id='%s' type='chat'><body>hi &lt; %s</body></message>", from, to, id, id))
}

// until waits until a condition holds, which is asked when something has changed.
func (s *server) until(what string, holds func() bool) {
	s.w.t.Helper()
	limit := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		ok, changed := holds(), s.changed
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.w.t.Fatalf("%s: %s does not come; got %d, unanswered %d, answers %v", s.domains[0], what, len(s.got), len(s.events), s.answers)
		}
	}
}

// ids of what came.
func (s *server) ids() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.got {
		list = append(list, x.ID)
	}
	return list
}

// start runs servers, and ends them with the test.
func start(t testing.TB, list ...*server) {
	for _, s := range list {
		s.run()
		t.Cleanup(s.kill)
	}
}

// closedListener returns a listener that nobody is behind.
func closedListener() net.Listener {
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	l.Close()
	return l
}
