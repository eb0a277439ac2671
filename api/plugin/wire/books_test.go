package wire

import (
	"fmt"

	"google.golang.org/protobuf/proto"
)

// consistent recounts what a Kernel knows.
func consistent(k *Kernel) error {
	var s Stats
	var suspects, applying, sent, sentBytes, outcomes int
	for name, y := range k.keys {
		if y.name != name || y.events.n == 0 && y.open == 0 && y.applies.len() == 0 {
			return fmt.Errorf("key %s is kept for nothing", name)
		}
		var last state = answered
		rank := map[state]int{answered: 0, inFlight: 1, returned: 2, waiting: 3}
		flight := 0
		var answer, send *event
		for e := y.events.head; e != nil; e = e.links[ofKey].next {
			// Of a run of which one has failed the others are to be answered.
			run := e.apply.open && y.barrier && last == returned
			if rank[e.state] < rank[last] && !run {
				return fmt.Errorf("key %s: event %d, %d, is behind one of %d", name, e.id, e.state, last)
			}
			if !run {
				last = e.state
			}
			switch e.state {
			case waiting:
				s.Waiting++
				s.WaitingBytes += e.item.Size
			case returned:
				s.Returned++
			case inFlight:
				flight++
				s.InFlight++
				s.InFlightBytes += e.item.Size
				if answer == nil {
					answer = e
				}
			case ended:
				return fmt.Errorf("event %d is ended", e.id)
			}
			if send == nil && (e.state == waiting || e.state == returned) {
				send = e
			}
			if e.state != waiting {
				sent++
				sentBytes += e.item.Size
			}
			if e.size > 0 != (e.outcome != nil && proto.Size(e.outcome) > 0) || e.size > 0 && e.state != answered {
				return fmt.Errorf("event %d has an outcome of %d bytes: %v", e.id, e.size, e.outcome)
			}
			outcomes += e.size
			if e.suspect {
				suspects++
			}
		}
		if y.answer != answer || y.send != send || y.flight != flight {
			return fmt.Errorf("key %s: answer %v, send %v, %d in flight", name, y.answer, y.send, y.flight)
		}
		applying += y.applies.len()
		if applying += y.open; y.open > k.limits.Run {
			return fmt.Errorf("key %s: %d are applied at once", name, y.open)
		} else if y.open == 0 && y.applies.len() > 0 {
			return fmt.Errorf("key %s: nothing is applied though something waits", name)
		}
		if pending := y.applies.len() + y.open; y.said-y.over != uint64(pending) || y.reads.len() > 0 && (pending == 0 || y.reads.front().said <= y.over) {
			return fmt.Errorf("key %s: %d were said and %d are over, %d are to be applied, %d reads wait", name, y.said, y.over, pending, y.reads.len())
		}
		may := k.conn != nil && send != nil && !(y.barrier && (y.open > 0 || y.applies.len() > 0)) && y.place_ == 0 && flight < k.limits.KeyEvents
		if may != (y.list != noList) {
			return fmt.Errorf("key %s: in list %d, may be sent: %v", name, y.list, may)
		}
	}
	got := k.Stats()
	if got.Waiting != s.Waiting || got.WaitingBytes != s.WaitingBytes || got.Returned != s.Returned || got.InFlight != s.InFlight ||
		got.InFlightBytes != s.InFlightBytes || k.inFlight != s.InFlight || suspects != len(k.suspects) || outcomes != k.outcomes || sent != k.sent || sentBytes != k.sentBytes || applying != k.applying {
		return fmt.Errorf("%d bytes of outcomes, %d counted; %+v, %d suspects, %d applying: there is %+v", outcomes, k.outcomes, got, len(k.suspects), k.applying, s)
	}
	if k.conn != nil {
		flying, back := 0, 0
		for i := range k.conn.shards {
			s := &k.conn.shards[i]
			if len(s.flying) != s.flight.n {
				return fmt.Errorf("%d in flight, %d in the list", len(s.flying), s.flight.n)
			}
			flying += s.flight.n
			if s.flight.n > k.limits.Credit.Events || s.flight.n > 1 && s.flight.bytes > k.limits.Credit.Bytes {
				return fmt.Errorf("%d events, %d bytes in flight", s.flight.n, s.flight.bytes)
			}
			back += s.returned
			if s.requests > MaxRequests || s.unasked > MaxUnasked {
				return fmt.Errorf("%d requests, %d unasked", s.requests, s.unasked)
			}
			if s.requests != s.reads+s.asked.len()+s.asking+s.responses.len() {
				return fmt.Errorf("%d requests, of which %d wait, %d are asked, %d answered", s.requests, s.asked.len(), s.asking, s.responses.len())
			}
		}
		if flying != s.InFlight || back != s.Returned {
			return fmt.Errorf("%d in flight, %d returned on the sessions: %+v", flying, back, s)
		}
	}
	return nil
}
