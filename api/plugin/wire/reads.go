package wire

import pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"

// What the handler of an event reads must have what was said of its key before: of memory
// there is no compare-and-swap by which it would be noticed that it was not. So a request
// waits until all of that is applied.

// A read is a request that waits.
type read struct {
	c     *Conn
	shard int
	r     *pluginv1.Request
	said  uint64 // key.said when it came
}

// request takes a request.
func (c *Conn) request(s *shard, n int, r *pluginv1.Request) {
	y := c.kernel.keys[r.GetKey()]
	if e := s.flying[r.GetEvent()]; e != nil {
		y = e.key
	} else if r.GetEvent() != 0 || r.GetKey() == "" {
		y = nil
	}
	if y != nil && y.over < y.said {
		y.reads.push(read{c, n, r, y.said})
		s.reads++
		return
	}
	s.asked.push(r)
}

// end notes that some outcomes or Unasked of a key were applied, or are void.
func (k *Kernel) end(y *key, n int) {
	k.applying -= n
	y.over += uint64(n)
	for y.reads.len() > 0 && y.reads.front().said <= y.over {
		w := y.reads.pop()
		s := &w.c.shards[w.shard]
		s.reads--
		s.asked.push(w.r)
		w.c.ask(w.shard)
	}
}
