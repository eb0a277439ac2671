package federation

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const settleWithin = 90 * time.Second

// flow is a row of numbered messages of one user to another.
type flow struct {
	t        testing.TB
	from, to *client
	addr     string // of to
	name     string
	sent     int
}

func newFlow(t testing.TB, from, to *client, name string) *flow {
	return &flow{t: t, from: from, to: to, addr: to.JID, name: name}
}

// send sends n more.
func (f *flow) send(n int) {
	f.t.Helper()
	for range n {
		f.from.say(f.addr, fmt.Sprint(f.name, "-", f.sent))
		f.sent++
	}
}

// trySend implements sender.
func (f *flow) trySend() {
	id := fmt.Sprint(f.name, "-", f.sent)
	if err := f.from.TrySend(fmt.Sprintf("<message to='%s' type='chat' id='%s'><body>%s</body></message>", f.addr, id, id)); err != nil {
		f.t.Error(err)
	}
	f.sent++
}

// sender sends one stanza at a time, on any goroutine.
type sender interface{ trySend() }

func senders(flows []*flow) (list []sender) {
	for _, f := range flows {
		list = append(list, f)
	}
	return list
}

// traffic has each send one each time, until it is stopped.
func traffic(each time.Duration, all ...sender) (stop func()) {
	end := make(chan struct{})
	var running sync.WaitGroup
	for _, f := range all {
		running.Go(func() {
			tick := time.NewTicker(each)
			defer tick.Stop()
			for {
				select {
				case <-end:
					return
				case <-tick.C:
					f.trySend()
				}
			}
		})
	}
	return func() { close(end); running.Wait() }
}

// tally is what became of messages, by their numbers.
type tally struct {
	arrived []int          // in this order
	has     map[int]bool   // those
	bounced map[int]string // the condition
	twice   []string       // what came more than once
}

// tally counts what there is so far.
func (f *flow) tally() tally {
	ty := tally{has: map[int]bool{}, bounced: map[int]string{}}
	all, _, _ := f.to.seen()
	for _, e := range all {
		if n, ok := f.number(e); ok && e.Attr("type") != "error" && e.Attr("from") == f.from.JID {
			if ty.has[n] {
				ty.twice = append(ty.twice, e.Attr("id")+" arrived twice")
			}
			ty.has[n] = true
			ty.arrived = append(ty.arrived, n)
		}
	}
	all, _, _ = f.from.seen()
	for _, e := range all {
		if n, ok := f.number(e); ok && e.Attr("type") == "error" && e.Attr("from") == f.addr {
			if ty.bounced[n] != "" {
				ty.twice = append(ty.twice, e.Attr("id")+" was bounced twice")
			}
			ty.bounced[n] = e.Condition()
		}
	}
	return ty
}

func (f *flow) number(e *xmppc.Element) (n int, ok bool) {
	id, ok := strings.CutPrefix(e.Attr("id"), f.name+"-")
	if !ok || e.Local != "message" {
		return 0, false
	}
	_, err := fmt.Sscan(id, &n)
	return n, err == nil
}

// known says of how many it is known what became of them.
func (ty tally) known() int {
	n := len(ty.arrived)
	for i := range ty.bounced {
		if !ty.has[i] {
			n++
		}
	}
	return n
}

// settle waits until a message of the flow arrives that was sent now, so that all before it have arrived if they
// ever will; while the way is not there again, more are sent.
func (f *flow) settle() {
	f.t.Helper()
	pace := time.NewTicker(200 * time.Millisecond)
	defer pace.Stop()
	for end := time.Now().Add(settleWithin); ; <-pace.C {
		if time.Now().After(end) {
			f.t.Fatalf("%s: nothing arrives again", f.name)
		}
		last := f.sent
		f.send(1)
		var is tally
		f.await(fmt.Sprintf("%s-%d or the error to it", f.name, last), func(ty tally) bool {
			is = ty
			return ty.has[last] || ty.bounced[last] != ""
		})
		if is.has[last] {
			return
		}
	}
}

// await waits until that holds for the flow.
func (f *flow) await(what string, holds func(tally) bool) {
	f.t.Helper()
	for {
		_, ended, back := f.from.seen()
		_, gone, there := f.to.seen()
		ty := f.tally()
		if holds(ty) {
			return
		}
		if ended || gone {
			f.t.Fatalf("%s: a connection ended while waiting for %s", f.name, what)
		}
		select {
		case <-back:
		case <-there:
		case <-time.After(within):
			f.t.Fatalf("%s: waits for %s in vain; arrived: %v; bounced: %v", f.name, what, ty.arrived, ty.bounced)
		}
	}
}

// places says where each message is in the order in which the sender's server sends them. Prosody has some that open a stream behind,
// and some that come when it is just open in front: its log says so.
func (f *flow) places() func(n int) int {
	if f.from.s.kind != "prosody" {
		return func(n int) int { return n }
	}
	at := map[int]int{}
	for i, line := range regexp.MustCompile(`Sending\[s2s(?:in|out)\]: <message [^>]*\bid='`+f.name+`-(\d+)'`).FindAllStringSubmatch(f.from.s.log.String(), -1) {
		n, _ := strconv.Atoi(line[1])
		at[n] = i + 1
	}
	return func(n int) int { return at[n] }
}

// exact says how closely the fate of each message is known to its sender.
type exact int

const (
	never2    exact = iota // never twice, in order; some may be lost without an error
	accounted              // and each arrives or is bounced, or both
	exactly1               // and none both
)

// check asserts what is promised, once settled.
func (f *flow) check(want exact) {
	f.t.Helper()
	if want >= accounted {
		f.await("the fate of all", func(ty tally) bool { return ty.known() == f.sent })
	}
	ty := f.tally()
	for _, what := range ty.twice {
		f.t.Errorf("%s: %s", f.name, what)
	}
	place := f.places()
	for i := 1; i < len(ty.arrived); i++ {
		if place(ty.arrived[i]) <= place(ty.arrived[i-1]) {
			f.t.Errorf("%s: %d arrived behind %d", f.name, ty.arrived[i], ty.arrived[i-1])
		}
	}
	both := 0
	for n := range ty.bounced {
		if ty.has[n] {
			both++
		}
	}
	if want >= exactly1 && both > 0 {
		f.t.Errorf("%s: %d messages arrived, and were bounced", f.name, both)
	}
	f.t.Logf("%s: %d sent, %d arrived, %d bounced, %d both", f.name, f.sent, len(ty.arrived), len(ty.bounced), both)
}
