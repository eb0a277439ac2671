package session

import "time"

// Terminal conditions (17.2).
const (
	BadRequest             = "bad-request"
	HostUnknown            = "host-unknown"
	ImproperAddressing     = "improper-addressing"
	InternalServerError    = "internal-server-error"
	ItemNotFound           = "item-not-found"
	OtherRequest           = "other-request"
	PolicyViolation        = "policy-violation"
	RemoteConnectionFailed = "remote-connection-failed"
	RemoteStreamError      = "remote-stream-error"
	SystemShutdown         = "system-shutdown"
)

// Refusal answers a request that belongs to no session.
func Refusal(ticket Ticket, condition string) Answer {
	return Answer{Ticket: ticket, Status: 200, Content: defaultContent, Body: terminal(condition)}
}

// Again answers a request that is to be repeated, with all before it that have no answer (17.3).
func Again(ticket Ticket) Answer {
	return Answer{Ticket: ticket, Status: 200, Content: defaultContent, Body: wrap(` type='error'`, nil)}
}

func terminal(condition string) []byte {
	if condition == "" {
		return wrap(` type='terminate'`, nil)
	}
	return wrap(` type='terminate' condition='`+condition+`'`, nil)
}

// refuse answers one request with a condition, as the client wants it: who names no version has a status (17.1).
func (s *Session) refuse(out *Out, ticket Ticket, condition string) {
	status := 0
	switch {
	case s.ver != (Version{}):
	case condition == BadRequest:
		status = 400
	case condition == PolicyViolation:
		status = 403
	case condition == ItemNotFound:
		status = 404
	}
	switch {
	case ticket == 0:
	case status != 0:
		out.Answers = append(out.Answers, Answer{Ticket: ticket, Status: status, Content: defaultContent})
	default:
		s.say(out, ticket, terminal(condition))
	}
}

// fail ends the session since a request broke its rules; others that are there are told that it was not theirs.
func (s *Session) fail(out *Out, condition string, ticket Ticket, now time.Time) {
	if s.ended {
		s.refuse(out, ticket, condition)
		return
	}
	others := s.tickets()
	s.over(out, now, false)
	s.refuse(out, ticket, condition)
	for _, t := range others {
		if t != ticket {
			s.refuse(out, t, OtherRequest)
		}
	}
}

// tickets are all connections on which the client waits, those of older requests first.
func (s *Session) tickets() []Ticket {
	var all []Ticket
	for _, x := range s.open {
		all = append(all, x.ticket)
	}
	for _, a := range s.early {
		all = append(all, a.ticket)
	}
	return all
}

// over ends the session without a word; the client hears of it when it asks next.
func (s *Session) over(out *Out, now time.Time, clean bool) {
	s.ended, s.endedAt = true, now
	s.open, s.early, s.queue, s.queued = nil, nil, nil, 0
	s.idle = time.Time{}
	out.Events = append(out.Events, Event{Kind: Close, Clean: clean})
}

// terminated ends the session as the client asked for (13): its oldest request is told of it.
func (s *Session) terminated(out *Out, now time.Time) {
	s.finish(out, now, ` type='terminate'`, nil)
	s.over(out, now, true)
}

// finish answers all requests: the oldest with the end, the others with nothing. Those that came early are told to ask
// again: then they hear that there is no session.
func (s *Session) finish(out *Out, now time.Time, attributes string, elements [][]byte) {
	for i := 0; len(s.open) > 0; i++ {
		if i == 0 {
			s.conclude(out, now, attributes, elements)
		} else {
			s.respond(out, now, nil)
		}
	}
	for _, a := range s.early {
		s.refuse(out, a.ticket, ItemNotFound)
	}
	s.early = nil
}

// Closed tells that the server has closed the stream. streamError is <stream:error/>, nil if there is none; condition is
// of XEP-0124 where the reason is none of the stream's, such as SystemShutdown. What waits for the client goes
// with it; if no request is there, the next one is told.
func (s *Session) Closed(streamError []byte, condition string, now time.Time) Out {
	var out Out
	if s.ended {
		return out
	}
	if streamError != nil {
		condition = RemoteStreamError
		s.queue = append(s.queue, streamError)
		s.pushed++
	}
	attributes := ` type='terminate'`
	if condition != "" {
		attributes += ` condition='` + condition + `'`
	}
	elements := s.queue
	s.queue, s.queued = nil, 0
	var unsaid []byte
	if len(s.open) > 0 {
		s.finish(&out, now, attributes, elements)
	} else {
		for _, a := range s.early {
			s.say(&out, a.ticket, s.bare(` type='error'`)) // they are repeated, and hear of the end then
		}
		unsaid = wrap(attributes, elements)
	}
	s.over(&out, now, true)
	s.unsaid = unsaid
	return out
}
