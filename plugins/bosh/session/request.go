package session

import (
	"crypto/sha1"
	"encoding/hex"
	"slices"
	"time"
)

// Request takes a request with the session's ID. secure says that it came over TLS.
func (s *Session) Request(b *Body, secure bool, ticket Ticket, now time.Time) Out {
	var out Out
	switch {
	case s.secure && !secure:
		out.Answers = append(out.Answers, Answer{Ticket: ticket})
		return out
	case b.RID <= s.last:
		s.repeated(&out, b, ticket, now)
	case s.ended:
		s.late(&out, b, ticket)
		return out
	case b.RID > s.last+s.window(b):
		s.fail(&out, ItemNotFound, ticket, now)
	case b.RID-s.first()+1 > s.window(b):
		s.fail(&out, PolicyViolation, ticket, now)
	case b.RID > s.last+1:
		s.keep(&out, arrival{b, ticket, now}, now)
	default:
		s.process(&out, arrival{b, ticket, now}, now)
		for !s.ended && len(s.early) > 0 && s.early[0].body.RID == s.last+1 {
			next := s.early[0]
			s.early = s.early[1:]
			s.process(&out, next, now)
		}
	}
	s.settle(&out, now)
	s.rest(now, len(out.Answers) > 0)
	return out
}

// window is how many requests the client may have sent that are not answered: one more to pause, or for the end (11).
func (s *Session) window(b *Body) uint64 {
	if b.Terminate || b.Pause > 0 {
		return uint64(s.requests) + 1
	}
	return uint64(s.requests)
}

// first is the ID of the oldest request that has no answer.
func (s *Session) first() uint64 {
	if len(s.open) > 0 {
		return s.open[0].rid
	}
	return s.last + 1
}

// keep keeps a request until those before it have come (14.2).
func (s *Session) keep(out *Out, a arrival, now time.Time) {
	at, again := slices.BinarySearchFunc(s.early, a.body.RID, func(x arrival, rid uint64) int {
		return compare(x.body.RID, rid)
	})
	if !again {
		s.early = slices.Insert(s.early, at, a)
		return
	}
	if s.again(out, s.early[at].ticket, a.ticket, now) {
		s.early[at].ticket = a.ticket
	}
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// again counts a request that came again, and sends who waits for its answer away (14.3). false: it was once too
// often, and the session has ended.
func (s *Session) again(out *Out, before, ticket Ticket, now time.Time) bool {
	if s.repeats++; s.repeats > s.o.Repeats {
		s.fail(out, PolicyViolation, ticket, now)
		return false
	}
	s.say(out, before, s.bare(` type='error'`))
	return true
}

// repeated answers a request that was processed before (14.3).
func (s *Session) repeated(out *Out, b *Body, ticket Ticket, now time.Time) {
	for i, x := range s.open {
		if x.rid != b.RID {
			continue
		}
		if x.key != b.Key {
			s.fail(out, ItemNotFound, ticket, now)
			return
		}
		if s.again(out, x.ticket, ticket, now) {
			s.open[i].ticket = ticket
		}
		return
	}
	for _, d := range s.done {
		if d.rid != b.RID || d.key != b.Key {
			continue
		}
		if s.repeats++; s.repeats > s.o.Repeats && !s.ended {
			s.fail(out, PolicyViolation, ticket, now)
			return
		}
		s.say(out, ticket, d.body)
		return
	}
	// Its answer is forgotten: the client has said that it has it, or has gone on without it. A copy that was long on its
	// way must not end the session for those who go on.
	s.refuse(out, ticket, ItemNotFound)
}

// late answers a new request after the end.
func (s *Session) late(out *Out, b *Body, ticket Ticket) {
	if s.unsaid == nil || !s.fits(b) {
		s.refuse(out, ticket, ItemNotFound)
		return
	}
	s.last = b.RID
	s.done = append(s.done, answered{rid: b.RID, key: b.Key, upTo: s.pushed, body: s.unsaid})
	s.say(out, ticket, s.unsaid)
	s.unsaid = nil
}

// process takes the next request in order.
func (s *Session) process(out *Out, a arrival, now time.Time) {
	b := a.body
	if !s.fits(b) {
		s.fail(out, ItemNotFound, a.ticket, now)
		return
	}
	s.acknowledged(b)
	empty := len(b.Elements) == 0 && !b.Restart && !b.Terminate && b.Pause == 0
	if s.tooFast(empty, a.at) {
		s.fail(out, PolicyViolation, a.ticket, now)
		return
	}
	s.last, s.lastAt, s.lastEmpty, s.lastPayload = b.RID, a.at, empty, false
	s.repeats, s.pause = 0, 0
	s.open = append(s.open, exchange{rid: b.RID, key: b.Key, ticket: a.ticket, since: a.at})
	switch {
	case b.Restart: // payloads of it are ignored (XEP-0206 5)
		out.Events = append(out.Events, s.opening(b))
	case len(b.Elements) > 0:
		out.Events = append(out.Events, Event{Kind: Elements, Elements: b.Elements})
	}
	pause := time.Duration(b.Pause) * time.Second
	switch {
	case b.Terminate:
		s.terminated(out, now)
	case pause > 0 && pause <= s.o.MaxPause:
		s.pause = pause
		for len(s.open) > 0 {
			s.respond(out, now, nil)
		}
	}
}

// fits checks the key of the next request, and keeps what the one behind it has to have (15.4).
func (s *Session) fits(b *Body) bool {
	if s.key != "" {
		sum := sha1.Sum([]byte(b.Key)) // as XEP-0124 15.3 wants it
		if b.Key == "" || hex.EncodeToString(sum[:]) != s.key {
			return false
		}
		s.key = b.Key
	}
	if b.NewKey != "" {
		s.key = b.NewKey
	}
	return true
}

// acknowledged notes what the client has (9).
func (s *Session) acknowledged(b *Body) {
	has := uint64(0)
	switch {
	case !s.acks:
		// Of all requests but the last few it must have the answer, or it could not have sent this one (11).
		if w := s.window(b); b.RID > w {
			has = b.RID - w
		}
		s.confirm(has)
		return
	case b.Ack == 0: // all
		has = b.RID - 1
	default:
		has = min(b.Ack, b.RID-1)
	}
	s.confirm(has)
	s.done = slices.DeleteFunc(s.done, func(d answered) bool { return d.rid <= has })
	if s.report = 0; len(s.done) > 0 && b.Ack != 0 {
		s.report = s.done[0].rid
	}
}

// confirm notes that the client has the answers to all requests up to one.
func (s *Session) confirm(rid uint64) {
	for _, d := range s.done {
		if d.rid <= rid {
			s.confirmed = max(s.confirmed, d.upTo)
		}
	}
}

// tooFast says that the client asks too often for what is there (11, 12).
func (s *Session) tooFast(empty bool, at time.Time) bool {
	if !empty || at.Sub(s.lastAt) >= s.o.Polling {
		return false
	}
	if s.polls() {
		return s.lastEmpty && !s.lastPayload
	}
	return len(s.open)+1 >= s.requests
}
