package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/test/load/client"
)

// nsCost is of what the plugin cost, of servers built with -tags cost, looks for.
const nsCost = "urn:hexmpp:cost"

// plugins has pairs talk at a rate, in messages that a plugin sees, decides or owns, or in
// plain ones; or one session write to many, by a group or to each of them.
func plugins(l *load, f *flag.FlagSet) func(context.Context, *result) error {
	what := f.String("what", "plain", "messages that nobody asked for (plain), or that the plugin cost of a server built with -tags cost observes, decides or owns (observe, decide, own); a group's copies (cast), or as many messages to each of its members (direct)")
	pairs := f.Int("pairs", 50, "senders, and as many recipients; of cast and direct: recipients")
	rate := f.Int("rate", 1000, "messages, or copies, a second of all together")
	length := f.Duration("for", 10*time.Second, "how long is measured; a fifth of it comes before")
	window := f.Int("window", 64, "messages of a sender that have not arrived, at most; of cast and direct those to one recipient")
	return func(ctx context.Context, r *result) error {
		ctx, stop := context.WithTimeout(ctx, l.limit)
		defer stop()
		p := &paced{load: l, what: *what, component: "cost." + l.Domain, rate: float64(*rate), window: *window}
		defer func() { l.closeAll(p.sessions) }()
		var err error
		switch *what {
		case "plain", "observe", "decide", "own":
			err = p.pairs(ctx, *pairs)
		case "cast", "direct":
			err = p.group(ctx, *pairs)
		default:
			err = fmt.Errorf("what is %q", *what)
		}
		if err != nil {
			return err
		}
		before, err := p.talk(ctx, *length/5)
		if err != nil {
			return fmt.Errorf("before: %w", err)
		}
		sum(p.arrived) // not their latencies
		m := l.measure()
		sent, err := p.talk(ctx, *length)
		r.set("what", *what)
		m.note(r, max(sent, 1))
		l.closeAll(p.sessions) // nothing more comes
		count, took := sum(p.arrived)
		r.quantiles("latency", took)
		return errors.Join(err, count.report(r, before+sent))
	}
}

// paced is a run of plugins.
type paced struct {
	load      *load
	what      string
	component string
	rate      float64 // of messages that arrive
	window    int

	sessions []*client.Session
	arrived  []*arrivals
	senders  []*pacer
}

// pacer is a sender.
type pacer struct {
	from    *client.Session
	rate    float64            // of next a second
	counts  int                // how many messages arrive for one of next
	stanzas int                // that one of next is
	room    chan struct{}      // holds those of next that have not arrived
	next    func(n int) []byte // the nth one, from 1
	sent    int                // of next
}

// pairs logs pairs in.
func (p *paced) pairs(ctx context.Context, n int) error {
	l := p.load
	p.sessions, p.arrived, p.senders = make([]*client.Session, 2*n), make([]*arrivals, n), make([]*pacer, n)
	return each(ctx, n, l.logins, func(i int) (err error) {
		s := &pacer{rate: p.rate / float64(n), counts: 1, stanzas: 1, room: make(chan struct{}, p.window)}
		p.senders[i], p.arrived[i] = s, l.arrivals(func(int) { <-s.room })
		if s.from, err = l.online(2*i, p.back(p.arrived[i], s)); err != nil {
			return err
		}
		p.sessions[2*i] = s.from
		to, err := l.online(2*i+1, p.arrived[i].handle)
		if err != nil {
			return err
		}
		p.sessions[2*i+1] = to
		more := ""
		if p.what == "observe" || p.what == "decide" {
			more = fmt.Sprintf("<%s xmlns='%s'/>", p.what, nsCost)
		}
		s.next = func(n int) []byte {
			if p.what == "own" {
				return l.messageWith(p.component, fmt.Sprintf("<own xmlns='%s' to='%s'/>", nsCost, to.JID), i, n)
			}
			return l.messageWith(to.JID, more, i, n)
		}
		return nil
	})
}

// back handles what comes to a sender: messages that came back as errors. One of them
// makes room for the next.
func (p *paced) back(a *arrivals, s *pacer) func([]byte) {
	return func(item []byte) {
		if client.Name(item) == "message" && client.Attr(item, "type") == "error" {
			a.take(item)
			<-s.room
		}
	}
}

// group logs a sender and its recipients in. What it sends is a message to each of them.
func (p *paced) group(ctx context.Context, n int) error {
	l := p.load
	group := l.run + "@" + p.component
	s := &pacer{rate: p.rate / float64(n), counts: n, stanzas: 1, room: make(chan struct{}, p.window)}
	var mu sync.Mutex
	missing := n
	came := func(int) { // of each n arrivals the last one makes room
		mu.Lock()
		defer mu.Unlock()
		if missing--; missing == 0 {
			missing = n
			<-s.room
		}
	}
	p.sessions, p.arrived, p.senders = make([]*client.Session, n+1), make([]*arrivals, n), []*pacer{s}
	joined := make(chan struct{}, n)
	err := each(ctx, n+1, l.logins, func(i int) (err error) {
		if i == n {
			p.sessions[n], err = l.online(n, func([]byte) {})
			return err
		}
		p.arrived[i] = l.arrivals(came)
		p.sessions[i], err = l.online(i, func(item []byte) {
			if bytes.Contains(item, []byte(" id='joined'")) || bytes.Contains(item, []byte(` id="joined"`)) {
				joined <- struct{}{}
				return
			}
			p.arrived[i].handle(item)
		})
		if err != nil || p.what == "direct" {
			return err
		}
		x := p.sessions[i] // the second one comes back when the first is done
		return x.Send(fmt.Appendf(nil, "<message to='%s'><join xmlns='%s'/></message><message to='%[1]s' id='joined'><own xmlns='%[2]s' to='%[3]s'/></message>", group, nsCost, x.JID), 2, false)
	})
	if err != nil {
		return err
	}
	for i := 0; i < n && p.what == "cast"; i++ {
		select {
		case <-joined:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d have joined", i, n)
		}
	}
	s.from = p.sessions[n]
	if p.what == "direct" {
		s.stanzas = n
	}
	s.next = func(k int) []byte {
		if p.what == "cast" {
			return l.messageWith(group, fmt.Sprintf("<cast xmlns='%s'/>", nsCost), n, k)
		}
		var all []byte
		for _, x := range p.sessions[:n] {
			all = append(all, l.message(x.JID, n, k)...)
		}
		return all
	}
	return nil
}

// talk has all send for a while, waits until all has arrived, and returns how many
// messages that were.
func (p *paced) talk(ctx context.Context, length time.Duration) (sent int, err error) {
	before := 0
	for _, s := range p.senders {
		before += s.sent * s.counts
	}
	err = each(ctx, len(p.senders), len(p.senders), func(i int) error {
		return p.senders[i].talk(ctx, length, time.Duration(i)*time.Second/time.Duration(p.rate+1))
	})
	for _, s := range p.senders {
		sent += s.sent * s.counts
	}
	return sent - before, err
}

// atOnce is how many messages are written in one piece at most, by a sender who is late.
const atOnce = 64

// talk sends at the rate, the first one after a pause.
func (s *pacer) talk(ctx context.Context, length, pause time.Duration) error {
	clock := time.NewTimer(pause)
	defer clock.Stop()
	begin := time.Now().Add(pause)
	for n := 0; ; {
		select {
		case <-clock.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		gone := time.Since(begin)
		if gone > length {
			break
		}
		due := min(int(gone.Seconds()*s.rate)+1-n, atOnce)
		var xml []byte
		for range due {
			select {
			case s.room <- struct{}{}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			n, s.sent = n+1, s.sent+1
			xml = append(xml, s.next(s.sent)...)
		}
		if err := s.from.Send(xml, due*s.stanzas, s.sent%32 < due); err != nil {
			return err
		}
		clock.Reset(max(time.Until(begin.Add(time.Duration(float64(n)/s.rate*float64(time.Second)))), 0))
	}
	for range cap(s.room) { // all of it is free when everything has arrived
		select {
		case s.room <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for range cap(s.room) {
		<-s.room
	}
	return nil
}
