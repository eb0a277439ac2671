package garbage

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 400}, {4 << 20, 400}, {5 << 20, 400}, {6 << 20, 300}, {15 << 20, 200}, {16 << 20, 100}, {1 << 30, 100}} {
		if got := percent(c.live, 16<<20); got != c.want {
			t.Errorf("%d live: %d, want %d", c.live, got, c.want)
		}
	}
}

// The setting follows what is live.
func TestTune(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	const room = 16 << 20
	c := tune(room)
	ballast := make([]byte, 2*room)
	settled := func(want int) bool {
		for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); {
			before := c.done.Load()
			runtime.GC()
			for c.done.Load() == before && time.Now().Before(limit) {
				runtime.Gosched()
			}
			now := debug.SetGCPercent(100)
			debug.SetGCPercent(now)
			if now == want {
				return true
			}
		}
		return false
	}
	if !settled(100) {
		t.Error("a large heap has more garbage than it has live bytes")
	}
	runtime.KeepAlive(ballast)
}
