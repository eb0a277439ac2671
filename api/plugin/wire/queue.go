package wire

import "time"

// A fifo is a queue in a slice. What was taken is not referred to any more.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }

func (q *fifo[T]) push(x T) {
	if q.head > 32 && q.head*2 > len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, x)
}

// front is for reading; the queue must not be empty.
func (q *fifo[T]) front() *T { return &q.items[q.head] }

func (q *fifo[T]) pop() T {
	var none T
	x := q.items[q.head]
	q.items[q.head] = none
	q.head++
	if q.head == len(q.items) {
		q.head = 0
		if cap(q.items) > 1024 {
			q.items = nil // what a burst took is given back
		} else {
			q.items = q.items[:0]
		}
	}
	return x
}

// A timed thing waits in a heap for its time, and knows where: its place, from 1; 0: it is in none.
type timed interface {
	time() time.Time
	place() *int
}

// A heap has the thing with the earliest time at its top.
type heap[T timed] []T

func (h heap[T]) set(i int, x T) { h[i] = x; *x.place() = i + 1 }

func (h *heap[T]) push(x T) {
	*h = append(*h, x)
	h.up(len(*h)-1, x)
}

// remove takes x out, wherever it is.
func (h *heap[T]) remove(x T) {
	i := *x.place() - 1
	if i < 0 {
		return
	}
	*x.place() = 0
	var none T
	last := len(*h) - 1
	y := (*h)[last]
	(*h)[last] = none
	*h = (*h)[:last]
	if i == last {
		return
	}
	if i > 0 && y.time().Before((*h)[(i-1)/2].time()) {
		h.up(i, y)
	} else {
		h.down(i, y)
	}
}

func (h heap[T]) up(i int, x T) {
	for i > 0 {
		above := (i - 1) / 2
		if !x.time().Before(h[above].time()) {
			break
		}
		h.set(i, h[above])
		i = above
	}
	h.set(i, x)
}

func (h heap[T]) down(i int, x T) {
	for {
		below := 2*i + 1
		if below >= len(h) {
			break
		}
		if below+1 < len(h) && h[below+1].time().Before(h[below].time()) {
			below++
		}
		if !h[below].time().Before(x.time()) {
			break
		}
		h.set(i, h[below])
		i = below
	}
	h.set(i, x)
}

// A resetLog remembers the last resets of keys, so that what was made of older
// knowledge is known for what it is.
type resetLog struct {
	epochs map[string]uint64
	order  fifo[reset]
	max    int
	floor  uint64 // of what was forgotten: anything older is taken for void
}

type reset struct {
	key   string
	epoch uint64
}

func (l *resetLog) add(key string, epoch uint64) {
	if l.epochs == nil {
		l.epochs = map[string]uint64{}
	}
	l.epochs[key] = epoch
	l.order.push(reset{key, epoch})
	if l.order.len() > l.max {
		old := l.order.pop()
		l.floor = max(l.floor, old.epoch)
		if l.epochs[old.key] == old.epoch {
			delete(l.epochs, old.key)
		}
	}
}

// void tells whether the key was reset since the epoch.
func (l *resetLog) void(key string, epoch uint64) bool {
	return epoch < l.floor || epoch < l.epochs[key]
}
