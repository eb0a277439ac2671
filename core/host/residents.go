package host

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Resident is what is in memory of one account: the entries that extensions
// named as Residents. It does not change; a write makes the next use load it
// again.
type Resident struct {
	entries []residentEntry // few, and of most accounts none
	bytes   int
}

type residentEntry struct {
	space string
	extension.Entry
}

// Get returns an entry of an extension. What is not in memory (r is nil) has
// none.
func (r *Resident) Get(space, key string) (extension.Entry, bool) {
	if r == nil {
		return extension.Entry{}, false
	}
	for i := range r.entries {
		if e := &r.entries[i]; e.space == space && e.Key == key {
			return e.Entry, true
		}
	}
	return extension.Entry{}, false
}

// nothing is the Resident of accounts without any entry.
var nothing = &Resident{}

// Bounds of what residents hold together. Accounts without sessions make room
// first.
const (
	maxResidents     = 50_000
	maxResidentBytes = 64 << 20
)

// residents keeps Residents of accounts that are in use.
type residents struct {
	store    storage.Map
	sessions cluster.Registry
	names    []residentName // filled while extensions register

	mu      sync.RWMutex // guards what follows
	known   map[jid.JID]*Resident
	bytes   int // of known
	loading map[jid.JID]*residentLoad
}

type residentName struct{ space, key string }

// residentLoad is a reading that others may wait for. stale: something was
// written meanwhile.
type residentLoad struct {
	done  chan struct{}
	stale bool
	found *Resident
	err   error
}

func newResidents(store storage.Map, sessions cluster.Registry) *residents {
	return &residents{store: store, sessions: sessions, known: map[jid.JID]*Resident{}, loading: map[jid.JID]*residentLoad{}}
}

// declared says whether a key of an extension's store is resident.
func (r *residents) declared(space, key string) bool {
	for _, n := range r.names {
		if n.space == space && n.key == key {
			return true
		}
	}
	return false
}

// Resident returns what is in memory of an account (bare JID), nil if it must be
// loaded first.
func (h *Hosts) Resident(account jid.JID) *Resident {
	r := h.residents
	if len(r.names) == 0 {
		return nothing
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.known[account]
}

// LoadResident is Resident that reads storage if need be.
func (h *Hosts) LoadResident(ctx context.Context, account jid.JID) (*Resident, error) {
	r := h.residents
	for {
		if known := h.Resident(account); known != nil {
			return known, nil
		}
		r.mu.Lock()
		if l := r.loading[account]; l != nil {
			r.mu.Unlock()
			select {
			case <-l.done:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if l.err == nil && !l.stale {
				return l.found, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			continue // by ourselves
		}
		account = account.Clone() // it stays, as a key
		l := &residentLoad{done: make(chan struct{})}
		r.loading[account] = l
		r.mu.Unlock()
		if found, again, err := r.load(ctx, account, l); !again {
			return found, err
		}
	}
}

// load reads an account's entries; again says that they have changed since.
func (r *residents) load(ctx context.Context, account jid.JID, l *residentLoad) (found *Resident, again bool, err error) {
	l.found, l.err = r.read(ctx, account)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.loading, account)
	close(l.done)
	if l.err != nil || l.stale {
		return nil, l.err == nil, l.err
	}
	r.put(account, l.found)
	return l.found, false, nil
}

func (r *residents) read(ctx context.Context, account jid.JID) (*Resident, error) {
	found := nothing
	for _, n := range r.names {
		e, err := r.store.Get(ctx, n.space, account, n.key)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("load %s of %s: %w", n.space, account, err)
		}
		if found == nothing {
			found = &Resident{}
		}
		found.entries = append(found.entries, residentEntry{n.space, extension.Entry(e)})
		found.bytes += len(e.Value)
	}
	return found, nil
}

// put makes room and enters; r.mu is held.
func (r *residents) put(account jid.JID, found *Resident) {
	for len(r.known) >= maxResidents || r.bytes+found.bytes > maxResidentBytes && len(r.known) > 0 {
		r.remove(r.victim())
	}
	r.known[account] = found
	r.bytes += found.bytes
}

// victim returns an account that makes room: one that has no session if there
// is one among the first few that the map gives, in its random order.
func (r *residents) victim() (victim jid.JID) {
	tries := 0
	for victim = range r.known {
		if tries++; tries == 8 || len(r.sessions.Sessions(victim)) == 0 {
			break
		}
	}
	return victim
}

func (r *residents) remove(account jid.JID) {
	if was := r.known[account]; was != nil {
		r.bytes -= was.bytes
		delete(r.known, account)
	}
}

// forget drops what is in memory of an account.
func (r *residents) forget(account jid.JID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(account)
	if l := r.loading[account]; l != nil {
		l.stale = true
	}
}

// Forget drops what is in memory of an account that was removed.
func (h *Hosts) Forget(account jid.JID) { h.residents.forget(account.Bare()) }

// commit writes, and has read again what is resident of it.
func (h *Hosts) commit(ctx context.Context, ops []storage.Op) error {
	err := h.Store.Commit(ctx, ops)
	for i := range ops { // after an error nobody knows what is stored
		if op := &ops[i]; h.residents.declared(op.Space, op.Key) {
			h.residents.forget(op.Owner)
		}
	}
	return err
}
