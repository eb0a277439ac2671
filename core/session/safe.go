package session

import (
	"strconv"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Senders is told of sessions that can be resumed, so that their counts outlive
// the process; package safe is it.
type Senders interface {
	Began(id string, user jid.JID)
	// Told: the client has been told a count that no record of the spool has.
	Told(id string, h uint32)
	Ended(id string)
}

// unsafe is a stanza of the client that is accepted and not on disk yet.
type unsafe struct {
	record uint64 // of the spool
	n      uint32 // its number (XEP-0198 4)
	size   int32
}

// How many such stanzas a session may have, and how large they may be together: past
// one of these, its stream is not read on until the disk has caught up, to half of
// them.
const (
	maxUnsafe      = 1_000
	maxUnsafeBytes = 1 << 20
)

// Sender returns the SM-ID of the session, "" if it can't be resumed; ok is false
// without stream management.
func (s *Session) Sender() (id string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resumption == nil {
		return "", false
	}
	return s.resumption.id, true
}

// Spool has the client's stanza of number n, of so many bytes, appended to the spool: it
// is safe when the spool has that record on disk. It is called in the order of the
// numbers. h is the count that the record says behind a kill: less than n while an
// extension elsewhere has a stanza before it, which would be lost. So a client may send
// again what the spool has, too.
func (s *Session) Spool(n uint32, size int, add func(h uint32) (record uint64)) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resumption
	if r == nil {
		return false
	}
	h := r.applied(n)
	record := add(h)
	r.unsafe = append(r.unsafe, unsafe{record, n, int32(size)})
	r.unsafeBytes += size
	if int32(h-r.noted) > 0 {
		r.noted = h
	}
	if h != n {
		r.withheld, r.reached = true, n
	}
	return true
}

// noteWithheld has the spool note a count that was not in its records. s.mu is held.
func (s *Session) noteWithheld() {
	r := s.resumption
	if r == nil || !r.withheld {
		return
	}
	h := s.safe()
	if r.withheld = int32(r.reached-h) > 0; int32(h-r.noted) > 0 {
		r.noted = h
		if r.id != "" && r.all.senders != nil {
			r.all.senders.Told(r.id, h)
		}
	}
}

// grown has everybody told who is to know that more is safe, or may be, of what the client
// sent: a client that asked, and was told less than it sent; and Resumables, and the spool.
// s.mu is held.
func (s *Session) grown(b *transport.Batch) {
	if r := s.resumption; r.owes && int32(s.safe()-r.told) > 0 {
		s.out.Raw(b, s.answer()) // under the lock: counts are told in order
	}
	s.notePast()
	s.noteWithheld()
}

// Safe notes that the spool has everything up to a record on disk. A client that
// asked, and was told less than it sent, is told now. It says whether nothing is
// left to wait for.
func (s *Session) Safe(b *transport.Batch, record uint64) (settled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resumption
	n := 0
	for n < len(r.unsafe) && r.unsafe[n].record <= record {
		r.unsafeBytes -= int(r.unsafe[n].size)
		n++
	}
	r.unsafe = r.unsafe[n:]
	if len(r.unsafe) == 0 {
		r.unsafe = nil
	}
	settled = r.unsafe == nil
	if n > 0 {
		s.grown(b)
	}
	r.ease()
	if r.settled != nil && settled {
		close(r.settled)
		r.settled = nil
	}
	return settled
}

// Unsafe says whether the session waits for the spool.
func (s *Session) Unsafe() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resumption != nil && len(s.resumption.unsafe) > 0
}

// Answer queues <a/> for a client that asks (XEP-0198 4): how many of its stanzas
// are safe, all before being so too. If that is less than it sent it is told by
// itself when there is more.
func (s *Session) Answer(b *transport.Batch) Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Raw(b, s.answer())
}

func (s *Session) answer() string {
	r := s.resumption
	h := s.safe()
	if int32(h-r.told) < 0 { // counts never go back
		h = r.told
	}
	r.owes = h != r.handled
	r.tells(h)
	return "<a xmlns='" + NSManagement + "' h='" + strconv.FormatUint(uint64(h), 10) + "'/>"
}

// tells notes what the client is being told, and has the spool note it if need be: it
// has the count of each stanza that it has a record of. Session.mu is held.
func (r *resumption) tells(h uint32) {
	r.told = h
	if r.id != "" && r.all.senders != nil && int32(h-r.noted) > 0 {
		r.noted = h
		r.all.senders.Told(r.id, h)
	}
}

// safe returns the length of the longest prefix of what the client sent that is
// safe. What is in hand is not, nor what is under way: it may be waiting for a commit.
// s.mu is held.
func (s *Session) safe() uint32 {
	h := s.past()
	if r := s.resumption; len(r.unsafe) > 0 {
		h = earlier(h, r.unsafe[0].n-1)
	}
	return h
}

// past returns the length of the longest prefix of what the client sent that has come
// to its end, but for what the spool has still to bring to the disk. s.mu is held.
func (s *Session) past() uint32 { return s.resumption.applied(s.handedOn()) }

// handedOn is past with what extensions elsewhere have. s.mu is held.
func (s *Session) handedOn() uint32 {
	h := s.resumption.handled
	if s.inHand {
		h -= s.counts
	}
	if l := s.line.Load(); l != nil {
		if n, any := l.First(); any {
			h = earlier(h, n-1)
		}
	}
	return h
}

// earlier returns the lesser one of two counts (XEP-0198 4: modulo 2^32).
func earlier(a, b uint32) uint32 {
	if int32(b-a) < 0 {
		return b
	}
	return a
}

// Crowded returns a channel that is closed when the disk has caught up, and extensions
// elsewhere have; nil if the session need not wait for that.
func (s *Session) Crowded() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resumption
	if r == nil || len(r.unsafe) < maxUnsafe && r.unsafeBytes < maxUnsafeBytes && len(r.tickets) < maxTickets && r.ticketBytes < maxTicketBytes {
		return nil
	}
	if r.calm == nil {
		r.calm = make(chan struct{})
	}
	return r.calm
}

// ease lets a stream go on that Crowded has stopped, when there is room. Session.mu is
// held.
func (r *resumption) ease() {
	if r.calm != nil && len(r.unsafe) <= maxUnsafe/2 && r.unsafeBytes <= maxUnsafeBytes/2 && len(r.tickets) <= maxTickets/2 && r.ticketBytes <= maxTicketBytes/2 {
		close(r.calm)
		r.calm = nil
	}
}

// Settled returns a channel that is closed when the spool has on disk what has come to
// its end of what the client sent; nil if it has.
func (s *Session) Settled() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resumption
	if r == nil || len(r.unsafe) == 0 {
		return nil
	}
	if r.settled == nil {
		r.settled = make(chan struct{})
	}
	return r.settled
}
