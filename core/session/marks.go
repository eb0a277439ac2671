package session

import (
	"slices"

	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/transport"
)

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
	if changed {
		s.setMarks(kept)
	}
	s.mu.Unlock()
	if changed {
		s.Publish()
	}
	s.Release(b)
}
