package s2s

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/plugins/s2s/peerstream"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Engine is federation: all streams, and what waits for them.
type Engine struct {
	options Options
	policy  *policy
	deps    Deps
	streams *peerstream.Config
	secret  []byte // of dialback keys, the same for each process
	log     *slog.Logger
	tick    time.Duration

	ctx        context.Context // of all goroutines; ends with Stop
	cancel     context.CancelFunc
	accept     context.Context // of those that accept connections; ends when Stop begins
	deaf       context.CancelFunc
	tasks      sync.WaitGroup
	complaints complaints

	mu       sync.Mutex // guards what follows
	stopping bool
	peers    map[string]*peer
	sessions map[*session]bool
	halfOpen int
	checks   int                  // verifications that are under way
	address  map[netip.Prefix]int // half-open ones
	checking map[netip.Prefix]int // verifications for those who connected from there
	domains  map[string]int       // incoming streams of far domains
	managed  map[string]*session
	broken   map[string]time.Time // keys of records whose streams are gone
}

// maxChecks is how many dialback keys of peers are verified at once, maxChecksOf how many of them for peers at one
// address: to whom they are sent is for the peer to choose, and need not answer.
const (
	maxChecks   = 1000
	maxChecksOf = 100
)

// New makes an engine. The error names an option that can't be.
func New(o Options, d Deps) (*Engine, error) {
	p, err := o.check()
	if err != nil {
		return nil, err
	}
	e := &Engine{
		options: o, policy: p, deps: d, tick: 15 * time.Second, log: slog.New(slog.DiscardHandler),
		peers: map[string]*peer{}, sessions: map[*session]bool{}, address: map[netip.Prefix]int{}, checking: map[netip.Prefix]int{}, domains: map[string]int{},
		managed: map[string]*session{}, broken: map[string]time.Time{},
	}
	e.streams = e.config()
	return e, nil
}

// Prefixes of keys of the memory: notes of outgoing directions (by far domain and a domain of ours), records of
// incoming ones (by far domain and SM-ID).
const (
	noteKey   = "out "
	recordKey = "in "
)

func noteName(far, local string) string { return noteKey + far + " " + local }

func recordName(far, id string) string { return recordKey + far + " " + id }

// Start reads what the process before left, and goes on with it: broken streams are resumed. ctx is for Kernel.Do and
// ends with the process.
func (e *Engine) Start(ctx context.Context, h *extension.Host) error {
	secret, err := h.Secrets.Secret(ctx, "dialback")
	if err != nil {
		return fmt.Errorf("s2s: the secret of dialback: %w", err)
	}
	e.secret = secret
	if h.Log != nil {
		e.log = h.Log
	}
	e.ctx, e.cancel = context.WithCancel(ctx)
	e.accept, e.deaf = context.WithCancel(e.ctx)
	now := time.Now()
	came := map[string]uint32{}
	if err := scan(ctx, h, recordKey, func(key string, value []byte) {
		e.broken[key] = now
		if r, err := readRecord(value); err == nil {
			came[key] = r.h
		}
	}); err != nil {
		return err
	}
	var links []*link
	err = scan(ctx, h, noteKey, func(key string, value []byte) {
		far, local, ok := strings.Cut(strings.TrimPrefix(key, noteKey), " ")
		n, err := readNote(value)
		if !ok || err != nil {
			e.log.Error("what a process of before noted can't be read", "key", key)
			return
		}
		p := e.lock(far)
		defer p.mu.Unlock()
		l, connect := p.restore(local, n, now)
		l.came = came[recordName(far, shortID(n.id))]
		if connect {
			links = append(links, l)
		}
	})
	if err != nil {
		return err
	}
	for _, l := range links {
		l.p.mu.Lock()
		l.connect()
		l.p.mu.Unlock()
	}
	e.tasks.Go(e.watch)
	return nil
}

// scan reads all entries of the memory with a prefix.
func scan(ctx context.Context, h *extension.Host, prefix string, each func(key string, value []byte)) error {
	after := ""
	for {
		list, err := h.Memory.Scan(ctx, prefix, after, 500)
		if err != nil {
			return fmt.Errorf("s2s: memory: %w", err)
		}
		for _, entry := range list {
			each(entry.Key, entry.Value)
			after = entry.Key
		}
		if len(list) < 500 {
			return nil
		}
	}
}

// Stop ends all streams and waits for that until ctx ends. What can be resumed is left unfinished for the next process.
func (e *Engine) Stop(ctx context.Context) error {
	e.mu.Lock()
	e.stopping = true
	list := slices.Collect(maps.Keys(e.sessions))
	e.mu.Unlock()
	if e.cancel == nil {
		return nil
	}
	e.deaf() // who connects now is for the next process
	for _, s := range list {
		s.leave()
	}
	ended := make(chan struct{})
	go func() { e.tasks.Wait(); close(ended) }()
	grace := time.AfterFunc(e.streams.Closing, e.cancel)
	defer grace.Stop()
	e.mu.Lock()
	idle := len(e.sessions) == 0
	e.mu.Unlock()
	if idle {
		e.cancel()
	}
	select {
	case <-ended:
		e.cancel()
		return nil
	case <-ctx.Done():
		e.cancel()
		return errors.New("s2s: streams are not closed at the end")
	}
}

// Kill ends everything at once, as the end of the process does.
func (e *Engine) Kill() {
	e.mu.Lock()
	e.stopping = true
	for s := range e.sessions {
		s.st.Abort()
	}
	e.mu.Unlock()
	e.cancel()
	e.tasks.Wait()
}

// Serve accepts connections of peers until the listener is closed, or the engine stops. directTLS is for one
// where TLS comes first.
func (e *Engine) Serve(l net.Listener, directTLS bool) error {
	defer context.AfterFunc(e.accept, func() { _ = l.Close() })()
	for {
		conn, err := l.Accept()
		if err != nil {
			if e.accept.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			var ne net.Error
			if errors.As(err, &ne) { // too many open files: others go on
				select {
				case <-time.After(100 * time.Millisecond):
					continue
				case <-e.accept.Done():
					return nil
				}
			}
			return fmt.Errorf("s2s: accept: %w", err)
		}
		e.begin(conn, directTLS)
	}
}

// begin begins an incoming stream, within the limits of half-open ones.
func (e *Engine) begin(conn net.Conn, directTLS bool) {
	s := &session{e: e, since: time.Now()}
	if a, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		s.addr = a.Addr().Unmap()
		s.from = neighbours(s.addr)
	}
	e.mu.Lock()
	if e.stopping || e.halfOpen >= e.options.MaxHalfOpen || e.address[s.from] >= e.options.MaxPerAddress {
		e.mu.Unlock()
		_ = conn.Close()
		e.crowded(s)
		return
	}
	e.halfOpen++
	e.address[s.from]++
	s.half = true
	s.st = peerstream.Receive(conn, e.streams, s)
	e.sessions[s] = true
	e.tasks.Go(func() { e.run(s, directTLS) })
	e.mu.Unlock()
}

// run runs a stream to its end.
func (e *Engine) run(s *session, directTLS bool) {
	err := s.st.Run(e.ctx, directTLS)
	s.inMu.Lock()
	s.replaced = true
	s.inMu.Unlock()
	key := s.ownRecord()
	e.mu.Lock()
	delete(e.sessions, s)
	if key != "" {
		e.broken[key] = time.Now()
	}
	s.open()
	for far := range s.fars {
		if e.domains[far]--; e.domains[far] <= 0 {
			delete(e.domains, far)
		}
	}
	if key := s.record; key != "" && e.managed[key] == s {
		delete(e.managed, key)
		e.broken[key] = time.Now()
	}
	last := e.stopping && len(e.sessions) == 0
	e.mu.Unlock()
	e.ended(s, err)
	if l := s.link.Load(); l != nil {
		l.p.mu.Lock()
		l.detach(s, err)
		l.p.mu.Unlock()
	}
	if last {
		e.cancel()
	}
}

// neighbours are the addresses that limits are counted for together: one of IPv4, a /64 of IPv6.
func neighbours(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.WithZone("").Prefix(bits)
	return p
}

// ending says whether Stop or Kill has begun: what is not answered is for the next process. e.mu is not held.
func (e *Engine) ending() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stopping
}

// open takes a session out of the half-open ones. e.mu is held.
func (s *session) open() {
	if !s.half {
		return
	}
	s.half = false
	s.e.halfOpen--
	if s.e.address[s.from]--; s.e.address[s.from] <= 0 {
		delete(s.e.address, s.from)
	}
}

// lock returns a far domain; its lock is held.
func (e *Engine) lock(far string) *peer {
	for {
		e.mu.Lock()
		p := e.peers[far]
		if p == nil {
			p = &peer{e: e, far: far, routes: map[string]*route{}}
			e.peers[far] = p
		}
		e.mu.Unlock()
		p.mu.Lock()
		if !p.dead {
			return p
		}
		p.mu.Unlock()
	}
}

// Take takes an event: it is extension.Far.Take.
func (e *Engine) Take(_ context.Context, ev *extension.FarEvent) {
	if e.policy.terms(ev.Domain).Refused {
		ev.Done(&stanza.Error{Condition: stanza.NotAllowed, Text: "this server does not federate with " + ev.Domain})
		return
	}
	p := e.lock(ev.Domain)
	defer p.mu.Unlock()
	p.take(ev)
}

// watch looks after what has a time.
func (e *Engine) watch() {
	every := time.NewTicker(min(e.tick, time.Second))
	defer every.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-every.C:
		}
		if e.ending() {
			return // the next process goes on
		}
		now := time.Now()
		e.mu.Lock()
		peers := make([]*peer, 0, len(e.peers))
		for _, p := range e.peers {
			peers = append(peers, p)
		}
		var gone []string
		for key, since := range e.broken {
			if now.Sub(since) > seconds(e.options.ResumeTime) {
				gone = append(gone, key)
			}
		}
		e.mu.Unlock()
		for _, p := range peers {
			p.mu.Lock()
			p.expire(now)
			p.mu.Unlock()
		}
		for _, key := range gone {
			e.forget(key)
		}
	}
}

// forget deletes the record of a stream that nobody resumed.
func (e *Engine) forget(key string) {
	far, _, _ := strings.Cut(strings.TrimPrefix(key, recordKey), " ")
	err := e.deps.Kernel.Do(e.ctx, recordKey+far, func(h *extension.Host) error {
		e.mu.Lock()
		_, still := e.broken[key]
		e.mu.Unlock()
		if still {
			h.Memory.Delete(key)
		}
		return nil
	})
	if err == nil {
		e.mu.Lock()
		delete(e.broken, key)
		e.mu.Unlock()
	}
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
