package throttle

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// The tables stay within their bounds, and nobody washes his record away.
func TestBounds(t *testing.T) {
	const bound = 256
	th := New(Options{MaxRecords: bound})
	check := func() {
		t.Helper()
		if len(th.lanes.m) > bound || len(th.accounts.m) > bound || len(th.owners.m) > bound {
			t.Fatalf("%d lanes, %d accounts, %d owners", len(th.lanes.m), len(th.accounts.m), len(th.owners.m))
		}
	}
	login(th, home, juliet, epoch)
	for range 20 {
		th.Failed(elsewhere, juliet, epoch)
		th.Failed(attacker(1), romeo, epoch)
	}
	for i := range 20000 {
		guess(th, attacker(100+i), user(i), epoch)
		check()
	}
	d, r := th.Attempt(elsewhere, user(7), epoch)
	wantRefused(t, d, r)
	if a, ok := th.accounts.get(th.key(romeo)); !ok || a.failures.level(th.clock.nanos(epoch), th.o.AccountForgive) != 20 {
		t.Error("the account's failures were washed away")
	}
	if th.knownAt(th.key(juliet), home, th.clock.nanos(epoch)) == nil {
		t.Error("failures washed a known address away")
	}
	for i := range 2000 {
		login(th, home, user(i), epoch.Add(time.Second))
		check()
	}
	for i := range 100 {
		login(th, attacker(i), juliet, epoch.Add(time.Second))
	}
	if w, ok := th.owners.get(th.key(juliet)); !ok || len(w.from) > knownAddresses {
		t.Error("too many known addresses")
	}
}

// Expired records make room before any that still says something.
func TestExpiredGoFirst(t *testing.T) {
	th := New(Options{MaxRecords: sample})
	for i := range sample {
		guess(th, attacker(i), juliet, epoch)
	}
	now := epoch.Add(time.Hour)
	th.lanes.m[attacker(3)].failures.add(th.clock.nanos(now), time.Hour, 1)
	guess(th, home, juliet, now)
	if len(th.lanes.m) != 2 || th.lanes.m[attacker(3)] == nil {
		t.Errorf("%d records left", len(th.lanes.m))
	}
}

// Any row of calls, with a clock that also steps back: bounds hold.
func TestRandomCalls(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	th := New(Options{MaxRecords: 32})
	now := epoch
	for range 200000 {
		now = now.Add(time.Duration(rnd.Int64N(int64(3*time.Second))) - time.Second/2)
		a, u := attacker(rnd.IntN(100)), user(rnd.IntN(100))
		switch rnd.IntN(5) {
		case 0, 1:
			delay, refused := th.Attempt(a, u, now)
			if delay < 0 || delay > 10*time.Second || refused && delay != 0 {
				t.Fatalf("delay %v, refused %v", delay, refused)
			}
		case 2:
			th.Failed(a, u, now)
		case 3:
			th.Succeeded(a, u, now)
		case 4:
			th.Abandoned(a, u, now)
		}
		if len(th.lanes.m) > 32 || len(th.accounts.m) > 32 || len(th.owners.m) > 32 {
			t.Fatal("bound")
		}
	}
}

// A caller whose clock was read a moment earlier than the first one's.
func TestClockBeforeTheFirst(t *testing.T) {
	th := New(Options{MaxPending: 1, Free: 1})
	login(th, home, romeo, epoch)
	d, r := th.Attempt(elsewhere, juliet, epoch.Add(-time.Millisecond))
	wantPass(t, d, r)
}

func TestConcurrent(t *testing.T) {
	th := New(Options{MaxRecords: 64})
	l := NewLimiter(LimiterOptions{MaxRecords: 64})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				a, u, now := attacker((g+i)%100), user(i%50), epoch.Add(time.Duration(i)*time.Second)
				if _, refused := th.Attempt(a, u, now); !refused {
					switch i % 3 {
					case 0:
						th.Failed(a, u, now)
					case 1:
						th.Succeeded(a, u, now)
					case 2:
						th.Abandoned(a, u, now)
					}
				}
				l.Allow(a, now)
			}
		})
	}
	wg.Wait()
}

func TestExtremeOptions(t *testing.T) {
	long := time.Duration(1 << 62)
	th := New(Options{Free: 1 << 40, First: long, MaxWait: long, MaxHold: long, Forgive: long,
		AccountFree: 1 << 40, AccountLimit: 1 << 40, AccountForgive: long, KnownFor: time.Hour, MaxPending: 1 << 40, MaxRecords: 1})
	for i := range 100 {
		if d, r := guess(th, attacker(i%3), user(i%3), epoch); d < 0 || r {
			t.Fatalf("delay %v, refused %v", d, r)
		}
	}
}

func TestLeaky(t *testing.T) {
	var l leaky
	const unit = 10
	for i, tt := range []struct {
		at   nanos
		add  bool
		want int
	}{
		{100, false, 0}, {100, true, 1}, {100, true, 2}, {100, true, 3}, {100, true, 3}, // the bound
		{109, false, 3}, {110, false, 2}, {119, false, 2}, {120, false, 1}, {120, true, 2}, {140, false, 0}, {500, false, 0},
	} {
		if tt.add {
			l.add(tt.at, unit, 3)
		}
		if got := l.level(tt.at, unit); got != tt.want || l.empty(tt.at) != (got == 0) {
			t.Errorf("row %d: %d, want %d", i, got, tt.want)
		}
	}
	l.sub(500, unit)
	if l.level(500, unit) != 0 {
		t.Error("below nothing")
	}
	// A bound beyond all time must not wrap around.
	l.add(500, time.Hour, 1<<50)
	if l.level(500, time.Hour) != 1 {
		t.Error("wrapped around")
	}
}

// A lane says something as long as its next attempt must wait.
func TestLaneExpires(t *testing.T) {
	p := newPolicy(Options{Forgive: time.Second}.withDefaults(), time.Minute, 1)
	var l lane
	if l.admit(&p, 0); l.expired(0) {
		t.Error("expired with an attempt under way")
	}
	for range 20 {
		l.fail(&p, 0)
	}
	for n, want := range map[time.Duration]bool{0: false, 20 * time.Second: false, 59 * time.Second: false, 61 * time.Second: true} {
		if l.expired(nanos(n)) != want {
			t.Errorf("after %v: %v", n, !want)
		}
	}
}

// A guess from an address that was never seen, while all tables are full.
func BenchmarkGuessFullTables(b *testing.B) {
	th := New(Options{})
	targets := make([]jid.JID, 1<<17)
	for i := range targets {
		targets[i] = user(i)
		guess(th, attacker(i), targets[i], epoch)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		guess(th, attacker(len(targets)+i), targets[i%len(targets)], epoch)
		i++
	}
}

// A login from a known address.
func BenchmarkKnownLogin(b *testing.B) {
	th := New(Options{})
	b.ReportAllocs()
	for b.Loop() {
		login(th, home, juliet, epoch)
	}
}
