package session

import (
	"github.com/hexmpp/hexmpp/core/underway"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// Line returns the messages of the session's client that are under way. They go on when
// the session has ended.
func (s *Session) Line() *underway.Line {
	if l := s.line.Load(); l != nil {
		return l
	}
	s.line.CompareAndSwap(nil, s.kernel.Lines().NewLine(s))
	return s.line.Load()
}

// Busy says whether messages of the client are under way.
func (s *Session) Busy() bool {
	l := s.line.Load()
	return l != nil && !l.Idle()
}

// Asked returns how many of them have handlers that have still to run: see underway.Line.
func (s *Session) Asked() int {
	l := s.line.Load()
	if l == nil {
		return 0
	}
	return l.Asked()
}

// LineFull says that so many are that no more may follow: see LineRoom.
func (s *Session) LineFull() bool {
	l := s.line.Load()
	return l != nil && l.Full()
}

// LineRoom returns a channel that is closed when more may follow; nil if they may.
func (s *Session) LineRoom() <-chan struct{} {
	l := s.line.Load()
	if l == nil {
		return nil
	}
	return l.Room()
}

// LineIdle returns a channel that is closed when none is under way any more; nil if none
// is. It must not be asked while another may follow.
func (s *Session) LineIdle() <-chan struct{} {
	l := s.line.Load()
	if l == nil {
		return nil
	}
	return l.Idled()
}

// Over returns a channel that is closed when more of what the client had sent has come to
// its end, of a session that has ended or has lost its stream; nil if all has: nothing is
// in hand or under way. What is in hand may be under way next, so whoever waits asks again.
func (s *Session) Over() <-chan struct{} {
	s.mu.Lock()
	busy := s.idleLocked()
	s.mu.Unlock()
	if busy != nil {
		return busy
	}
	return s.LineIdle()
}

// Passed implements underway.Owner: a client that asked, and was told less than it sent,
// is told what is safe now.
func (s *Session) Passed(b *transport.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resumption != nil {
		s.grown(b)
	}
}
