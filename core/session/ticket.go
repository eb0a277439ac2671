package session

import (
	"slices"

	"github.com/hexmpp/hexmpp/ports/transport"
)

// A ticket is a message of the client that an extension elsewhere has: what comes of it
// is not applied yet, and is in no table. The count of what is safe does not go over it;
// the stanzas behind it are handled meanwhile.
type ticket struct {
	n    uint32 // its number (XEP-0198 4)
	size int
}

// Past one of these a session has so many tickets that its stream is not read on until
// half of them have come to their end.
const (
	maxTickets     = 1_000
	maxTicketBytes = 1 << 20
)

// Ticket notes that an extension elsewhere is given the client's stanza of number n, of
// so many bytes; those of one session in their order. over is to be called once, when all
// is applied that comes of it, or the client has an error as the answer; it is nil without
// stream management: nobody counts.
func (s *Session) Ticket(n uint32, size int) (over func(b *transport.Batch)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resumption
	if r == nil {
		return nil
	}
	r.tickets = append(r.tickets, ticket{n, size})
	r.ticketBytes += size
	return func(b *transport.Batch) { s.TicketOver(b, n) }
}

// TicketOver ends a ticket, once: also one of a restored session. A client that asked, and was told less than it sent, is told
// now, if it was the first one.
func (s *Session) TicketOver(b *transport.Batch, n uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resumption
	i := slices.IndexFunc(r.tickets, func(t ticket) bool { return t.n == n })
	r.ticketBytes -= r.tickets[i].size
	if r.tickets = slices.Delete(r.tickets, i, i+1); len(r.tickets) == 0 {
		r.tickets = nil
		if r.returned != nil {
			close(r.returned)
			r.returned = nil
		}
	}
	if i == 0 {
		s.grown(b)
	}
	r.ease()
}

// Returned returns a channel that is closed when the session has no tickets; nil if that
// is so. A stream that takes the session over waits for it: of what is told in <resumed/>
// (XEP-0198 5) a client sends the rest again.
func (s *Session) Returned() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resumption
	if r == nil || len(r.tickets) == 0 {
		return nil
	}
	if r.returned == nil {
		r.returned = make(chan struct{})
	}
	return r.returned
}

// applied returns the length of the longest prefix of what the client sent, of n stanzas
// at most, that no extension elsewhere has. Session.mu is held.
func (r *resumption) applied(n uint32) uint32 {
	if len(r.tickets) > 0 {
		return earlier(n, r.tickets[0].n-1)
	}
	return n
}
