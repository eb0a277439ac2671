package tcp

import "time"

// sweep looks after what has a time: a deadline or a Tick, which costs an idle
// connection two integers and no timer. It ends with the last connection.
func (s *Server) sweep() {
	t := time.NewTicker(s.sweepEvery)
	defer t.Stop()
	var b round
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
