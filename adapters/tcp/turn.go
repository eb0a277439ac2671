package tcp

import (
	"github.com/hexmpp/hexmpp/ports/transport"
)

// The bits of conn.turn. turnBusy means that somebody owns the connection's
// turns; the others are what the owner has to look at before it lets go.
// Whoever sets a bit while turnBusy is clear becomes the owner. So no event is
// lost, and no two goroutines run turns of one Stream.
const (
	turnBusy    uint32 = 1 << iota
	turnRead           // the socket has input, or its end
	turnHangup         // the peer has sent FIN: read until the end shows
	turnReset          // the socket is dead in both directions
	turnTick           // Stream.Tick is due
	turnClose          // the kernel asked for the end
	turnFail           // conn.failure is set
	turnTimeout        // conn.deadline has passed
	turnClear          // output before STARTTLS is written: handshake now
	turnFin            // output, close_notify and FIN are written
	turnWriter         // the writer has given up the write side for good
	turnRested         // the rest is over: read
)

// round is the work of one goroutine between two flushes: a few turns, of one
// or several connections.
type round struct {
	batch transport.Batch
	taken int // bytes of input
	turns int
}

// flush writes what the turns have queued. Several turns share a flush, so
// that a recipient of many gets one write; together they take no more input
// than one turn may.
func (b *round) flush() {
	b.batch.Flush()
	b.taken, b.turns = 0, 0
}

// full reports whether it is time to flush.
func (b *round) full() bool { return b.taken >= transport.MaxTurn || b.turns >= maxTurns }

// maxTurns bounds how long the first turn's output waits for the last turn.
const maxTurns = 32

// outcome is what became of the ownership after a step.
type outcome int

const (
	keep  outcome = iota // still ours, go on
	yield                // still ours, but let others run first
	wait                 // c.wait is to be run by the pool of Waits
	gone                 // another goroutine's now, or the connection's end
)

// signal notes bits and reports whether the caller now owns the turns; if so
// it must call run or hand the connection to one of the pools.
func (c *conn) signal(bits uint32) bool {
	if c.turn.Or(bits|turnBusy)&turnBusy == 0 {
		return true
	}
	if bits&(turnRead|turnReset|turnClose|turnFail|turnTimeout) != 0 {
		c.poke(bits)
	}
	return false
}

// post is signal for goroutines that must not run a turn themselves: those
// that are inside some turn already, or hold locks of the kernel.
func (c *conn) post(bits uint32) {
	if c.signal(bits) {
		c.srv.turns.submit(c)
	}
}

// poke wakes a handshake or ends a Wait that holds the turns. Bits were set
// before, and both look at them after they have made themselves known, so
// nothing is missed.
func (c *conn) poke(bits uint32) {
	s := c.slow.Load()
	if s == nil {
		return
	}
	if s.ready != nil {
		select {
		case s.ready <- struct{}{}:
		default:
		}
	}
	if s.cancel != nil && bits&(turnReset|turnFail|turnTimeout) != 0 {
		s.cancel()
	}
}

// run does what the bits say until none is left and then lets go of the turns.
// It reports true if the owner should call it again after others had a turn.
// The caller flushes b.
func (c *conn) run(b *round) (again bool) {
	for {
		bits := c.turn.Swap(turnBusy) &^ turnBusy
		if bits == 0 {
			if c.turn.CompareAndSwap(turnBusy, 0) {
				return false
			}
			continue
		}
		switch c.step(b, bits) {
		case yield:
			return true
		case wait:
			c.srv.waits.submit(c)
			return false
		case gone:
			return false
		}
	}
}

// step handles one set of bits. Ends come first: after them nothing else
// matters.
func (c *conn) step(b *round, bits uint32) outcome {
	if bits&turnHangup != 0 {
		c.hangup = true
	}
	if bits&turnClose != 0 {
		c.asked = true
	}
	if bits&turnRested != 0 {
		c.rested()
		bits |= turnRead
	}
	switch {
	case bits&turnWriter != 0 || c.phase >= phaseDying:
		return c.finish(b)
	case bits&turnFail != 0:
		return c.abort(b, *c.failure.Load())
	}
	if bits&turnClose != 0 {
		c.shut(nil, false)
		bits |= turnRead
	}
	if bits&turnTimeout != 0 && c.expired() {
		return c.timeout(b)
	}
	if bits&turnFin != 0 {
		if o := c.finSent(b); o != keep {
			return o
		}
		bits |= turnRead
	}
	if bits&turnClear != 0 && c.phase == phaseStartTLS {
		return c.beginHandshake()
	}
	if bits&turnTick != 0 && c.phase == phaseOpen {
		c.tick(b)
		if c.startTLS && c.phase == phaseOpen {
			c.beginStartTLS()
		}
	}
	if bits&turnRested != 0 && c.phase == phaseOpen && c.feed(b, nil) {
		return c.held()
	}
	if bits&(turnRead|turnHangup|turnReset) != 0 && !c.rests(bits) {
		return c.read(b)
	}
	return keep
}
