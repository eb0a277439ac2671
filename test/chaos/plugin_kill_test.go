package chaos

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

// TestKillWithPlugins: kill -9 of the whole server under load leaves no process of a plugin
// behind, and a message to a component that was acknowledged (XEP-0198) is answered.
func TestKillWithPlugins(t *testing.T) {
	echo, filter := newVictim(t, "echo", "echo"), newVictim(t, "filter", "filter")
	s := harness.Start(t, harness.Config{ClearText: true, Registration: "open", Domains: []string{domain}, Extra: plugins(echo, filter)})
	all := make([]*asker, setting(t, "HEXMPP_CHAOS_PAIRS", 25))
	for i := range all {
		all[i] = newAsker(s.C2S, i, "store@echo."+domain)
		if err := register(s.C2S, all[i].user); err != nil {
			t.Fatal(err)
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
	for _, a := range all {
		clients.Go(func() { a.ask(up) })
	}
	asked := func() (n int) {
		for _, a := range all {
			n += a.progress()
		}
		return n
	}
	more := func(n int) {
		t.Helper()
		if want := asked() + n; !harness.Eventually(t, 2*time.Minute, func() bool { return asked() >= want }) {
			t.Fatalf("%d messages are acknowledged, not %d: nothing moves", asked(), want)
		}
	}
	kills := setting(t, "HEXMPP_CHAOS_KILLS", 3)
	for range kills {
		more(len(all) + rand.IntN(40*len(all)))
		running.Lock()
		s.Kill()
		for _, v := range []*victim{echo, filter} {
			if !harness.Eventually(t, settleTime, func() bool { return len(v.processes()) == 0 }) {
				t.Errorf("%s: processes %v outlived the server", v.name, v.processes())
			}
		}
		if err := s.Run(); err != nil {
			t.Fatalf("%v\n%s", err, s.Log)
		}
		running.Unlock()
	}
	more(10 * len(all))
	for _, a := range all {
		a.mu.Lock()
		a.stop = true
		a.mu.Unlock()
	}
	finished := make(chan struct{})
	go func() { clients.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(2 * time.Minute):
		t.Error("not everything was acknowledged")
		close(over)
		s.Kill() // ends the connections, and with them the clients
		<-finished
		return
	}
	lost := 0
	for _, a := range all {
		if err := a.rest(); err != nil {
			t.Errorf("%s: %v", a.user, err)
		}
		for _, f := range a.faults {
			t.Errorf("%s: %s", a.user, f)
		}
		lost += len(a.lost())
	}
	// That nothing is lost does not hold yet: a message that waits for a component is counted as
	// handled before it has an outcome.
	t.Logf("%d messages were acknowledged, %d kills; %d have no answer", asked(), kills, lost)
}
