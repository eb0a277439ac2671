package tcp

import (
	"context"
	"errors"
	"fmt"
)

var (
	errStopped = errors.New("tcp: server stopped")
	errDrained = errors.New("tcp: peer did not take the last output in time")
)

// The end of a connection, in order: shut lets the writer write what is left,
// close_notify and FIN; finSent waits for the peer's FIN; finish closes the
// socket and tells the Stream. abort goes to finish at once.

// shut begins an orderly end. silent leaves the Stream's output and
// close_notify away. err is what Closed will be told.
func (c *conn) shut(err error, silent bool) {
	if c.phase >= phaseClosing {
		return
	}
	c.phase, c.err = phaseClosing, err
	c.nextTick.Store(0)
	c.setDeadline(c.srv.opts.WriteTimeout)
	want := wantFin
	if silent {
		want |= wantSilent
	}
	c.write.want.Or(want)
	c.Flush()
}

// finSent is called when our FIN is on its way.
func (c *conn) finSent(b *round) outcome {
	if c.phase != phaseClosing {
		return keep
	}
	c.finDone = true
	if c.eof {
		return c.finish(b)
	}
	c.phase = phaseLinger
	c.setDeadline(c.srv.opts.LingerTimeout)
	return keep
}

// timeout acts on a deadline that has passed.
func (c *conn) timeout(b *round) outcome {
	switch c.phase {
	case phaseLinger:
		return c.finish(b)
	case phaseClosing:
		return c.abort(b, errDrained)
	case phaseHello, phaseStartTLS:
		return c.abort(b, fmt.Errorf("tcp: TLS handshake with %s: %w", c.peer, context.DeadlineExceeded))
	}
	return keep
}

// abort ends the connection at once.
func (c *conn) abort(b *round, err error) outcome {
	if c.phase < phaseDying {
		if c.err == nil {
			c.err = err
		}
		c.phase = phaseDying
	}
	return c.finish(b)
}

// finish closes the socket as soon as nobody writes to it, and tells the
// Stream. After it nothing touches the Stream: the write side is dead, and the
// turns are never let go of.
func (c *conn) finish(b *round) outcome {
	if c.phase == phaseDead {
		return gone
	}
	c.phase = phaseDying
	c.deadline.Store(0)
	c.nextTick.Store(0)
	if !c.kill() {
		return keep // turnWriter will follow
	}
	c.phase = phaseDead
	c.rested()
	c.table.remove(c.id)
	c.sock.close()
	stream := c.stream
	c.stream, c.tls = nil, nil
	c.write.mu.Lock()
	c.write.bytes = nil
	c.write.mu.Unlock()
	if c.asked || c.turn.Load()&turnClose != 0 {
		c.err = nil
	}
	if stream != nil {
		stream.Closed(&b.batch, c.err)
	}
	c.srv.ended(c)
	return gone
}
