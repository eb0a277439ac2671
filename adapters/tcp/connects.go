package tcp

import (
	"net/netip"
	"time"
)

// connects bounds how fast one address may connect: who comes too fast is served
// later, and refused when that would take too long. Server.mu guards it.
type connects struct {
	every time.Duration // between two connections of one address, for long; 0: no limit
	burst time.Duration // how much of it may come at once
	// free is when an address will have its whole burst again, in time since the
	// server was made. One that has it is not there.
	free map[netip.Prefix]time.Duration
	next time.Duration // when free is cleaned up
}

// Bounds of connects.
const (
	burstTime    = 10 * time.Second // of the rate, may come at once
	maxDelay     = 10 * time.Second // less than clients wait
	maxAddresses = 1 << 16          // that are remembered
	cleanUpEvery = time.Minute
)

func newConnects(perSecond int) connects {
	if perSecond <= 0 {
		return connects{}
	}
	return connects{every: time.Second / time.Duration(perSecond), burst: burstTime, free: map[netip.Prefix]time.Duration{}}
}

// admit counts a connection and says how long it has to wait; ok is false, and
// nothing is counted, if that is too long.
func (t *connects) admit(from netip.Prefix, now time.Duration) (delay time.Duration, ok bool) {
	if t.every <= 0 {
		return 0, true
	}
	if now >= t.next || len(t.free) >= maxAddresses {
		t.cleanUp(now)
	}
	free := max(t.free[from], now) + t.every
	delay = max(0, free-now-t.burst)
	if delay > maxDelay {
		return 0, false
	}
	t.free[from] = free
	return delay, true
}

// cleanUp forgets who has its burst again, and, if there are too many all the same,
// some of the others.
func (t *connects) cleanUp(now time.Duration) {
	t.next = now + cleanUpEvery
	for a, free := range t.free {
		if free <= now {
			delete(t.free, a)
		}
	}
	for a := range t.free {
		if len(t.free) < maxAddresses*3/4 {
			return
		}
		delete(t.free, a)
	}
}
