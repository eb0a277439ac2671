package throttle

import "math"

// record is what a table holds.
type record interface {
	// expired reports whether the record says nothing any more.
	expired(n nanos) bool
	// heat orders records by what forgetting them would give away.
	heat() nanos
}

// table is a map with a bound. Expired records stay until room is needed.
type table[K comparable, V record] struct {
	m   map[K]V
	max int
}

// sample is how many records are looked at to make room. A record goes only if
// all others of the sample are hotter: where a tenth of a full table is hotter
// than an attacker's record, a new one pushes it out once in 10^15 times.
const sample = 16

func newTable[K comparable, V record](bound int) table[K, V] {
	return table[K, V]{m: make(map[K]V), max: bound}
}

func (t *table[K, V]) get(k K) (V, bool) {
	v, ok := t.m[k]
	return v, ok
}

// put adds a record, making room if the table is full.
func (t *table[K, V]) put(k K, v V, n nanos) {
	if len(t.m) >= t.max {
		t.makeRoom(n)
	}
	t.m[k] = v
}

// makeRoom removes the expired records of a sample, or else its coldest. A map
// is ranged over from a random place.
func (t *table[K, V]) makeRoom(n nanos) {
	var coldest K
	least := nanos(math.MaxInt64)
	seen, removed := 0, false
	for k, v := range t.m {
		if v.expired(n) {
			delete(t.m, k)
			removed = true
		} else if h := v.heat(); h < least {
			coldest, least = k, h
		}
		if seen++; seen == sample {
			break
		}
	}
	if !removed {
		delete(t.m, coldest)
	}
}
