package extensiontest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/ports/extension"
)

// Bounds of package extension.
const (
	maxMemory      = 64 << 20
	maxMemoryPuts  = 8 << 20
	memoryEntry    = 64
	maxMemoryKey   = 1024
	maxMemoryValue = 1 << 20
)

// Memory returns what the extension keeps in memory, by key.
func (h *Harness) Memory() map[string]extension.Entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.memory)
}

// memory implements extension.Memory.
type memory struct{ t *tx }

// view is what the handler sees.
func (x memory) view() map[string]extension.Entry {
	x.t.open()
	all := x.t.h.Memory()
	for key, e := range x.t.remembers {
		if e == nil {
			delete(all, key)
		} else {
			all[key] = *e
		}
	}
	return all
}

func (x memory) Get(_ context.Context, key string) (extension.Entry, bool, error) {
	e, ok := x.view()[key]
	return e, ok, nil
}

func (x memory) Scan(_ context.Context, prefix, after string, limit int) (list []extension.Entry, err error) {
	all := x.view()
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(key, prefix) && key > after && len(list) < limit {
			list = append(list, all[key])
		}
	}
	return list, nil
}

func (x memory) Put(key string, value []byte) error {
	all := x.view()
	all[key] = extension.Entry{Value: value}
	n, size := len(key)+len(value)+memoryEntry, 0
	for k, e := range all {
		size += len(k) + len(e.Value) + memoryEntry
	}
	if key == "" || len(key) > maxMemoryKey || len(value) > maxMemoryValue || size > maxMemory || x.t.puts+n > maxMemoryPuts {
		return fmt.Errorf("%w: memory of %d bytes, with a key of %d and a value of %d", extension.ErrBound, size, len(key), len(value))
	}
	x.t.puts += n
	x.write(key, &extension.Entry{Key: key, Value: value})
	return nil
}

func (x memory) Delete(key string) {
	x.t.open()
	x.write(key, nil)
}

func (x memory) write(key string, e *extension.Entry) {
	if x.t.remembers == nil {
		x.t.remembers = map[string]*extension.Entry{}
	}
	x.t.remembers[key] = e
}

// remember does what a handler asked for.
func (t *tx) remember() {
	if len(t.remembers) == 0 {
		return
	}
	t.h.mu.Lock()
	defer t.h.mu.Unlock()
	t.h.moments++
	for key, e := range t.remembers {
		if e == nil {
			delete(t.h.memory, key)
			continue
		}
		e.Revision = t.h.moments
		t.h.memory[key] = *e
	}
}
