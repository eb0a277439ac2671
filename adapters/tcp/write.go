package tcp

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// The states of the write side. Whoever moves it to writeBusy owns it: may
// call Drain and tls.Conn.Write, and write to the socket.
//
// Why no wake-up is lost: the kernel queues output first and calls Flush after.
// The owner lets go with a compare-and-swap from writeBusy. A Flush before that
// moved the state to writeAgain, so the swap fails and the owner drains once
// more; a Flush after it finds writeIdle and becomes the owner. With
// writeBlocked nobody needs to act: the system reports when the socket takes
// more, and the owner that follows drains until nothing is left. A report that
// comes before the owner could set writeBlocked is a writeAgain too.
const (
	writeIdle    uint32 = iota // nobody writes, nothing is pending
	writeBusy                  // owned
	writeAgain                 // owned, and there may be something new
	writeBlocked               // bytes are pending, the socket is full
	writeKill                  // owned, to become writeDead when the owner is done
	writeDead                  // for ever: the socket may be closed
)

// The values of writeSide.wire: what Drain's output becomes.
const (
	wireHeld  uint32 = iota // Drain is not called: no Stream yet, or handshake
	wireClear               // written as it is
	wireTLS                 // through tls.Conn
)

// The bits of writeSide.want: what is to be done when Drain has nothing left.
const (
	wantTLS    uint32 = 1 << iota // hold the wire and tell the owner of the turns
	wantFin                       // close_notify, FIN
	wantSilent                    // with wantFin: without asking Drain
)

// Room for one Drain. A TLS record holds 16 KiB.
const (
	drainTLS   = 16 << 10
	drainClear = 64 << 10
)

var errPeerStuck = errors.New("tcp: peer makes us answer but does not read the answers")

// writeSide is the part of conn that the owner of the write side uses.
type writeSide struct {
	state atomic.Uint32
	wire  atomic.Uint32
	want  atomic.Uint32

	notified bool // close_notify was handed to TLS; of the owner
	ended    bool // FIN was sent or the socket failed; of the owner
	left     atomic.Bool

	mu    sync.Mutex // guards all below and orders writes to the socket
	bytes []byte     // what the socket did not take, from off on
	off   int
	limit int // how long bytes may be
}

// Flush implements transport.Conn.
func (c *conn) Flush() {
	for {
		switch s := c.write.state.Load(); s {
		case writeIdle:
			if c.write.state.CompareAndSwap(s, writeBusy) {
				c.pump()
				return
			}
		case writeBusy:
			if c.write.state.CompareAndSwap(s, writeAgain) {
				return
			}
		default:
			return
		}
	}
}

// writable is called when the system says that the socket takes more.
func (c *conn) writable() {
	for {
		switch s := c.write.state.Load(); s {
		case writeBlocked:
			if c.write.state.CompareAndSwap(s, writeBusy) {
				c.pump()
				return
			}
		case writeBusy:
			if c.write.state.CompareAndSwap(s, writeAgain) {
				return
			}
		default:
			return
		}
	}
}

// kill takes the write side for ever. It reports false if an owner is still
// there, who will post turnWriter when done.
func (c *conn) kill() bool {
	for {
		switch s := c.write.state.Load(); s {
		case writeIdle, writeBlocked:
			if c.write.state.CompareAndSwap(s, writeDead) {
				return true
			}
		case writeBusy, writeAgain:
			if c.write.state.CompareAndSwap(s, writeKill) {
				return false
			}
		case writeKill:
			return false
		default:
			return true
		}
	}
}

// pump writes until nothing is left or the socket is full, then lets go of the
// write side, which the caller owns. It never waits and runs no turn.
func (c *conn) pump() {
	for {
		next := writeIdle
		if !c.writeAll() {
			next = writeBlocked
		}
		if c.write.state.CompareAndSwap(writeBusy, next) {
			return
		}
		if c.write.state.CompareAndSwap(writeAgain, writeBusy) {
			continue
		}
		c.write.state.Store(writeDead) // it was writeKill
		c.post(turnWriter)
		return
	}
}

// writeAll reports false if bytes are left because the socket is full.
func (c *conn) writeAll() bool {
	w := &c.write
	var buf *[]byte
	defer func() {
		if buf != nil {
			drainBufs.put(buf)
		}
	}()
	for !w.ended {
		if w.left.Load() {
			switch err := c.flushLeft(); {
			case err == errAgain:
				return false
			case err != nil:
				return c.writeFailed(err)
			}
		}
		want := w.want.Load()
		if wire := w.wire.Load(); wire != wireHeld && want&wantSilent == 0 && !w.notified {
			if buf == nil {
				buf = drainBufs.get()
			}
			n, err := c.drain(buf, wire)
			if err != nil {
				return c.writeFailed(err)
			}
			if n > 0 {
				continue
			}
		}
		switch {
		case want&wantFin != 0:
			if w.wire.Load() == wireTLS && !w.notified {
				w.notified = true
				if want&wantSilent == 0 {
					_ = c.tls.conn.CloseWrite() // a failure shows when the rest is written
					continue
				}
			}
			if w.left.Load() {
				continue // an alert that the reading side has just written
			}
			if err := c.sock.closeWrite(); err == errAgain {
				return false
			} // any other failure is a reset by the peer, which reading tells
			w.ended = true
			c.post(turnFin)
		case want&wantTLS != 0:
			w.want.And(^wantTLS)
			w.wire.Store(wireHeld)
			c.post(turnClear)
		}
		return true
	}
	return true
}

// drain writes one piece of output and reports how long it was.
func (c *conn) drain(buf *[]byte, wire uint32) (int, error) {
	room := drainClear
	if wire == wireTLS {
		room = drainTLS
	}
	*buf = c.stream.Drain((*buf)[:0], room)
	p := *buf
	if len(p) == 0 {
		return 0, nil
	}
	w := &c.write
	if wire == wireClear {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(p), c.send(p, len(p))
	}
	w.mu.Lock()
	w.limit = c.srv.opts.PendingBytes + len(p)
	w.mu.Unlock()
	_, err := c.tls.conn.Write(p)
	return len(p), err
}

// send writes p to the socket and keeps what it does not take, at most limit
// bytes in all. c.write.mu is held.
func (c *conn) send(p []byte, limit int) error {
	w := &c.write
	if len(w.bytes) == w.off {
		n, err := c.sock.write(p)
		if err != nil && err != errAgain {
			return err
		}
		if n == len(p) {
			return nil
		}
		p = p[n:]
	}
	if len(w.bytes)-w.off+len(p) > limit {
		c.fail(errPeerStuck)
		return errPeerStuck
	}
	w.bytes = append(w.bytes, p...)
	w.left.Store(true)
	return nil
}

// sendRecord is send for what TLS gives: records of the owner of the write
// side, but also alerts and answers to key updates, from whoever reads.
func (c *conn) sendRecord(p []byte) error {
	w := &c.write
	w.mu.Lock()
	defer w.mu.Unlock()
	return c.send(p, max(w.limit, c.srv.opts.PendingBytes))
}

// flushLeft writes what the socket did not take before.
func (c *conn) flushLeft() error {
	w := &c.write
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.off < len(w.bytes) {
		n, err := c.sock.write(w.bytes[w.off:])
		w.off += n
		if err != nil {
			return err
		}
	}
	w.bytes, w.off, w.limit = nil, 0, 0
	w.left.Store(false)
	return nil
}

// writeFailed ends the write side, and with it the connection. It returns what
// writeAll returns.
func (c *conn) writeFailed(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "local error" {
		// The reading side has just sent an alert: it knows the cause and ends
		// the connection, but TLS has nothing more to say.
		c.write.want.Or(wantSilent)
		return true
	}
	c.write.ended = true
	c.fail(fmt.Errorf("tcp: write to %s: %w", c.peer, err))
	return true
}
