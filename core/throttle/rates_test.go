package throttle

import (
	"fmt"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func TestRates(t *testing.T) {
	r := NewRates(RateOptions{Bytes: 1000, BytesBurst: 5000, Stanzas: 10, StanzasBurst: 20})
	m := r.Hold(romeo, epoch)
	for i, tt := range []struct {
		at             time.Duration
		bytes, stanzas int
		wait           time.Duration
		over           bool // by stanzas
		tell           bool
	}{
		{0, 5000, 1, 0, false, false},                                 // the burst
		{0, 1, 0, time.Millisecond, false, true},                      // a byte too many, which is taken all the same
		{0, 999, 0, time.Second, false, false},                        // the next session waits behind it
		{time.Second, 0, 0, 0, false, false},                          // paid back
		{2 * time.Second, 1000, 0, 0, false, false},                   // one second's worth came back
		{time.Hour, 5000, 0, 0, false, false},                         // never more than the burst
		{time.Hour, 2500, 0, 2500 * time.Millisecond, false, true},    // told again, an hour later
		{2 * time.Hour, 0, 20, 0, false, false},                       // stanzas have a burst of their own
		{2 * time.Hour, 0, 5, 500 * time.Millisecond, true, true},     //
		{2 * time.Hour, 5100, 0, 500 * time.Millisecond, true, false}, // what takes longer counts
		{2*time.Hour + 30*time.Second, 0, 20 + 290, 29 * time.Second, true, false},
	} {
		got := m.Take(tt.bytes, tt.stanzas, epoch.Add(tt.at))
		if want := (Over{tt.wait, tt.over, tt.tell}); got != want {
			t.Errorf("row %d: %+v, want %+v", i, got, want)
		}
	}
}

// Whoever ends its sessions and comes back owes what it owed.
func TestRatesOutliveSessions(t *testing.T) {
	r := NewRates(RateOptions{Bytes: 1000, BytesBurst: 5000})
	one, two, other := r.Hold(romeo, epoch), r.Hold(romeo.Bare(), epoch), r.Hold(juliet, epoch)
	if one != two || one == other {
		t.Fatal("an account has one Meter, and no other has it")
	}
	one.Take(8000, 0, epoch)
	one.Drop(epoch)
	two.Drop(epoch)
	other.Drop(epoch)
	if len(r.held) != 0 || len(r.past.m) != 1 {
		t.Fatalf("%d held, %d remembered; want the one that owes", len(r.held), len(r.past.m))
	}
	again := r.Hold(romeo, epoch.Add(time.Second))
	if w := again.Take(0, 0, epoch.Add(time.Second)).Wait; w != 2*time.Second {
		t.Errorf("it waits %v", w)
	}
	again.Drop(epoch.Add(time.Hour))
	if len(r.held) != 0 || len(r.past.m) != 0 {
		t.Error("a full bucket is remembered")
	}
}

func TestRatesAreBounded(t *testing.T) {
	r := NewRates(RateOptions{MaxRecords: 10})
	for i := range 100 {
		m := r.Hold(jid.MustParse(fmt.Sprint("u", i, "@example.org")), epoch)
		m.Take(1, 1, epoch)
		m.Drop(epoch)
	}
	if n := len(r.past.m); n != 10 {
		t.Errorf("%d are remembered", n)
	}
}

func TestRequests(t *testing.T) {
	r := NewRates(RateOptions{Requests: 2})
	m := r.Hold(romeo, epoch)
	for i, tt := range []struct {
		at   time.Duration
		want bool
	}{
		{0, true}, {0, true}, {0, false}, {29 * time.Minute, false}, {30 * time.Minute, true}, {30 * time.Minute, false},
		{3 * time.Hour, true}, {3 * time.Hour, true}, {3 * time.Hour, false},
	} {
		if got := m.Request(epoch.Add(tt.at)); got != tt.want {
			t.Errorf("row %d: %v", i, got)
		}
	}
}

func TestRatesWithoutLimits(t *testing.T) {
	var off *Rates = NewRates(RateOptions{Disabled: true})
	for name, m := range map[string]*Meter{
		"disabled": off.Hold(romeo, epoch),
		"negative": NewRates(RateOptions{Bytes: -1, Stanzas: -1, Requests: -1}).Hold(romeo, epoch),
	} {
		for range 2000 {
			if o := m.Take(1<<20, 1000, epoch); o != (Over{}) || !m.Request(epoch) {
				t.Fatalf("%s: %+v", name, o)
			}
		}
		m.Drop(epoch)
	}
	// Nothing overflows: the longest wait is some years.
	m := NewRates(RateOptions{Bytes: 1, BytesBurst: 1}).Hold(romeo, epoch)
	for range 1000 {
		if w := m.Take(1<<30, 0, epoch).Wait; w <= 0 {
			t.Fatal(w)
		}
	}
}
