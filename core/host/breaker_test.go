package host

import (
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	var b Breaker
	now := time.Unix(1_000_000, 0)
	ask := func(missed bool) (changed bool) {
		t.Helper()
		if b.Open(now) || !b.Enter(now) {
			t.Fatal("not asked")
		}
		return b.Leave(now, missed)
	}
	for range 4 {
		ask(true)
	}
	ask(false) // in a row, that is
	for range 4 {
		if ask(true) {
			t.Error("open after four")
		}
	}
	if !ask(true) {
		t.Fatal("closed after five")
	}
	// Pauses double, but for the jitter of half of each, up to a minute.
	for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		began := now
		for ; b.Open(now); now = now.Add(10 * time.Millisecond) {
			if b.Enter(now) {
				t.Fatal("open, and asked")
			}
		}
		if took := now.Sub(began); took < pause*time.Second/2 || took > pause*time.Second+10*time.Millisecond {
			t.Errorf("a pause of %v, not %v", took, pause*time.Second)
		}
		if !b.Enter(now) || b.Enter(now) || !b.Open(now) {
			t.Fatal("one is asked at a time, to see")
		}
		b.Quit() // that one was not taken: another one is
		if !b.Enter(now) {
			t.Fatal("nobody sees")
		}
		if b.Leave(now, true) {
			t.Error("it was open before")
		}
	}
	now = now.Add(time.Hour)
	if !ask(false) {
		t.Error("still open")
	}
	for range 4 {
		ask(true)
	}
	if b.Open(now) {
		t.Error("open after four, once more")
	}
}

// What was asked before it opened, and is missed behind that, makes no pause longer.
func TestBreakerOfMany(t *testing.T) {
	var b Breaker
	now := time.Unix(1_000_000, 0)
	for range 100 {
		if !b.Enter(now) {
			t.Fatal("not asked")
		}
	}
	changes := 0
	for range 100 {
		if b.Leave(now, true) {
			changes++
		}
	}
	if changes != 1 || b.Open(now.Add(time.Second)) {
		t.Error(changes, "times open, for more than a second")
	}
}
