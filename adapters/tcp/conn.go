package tcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
)

// socket is what a connection needs from the system. No method waits.
// read and close are called by the owner of the turns, write and closeWrite by
// the owner of the write side (or under conn.out.mu).
type socket interface {
	// read returns errAgain when there is nothing, io.EOF at the peer's FIN.
	read(p []byte) (int, error)
	// write takes what fits; errAgain, with n possibly above zero, means that
	// conn.writable will be called when more fits.
	write(p []byte) (int, error)
	// closeWrite sends FIN; errAgain is as with write.
	closeWrite() error
	close()
}

// errAgain says that the socket can't do more now. For crypto/tls it is a
// temporary error, which leaves the connection usable.
var errAgain net.Error = againError{}

type againError struct{}

func (againError) Error() string   { return "tcp: socket not ready" }
func (againError) Timeout() bool   { return true }
func (againError) Temporary() bool { return true }

// errRefused is the end of a connection that the kernel made no Stream for.
var errRefused = errors.New("tcp: connection refused by the kernel")

// phase is where a connection is; it belongs to the owner of the turns.
type phase uint8

const (
	phaseNew       phase = iota // nothing was done yet
	phaseHello                  // direct TLS: waiting for the ClientHello
	phaseOpen                   // the Stream is fed
	phaseStartTLS               // STARTTLS: clear output is being written
	phaseHandshake              // a goroutine of the handshake pool has the turns
	phaseClosing                // output, close_notify and FIN are being written
	phaseLinger                 // waiting for the peer's FIN
	phaseDying                  // waiting for the writer to let go
	phaseDead
)

// conn is one connection. It implements transport.Conn.
type conn struct {
	srv    *Server
	lis    *listener
	sock   socket
	stream transport.Stream // nil before NewStream; set by the owner of the turns before write.wire says so
	tls    *tlsSide         // nil in clear; likewise

	turn     atomic.Uint32 // bits of turn.go
	deadline atomic.Int64  // Unix ns when turnTimeout is to be sent; 0 never
	nextTick atomic.Int64  // Unix ns when turnTick is to be sent; 0 never
	failure  atomic.Pointer[error]
	slow     atomic.Pointer[slowWork]
	resting  atomic.Bool // nothing is read until turnRested; set and cleared by the owner of the turns

	write writeSide

	peer, local netip.AddrPort
	id          uint64 // in table
	table       *table
	next        *conn // in a pool's queue; belongs to the pool

	// Of the owner of the turns.
	wait     transport.Wait // to be run before the next Feed
	err      error          // what Closed will be told
	phase    phase
	asked    bool          // the kernel asked for the end
	startTLS bool          // the kernel asked for TLS in this turn
	domain   string        // whose certificate to show if the client names none
	hangup   bool          // the peer's FIN was announced: a short read isn't the end
	eof      bool          // the peer's FIN was read
	finDone  bool          // our FIN was sent
	pause    time.Duration // the kernel asked for a rest in this turn
	holds    bool          // the kernel asked for a rest until Resume
	yields   bool          // the kernel asked that others have their turns first
	alarm    *time.Timer   // ends the rest
	adopted  *adoption     // until it is served; see adopt.go
}

// slowWork is how others reach a handshake or a Wait that has the turns.
type slowWork struct {
	ready  chan struct{}      // handshake: gets a token when bits were set
	cancel context.CancelFunc // Wait
}

// bufPool keeps buffers of one size; buffers that grew beyond keep are let go.
type bufPool struct {
	size, keep int
	pool       sync.Pool
}

func (p *bufPool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, p.size)
	return &b
}

func (p *bufPool) put(b *[]byte) {
	if cap(*b) < p.size || cap(*b) > p.keep {
		return
	}
	*b = (*b)[:p.size]
	p.pool.Put(b)
}

// These hold nothing but scratch memory, shared by all Servers.
var (
	readBufs  = bufPool{size: 32 << 10, keep: 32 << 10}  // one read(2)
	plainBufs = bufPool{size: 16 << 10, keep: 16 << 10}  // the plaintext of one TLS record
	drainBufs = bufPool{size: 20 << 10, keep: 128 << 10} // one Drain
)

// start makes c a served connection, behind a delay if there is one. It is
// called once, by the accepting goroutine, which owns the turns then.
func (c *conn) start(delay time.Duration) {
	var b round
	if delay > 0 {
		c.rest(delay)
	} else {
		c.begin(&b)
	}
	if c.run(&b) {
		c.srv.turns.submit(c)
	}
	b.flush()
}

// begin has the peer's first bytes waited for.
func (c *conn) begin(b *round) {
	if c.adopted != nil {
		c.openAdopted(b)
	} else if c.lis.direct {
		c.phase = phaseHello
		c.setDeadline(c.srv.opts.HandshakeTimeout)
	} else {
		c.open(b, nil)
	}
}

// open asks the kernel for a Stream and gives it its first Tick.
func (c *conn) open(b *round, facts *transport.TLS) {
	c.serve(b, c.srv.deps.NewStream(transport.Peer{
		Addr: c.peer, Local: c.local, TLS: facts,
		TLSAvailable: facts == nil && c.srv.opts.GetCertificate != nil,
		Framing:      transport.FramingStream,
	}, c))
}

// serve begins to feed a Stream; nil refuses the connection.
func (c *conn) serve(b *round, s transport.Stream) {
	if c.stream = s; s == nil {
		c.shut(errRefused, true)
		return
	}
	c.phase = phaseOpen
	if c.tls == nil {
		c.write.wire.Store(wireClear)
	} else {
		c.write.wire.Store(wireTLS)
	}
	c.tick(b)
	if c.startTLS {
		c.beginStartTLS()
	}
	c.Flush() // the Stream may have asked for it when it could not be done yet
}

// tick gives the Stream the time and notes when it wants it again.
func (c *conn) tick(b *round) {
	c.nextTick.Store(0)
	if next := c.stream.Tick(&b.batch, time.Now()); !next.IsZero() {
		c.nextTick.Store(next.UnixNano())
	}
}

func (c *conn) setDeadline(d time.Duration) { c.deadline.Store(time.Now().Add(d).UnixNano()) }

// expired reports whether the deadline, which may have moved, has passed.
func (c *conn) expired() bool {
	d := c.deadline.Load()
	return d != 0 && time.Now().UnixNano() >= d
}

// ending reports whether no Feed may follow.
func (c *conn) ending() bool {
	return c.phase > phaseHandshake || c.turn.Load()&(turnClose|turnFail) != 0
}

// StartTLS implements transport.Conn.
func (c *conn) StartTLS(domain string) { c.startTLS, c.domain = true, domain }

// Pause implements transport.Conn.
func (c *conn) Pause(d time.Duration) {
	if d > 0 {
		c.pause = d
	} else {
		c.yields = true
	}
}

// Hold implements transport.Conn.
func (c *conn) Hold() { c.holds = true }

// Resume implements transport.Conn.
func (c *conn) Resume() { c.post(turnRested) }

// Close implements transport.Conn.
func (c *conn) Close() {
	// A Wait must not hold up the end for ever. All other phases that take
	// time have a deadline already.
	c.deadline.CompareAndSwap(0, time.Now().Add(c.srv.opts.WriteTimeout).UnixNano())
	c.post(turnClose)
}

// fail ends the connection with err, from any goroutine.
func (c *conn) fail(err error) {
	c.failure.CompareAndSwap(nil, &err)
	c.post(turnFail)
}
