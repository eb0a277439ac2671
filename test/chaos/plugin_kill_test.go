package chaos

import (
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

// TestKillWithPlugins: kill -9 of the whole server under load, every other time just behind
// one of a plugin, leaves no process of a plugin behind; and a message to a component that
// was acknowledged (XEP-0198) is answered.
func TestKillWithPlugins(t *testing.T) {
	kills := setting(t, "HEXMPP_CHAOS_KILLS", 3)
	all := askUnder(t, "store", kills, func(s *harness.Server, echo *victim) error {
		if pids := echo.processes(); rand.IntN(2) == 0 && len(pids) == 1 {
			if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
				return err
			}
		}
		s.Kill()
		return nil
	})
	t.Logf("%d messages were acknowledged, %d kills", asked(all), kills)
}

// TestRestartWithPlugins: over a planned restart under load each message to a component is
// answered, or comes back; what the component has in memory is what it had done.
func TestRestartWithPlugins(t *testing.T) {
	restarts := setting(t, "HEXMPP_CHAOS_RESTARTS", 3)
	all := askUnder(t, "memory", restarts, func(s *harness.Server, _ *victim) error { return s.Stop() })
	back := 0
	for _, a := range all {
		for n, times := range a.numbers {
			if n > len(a.numbers) || len(times) != 1 {
				t.Errorf("%s: the number %d is of the messages %v, and there are %d numbers", a.user, n, times, len(a.numbers))
			}
		}
		if a.next != len(a.numbers)+len(a.back) {
			t.Errorf("%s: %d messages, %d numbers, %d came back", a.user, a.next, len(a.numbers), len(a.back))
		}
		back += len(a.back)
	}
	t.Logf("%d messages were acknowledged, %d restarts; %d came back", asked(all), restarts, back)
}

// askUnder has clients send messages to an address of the component while strike ends the
// server, so many times, and it is started again; and checks that all that was acknowledged is
// answered.
func askUnder(t *testing.T, address string, times int, strike func(s *harness.Server, echo *victim) error) []*asker {
	t.Helper()
	echo, filter := newVictim(t, "echo", "echo"), newVictim(t, "filter", "filter")
	s := harness.Start(t, harness.Config{ClearText: true, Registration: "open", Domains: []string{domain}, Extra: plugins(echo, filter)})
	all := make([]*asker, setting(t, "HEXMPP_CHAOS_PAIRS", 25))
	for i := range all {
		all[i] = newAsker(s.C2S, i, address+"@echo."+domain)
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
	more := func(n int) {
		t.Helper()
		if want := asked(all) + n; !harness.Eventually(t, 2*time.Minute, func() bool { return asked(all) >= want }) {
			t.Fatalf("%d messages are acknowledged, not %d: nothing moves", asked(all), want)
		}
	}
	for range times {
		more(len(all) + rand.IntN(40*len(all)))
		running.Lock()
		if err := strike(s, echo); err != nil {
			t.Errorf("%v\n%s", err, s.Log)
		}
		for _, v := range []*victim{echo, filter} {
			if !harness.Eventually(t, patience, func() bool { return len(v.processes()) == 0 }) {
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
		return all
	}
	for _, a := range all {
		if err := a.rest(); err != nil {
			t.Errorf("%s: %v", a.user, err)
		}
		for _, f := range a.faults {
			t.Errorf("%s: %s", a.user, f)
		}
		if list := a.lost(); len(list) > 0 {
			t.Errorf("%s: %v were acknowledged and have no answer", a.user, list)
		}
	}
	return all
}

// asked is how many messages were acknowledged.
func asked(all []*asker) (n int) {
	for _, a := range all {
		n += a.progress()
	}
	return n
}
