// Package session is a bound resource (RFC 6120 section 7): its way out to the
// client, and what others were told of its presence.
package session

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hexmpp/hexmpp/core/caps"
	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/core/roster"
	"github.com/hexmpp/hexmpp/core/underway"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// Kernel is what a session asks of the rest of the kernel.
type Kernel interface {
	// Hold keeps messages that are to be stored for the session's account from
	// being stored until release: what the session leaves comes before them.
	Hold(s *Session) (release func())
	// Leave takes what the session did not bring to its client, removes it from the
	// session registry, and tells whoever saw it as available that it is gone. told
	// is called when they know, which may be later, on another goroutine. It is
	// called once, by End, with the account held.
	Leave(b *transport.Batch, s *Session, lost []Lost, told func())
	// Lost takes what was still on its way when Leave was called, and did not
	// arrive.
	Lost(b *transport.Batch, s *Session, lost []Lost)
	// Keeps says whether a stanza that the session leaves is stored if need be.
	Keeps(st *stanza.Stanza) bool
	// Fetch brings stored messages of the account to the session: see
	// cluster.Receiver.Stored.
	Fetch(s *Session) bool
	// Delivered counts a stanza that a session took.
	Delivered(kind stanza.Kind)
	// Publish updates the session registry.
	Publish(e cluster.Entry) bool
	// Show tells others of the session: cluster.Receiver.
	Show(b *transport.Batch, s *Session, v cluster.Show) transport.Wait
	// Held returns how much the sessions of the account hold together: Outbox.Large of
	// each. It is called with the lock of an Outbox held.
	Held(s *Session) int64
	// Lines are what messages are in that wait for a commit.
	Lines() *underway.Underway
	// Overflow counts and logs a session that was ended because its client did
	// not read or did not acknowledge.
	Overflow(s *Session)
}

// Owner is the stream that a session is attached to.
type Owner interface {
	// Closing makes the last bytes of the stream: the error, if any, and its end.
	Closing(*stream.Error) string
	// Replaced tells that the session was taken over by another stream; this
	// one ends with conflict. It may be called during a turn of another stream.
	Replaced(b *transport.Batch)
}

// Session implements cluster.Receiver.
type Session struct {
	JID jid.JID // full

	out    *Outbox
	pipe   *pipeline.Pipeline
	kernel Kernel

	mu         sync.Mutex
	fence      uint64 // of its claim
	ended      bool
	telling    bool            // Tell runs
	inHand     bool            // a stanza or element of the client is being handled
	counts     uint32          // how many stanzas that is
	idle       chan struct{}   // closed by Done; made by who waits for it
	gone       chan struct{}   // made by End; closed when leave has told everybody
	left       func()          // ends Kernel.Hold; called by leave
	owner      Owner           // nil while detached
	resumption *resumption     // nil without stream management
	roster     *roster.Account // held from the first use until the end
	interested bool
	presence   *stanza.Stanza // last broadcast presence; nil while unavailable
	priority   int8
	directed   map[jid.JID]struct{} // who else was sent presence (RFC 6121 4.6)

	directedBytes int // of directed

	marks      []cluster.Mark
	markNames  []string   // of marks; made anew with each change
	publishing sync.Mutex // orders updates of the registry

	line atomic.Pointer[underway.Line] // made by the first message that waits for a commit
	held atomic.Pointer[held]          // made by the first stanza that is held back
	caps caps.Slot                     // what its client can do; filled by core/caps
}

// New returns a session that writes to out. It takes part in routing once it
// has claimed its JID.
func New(full jid.JID, owner Owner, out *Outbox, pipe *pipeline.Pipeline, k Kernel) *Session {
	s := &Session{JID: full, owner: owner, out: out, pipe: pipe, kernel: k}
	out.belong(s)
	return s
}

// Deliver hands a stanza to the session: the Write stage, then the outbox. A
// request of another can't wait for a connection: it is not taken while there
// is none.
func (s *Session) Deliver(b *transport.Batch, d cluster.Delivery) bool {
	if s.impatient(d.Stanza) && s.Detached() || d.Stranger && !s.toldDirectly(d.Stanza.From) {
		return false
	}
	if !s.pipe.Wants(extension.Write, d.Stanza.Kind) {
		return s.pass(b, d)
	}
	released := s.released() // before the marks are read
	w := s.passage(d.Stanza)
	if !s.pipe.Concerns(&w) {
		return s.pass(b, d)
	}
	marked := w // only what is concerned takes memory of its own
	switch s.write(b, &marked, &d) {
	case pipeline.Drop, pipeline.Refused:
		return true
	case pipeline.Held:
		return s.settle(b, s.hold(b, heldItem{Delivery: d, key: marked.Key, at: time.Now()}, released))
	}
	return s.pass(b, d)
}

// pass queues a stanza that nobody holds back.
func (s *Session) pass(b *transport.Batch, d cluster.Delivery) (taken bool) {
	return s.settle(b, s.behindHeld(b, d))
}

// settle says whether a stanza was taken; a session whose outbox is full ends.
func (s *Session) settle(b *transport.Batch, r Result) (taken bool) {
	switch r {
	case Queued:
		return true
	case Full:
		s.kernel.Overflow(s)
		s.End(b, stream.Err(stream.ResourceConstraint, "the client does not read or does not acknowledge what it is sent"))
	}
	return false
}

// impatient says whether somebody waits for the answer to a stanza. What the
// server itself asks, such as a roster push, waits for the client.
func (s *Session) impatient(st *stanza.Stanza) bool {
	return st.Kind == stanza.IQ && (st.Type == stanza.Get || st.Type == stanza.Set) &&
		!st.From.IsZero() && st.From != s.JID.Bare()
}

// Send is Deliver for what the server itself tells this session.
func (s *Session) Send(b *transport.Batch, st *stanza.Stanza) bool {
	return s.Deliver(b, cluster.Delivery{Stanza: st})
}

// End ends the session: with a stream error, or without one when the connection
// is gone (e is nil). It may be called by any goroutine and more than once, and
// never waits: if others are just being told of the session's presence (see
// Tell), they are told of its end behind that.
func (s *Session) End(b *transport.Batch, e *stream.Error) (gone <-chan struct{}) {
	return s.end(b, func(o Owner) string {
		if e == nil {
			return ""
		}
		return o.Closing(e)
	})
}

// Close ends the session whose client has ended the stream in order; last goes
// out behind what is queued.
func (s *Session) Close(b *transport.Batch, last string) {
	s.end(b, func(Owner) string { return last })
}

// end ends the session; closing makes the last bytes of the stream, "" if it is
// gone.
func (s *Session) end(b *transport.Batch, closing func(Owner) string) (gone <-chan struct{}) {
	left := s.kernel.Hold(s) // before anybody can miss the session
	s.mu.Lock()
	if s.gone == nil {
		s.gone = make(chan struct{})
	}
	first, owner, telling := !s.ended, s.owner, s.telling
	s.ended = true
	if first {
		s.left = left
	}
	s.mu.Unlock()
	if owner != nil {
		if last := closing(owner); last != "" {
			s.SendHeld(b)
			s.out.Leave(b, last, s.kernel.Keeps)
		}
	}
	switch {
	case !first:
		left()
	case !telling:
		s.leave(b)
	}
	return s.gone
}

// leave tells everybody of the end; it is called once.
func (s *Session) leave(b *transport.Batch) {
	s.mu.Lock()
	r, owner, left := s.resumption, s.owner, s.left
	s.mu.Unlock()
	if r != nil {
		r.stop(s)
	}
	var lost []Lost
	if owner == nil { // nothing will be written any more
		lost = s.out.Take()
	} else {
		lost = s.out.Aside()
	}
	s.kernel.Leave(b, s, append(lost, s.takeHeld()...), func() { close(s.gone) })
	left()
}

// Tell runs f, which tells others of the session's presence, unless the session
// has ended. An end that comes in between is told behind f and the Wait that it
// leaves, never amid it. Only turns of the session's stream, or what runs in their
// stead, call Tell: one at a time. The Wait that it returns must be run.
func (s *Session) Tell(b *transport.Batch, f func() transport.Wait) transport.Wait {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return nil
	}
	s.telling = true
	s.mu.Unlock()
	w := f()
	if w == nil {
		s.told(b)
		return nil
	}
	return func(ctx context.Context) {
		w(ctx)
		var b transport.Batch
		s.told(&b)
		b.Flush()
	}
}

// told ends Tell.
func (s *Session) told(b *transport.Batch) {
	s.mu.Lock()
	s.telling = false
	ended := s.ended
	s.mu.Unlock()
	if ended {
		s.leave(b)
	}
}

// Bury hands to the kernel what the client did not get though it was to be
// written after the end. The stream calls it when the connection of a session
// that has ended is gone.
func (s *Session) Bury(b *transport.Batch) {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if !ended { // another stream has it
		return
	}
	if lost := s.out.Take(); len(lost) > 0 {
		s.kernel.Lost(b, s, lost)
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
		Available: s.presence != nil, Presence: s.presence, Priority: s.priority, Marks: s.markNames,
	}
}

// Caps is where it is kept what the client can do.
func (s *Session) Caps() *caps.Slot { return &s.caps }

// Features implements cluster.Receiver.
func (s *Session) Features() []string { return s.caps.Features() }

// Publish tells the registry what Entry says, in the order of the changes. It is
// false if the session is not there any more.
func (s *Session) Publish() bool {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	return s.kernel.Publish(s.Entry())
}

// Show tells others of the session: cluster.Receiver.
func (s *Session) Show(b *transport.Batch, v cluster.Show) transport.Wait {
	return s.kernel.Show(b, s, v)
}

// Presence returns the presence that the session broadcasts, nil while
// unavailable.
func (s *Session) Presence() *stanza.Stanza {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.presence
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

// maxDirected bounds what is remembered of the targets of directed presence,
// in bytes: some 500 usual addresses.
const maxDirected = 64 << 10

// directedCost is what a target takes, about.
func directedCost(to jid.JID) int { return len(to.String()) + 64 }

// Direct notes that to was sent presence, or unavailable presence. It is false
// if the session has ended, or there are too many targets.
func (s *Session) Direct(to jid.JID, available bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	_, known := s.directed[to]
	switch {
	case known && !available:
		delete(s.directed, to)
		s.directedBytes -= directedCost(to)
	case known || !available:
	case s.directedBytes+directedCost(to) > maxDirected:
		return false
	default:
		if s.directed == nil {
			s.directed = map[jid.JID]struct{}{}
		}
		s.directed[to.Clone()] = struct{}{}
		s.directedBytes += directedCost(to)
	}
	return true
}

// toldDirectly says whether the session has sent directed presence to an account,
// or to a resource of it: an occupant asks by another resource of the room than
// the one that was joined.
func (s *Session) toldDirectly(who jid.JID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for to := range s.directed {
		if to.Bare() == who.Bare() {
			return true
		}
	}
	return false
}

// TakeDirected returns the targets of directed presence, and forgets them.
func (s *Session) TakeDirected() (directed []jid.JID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for to := range s.directed {
		directed = append(directed, to)
	}
	s.directed, s.directedBytes = nil, 0
	return directed
}

// TakeDirectedTo is TakeDirected for some of the targets.
func (s *Session) TakeDirectedTo(which func(jid.JID) bool) (directed []jid.JID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for to := range s.directed {
		if which(to) {
			directed = append(directed, to)
			delete(s.directed, to)
			s.directedBytes -= directedCost(to)
		}
	}
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
