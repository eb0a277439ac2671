package session

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// write runs the Write stage on what is to be delivered. What handlers ask for is
// done beside the stanza, which does not wait for it.
func (s *Session) write(b *transport.Batch, d *keyed) pipeline.Outcome {
	w := pipeline.Passage{Stage: extension.Write, Envelope: extension.Envelope{Stanza: d.Stanza, Account: s.JID.Bare(), Session: s.JID}, Marks: s.markList()}
	s.pipe.Missing(&w) // a stanza can't wait here
	if !s.pipe.Concerns(&w) {
		return pipeline.Pass
	}
	s.pipe.Run(&w)
	w.Effects.Detach(b)
	d.Stanza, d.key = w.Envelope.Stanza, w.Key
	if (w.Outcome == pipeline.Drop || w.Outcome == pipeline.Refused) && d.Fork != nil {
		d.Fork.Lost()
	}
	return w.Outcome
}

// Bounds of what one session holds back: past them it goes out.
const (
	maxHeld      = 1_000
	maxHeldBytes = 256 << 10
)

// held is what the Write stage holds back, in order. It is not numbered
// (XEP-0198), since it may be replaced.
type held struct {
	mu     sync.Mutex // held also while what was held goes out, so that nothing overtakes it; nobody is called then
	any    atomic.Bool
	closed bool
	items  []heldItem
	bytes  int
}

// keyed is a delivery with the key under which it is held back.
type keyed struct {
	cluster.Delivery
	key string
}

type heldItem struct {
	keyed
	at time.Time
}

// holding returns where the session holds stanzas back.
func (s *Session) holding() *held {
	if s.held.Load() == nil {
		s.held.CompareAndSwap(nil, &held{})
	}
	return s.held.Load()
}

// hold keeps a stanza back; it replaces one with the same key.
func (s *Session) hold(b *transport.Batch, d keyed) Result {
	h := s.holding()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return Closed
	}
	if d.key != "" {
		h.items = slices.DeleteFunc(h.items, func(it heldItem) bool {
			if it.key != d.key {
				return false
			}
			h.bytes -= it.Stanza.Size()
			if it.Fork != nil {
				it.Fork.Lost()
			}
			return true
		})
	}
	h.items = append(h.items, heldItem{d, time.Now()})
	h.bytes += d.Stanza.Size()
	h.any.Store(true)
	if len(h.items) > maxHeld || h.bytes > maxHeldBytes {
		return s.release(b, h)
	}
	return Queued
}

// behindHeld queues a stanza behind everything that is held back.
func (s *Session) behindHeld(b *transport.Batch, d keyed) Result {
	h := s.held.Load()
	if h == nil || !h.any.Load() {
		return s.out.Delivery(b, d.Delivery)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := s.release(b, h); r != Queued {
		return r
	}
	return s.out.Delivery(b, d.Delivery)
}

// Release sends what is held back: cluster.Receiver.
func (s *Session) Release(b *transport.Batch) {
	if h := s.held.Load(); h != nil {
		h.mu.Lock()
		r := s.release(b, h)
		h.mu.Unlock()
		s.settle(b, r)
	}
}

// release queues what is held back, as far as there is room; h.mu is held.
func (s *Session) release(b *transport.Batch, h *held) Result {
	for len(h.items) > 0 {
		if r := s.out.Delivery(b, h.items[0].Delivery); r != Queued {
			return r // the session ends; takeHeld has the rest
		}
		h.bytes -= h.items[0].Stanza.Size()
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
	return lost
}

// Mark puts a mark on the session, or takes it away: cluster.Receiver.
func (s *Session) Mark(_ *transport.Batch, m cluster.Mark, on bool) {
	s.mu.Lock()
	changed := on != slices.Contains(s.markNames, m.Name)
	if changed && on {
		s.setMarks(append(slices.Clone(s.marks), m))
	} else if changed {
		s.setMarks(slices.DeleteFunc(slices.Clone(s.marks), func(old cluster.Mark) bool { return old.Name == m.Name }))
	}
	s.mu.Unlock()
	if changed {
		s.Publish()
	}
}

// setMarks is given a list of its own; s.mu is held.
func (s *Session) setMarks(marks []cluster.Mark) {
	s.marks, s.markNames = marks, nil
	for _, m := range marks {
		s.markNames = append(s.markNames, m.Name)
	}
}

func (s *Session) markList() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.markNames
}

// Reconnected takes away the marks of a connection that the session has left,
// and releases what was held back because of them. It is called when the session
// was resumed.
func (s *Session) Reconnected(b *transport.Batch) {
	s.mu.Lock()
	kept := slices.DeleteFunc(slices.Clone(s.marks), func(m cluster.Mark) bool { return m.Connection })
	changed := len(kept) != len(s.marks)
	s.setMarks(kept)
	s.mu.Unlock()
	if changed {
		s.Publish()
	}
	s.Release(b)
}

// Show tells others of the session: cluster.Receiver.
func (s *Session) Show(b *transport.Batch, pattern jid.JID, available bool) transport.Wait {
	return s.kernel.Show(b, s, pattern, available)
}
