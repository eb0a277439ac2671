package throttle

import (
	"net/netip"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	l := NewLimiter(LimiterOptions{Every: 10 * time.Second, Burst: 3})
	for i, tt := range []struct {
		at   time.Duration
		addr string
		want bool
	}{
		{0, "192.0.2.1", true},
		{0, "192.0.2.1", true},
		{0, "::ffff:192.0.2.1", true},
		{0, "192.0.2.1", false},
		{0, "192.0.2.2", true}, // another address
		{9 * time.Second, "192.0.2.1", false},
		{10 * time.Second, "192.0.2.1", true}, // one came back
		{10 * time.Second, "192.0.2.1", false},
		{25 * time.Second, "192.0.2.1", true},
		{25 * time.Second, "192.0.2.1", false}, // half a token is none
		{30 * time.Second, "192.0.2.1", true},
		{time.Hour, "192.0.2.1", true}, // not more than the burst
		{time.Hour, "192.0.2.1", true},
		{time.Hour, "192.0.2.1", true},
		{time.Hour, "192.0.2.1", false},
		{time.Hour, "2001:db8::1", true}, // one /64
		{time.Hour, "2001:db8::2", true},
		{time.Hour, "2001:db8::3:4", true},
		{time.Hour, "2001:db8::5", false},
		{time.Hour, "2001:db8:0:1::5", true},
	} {
		if got := l.Allow(netip.MustParseAddr(tt.addr), epoch.Add(tt.at)); got != tt.want {
			t.Errorf("row %d: %v", i, got)
		}
	}
}

func TestLimiterBounds(t *testing.T) {
	l := NewLimiter(LimiterOptions{MaxRecords: 128})
	for range 5 {
		l.Allow(home, epoch)
	}
	for i := range 10000 {
		if !l.Allow(attacker(i), epoch) {
			t.Fatalf("address %d is refused", i)
		}
		if len(l.by.buckets.m) > 128 {
			t.Fatalf("%d records", len(l.by.buckets.m))
		}
	}
	if l.Allow(home, epoch) {
		t.Error("an empty bucket was washed away")
	}
}

func TestLimiterDisabled(t *testing.T) {
	l := NewLimiter(LimiterOptions{Disabled: true, Burst: 1})
	for range 10 {
		if !l.Allow(home, epoch) {
			t.Fatal("refused")
		}
	}
}
