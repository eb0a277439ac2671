package heap

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestBurst(t *testing.T) {
	const mib = 1 << 20
	var b burst
	now := time.Unix(1e9, 0)
	var allocated int64
	live, held := int64(10*mib), int64(2*mib)
	ticks := func(n int, bytes int64) (freed int) {
		for range n {
			allocated += bytes
			now = now.Add(time.Second)
			if b.over(now, sample{allocated: allocated, live: live, held: held}) {
				freed++
			}
		}
		return freed
	}
	if ticks(100, mib/2) != 0 {
		t.Error("freed though little is held")
	}
	held = 40 * mib
	if ticks(20, 20*mib) != 0 {
		t.Error("freed in a burst")
	}
	if ticks(2, 0) != 0 {
		t.Error("freed at once behind a burst")
	}
	if ticks(1, 0) != 1 {
		t.Error("not freed behind a burst")
	}
	if ticks(1000, 0) != 0 {
		t.Error("freed again, without a burst")
	}
	if ticks(5, 20*mib)+ticks(3, 0) != 1 {
		t.Error("not freed behind the second burst")
	}
	if ticks(5, 20*mib)+ticks(10, 0) != 0 {
		t.Error("freed twice in half a minute")
	}
	if ticks(20, 0) != 1 {
		t.Error("the third burst was forgotten")
	}
	live = 1000 * mib
	if ticks(100, mib) != 0 {
		t.Error("freed 40 MiB beside 1,000 that are live")
	}
}

func TestWatch(t *testing.T) {
	w, freed := New(), make(chan struct{})
	w.every = time.Microsecond
	w.read = func() sample { return sample{allocated: 100 << 20, live: 10 << 20, held: 20 << 20} }
	w.free = func() { close(freed) } // a second time panics
	w.Start()
	<-freed
	w.Stop()
}

var kept []byte

// The names are those of the runtime that this is built with, and mean what is said.
func TestReader(t *testing.T) {
	read := reader()
	before := read()
	kept = make([]byte, 32<<20)
	runtime.GC()
	after := read()
	if after.allocated-before.allocated < 32<<20 || after.live < 32<<20 {
		t.Errorf("%+v, then %+v", before, after)
	}
	kept[0] = 1
	debug.FreeOSMemory()
	if now := read(); now.held > least {
		t.Errorf("%+v after memory was given back", now)
	}
	if kept = nil; read().held < 0 {
		t.Errorf("%+v", read())
	}
}
