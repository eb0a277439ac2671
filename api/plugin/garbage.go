package plugin

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
)

// The collector of Go runs when the heap has doubled, and not below 4 MiB: with the small
// heap of a plugin that is a hundred times a second under load, and costs nearly as much as
// all else that the plugin does. So there is room for some garbage, besides what is live. An
// idle plugin makes none, and gives back what it had (settle). GOMEMLIMIT, which the
// server sets, holds as ever.

const (
	garbage   = 16 << 20 // lies about, at least, before it is collected
	leastHeap = 4 << 20  // the heap of GOGC=100 that is not collected; of others in proportion
)

// percent is the collector's setting (GOGC) for a heap of which so much is live: in steps, since
// to set it stops the process for a moment.
func percent(live uint64) int {
	return 100 * int(math.Ceil(garbage/float64(max(live, leastHeap))))
}

// A collector sets GOGC behind each collection.
type collector struct {
	live [1]metrics.Sample
	set  int
	done atomic.Int64 // collections that were looked at
}

// cycle is garbage by the next collection.
type cycle struct{ c *collector }

// tuned is for tune: behind the start, which takes less with the setting of Go.
var tuned sync.Once

// tune begins to set GOGC; for the life of the process.
func tune() { newCollector() }

func newCollector() *collector {
	c := &collector{}
	c.live[0].Name = "/gc/heap/live:bytes"
	c.look()
	return c
}

// look sets what is right now, and has itself called behind the next collection, by the
// goroutine of finalizers.
func (c *collector) look() {
	metrics.Read(c.live[:])
	if p := percent(c.live[0].Value.Uint64()); p != c.set {
		debug.SetGCPercent(p)
		c.set = p
	}
	c.done.Add(1)
	runtime.SetFinalizer(&cycle{c}, func(x *cycle) { x.c.look() })
}
