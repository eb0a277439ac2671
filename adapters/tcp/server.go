package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/observe"
)

// Server accepts connections and serves them until it is stopped.
type Server struct {
	opts Options
	deps Deps
	log  *zap.Logger

	listeners []*listener
	backend   backend

	turns, waits, handshakes pool
	cpu                      chan struct{} // a token for each handshake that may compute
	handshakeLog, acceptLog  every
	slowLog                  every
	delayLog                 every
	userTimeoutLog           sync.Once

	sweepEvery time.Duration
	quit       chan struct{}  // closed when the last connection has ended
	running    sync.WaitGroup // loops, sweep
	accepting  sync.WaitGroup
	stopAccept sync.Once
	stop       chan struct{} // closed when no connection is accepted any more
	made       time.Time
	observe    *observe.Connections

	mu       sync.Mutex // guards all below
	state    serverState
	conns    int
	perAddr  map[netip.Prefix]int
	connects connects
	drained  chan struct{} // closed when stopping and conns is 0
}

type serverState int

const (
	stateNew serverState = iota
	stateRunning
	stateStopping
)

// backend is what reads the sockets: event loops or goroutines.
type backend interface {
	// prepare gets a bound listener ready.
	prepare(*listener) error
	// accept serves l's connections until l is closed.
	accept(l *listener)
	// tables are those of all connections.
	tables() []*table
	// take has c, which nobody serves yet, read and write nc, which is the
	// backend's from then on. The caller calls c.start.
	take(c *conn, nc *net.TCPConn) error
	// close ends what prepare or New have started; all connections have ended.
	close()
}

// New makes a Server. It starts nothing.
func New(opts Options, deps Deps) (*Server, error) {
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("tcp: %w", err)
	}
	if deps.NewStream == nil {
		return nil, errors.New("tcp: Deps.NewStream is missing")
	}
	s := &Server{
		opts: opts, deps: deps, log: deps.Log,
		cpu:          make(chan struct{}, runtime.GOMAXPROCS(0)),
		handshakeLog: every{interval: time.Second},
		slowLog:      every{interval: 10 * time.Second},
		acceptLog:    every{interval: 10 * time.Second},
		delayLog:     every{interval: 10 * time.Second},
		sweepEvery:   time.Second,
		quit:         make(chan struct{}),
		made:         time.Now(),
		observe:      deps.Observe.Complete(),
		connects:     newConnects(opts.ConnectRate),
		stop:         make(chan struct{}),
		perAddr:      map[netip.Prefix]int{},
		drained:      make(chan struct{}),
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.turns = pool{work: (*conn).proceed, max: 2 * runtime.GOMAXPROCS(0)}
	s.waits = pool{work: (*conn).resume, max: opts.Workers}
	s.handshakes = pool{work: (*conn).handshake, max: opts.Handshakes}
	return s, nil
}

// Start binds all listeners and begins to accept. ctx is for binding only. A
// Server is started once.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateNew {
		return errors.New("tcp: started or stopped before")
	}
	var err error
	if s.backend, err = newBackend(s); err != nil {
		return fmt.Errorf("tcp: event loops: %w", err)
	}
	if err := s.listen(ctx); err != nil {
		for _, l := range s.listeners {
			l.close()
		}
		s.listeners = nil
		s.backend.close()
		close(s.quit)
		s.running.Wait()
		s.state = stateStopping
		close(s.drained)
		return err
	}
	s.state = stateRunning
	if !strip.active {
		s.log.Warn("crypto/tls has another layout than expected: idle TLS connections take more memory",
			zap.String("go", runtime.Version()))
	}
	for _, l := range s.listeners {
		s.accepting.Go(func() { s.backend.accept(l) })
		s.log.Info("listening", zap.Stringer("address", l.ln.Addr()), zap.Bool("direct_tls", l.direct))
	}
	s.running.Go(s.sweep)
	return nil
}

// Addrs gives the addresses that are listened on for a Listener.Key, in the
// order of Options.Listeners; after Start.
func (s *Server) Addrs(key string) []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addrs(key)
}

func (s *Server) addrs(key string) []net.Addr {
	var a []net.Addr
	for _, l := range s.listeners {
		if l.key == key {
			a = append(a, l.ln.Addr())
		}
	}
	return a
}

// Connections is how many connections there are.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

// StopAccepting closes the listeners and returns when no connection can come
// any more. Those that there are go on.
func (s *Server) StopAccepting() {
	s.mu.Lock()
	listeners := s.listeners
	s.mu.Unlock()
	s.stopAccept.Do(func() {
		close(s.stop)
		for _, l := range listeners {
			l.close()
		}
	})
	s.accepting.Wait()
	s.eachConn(func(c *conn) {
		if c.resting.Load() { // nobody else knows of one that waits to be served
			c.post(turnRested)
		}
	})
}

// eachConn calls f for all connections.
func (s *Server) eachConn(f func(*conn)) {
	s.mu.Lock()
	backend := s.backend
	s.mu.Unlock()
	if backend == nil {
		return
	}
	for _, t := range backend.tables() {
		t.each(f)
	}
}

// Stop stops accepting and waits until all connections have ended (the kernel
// asks its Streams to close them). When ctx ends first, it cuts off those that
// are left and returns ctx's error. Each Stream has had its Closed, and each
// goroutine has ended, when Stop returns. Waits of the kernel's own may outlive
// their connection: whoever calls Stop has stopped the kernel before, which ends
// them.
func (s *Server) Stop(ctx context.Context) error {
	s.StopAccepting()
	s.mu.Lock()
	running := s.state == stateRunning
	s.state = stateStopping
	if running && s.conns == 0 {
		close(s.drained)
	}
	if !running && s.listeners == nil {
		s.mu.Unlock()
		return nil // never started
	}
	s.mu.Unlock()
	var err error
	select {
	case <-s.drained:
	case <-ctx.Done():
		n := 0
		s.eachConn(func(c *conn) { n++; c.fail(errStopped) })
		if n > 0 {
			err = fmt.Errorf("tcp: stop: %d connections cut off: %w", n, context.Cause(ctx))
		}
		<-s.drained
	}
	if running {
		close(s.quit)
		s.backend.close()
	}
	s.turns.wait()
	s.waits.wait()
	s.handshakes.wait()
	s.running.Wait()
	return err
}

// admit makes the conn for an accepted socket, or returns nil if there are too
// many. The caller adds the socket and calls start with the delay.
func (s *Server) admit(l *listener, peer, local netip.AddrPort) (c *conn, delay time.Duration) {
	key := addressKey(peer.Addr())
	s.mu.Lock()
	if l == adopts && s.state != stateRunning { // an accepted one is waited for by Stop
		s.mu.Unlock()
		return nil, 0
	}
	var refused string
	switch {
	case s.conns >= s.opts.MaxConnections:
		refused = "connections"
	case s.opts.MaxPerAddress > 0 && s.perAddr[key] >= s.opts.MaxPerAddress:
		refused = "connections-per-address"
	default:
		var ok bool
		if delay, ok = s.connects.admit(key, time.Since(s.made)); !ok {
			refused = "connections-per-second"
			break
		}
		s.conns++
		if s.opts.MaxPerAddress > 0 {
			s.perAddr[key]++
		}
	}
	s.mu.Unlock()
	if refused != "" {
		if skipped, ok := s.acceptLog.allow(); ok {
			s.log.Warn("connection refused: too many", zap.String("limit", "limits."+refused), zap.Stringer("peer", peer),
				zap.Int64("others_not_logged", skipped))
		}
		s.observe.Refused(refused)
		return nil, 0
	}
	if delay > 0 {
		if skipped, ok := s.delayLog.allow(); ok {
			s.log.Warn("an address connects faster than it may: its connections are served later", zap.String("limit", "limits.connections-per-second"),
				zap.Stringer("peer", peer), zap.Duration("delay", delay), zap.Int64("others_not_logged", skipped))
		}
		s.observe.Delayed(delay)
	}
	c = &conn{srv: s, lis: l, peer: peer, local: local}
	c.turn.Store(turnBusy)
	return c, delay
}

// ended is called when c's socket is closed and its Stream knows.
func (s *Server) ended(c *conn) {
	key := addressKey(c.peer.Addr())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns--
	if s.opts.MaxPerAddress > 0 {
		if s.perAddr[key]--; s.perAddr[key] <= 0 {
			delete(s.perAddr, key)
		}
	}
	if s.state == stateStopping && s.conns == 0 {
		close(s.drained)
	}
}

// addressKey is what MaxPerAddress counts by: an IPv4 address, or the /64 that
// an IPv6 customer has at least.
func addressKey(a netip.Addr) netip.Prefix {
	bits := 64
	if a = a.Unmap().WithZone(""); a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits) // the zero Prefix for an address that isn't one
	return p
}

// every allows one log line per interval.
type every struct {
	interval time.Duration
	next     atomic.Int64
	skipped  atomic.Int64
}

// allow reports whether to log now, and how many were not logged since.
func (e *every) allow() (skipped int64, ok bool) {
	now := time.Now()
	next := e.next.Load()
	if now.UnixNano() < next || !e.next.CompareAndSwap(next, now.Add(e.interval).UnixNano()) {
		e.skipped.Add(1)
		return 0, false
	}
	return e.skipped.Swap(0), true
}
