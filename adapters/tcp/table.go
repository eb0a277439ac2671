package tcp

import "sync"

// table holds the connections of one loop and gives each an id that is never
// given again, so that a late event of a closed connection reaches nobody.
type table struct {
	mu    sync.Mutex // guards all below
	slots []slot
	free  []uint32 // slots without a connection
}

type slot struct {
	c   *conn
	gen uint32 // counts the connections that the slot had
}

// add gives c its place. The id is the slot in the low half and the slot's
// generation in the high half.
func (t *table) add(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var i uint32
	if n := len(t.free); n > 0 {
		i, t.free = t.free[n-1], t.free[:n-1]
	} else {
		i = uint32(len(t.slots))
		t.slots = append(t.slots, slot{})
	}
	s := &t.slots[i]
	s.gen++
	s.c = c
	c.table, c.id = t, uint64(s.gen)<<32|uint64(i)
}

func (t *table) remove(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.get(id) != nil {
		t.slots[uint32(id)].c = nil
		t.free = append(t.free, uint32(id))
	}
}

// get returns nil if the connection has gone. t.mu is held.
func (t *table) get(id uint64) *conn {
	i, gen := uint32(id), uint32(id>>32)
	if int(i) >= len(t.slots) || t.slots[i].gen != gen {
		return nil
	}
	return t.slots[i].c
}

// each calls f for every connection, without holding the lock. Those that come
// meanwhile may be missed.
func (t *table) each(f func(*conn)) {
	var part [256]*conn
	for from := 0; ; from += len(part) {
		t.mu.Lock()
		if from >= len(t.slots) {
			t.mu.Unlock()
			return
		}
		n := 0
		for _, s := range t.slots[from:min(from+len(part), len(t.slots))] {
			if s.c != nil {
				part[n] = s.c
				n++
			}
		}
		t.mu.Unlock()
		for i, c := range part[:n] {
			f(c)
			part[i] = nil
		}
	}
}
