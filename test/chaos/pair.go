package chaos

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// last is the number of a message that tells a recipient to look whether all has come.
const last = 0

// window is how many messages a sender has under way that are not acknowledged.
const window = 10

// pair is a sender, a recipient, and what they saw.
type pair struct {
	sender, recipient *client
	planned           bool // sessions are resumed, whatever happens

	mu       sync.Mutex
	stop     bool              // no new messages
	next     int               // number of the next message
	unacked  []int             // sent, in order
	promised map[int]bool      // acknowledged by the server
	got      map[int]time.Time // when a message came first
	how      map[int]string
	ids      map[int]string // of the recipient's archive, as a message came first with it
	again    map[int]bool   // sent a second time, so that it may be archived twice
	conns    int
	resumed  int // sessions, of both
	answers  []string
	order    []int // in which they came first
	doubles  []double
	faults   []string
}

// double is a message that came again.
type double struct {
	n           int
	first, then time.Time
	how         string
}

func newPair(addr string, i int, planned bool) *pair {
	c := func(role string) *client {
		return &client{addr: addr, user: fmt.Sprint(role, i), resource: "r"}
	}
	return &pair{sender: c("sender"), recipient: c("recipient"), planned: planned, promised: map[int]bool{}, got: map[int]time.Time{},
		how: map[int]string{}, ids: map[int]string{}, again: map[int]bool{}}
}

func (p *pair) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

// answered notes what came of an attempt to resume; nil if there was none.
func (p *pair) answered(who string, answer *element) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case answer == nil:
	case answer.is("resumed"):
		p.resumed++
	case p.planned:
		p.faults = append(p.faults, fmt.Sprintf("the %s could not resume: %s h=%s %v", who, answer.XMLName.Local, answer.H, answer.Children))
	}
}

// acknowledged notes that the server has n more of what was sent.
func (p *pair) acknowledged(n uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int64(n) > int64(len(p.unacked)) {
		p.faults = append(p.faults, fmt.Sprintf("%d acknowledged of %d", n, len(p.unacked)))
		return
	}
	for _, m := range p.unacked[:n] {
		p.promised[m] = true
	}
	p.unacked = p.unacked[n:]
}

// send sends until it may stop and all is acknowledged, over as many connections
// as it takes. up waits for a server that runs; it is false at the end of the test.
func (p *pair) send(up func() bool) {
	var base uint32 // the server's count before the first of unacked
	for up() {
		answer, err := p.sender.connect()
		if err != nil {
			if !broken(err) {
				p.fault("sender: %v", err)
				return
			}
			continue
		}
		p.answered("sender", answer)
		if answer != nil {
			p.answers = append(p.answers, fmt.Sprintf("%v %s h=%s base %d unacked %v", time.Now().Format("05.000000"), answer.XMLName.Local, answer.H, base, p.unacked))
		}
		switch {
		case answer == nil:
			base = 0
		default:
			if h, ok := answer.count(); ok && int32(h-base) > 0 { // the presence may not have arrived
				p.acknowledged(h - base)
				base = h
			}
			if !answer.is("resumed") {
				base = 0
			}
		}
		if answer == nil || !answer.is("resumed") {
			base = 1 // the presence of the new session
		}
		done, err := p.talk(&base)
		p.sender.conn.Close()
		if done {
			return
		}
		if err != nil && !broken(err) {
			p.fault("sender: %v", err)
			return
		}
	}
}

// talk sends on one connection: first again what was not acknowledged.
func (p *pair) talk(base *uint32) (done bool, err error) {
	p.mu.Lock()
	again := append([]int(nil), p.unacked...)
	for _, n := range again {
		p.again[n] = true
	}
	p.mu.Unlock()
	for _, n := range again {
		if err := p.message(n); err != nil {
			return false, err
		}
	}
	for {
		p.mu.Lock()
		for len(p.unacked) < window && !p.stop {
			p.next++
			p.unacked = append(p.unacked, p.next)
			n := p.next
			p.mu.Unlock()
			if err := p.message(n); err != nil {
				return false, err
			}
			p.mu.Lock()
		}
		done = p.stop && len(p.unacked) == 0
		p.mu.Unlock()
		if done {
			return true, errors.Join(p.message(last), p.sender.send("</stream:stream>"))
		}
		if err := p.sender.send("<r xmlns='%s'/>", nsSM); err != nil {
			return false, err
		}
		for moved := false; !moved; {
			e, err := p.sender.next()
			if err != nil {
				return false, err
			}
			switch {
			case e.is("r"):
				if err := p.sender.send("<a xmlns='%s' h='%d'/>", nsSM, p.sender.received); err != nil {
					return false, err
				}
			case e.is("a"):
				if h, ok := e.count(); ok && h != *base {
					if *base == 1 && h == 0 { // not even the presence yet
						continue
					}
					p.acknowledged(h - *base)
					*base, moved = h, true
				}
			case e.is("message") && e.Type == "error":
				return false, fmt.Errorf("message %s came back", e.ID)
			}
		}
	}
}

func (p *pair) message(n int) error {
	return p.sender.send("<message to='%s@%s' type='chat' id='%d'><body>%d</body></message>", p.recipient.user, domain, n, n)
}

// receive takes and acknowledges messages until everything that was promised has
// come.
func (p *pair) receive(up func() bool) {
	for up() && !p.complete() {
		answer, err := p.recipient.connect()
		if err != nil {
			if !broken(err) {
				p.fault("recipient: %v", err)
				return
			}
			continue
		}
		p.answered("recipient", answer)
		p.conns++
		err = p.listen()
		p.recipient.conn.Close()
		if err != nil && !broken(err) {
			p.fault("recipient: %v", err)
			return
		}
	}
}

func (p *pair) listen() error {
	for !p.complete() {
		e, err := p.recipient.next()
		if err != nil {
			return err
		}
		if e.is("message") {
			n, err := strconv.Atoi(strings.TrimSpace(e.Body))
			if err != nil {
				return fmt.Errorf("message %s: %w", e.ID, err)
			}
			how := "live"
			if e.child("delay") != nil {
				how = "delayed"
			}
			id := e.child("stanza-id")
			if id == nil {
				return fmt.Errorf("message %d is in no archive", n)
			}
			if n != last {
				p.came(n, id.ID, fmt.Sprintf(" [%s conn %d]", how, p.conns))
			}
		}
		if e.stanza() || e.is("r") {
			if err := p.recipient.send("<a xmlns='%s' h='%d'/>", nsSM, p.recipient.received); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pair) came(n int, id, how string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if first, again := p.got[n]; again {
		p.doubles = append(p.doubles, double{n, first, now, p.how[n] + how})
		if id != p.ids[n] && !p.again[n] {
			p.faults = append(p.faults, fmt.Sprintf("message %d came twice, with two archive IDs: %s", n, p.how[n]+how))
		}
		return
	}
	p.got[n] = now
	p.how[n] = how
	p.ids[n] = id
	p.order = append(p.order, n)
}

// complete says whether the sender has finished and all of it has come.
func (p *pair) complete() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stop && len(p.unacked) == 0 && len(p.got) >= len(p.promised)
}

// progress is how many messages were acknowledged, and have come: where only senders
// got on between two kills, more and more would wait in storage.
func (p *pair) progress() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return min(len(p.promised), len(p.got))
}
