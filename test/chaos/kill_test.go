package chaos

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

func setting(t *testing.T, name string, preset int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return preset
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// death is a time in which no server ran. What had been written to a client before
// can be read during it.
type death struct{ at, until time.Time }

// unsure is how long before a kill an acknowledgement of a recipient may have
// been under way.
const unsure = 500 * time.Millisecond

// TestKill: kill -9 loses nothing that was acknowledged (XEP-0198), and doubles
// nothing but what may not have been acknowledged by its recipient.
func TestKill(t *testing.T) {
	kills, pairs := setting(t, "HEXMPP_CHAOS_KILLS", 3), setting(t, "HEXMPP_CHAOS_PAIRS", 25)
	s := harness.Start(t, harness.Config{ClearText: true, Registration: "open", Domains: []string{domain}})
	all := make([]*pair, pairs)
	for i := range all {
		all[i] = newPair(s.C2S, i)
		for _, c := range []*client{all[i].sender, all[i].recipient} {
			if err := register(s.C2S, c.user); err != nil {
				t.Fatal(err)
			}
		}
	}

	var running sync.RWMutex // write-locked while the server is down
	over := make(chan struct{})
	up := func() bool {
		running.RLock()
		defer running.RUnlock()
		select {
		case <-over:
			return false
		default:
			return true
		}
	}
	var clients sync.WaitGroup
	for _, p := range all {
		clients.Go(func() { p.send(up) })
		clients.Go(func() { p.receive(up) })
	}
	total := func() (n int) {
		for _, p := range all {
			n += p.progress()
		}
		return n
	}
	var kill []death
	for range kills {
		awaitProgress(t, total, total()+pairs+rand.IntN(40*pairs))
		running.Lock()
		d := death{at: time.Now()}
		s.Kill()
		if err := s.Run(); err != nil {
			t.Fatalf("%v\n%s", err, s.Log)
		}
		d.until = time.Now()
		kill = append(kill, d)
		running.Unlock()
	}
	awaitProgress(t, total, total()+10*pairs)
	for _, p := range all {
		p.mu.Lock()
		p.stop = true
		p.mu.Unlock()
	}
	finished := make(chan struct{})
	go func() { clients.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(2 * time.Minute):
		t.Error("not everything that was acknowledged has come")
		close(over)
		s.Kill() // ends the connections, and with them the clients
		<-finished
	}
	doubled := 0
	for i, p := range all {
		doubled += p.check(t, i, kill)
	}
	t.Logf("%d messages, %d kills, %d came twice since their recipient's acknowledgement was cut off", total(), kills, doubled)
}

// awaitProgress waits until so many messages are acknowledged.
func awaitProgress(t *testing.T, total func() int, want int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * time.Minute)
	for total() < want {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d messages are acknowledged, not %d: nothing moves", total(), want)
		}
	}
}

// check says what was not as promised, and returns how many messages came twice.
func (p *pair) check(t *testing.T, i int, kills []death) int {
	t.Helper()
	for _, f := range p.faults {
		t.Errorf("pair %d: %s", i, f)
	}
	for n := range p.promised {
		if _, ok := p.got[n]; !ok {
			t.Errorf("pair %d: message %d was acknowledged and is lost", i, n)
		}
	}
	if !slices.IsSorted(p.order) {
		t.Errorf("pair %d: out of order: %v", i, p.order)
	}
	for _, d := range p.doubles {
		if !slices.ContainsFunc(kills, func(k death) bool {
			return k.at.Sub(d.first) < unsure && d.first.Before(k.until) && k.at.Before(d.then)
		}) {
			report := t.Errorf
			if os.Getenv("HEXMPP_CHAOS_KILLS") == "" { // how long an acknowledgement is under way depends on the machine
				report = t.Logf
			}
			report("pair %d: message %d came twice, its acknowledgement had arrived: %v, then %v %s %v", i, d.n, d.first.Format("05.000000"), d.then.Format("05.000000"), d.how, p.answers)
		}
	}
	return len(p.doubles)
}
