package extensiontest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Bounds of a stored entry, as ports/storage has them.
const (
	maxKey   = 1024
	maxValue = 1 << 20
)

// errConflict: a Swap found another revision.
var errConflict = errors.New("extensiontest: revision conflict")

type entryKey struct {
	owner jid.JID
	key   string
}

// write is one buffered change.
type write struct {
	entryKey
	value    []byte
	delete   bool
	swap     bool
	revision uint64
}

// Entry returns what the extension stored, as committed.
func (h *Harness) Entry(owner jid.JID, key string) (extension.Entry, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e, ok := h.entries[entryKey{owner, key}]
	return e, ok
}

// Entries returns what an owner has stored under keys that begin with prefix, as
// committed, in the order of the keys.
func (h *Harness) Entries(owner jid.JID, prefix string) (list []extension.Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, e := range h.entries {
		if k.owner == owner && strings.HasPrefix(k.key, prefix) {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b extension.Entry) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// Put stores an entry as another node or an earlier run would have.
func (h *Harness) Put(owner jid.JID, key string, value []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.put(entryKey{owner, key}, value)
}

func (h *Harness) put(k entryKey, value []byte) {
	h.revision++
	h.entries[k] = extension.Entry{Key: k.key, Value: bytes.Clone(value), Revision: h.revision}
}

// FailStore makes reads and commits fail with err until it is called with nil.
func (h *Harness) FailStore(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = err
}

// BeforeCommit runs f once, before the next commit: what it puts meets the
// handler's own writes.
func (h *Harness) BeforeCommit(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before = f
}

// commit applies all writes or none.
func (h *Harness) commit(writes []write, removed []jid.JID, rows []storage.Row, edits []storage.Edit) error {
	if len(writes)+len(removed)+len(rows)+len(edits) == 0 {
		return nil
	}
	h.mu.Lock()
	f := h.before
	h.before = nil
	h.mu.Unlock()
	if f != nil {
		f()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return fmt.Errorf("commit: %w", h.fail)
	}
	for _, w := range writes {
		if w.owner.Local() != "" && h.hosted(w.owner.Domain()) && !h.Accounts.exists(w.owner) {
			return stanza.Err(stanza.ItemNotFound, "")
		}
		if w.swap && h.entries[w.entryKey].Revision != w.revision {
			return errConflict
		}
	}
	for i := range rows {
		if err := h.checkRow(&rows[i]); err != nil {
			return err
		}
		if h.late(&rows[i]) && !slices.Contains(removed, rows[i].Owner) {
			return errConflict
		}
	}
	for _, owner := range removed {
		delete(h.rows, owner)
	}
	for _, r := range rows {
		if r.Own || h.Accounts.exists(r.Owner) {
			h.rows[r.Owner] = append(h.rows[r.Owner], r)
		}
	}
	for _, e := range edits {
		i := slices.IndexFunc(h.rows[e.Owner], func(r storage.Row) bool { return r.ID == e.ID })
		if i >= 0 {
			h.rows[e.Owner] = slices.Clone(h.rows[e.Owner])
			h.rows[e.Owner][i].XML = e.XML
		}
	}
	for _, w := range writes {
		if w.delete {
			delete(h.entries, w.entryKey)
		} else {
			h.put(w.entryKey, w.value)
		}
	}
	return nil
}

// forget removes what is stored for an account.
func (h *Harness) forget(owner jid.JID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k := range h.entries {
		if k.owner == owner {
			delete(h.entries, k)
		}
	}
	delete(h.rows, owner)
}

// read returns the committed entries of an owner, or the error of FailStore.
func (h *Harness) read(owner jid.JID) (map[string]extension.Entry, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return nil, fmt.Errorf("read: %w", h.fail)
	}
	all := map[string]extension.Entry{}
	for k, e := range h.entries {
		if k.owner == owner {
			e.Value = bytes.Clone(e.Value)
			all[k.key] = e
		}
	}
	return all, nil
}

func (h *Harness) secret(name string) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.secrets[name] == nil {
		h.secrets[name] = make([]byte, 32)
		rand.Read(h.secrets[name])
	}
	return bytes.Clone(h.secrets[name])
}

// store implements extension.Store.
type store struct{ t *tx }

// view is what the handler sees: what is committed, and its own writes.
func (x store) view(call string, owner jid.JID) (map[string]extension.Entry, error) {
	x.t.waits(call)
	return x.resident(call, owner)
}

// resident is view of what is in memory.
func (x store) resident(_ string, owner jid.JID) (map[string]extension.Entry, error) {
	x.t.open()
	all, err := x.t.h.read(owner)
	if err != nil {
		return nil, err
	}
	for _, w := range x.t.writes {
		switch {
		case w.owner != owner:
		case w.delete:
			delete(all, w.key)
		default:
			all[w.key] = extension.Entry{Key: w.key, Value: bytes.Clone(w.value)}
		}
	}
	return all, nil
}

func (x store) Get(_ context.Context, owner jid.JID, key string) (extension.Entry, bool, error) {
	view := x.view
	if x.t.about == owner.Bare() && slices.Contains(x.t.h.reg.Residents, key) {
		view = x.resident
	}
	all, err := view("Store.Get", owner.Bare())
	e, ok := all[key]
	return e, ok, err
}

func (x store) Scan(_ context.Context, owner jid.JID, prefix, after string, limit int) ([]extension.Entry, error) {
	all, err := x.view("Store.Scan", owner.Bare())
	if err != nil {
		return nil, err
	}
	var list []extension.Entry
	for k, e := range all {
		if strings.HasPrefix(k, prefix) && k > after {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b extension.Entry) int { return strings.Compare(a.Key, b.Key) })
	return list[:min(max(0, limit), len(list))], nil
}

// add buffers a write; the last one of a key holds, with the first condition.
func (x store) add(w write) {
	x.t.open()
	if w.key == "" || len(w.key) > maxKey || len(w.value) > maxValue {
		x.t.err = fmt.Errorf("%w: entry with a key of %d and a value of %d bytes", extension.ErrBound, len(w.key), len(w.value))
		return
	}
	w.owner = w.owner.Bare()
	for i, old := range x.t.writes {
		if old.entryKey == w.entryKey {
			w.swap, w.revision = old.swap, old.revision
			x.t.writes[i] = w
			return
		}
	}
	x.t.writes = append(x.t.writes, w)
}

func (x store) Put(owner jid.JID, key string, value []byte) {
	x.add(write{entryKey: entryKey{owner, key}, value: bytes.Clone(value)})
}

func (x store) Delete(owner jid.JID, key string) {
	x.add(write{entryKey: entryKey{owner, key}, delete: true})
}

func (x store) Swap(owner jid.JID, key string, value []byte, revision uint64) {
	x.add(write{entryKey: entryKey{owner, key}, value: bytes.Clone(value), swap: true, revision: revision})
}
