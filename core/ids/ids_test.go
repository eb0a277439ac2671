package ids

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 123_456_789, time.UTC)

func TestNext(t *testing.T) {
	now := noon
	x := New(7, func() time.Time { return now })
	if x.Last() >= Nodes {
		t.Error(x.Last())
	}
	first := x.Next()
	if n := x.Last(); n < first || n >= first+Nodes {
		t.Errorf("the last one is %d, not %d", n, first)
	}
	if first>>nodeBits != uint64(noon.UnixMicro()) || first%Nodes != 7 || first > math.MaxInt64 {
		t.Errorf("%x", first)
	}
	last := first
	greater := func(what string) {
		t.Helper()
		id := x.Next()
		if id <= last || id%Nodes != 7 {
			t.Errorf("%s: %d behind %d", what, id, last)
		}
		last = id
	}
	greater("the same microsecond")
	now = now.Add(-time.Hour)
	greater("the clock is set back")
	now = now.Add(2 * time.Hour)
	greater("later")
	if last>>nodeBits != uint64(now.UnixMicro()) {
		t.Error("it does not follow the clock")
	}
	x.Above(last + 5*Nodes)
	if greater("what was found"); last < first+6*Nodes {
		t.Error(last)
	}
	x.Above(first)
	greater("what was found is old")
}

// At the end of time IDs are still within their bits, and nothing panics.
func TestEndOfTime(t *testing.T) {
	x := New(Nodes-1, func() time.Time { return time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) })
	for range 3 {
		if id := x.Next(); id > math.MaxInt64 {
			t.Errorf("%x", id)
		}
	}
	x.Above(math.MaxUint64)
	if id := x.Next(); id > math.MaxInt64 {
		t.Errorf("%x", id)
	}
}

func TestConcurrent(t *testing.T) {
	x := New(0, func() time.Time { return noon })
	all := make([][]uint64, 4)
	var wait sync.WaitGroup
	for i := range all {
		wait.Go(func() {
			for range 1000 {
				all[i] = append(all[i], x.Next())
			}
			if !slices.IsSorted(all[i]) {
				t.Error("not in order")
			}
		})
	}
	wait.Wait()
	ids := slices.Concat(all...)
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 4000 {
		t.Error("an ID twice")
	}
}

// What was stamped within a span has its ID within Between, also if the clock is set
// back meanwhile.
func TestBetween(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := noon
		x := New(uint16(rapid.IntRange(0, Nodes-1).Draw(t, "node")), func() time.Time { return now })
		type row struct {
			at time.Time
			id uint64
		}
		var rows []row
		for range rapid.IntRange(1, 20).Draw(t, "rows") {
			now = now.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(3*time.Hour)).Draw(t, "step")))
			at := now.Truncate(time.Millisecond)
			rows = append(rows, row{at, x.Next()})
		}
		start := rows[rapid.IntRange(0, len(rows)-1).Draw(t, "start")].at
		end := rows[rapid.IntRange(0, len(rows)-1).Draw(t, "end")].at
		after, before := x.Between(start, end)
		for _, r := range rows {
			if !r.at.Before(start) && !r.at.After(end) && (r.id <= after || r.id >= before) {
				t.Fatalf("%v with the ID %d is not between %d and %d", r.at, r.id, after, before)
			}
			if r.id>>nodeBits < uint64(start.UnixMicro()) && r.id > after {
				t.Fatalf("%d is before %v", r.id, start)
			}
		}
	})
	x := New(0, func() time.Time { return noon })
	if after, before := x.Between(time.Time{}, time.Time{}); after != 0 || before != 0 {
		t.Error(after, before)
	}
	if after, before := x.Between(time.Unix(-5, 0), time.Unix(-1e9, 0)); after != 0 || before != 1 {
		t.Error(after, before)
	}
	if _, before := x.Between(noon, noon); before > Before(noon.Add(time.Hour+time.Second)) {
		t.Error("it reaches further than an hour, and the clock was never set back")
	}
	x.Above(Before(noon.AddDate(1, 0, 0))) // a clock that was a year ahead
	if _, before := x.Between(noon, noon); before <= x.Next() {
		t.Error("what was made since is not found")
	}
}

func TestBefore(t *testing.T) {
	x := New(Nodes-1, func() time.Time { return noon })
	id := x.Next()
	if Before(noon) > id || Before(noon.Add(time.Microsecond)) <= id || Before(time.Unix(-1, 0)) != 0 {
		t.Error(id)
	}
}
