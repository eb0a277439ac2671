package tcp

import (
	"sync"
)

// pool runs work for connections on at most max goroutines, which end when
// there is nothing to do. The queue is first in, first out, and bounded by the
// number of connections: one is submitted only by the owner of its turns, who
// hands them over with it.
type pool struct {
	work func(*conn, *round)
	max  int

	mu          sync.Mutex // guards all below; held for a few instructions only
	head, tail  *conn      // linked by conn.next
	running     int
	outstanding sync.WaitGroup
}

func (p *pool) submit(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running < p.max {
		p.running++
		p.outstanding.Go(func() { p.run(c) })
		return
	}
	if p.tail == nil {
		p.head = c
	} else {
		p.tail.next = c
	}
	p.tail = c
}

func (p *pool) run(c *conn) {
	var b round
	for c != nil {
		p.work(c, &b)
		b.flush()
		p.mu.Lock()
		c = p.head
		if c != nil {
			p.head, c.next = c.next, nil
			if p.head == nil {
				p.tail = nil
			}
		} else {
			p.running--
		}
		p.mu.Unlock()
	}
}

// wait returns when no goroutine is left; nothing may be submitted any more.
func (p *pool) wait() { p.outstanding.Wait() }
