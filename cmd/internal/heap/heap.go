// Package heap gives memory back to the operating system when a burst is over: a
// storm of logins, or of presence. The Go runtime would hold it for minutes: the
// garbage of a burst is collected when the heap has doubled, or after two minutes,
// and what is free goes back slowly.
package heap

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	second     = time.Second      // of one sample to the next
	quietBytes = 1 << 20          // as much is allocated in a second that counts as quiet, at most
	quietTicks = 3                // as many quiet ones in a row end a burst
	least      = 8 << 20          // less is not worth the work
	pause      = 30 * time.Second // at least this long between two
)

// A Watch gives memory back.
type Watch struct {
	every      time.Duration
	read       func() sample
	free       func()
	quit, done chan struct{}
}

// A sample says how the heap is, in bytes.
type sample struct {
	allocated int64 // the sum of all allocations so far
	live      int64 // what the last collection found
	held      int64 // what is neither live nor given back
}

// New returns one that doesn't watch yet.
func New() *Watch { return &Watch{every: second, read: reader(), free: debug.FreeOSMemory} }

// Start begins to watch, on a goroutine of its own.
func (w *Watch) Start() {
	w.quit, w.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(w.done)
		t := time.NewTicker(w.every)
		defer t.Stop()
		var b burst
		for {
			select {
			case <-w.quit:
				return
			case now := <-t.C:
				if b.over(now, w.read()) {
					w.free()
				}
			}
		}
	}()
}

// Stop ends it, and waits for the end. Only the owner calls it, once.
func (w *Watch) Stop() {
	close(w.quit)
	<-w.done
}

// A burst notices the end of one. To give memory back costs a collection, some
// milliseconds for each 10 MiB that are live: so it is done once behind a burst,
// never while there is work, and the less often the more is live.
type burst struct {
	before  int64 // allocated until the last tick
	freed   int64 // allocated until memory was given back
	freedAt time.Time
	quiet   int // ticks
}

// over reports whether memory should be given back now.
func (b *burst) over(now time.Time, s sample) bool {
	rate := s.allocated - b.before
	b.before = s.allocated
	if rate > quietBytes {
		b.quiet = 0
		return false
	}
	b.quiet++
	worth := max(least, s.live/2)
	if b.quiet < quietTicks || s.held < worth || s.allocated-b.freed < worth || now.Sub(b.freedAt) < pause {
		return false
	}
	b.freed, b.freedAt = s.allocated, now
	return true
}

// reader returns what reads the runtime's own metrics.
func reader() func() sample {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	return func() sample {
		metrics.Read(samples)
		value := func(i int) int64 { return int64(samples[i].Value.Uint64()) }
		return sample{allocated: value(0), live: value(1), held: value(2) + value(3) + value(4) - value(1)}
	}
}
