// Package session is a bound resource (RFC 6120 section 7): its way out to the
// client, and what others were told of its presence.
package session

import (
	"sync"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/core/roster"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// Kernel is what a session asks of the rest of the kernel.
type Kernel interface {
	// Leave tells whoever saw the session as available that it is gone, and
	// removes it from the session registry. It is called once, by End.
	Leave(b *transport.Batch, s *Session)
	// Overflow counts and logs a session that was ended because its client did
	// not read.
	Overflow(s *Session)
}

// Session implements cluster.Receiver.
type Session struct {
	JID    jid.JID // full
	Origin extension.Origin

	out     *Outbox
	closing Closing
	pipe    *pipeline.Pipeline
	kernel  Kernel

	mu         sync.Mutex
	fence      uint64 // of its claim
	ended      bool
	roster     *roster.Account // held from the first use until the end
	interested bool
	presence   *stanza.Stanza // last broadcast presence; nil while unavailable
	priority   int8
	directed   map[jid.JID]struct{} // who else was sent presence (RFC 6121 4.6)
}

// Closing makes the last bytes of a stream: the error, if any, and its end.
type Closing func(*stream.Error) string

// New returns a session that writes to out. It takes part in routing once it
// has claimed its JID.
func New(full jid.JID, origin extension.Origin, out *Outbox, closing Closing, pipe *pipeline.Pipeline, k Kernel) *Session {
	return &Session{JID: full, Origin: origin, out: out, closing: closing, pipe: pipe, kernel: k}
}

// Deliver hands a stanza to the session: the Write stage, then the outbox.
func (s *Session) Deliver(b *transport.Batch, st *stanza.Stanza) bool {
	if s.pipe.Wants(extension.Write, st.Kind) {
		if st = s.write(b, st); st == nil {
			return true
		}
	}
	switch s.out.Stanza(b, st, jid.JID{}) {
	case Queued:
		return true
	case Full:
		s.kernel.Overflow(s)
		s.End(b, stream.Err(stream.ResourceConstraint, "the client does not read what it is sent"))
	}
	return false
}

// write runs the Write stage; nil means that the stanza ends here. What its
// handlers ask for is done beside the stanza, which does not wait for it.
func (s *Session) write(b *transport.Batch, st *stanza.Stanza) *stanza.Stanza {
	e := extension.Envelope{Stanza: st, Account: s.JID.Bare(), Session: s.JID}
	var fx host.Effects
	outcome, _ := s.pipe.Run(extension.Write, &e, &fx)
	fx.Detach(b)
	if outcome != pipeline.Pass {
		return nil
	}
	return e.Stanza
}

// End ends the session: with a stream error, or without one when the stream
// has ended already (e is nil). It may be called by any goroutine and more
// than once.
func (s *Session) End(b *transport.Batch, e *stream.Error) {
	if e != nil {
		s.out.Finish(b, s.closing(e))
	}
	s.mu.Lock()
	ended := s.ended
	s.ended = true
	s.mu.Unlock()
	if !ended {
		s.kernel.Leave(b, s)
	}
}

// Claimed notes the fence of the session's claim. It is false if the session
// has ended in between: then the claim must be released.
func (s *Session) Claimed(fence uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fence = fence
	return !s.ended
}

// Fence returns what Claimed noted.
func (s *Session) Fence() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fence
}

// Roster returns the roster that the session holds, nil if none yet.
func (s *Session) Roster() *roster.Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roster
}

// KeepRoster gives a held roster to the session, which drops it at its end. It
// returns the one that is kept: an earlier one stays.
func (s *Session) KeepRoster(a *roster.Account) *roster.Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.roster != nil {
		a.Drop()
		return s.roster
	}
	s.roster = a
	return a
}

// SetInterested notes that the session wants roster pushes.
func (s *Session) SetInterested() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interested = true
}

// Entry returns what the registry is to know of the session.
func (s *Session) Entry() cluster.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cluster.Entry{
		JID: s.JID, Fence: s.fence, Receiver: s, Interested: s.interested,
		Available: s.presence != nil, Presence: s.presence, Priority: s.priority,
	}
}

// SetPresence notes the presence that the session broadcasts, nil for
// unavailable, and returns the one before. ok is false if the session has
// ended: then nobody may be told.
func (s *Session) SetPresence(p *stanza.Stanza, priority int8) (before *stanza.Stanza, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, false
	}
	before, s.presence, s.priority = s.presence, p, priority
	return before, true
}

// maxDirected bounds how many targets of directed presence are remembered.
const maxDirected = 1000

// Direct notes that to was sent presence, or unavailable presence. It is false
// if the session has ended, or there are too many targets.
func (s *Session) Direct(to jid.JID, available bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	if !available {
		delete(s.directed, to)
		return true
	}
	if len(s.directed) >= maxDirected {
		_, known := s.directed[to]
		return known
	}
	if s.directed == nil {
		s.directed = map[jid.JID]struct{}{}
	}
	s.directed[to.Clone()] = struct{}{}
	return true
}

// TakeDirected returns the targets of directed presence, and forgets them.
func (s *Session) TakeDirected() (directed []jid.JID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for to := range s.directed {
		directed = append(directed, to)
	}
	s.directed = nil
	return directed
}

// TakePresence returns what a session that has ended had told others, and the
// roster that it held, which the caller drops.
func (s *Session) TakePresence() (last *stanza.Stanza, directed []jid.JID, r *roster.Account) {
	directed = s.TakeDirected()
	s.mu.Lock()
	defer s.mu.Unlock()
	last, s.presence = s.presence, nil
	r, s.roster = s.roster, nil
	return last, directed, r
}
