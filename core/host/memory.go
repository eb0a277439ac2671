package host

import (
	"context"
	"fmt"
	"sync"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// Bounds of what an extension keeps in memory, in bytes.
const (
	maxMemoryPuts   = 8 << 20 // what one handler puts
	maxMemoryKey    = 1024
	maxMemoryValue  = 1 << 20
	memoryEntryCost = 64 // what an entry takes beside key and value, about
)

// guestMemory is what one guest keeps: extension.Memory.
type guestMemory struct {
	most int64

	mu       sync.RWMutex // guards what follows
	entries  ordered[*memoryEntry]
	bytes    int64
	revision uint64
}

type memoryEntry struct {
	value    []byte
	revision uint64 // 0 until it is put
}

func (e *memoryEntry) entry(key string) extension.Entry {
	return extension.Entry{Key: key, Value: e.value, Revision: e.revision}
}

func memoryCost(key string, value []byte) int64 {
	return int64(len(key)) + int64(len(value)) + memoryEntryCost
}

// apply does what one handler asked for: nil deletes.
func (m *guestMemory) apply(writes *ordered[*memoryEntry]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revision++
	for key, e := range writes.from("") {
		if e != nil {
			e.revision = m.revision
			m.put(key, e)
		} else if old, there := m.entries.remove(key); there {
			m.bytes -= memoryCost(key, old.value)
		}
	}
}

// put is for apply, and for what was saved. m.mu is held.
func (m *guestMemory) put(key string, e *memoryEntry) {
	if old, there := m.entries.put(key, e); there {
		m.bytes -= memoryCost(key, old.value)
	}
	m.bytes += memoryCost(key, e.value)
}

// cost returns what an entry takes by now, 0 if it is not there, and all of them.
func (m *guestMemory) cost(key string) (entry, all int64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if e, there := m.entries.get(key); there {
		entry = memoryCost(key, e.value)
	}
	return entry, m.bytes
}

// MemoryRevision returns how often handlers of the guest have changed its memory.
func (g *Guest) MemoryRevision() uint64 {
	g.memory.mu.RLock()
	defer g.memory.mu.RUnlock()
	return g.memory.revision
}

// remembers is what a handler does to the memory of its guest.
type remembers struct {
	writes ordered[*memoryEntry] // nil deletes
	grows  int64                 // by how many bytes
	puts   int64                 // how many bytes are put, in all calls
}

// remember does it, once.
func (t *tx) remember() {
	if t.remembers.writes.n > 0 {
		t.g.memory.apply(&t.remembers.writes)
		t.remembers = remembers{}
	}
}

// remembered is an effect in its place: that there is one, has the others applied.
func (t *tx) remembered(*transport.Batch) transport.Wait {
	t.remember()
	return nil
}

// memoryOf implements extension.Memory.
type memoryOf struct{ t *tx }

func (x memoryOf) Get(_ context.Context, key string) (extension.Entry, bool, error) {
	m := &x.t.g.memory
	m.mu.RLock()
	defer m.mu.RUnlock()
	e, there := x.t.remembers.writes.get(key)
	if !there {
		e, _ = m.entries.get(key)
	}
	if e == nil {
		return extension.Entry{}, false, nil
	}
	return e.entry(key), true, nil
}

func (x memoryOf) Scan(_ context.Context, prefix, after string, limit int) ([]extension.Entry, error) {
	m := &x.t.g.memory
	m.mu.RLock()
	defer m.mu.RUnlock()
	var found []extension.Entry
	for _, p := range page(&m.entries, &x.t.remembers.writes, behind(after, prefix), prefix, limit) {
		found = append(found, p.value.entry(p.key))
	}
	return found, nil
}

func (x memoryOf) Put(key string, value []byte) error {
	t := x.t
	switch {
	case key == "" || len(key) > maxMemoryKey:
		return fmt.Errorf("%w: a key of Memory has 1 to %d bytes, this one %d", extension.ErrBound, maxMemoryKey, len(key))
	case len(value) > maxMemoryValue:
		return fmt.Errorf("%w: a value of Memory has at most %d bytes, this one %d", extension.ErrBound, maxMemoryValue, len(value))
	}
	n := memoryCost(key, value)
	if t.remembers.puts+n > maxMemoryPuts {
		return fmt.Errorf("%w: a handler puts at most %d bytes into Memory", extension.ErrBound, maxMemoryPuts)
	}
	was, all := x.cost(key)
	if grows := n - was; grows > 0 && all+grows > t.g.memory.most {
		return fmt.Errorf("%w: %s has at most %d bytes of Memory", extension.ErrBound, t.g.Reg.Name, t.g.memory.most)
	}
	t.remembers.puts += n
	x.write(key, &memoryEntry{value: value}, n-was)
	return nil
}

func (x memoryOf) Delete(key string) {
	if key == "" || len(key) > maxMemoryKey {
		return // there is none
	}
	was, _ := x.cost(key)
	x.write(key, nil, -was)
}

// cost returns what an entry takes, and all of them, as the handler sees them.
func (x memoryOf) cost(key string) (entry, all int64) {
	r := &x.t.remembers
	entry, all = x.t.g.memory.cost(key)
	if e, own := r.writes.get(key); own {
		entry = 0
		if e != nil {
			entry = memoryCost(key, e.value)
		}
	}
	return entry, all + r.grows
}

func (x memoryOf) write(key string, e *memoryEntry, grows int64) {
	r := &x.t.remembers
	if r.writes.n == 0 { // whoever applies the others applies this
		x.t.later(x.t.remembered)
	}
	r.writes.put(key, e)
	r.grows += grows
}
