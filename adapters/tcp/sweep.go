package tcp

import (
	"runtime/debug"
	"time"
)

// sweep looks after what has a time: a deadline or a Tick, which costs an idle
// connection two integers and no timer. It ends with the last connection.
func (s *Server) sweep() {
	t := time.NewTicker(s.sweepEvery)
	defer t.Stop()
	var b round
	var storm stormWatch
	for {
		var now time.Time
		select {
		case <-s.quit:
			return
		case now = <-t.C:
		}
		for _, t := range s.backend.tables() {
			t.each(func(c *conn) { c.sweep(&b, now.UnixNano()) })
		}
		if storm.over(now, s.accepted.Load()) {
			debug.FreeOSMemory()
		}
	}
}

// sweep sends c what is due. Ticks run here and now unless c is busy.
func (c *conn) sweep(b *round, now int64) {
	var bits uint32
	if d := c.deadline.Load(); d != 0 && now >= d {
		bits |= turnTimeout
	}
	if d := c.nextTick.Load(); d != 0 && now >= d && c.nextTick.CompareAndSwap(d, 0) {
		bits |= turnTick
	}
	if bits != 0 && c.signal(bits) {
		c.proceed(b)
		b.flush()
	}
}

// stormWatch notices the end of a storm of connects. Handshakes leave garbage
// which the runtime would hold for long; giving it back once is worth 3 KiB a
// connection and costs tens of milliseconds.
type stormWatch struct {
	start    int64 // accepted when the quiet before the storm ended
	seen     int64
	quiet    time.Time // when it became quiet; zero while it isn't
	lastFree time.Time
}

const (
	stormAccepts = 500             // fewer are no storm
	stormQuiet   = 3 * time.Second // as long without a storm's rate
	stormPause   = time.Minute     // at least this long between two
)

// over reports whether memory should be given back now. accepted is the number
// of all connections so far.
func (w *stormWatch) over(now time.Time, accepted int64) bool {
	rate := accepted - w.seen
	w.seen = accepted
	if rate > stormAccepts/100 {
		w.quiet = time.Time{}
		return false
	}
	if w.quiet.IsZero() {
		w.quiet = now
	}
	if now.Sub(w.quiet) < stormQuiet || accepted-w.start < stormAccepts || now.Sub(w.lastFree) < stormPause {
		return false
	}
	w.start, w.lastFree = accepted, now
	return true
}
