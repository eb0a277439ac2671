package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/test/load/client"
)

// message writes a message. Its text says in which run it was sent, by whom, the how
// manieth it is from this sender to this recipient, counted from 1, and when.
func (l *load) message(to string, sender, n int) []byte { return l.messageWith(to, "", sender, n) }

// messageWith is message with some more XML in it.
func (l *load) messageWith(to, more string, sender, n int) []byte {
	text := fmt.Sprintf("%s %d %d %v ", l.run, sender, n, time.Since(l.start))
	return fmt.Appendf(nil, "<message to='%s' type='chat' id='%s-%d-%d'><body>%s%s</body>%s</message>",
		to, l.run, sender, n, text, strings.Repeat("x", max(0, l.size-len(text))), more)
}

// arrivals are what one recipient got of this run. Its reader's goroutine takes.
type arrivals struct {
	load *load
	took func(sender int) // called for each message, without a lock; nil for nobody

	mu   sync.Mutex
	from map[int]*sequence // by sender
	tally
	latency []time.Duration // since count was called last
}

// tally counts what happened to messages.
type tally struct {
	got       int
	doubled   int
	reordered int // a later one came first
	refused   int // came back as an error
}

func (t *tally) add(u tally) {
	t.got += u.got
	t.doubled += u.doubled
	t.reordered += u.reordered
	t.refused += u.refused
}

// sequence is what came of a sender: everything up to last but what is missing.
type sequence struct {
	last    int
	missing map[int]struct{}
}

// came notes a number, and says whether it came before, and whether a later one did.
func (s *sequence) came(n int) (again, late bool) {
	if n > s.last {
		for m := s.last + 1; m < n; m++ {
			if s.missing == nil {
				s.missing = map[int]struct{}{}
			}
			s.missing[m] = struct{}{}
		}
		s.last = n
		return false, false
	}
	if _, late = s.missing[n]; late {
		delete(s.missing, n)
	}
	return !late, late
}

func (l *load) arrivals(took func(sender int)) *arrivals {
	return &arrivals{load: l, took: took, from: map[int]*sequence{}}
}

// handle is for client.Server.Login.
func (a *arrivals) handle(item []byte) {
	if sender, ok := a.take(item); ok && a.took != nil {
		a.took(sender)
	}
}

// take counts an item. It returns the sender of a message that is not a double.
func (a *arrivals) take(item []byte) (sender int, ok bool) {
	if client.Name(item) != "message" {
		return 0, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if client.Attr(item, "type") == "error" {
		a.refused++
		return 0, false
	}
	body, _ := client.Content(item, "body")
	f := strings.SplitN(body, " ", 5)
	if len(f) < 4 || f[0] != a.load.run { // of another run
		return 0, false
	}
	sender, _ = strconv.Atoi(f[1])
	n, _ := strconv.Atoi(f[2])
	s := a.from[sender]
	if s == nil {
		s = &sequence{}
		a.from[sender] = s
	}
	again, late := s.came(n)
	switch {
	case again:
		a.doubled++
		return 0, false
	case late:
		a.reordered++
	}
	a.got++
	if sent, err := time.ParseDuration(f[3]); err == nil {
		a.latency = append(a.latency, time.Since(a.load.start)-sent)
	}
	return sender, true
}

// count returns what was counted by now, and the latencies since the last call.
func (a *arrivals) count() (tally, []time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	took := a.latency
	a.latency = nil
	return a.tally, took
}

// progress is how many messages came by now.
func (a *arrivals) progress() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.got
}

// sum counts what all recipients got.
func sum(all []*arrivals) (t tally, latency []time.Duration) {
	for _, a := range all {
		u, took := a.count()
		t.add(u)
		latency = append(latency, took...)
	}
	return t, latency
}

// report notes what happened to so many messages, and says whether that is as it
// should be.
func (t tally) report(r *result, sent int) error {
	r.set("messages", sent)
	r.set("lost", sent-t.got-t.refused)
	r.set("doubled", t.doubled)
	r.set("reordered", t.reordered)
	r.set("refused", t.refused)
	if t.got != sent || t.doubled+t.reordered+t.refused > 0 {
		return fmt.Errorf("%d messages were sent, %d came, %d more came twice, %d late, %d came back", sent, t.got, t.doubled, t.reordered, t.refused)
	}
	return nil
}
