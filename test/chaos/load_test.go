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
	"github.com/hexmpp/hexmpp/test/harness/pgtest"
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

// onEach runs a test on a server with each database.
func onEach(t *testing.T, test func(t *testing.T, s *harness.Server)) {
	start := func(t *testing.T, dsn string) {
		test(t, harness.Start(t, harness.Config{ClearText: true, Registration: "open", Domains: []string{domain}, Postgres: dsn}))
	}
	t.Run("SQLite", func(t *testing.T) { start(t, "") })
	t.Run("PostgreSQL", func(t *testing.T) { start(t, pgtest.Start(t).DSN("postgres", "")) })
}

// death is a time in which no server ran. What had been written to a client before
// can be read during it.
type death struct{ at, until time.Time }

// underLoad has pairs of clients talk while strike ends the server and starts it
// again, so many times, at moments of chance; and waits until all that was
// acknowledged has come. planned says that clients go on with their sessions.
func underLoad(t *testing.T, s *harness.Server, times int, planned bool, strike func() error) ([]*pair, []death) {
	t.Helper()
	all := make([]*pair, setting(t, "HEXMPP_CHAOS_PAIRS", 25))
	for i := range all {
		all[i] = newPair(s.C2S, i, planned)
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
	var deaths []death
	for range times {
		awaitProgress(t, all, total(all)+len(all)+rand.IntN(40*len(all)))
		running.Lock()
		d := death{at: time.Now()}
		if err := strike(); err != nil {
			t.Fatalf("%v\n%s", err, s.Log)
		}
		d.until = time.Now()
		deaths = append(deaths, d)
		running.Unlock()
	}
	awaitProgress(t, all, total(all)+10*len(all))
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
	for i, p := range all {
		p.check(t, i)
	}
	return all, deaths
}

func total(all []*pair) (n int) {
	for _, p := range all {
		n += p.progress()
	}
	return n
}

// awaitProgress waits until so many messages are acknowledged, and have come.
func awaitProgress(t *testing.T, all []*pair, want int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * time.Minute)
	for total(all) < want {
		select {
		case <-tick.C:
		case <-deadline:
			for i, p := range all {
				p.check(t, i)
			}
			t.Fatalf("%d messages are acknowledged and have come, not %d: nothing moves", total(all), want)
		}
	}
}

// check says what was not as promised, but for what came twice.
func (p *pair) check(t *testing.T, i int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		t.Errorf("pair %d: %s", i, f)
	}
	if !p.stop { // it talks on
		return
	}
	for n := range p.promised {
		if _, ok := p.got[n]; !ok {
			t.Errorf("pair %d: message %d was acknowledged and is lost", i, n)
		}
	}
	if !slices.IsSorted(p.order) {
		t.Errorf("pair %d: out of order: %v", i, p.order)
	}
}
