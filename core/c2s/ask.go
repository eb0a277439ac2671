package c2s

import "sync/atomic"

// asking says whether an extension elsewhere has a request of the client. What the client
// sends behind that waits until it is answered, however long that takes: no goroutine
// does.
type asking struct {
	state atomic.Uint32 // of asked, ...
	since bool          // the connection may still be held for the last request
}

const (
	idle    uint32 = iota
	asked          // an extension has a request
	waiting        // the connection is held, or about to be: Resume is owed to it
)

// Asks implements router.Asker. Turns of the stream, or what runs in their stead, call it.
func (s *Stream) Asks() (answered func()) {
	s.asking.state.Store(asked)
	return func() {
		if s.asking.state.Swap(idle) == waiting {
			s.conn.Resume()
		}
	}
}

// unanswered says whether there is a request, and has the connection wait for its end. It is
// called before each token.
func (s *Stream) unanswered() bool {
	a := &s.asking
	if a.state.Load() == idle || !a.state.CompareAndSwap(asked, waiting) && a.state.Load() == idle {
		return false
	}
	a.since = true
	s.conn.Hold() // if the end comes before that, so does Resume, and it counts
	return true
}

// answered notes that the connection may be read again: what it was sent meanwhile comes
// late, and not by the client's fault.
func (s *Stream) answered() {
	if s.asking.since {
		s.asking.since = false
		s.pace.until = max(s.pace.until, s.srv.Now().UnixNano())
	}
}
