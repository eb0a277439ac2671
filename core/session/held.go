package session

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// Bounds of what one session holds back: past them it goes out. Where the outbox
// is small, half of that is the bound: what is held must fit into it.
const (
	maxHeld      = 1_000
	maxHeldBytes = 256 << 10
)

// held is what the Write stage holds back, in order. It is not numbered
// (XEP-0198), since it may be replaced.
type held struct {
	mu       sync.Mutex  // held also while what was held goes out, so that nothing overtakes it; nobody is called then but Kernel.Delivered
	any      atomic.Bool // something is held
	released atomic.Uint64
	closed   bool
	items    []heldItem
	bytes    int
}

type heldItem struct {
	cluster.Delivery
	key string // a later one with the same key replaces it, unless it is ""
	at  time.Time
}

// heldCost is what an item takes beside its stanza and its key, about.
const heldCost = 96

func (it *heldItem) size() int { return it.Stanza.Size() + len(it.key) + heldCost }

// holding returns where the session holds stanzas back.
func (s *Session) holding() *held {
	if s.held.Load() == nil {
		s.held.CompareAndSwap(nil, &held{})
	}
	return s.held.Load()
}

// released counts the calls of Release. What was decided before the last one is
// not held any more: the marks by which it was decided may be gone.
func (s *Session) released() uint64 {
	if h := s.held.Load(); h != nil {
		return h.released.Load()
	}
	return 0
}

// hold keeps a stanza back, unless there was a Release since released was read;
// it replaces one with the same key.
func (s *Session) hold(b *transport.Batch, it heldItem, released uint64) Result {
	h := s.holding()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return Closed
	case h.released.Load() != released:
		return s.behind(b, h, it.Delivery)
	}
	if it.key != "" {
		h.replace(it.key)
	}
	if len(h.items) >= maxHeld || h.bytes+it.size() > s.out.heldBytes() {
		return s.behind(b, h, it.Delivery)
	}
	h.items = append(h.items, it)
	h.bytes += it.size()
	h.any.Store(true)
	return Queued
}

// replace drops what is held under a key: something later stands for it.
func (h *held) replace(key string) {
	h.items = slices.DeleteFunc(h.items, func(it heldItem) bool {
		if it.key != key {
			return false
		}
		h.bytes -= it.size()
		if it.Fork != nil {
			it.Fork.Lost()
		}
		return true
	})
}

// behindHeld queues a stanza behind everything that is held back.
func (s *Session) behindHeld(b *transport.Batch, d cluster.Delivery) Result {
	h := s.held.Load()
	if h == nil || !h.any.Load() {
		return s.queue(b, d)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return s.behind(b, h, d)
}

// behind is behindHeld with h.mu held.
func (s *Session) behind(b *transport.Batch, h *held, d cluster.Delivery) Result {
	if r := s.flush(b, h); r != Queued {
		return r
	}
	return s.queue(b, d)
}

// queue gives a stanza to the outbox.
func (s *Session) queue(b *transport.Batch, d cluster.Delivery) Result {
	r := s.out.Delivery(b, d)
	if r == Queued {
		s.kernel.Delivered(d.Stanza.Kind)
	}
	return r
}

// Release sends what is held back: cluster.Receiver. What is being decided
// meanwhile by marks of before is not held.
func (s *Session) Release(b *transport.Batch) {
	if !s.pipe.Holds() {
		return
	}
	h := s.holding()
	h.mu.Lock()
	h.released.Add(1)
	r := s.flush(b, h)
	h.mu.Unlock()
	s.settle(b, r)
}

// SendHeld is Release in front of the end of a stream: there is nobody to be
// told that the outbox is full.
func (s *Session) SendHeld(b *transport.Batch) {
	if h := s.held.Load(); h != nil && h.any.Load() {
		h.mu.Lock()
		defer h.mu.Unlock()
		s.flush(b, h)
	}
}

// flush queues what is held back, as far as there is room; h.mu is held.
func (s *Session) flush(b *transport.Batch, h *held) Result {
	for len(h.items) > 0 {
		it := &h.items[0]
		if r := s.queue(b, it.Delivery); r != Queued {
			return r // the session ends; takeHeld has the rest
		}
		h.bytes -= it.size()
		*it = heldItem{}
		h.items = h.items[1:]
	}
	h.items = nil
	h.any.Store(false)
	return Queued
}

// takeHeld returns what a session that has ended still held back.
func (s *Session) takeHeld() (lost []Lost) {
	if !s.pipe.Holds() {
		return nil
	}
	h := s.holding()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, it := range h.items {
		lost = append(lost, Lost{Stanza: it.Stanza, Fork: it.Fork, At: it.at})
	}
	h.items, h.bytes = nil, 0
	h.any.Store(false)
	return lost
}
