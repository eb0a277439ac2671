// Package garbage sets the collector of Go for servers with a small heap.
//
// It runs when the heap has doubled, and not below 4 MiB: with the heap of a plugin, or of a server with few
// users, that is a hundred times a second under load, and costs up to a fifth of the processor time. So there is room
// for some garbage besides what is live. A process that is idle makes none; who has made some gives it back
// when the burst is over, by debug.FreeOSMemory. GOMEMLIMIT holds as ever.
package garbage

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

const leastHeap = 4 << 20 // the heap of GOGC=100 that is not collected; of others in proportion

// percent is the collector's setting (GOGC) for a heap of which so much is live, with room for garbage, in bytes: in steps,
// since to set it stops the process for a moment.
func percent(live, room uint64) int {
	return 100 * int(math.Ceil(float64(room)/float64(max(live, leastHeap))))
}

// collector sets GOGC behind each collection.
type collector struct {
	room uint64
	live [1]metrics.Sample
	set  int
	done atomic.Int64 // collections that were looked at
}

// cycle is garbage by the next collection.
type cycle struct{ c *collector }

// Tune lets so many bytes of garbage, at least, lie about before they are collected, for the life of the process. Whoever
// has set GOGC in the environment is not overruled. It is called once.
func Tune(room uint64) {
	if os.Getenv("GOGC") == "" {
		tune(room)
	}
}

func tune(room uint64) *collector {
	c := &collector{room: room}
	c.live[0].Name = "/gc/heap/live:bytes"
	c.look()
	return c
}

// look sets what is right now, and has itself called behind the next collection, by the
// goroutine of finalizers.
func (c *collector) look() {
	metrics.Read(c.live[:])
	if p := percent(c.live[0].Value.Uint64(), c.room); p != c.set {
		debug.SetGCPercent(p)
		c.set = p
	}
	c.done.Add(1)
	runtime.SetFinalizer(&cycle{c}, func(x *cycle) { x.c.look() })
}
