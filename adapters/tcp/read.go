package tcp

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/hexmpp/hexmpp/ports/transport"
)

// maxRecord is the largest TLS record on the wire (RFC 8446 5.2, RFC 5246
// 6.2.3), header included.
const maxRecord = 5 + 16<<10 + 2<<10

// read acts on the socket being readable, or at its end.
func (c *conn) read(b *round) outcome {
	switch c.phase {
	case phaseNew:
		if c.resting.Load() { // the peer has gone meanwhile
			return c.abort(b, errRested)
		}
		c.begin(b)
		c.turn.Or(turnRead) // what came meanwhile was announced before
		return keep
	case phaseHello:
		return c.beginHandshake()
	case phaseOpen:
		if c.tls != nil {
			return c.readTLS(b)
		}
		return c.readClear(b)
	case phaseClosing, phaseLinger:
		return c.discard(b)
	}
	// While STARTTLS waits for its clear output nothing is read: the handshake
	// begins with a read of its own.
	return keep
}

// readClear feeds what the socket has, at most transport.MaxTurn bytes.
func (c *conn) readClear(b *round) outcome {
	buf := readBufs.get()
	defer readBufs.put(buf)
	for fed := 0; fed < transport.MaxTurn; {
		p := (*buf)[:min(len(*buf), transport.MaxTurn-fed)]
		n, err := c.sock.read(p)
		if n > 0 {
			fed += n
			b.taken += n
			if c.feed(b, p[:n]) {
				return c.held()
			}
		}
		switch {
		case err == errAgain:
			return keep
		case err != nil:
			return c.readEnded(b, err)
		case n < len(p) && !c.hangup:
			// A short read means that the socket is empty: the system reports
			// what comes after it (see epoll(7) on edge-triggered events).
			return keep
		}
	}
	c.turn.Or(turnRead)
	return yield
}

// readTLS feeds what the socket has, one record after the other. The bytes
// taken from the socket and those of a record that began in an earlier turn
// are together at most transport.MaxTurn.
func (c *conn) readTLS(b *round) outcome {
	t := c.tls
	cipher, plain := readBufs.get(), plainBufs.get()
	strip.lend(t.conn, &t.box)
	defer func() {
		strip.drop(t.conn, &t.box)
		readBufs.put(cipher)
		plainBufs.put(plain)
		if c.write.left.Load() {
			c.Flush() // an alert or a key update that the socket did not take
		}
	}()
	full := false // the last read filled its buffer, so there may be more
	for taken := 0; ; {
		for t.held {
			if len(t.in) == 0 && t.end == nil && strip.empty(t.conn) {
				t.held, t.in = false, nil
				break
			}
			n, err := t.conn.Read(*plain)
			if n > 0 && c.feed(b, (*plain)[:n]) {
				t.in = bytes.Clone(t.in)
				return c.held()
			}
			if err == errAgain {
				t.held, t.in = false, nil
				break
			}
			if err != nil {
				return c.readEnded(b, err)
			}
		}
		if taken > 0 && !full && !c.hangup {
			return keep
		}
		if taken >= transport.MaxTurn-maxRecord {
			c.turn.Or(turnRead)
			return yield
		}
		p := (*cipher)[:min(len(*cipher), transport.MaxTurn-maxRecord-taken)]
		n, err := c.sock.read(p)
		switch {
		case err == errAgain:
			return keep
		case err != nil:
			t.end, t.held = err, true // tls.Conn says what it means
		default:
			taken, full = taken+n, n == len(p)
			t.in, t.held = p[:n], true
			b.taken += n
		}
	}
}

// feed hands p to the Stream and reports whether feeding has to stop.
func (c *conn) feed(b *round, p []byte) (stop bool) {
	if c.ending() {
		return true
	}
	c.wait = c.stream.Feed(&b.batch, p)
	if c.pause > 0 {
		c.rest(c.pause)
		c.pause = 0
	}
	if c.holds {
		c.hold()
		c.holds = false
	}
	if c.yields {
		c.turn.Or(turnRested)
	}
	return c.wait != nil || c.startTLS || c.yields || c.resting.Load() || c.ending()
}

// held says what comes after feed has reported true.
func (c *conn) held() outcome {
	switch {
	case c.wait != nil:
		return wait
	case c.startTLS && !c.ending():
		c.beginStartTLS()
	case c.yields:
		c.yields = false
		return yield
	}
	return keep // run sees turnClose or turnFail
}

// readEnded handles an error of reading: an orderly end, a broken connection,
// or TLS that isn't right.
func (c *conn) readEnded(b *round, err error) outcome {
	if err == io.EOF {
		c.eof = true
		c.shut(nil, false)
		return keep
	}
	err = fmt.Errorf("tcp: read from %s: %w", c.peer, err)
	if c.tls != nil && c.tls.end == nil {
		// TLS has sent an alert, which should reach the peer.
		c.shut(err, true)
		return keep
	}
	return c.abort(b, err)
}

// discard reads and forgets what the peer still sends while the connection is
// being closed.
func (c *conn) discard(b *round) outcome {
	buf := readBufs.get()
	defer readBufs.put(buf)
	for taken := 0; taken < transport.MaxTurn && !c.eof; {
		n, err := c.sock.read(*buf)
		taken += n
		switch {
		case err == errAgain:
			return keep
		case err == io.EOF:
			c.eof = true
		case err != nil:
			return c.finish(b) // the peer has reset: nothing left to wait for
		case n < len(*buf) && !c.hangup:
			return keep
		}
	}
	if !c.eof {
		c.turn.Or(turnRead)
		return yield
	}
	if c.finDone {
		return c.finish(b)
	}
	return keep
}

// resume runs the Wait that the Stream asked for and goes on with the input
// that was held meanwhile. It is the work of the pool of Waits.
func (c *conn) resume(b *round) {
	for c.wait != nil {
		c.runWait()
		if c.ending() || c.startTLS {
			break
		}
		c.feed(b, nil)
		if c.wait != nil {
			b.flush()
		}
	}
	c.yields = false // the end of this turn is near
	if c.startTLS && !c.ending() {
		c.beginStartTLS()
	}
	// Events of the meantime were noted, but whatever the socket had when the
	// turn stopped was announced before.
	c.turn.Or(turnRead)
	c.proceed(b)
}

// runWait runs c.wait with a context that ends when the connection is dead,
// when the time is up, or when the server is cut off. A Wait of the kernel's own
// does not care: it holds its goroutine, and the connection, until the kernel's
// time for it is up.
func (c *conn) runWait() {
	ctx, cancel := context.WithTimeout(context.Background(), c.srv.opts.WaitTimeout)
	defer cancel()
	c.slow.Store(&slowWork{cancel: cancel})
	defer c.slow.Store(nil)
	if bits := c.turn.Load(); bits&(turnReset|turnFail) != 0 || bits&turnTimeout != 0 && c.expired() {
		cancel()
	}
	w := c.wait
	c.wait = nil
	w(ctx)
}

// proceed runs turns until there are none, letting others go first now and
// then. It is the work of the pool of turns.
func (c *conn) proceed(b *round) {
	if c.run(b) {
		c.srv.turns.submit(c)
	}
}
