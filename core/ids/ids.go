// Package ids makes the IDs of archives: 63 bits, ordered by time, unique among the
// nodes of a deployment.
//
// An ID is the microsecond since 1970 at which it was made, and 11 bits for the node.
// No two of a node are of the same microsecond: who makes more, or whose clock is set
// back, counts on. So an ID is never older than the clock said when it was made, and
// ahead of it by no more than the clock was set back since the first of them.
package ids

import (
	"math"
	"sync"
	"time"
)

const nodeBits = 11

// Nodes is how many nodes there can be.
const Nodes = 1 << nodeBits

// latest is the last microsecond that has IDs, in the year 2112.
const latest = math.MaxInt64 >> nodeBits

// slack is how much further IDs may be ahead of the clock than is known for Between to
// find them: before this start, or at another node. A query with an end looks at all
// that came in that time.
const slack = time.Hour

// IDs makes them. Any goroutine may use it.
type IDs struct {
	node uint64
	now  func() time.Time

	mu    sync.Mutex
	last  int64 // microsecond of the last one
	ahead int64 // microseconds that IDs are or were ahead of the clock, at most
}

// New returns IDs for a node, below Nodes.
func New(node uint16, now func() time.Time) *IDs {
	return &IDs{node: uint64(node) & (Nodes - 1), now: now}
}

// Next returns an ID that is greater than all before.
func (x *IDs) Next() uint64 {
	now := x.now().UnixMicro()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.last = min(max(now, x.last+1), latest)
	x.ahead = max(x.ahead, x.last-now)
	return uint64(x.last)<<nodeBits | x.node
}

// Last returns an ID that no ID is above which Next has returned, or Above was given.
func (x *IDs) Last() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return uint64(x.last)<<nodeBits | (Nodes - 1)
}

// Above has Next return what is greater than an ID that was found: at start, all
// stored ones; later, those of other nodes.
func (x *IDs) Above(id uint64) {
	now := x.now().UnixMicro()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.last = min(max(x.last, int64(id>>nodeBits)), latest-1)
	x.ahead = max(x.ahead, x.last-now)
}

// Before returns the least ID of a time: those of earlier times are below.
func Before(t time.Time) uint64 {
	return uint64(min(max(t.UnixMicro(), 0), latest)) << nodeBits
}

// Between returns bounds, both excluded, of the IDs of what was stamped between two
// times, both included; a zero time, and a bound of 0, are none. The stamp is the
// clock's of when the ID was made, or a moment before. If the clock was set back by
// more than an hour, before this start, what came then may be beyond the second bound.
func (x *IDs) Between(start, end time.Time) (after, before uint64) {
	if !start.IsZero() {
		after = max(Before(start), 1) - 1
	}
	if !end.IsZero() {
		x.mu.Lock()
		ahead := time.Duration(x.ahead) * time.Microsecond
		x.mu.Unlock()
		before = max(Before(end.Add(ahead+slack)), 1)
	}
	return after, before
}
