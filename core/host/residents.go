package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Resident is what is in memory of one account: the entries that extensions
// named as Residents. It does not change; a write makes the next use load it
// again. The zero value has no entry.
type Resident struct {
	entries  []residentEntry // few, and of most accounts none
	contacts map[jid.JID]struct{}
	bytes    int
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

// has says whether there is an entry of this name.
func (r *Resident) has(n residentName) bool {
	_, ok := r.Get(n.space, n.key)
	return ok
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
	store       storage.Store
	sessions    cluster.Registry
	names       []residentName // filled while extensions register
	rosters     []residentName // those that take the roster with them
	most, bytes int            // bounds: accounts, and bytes of their addresses and entries

	mu      sync.RWMutex // guards what follows
	known   map[jid.JID]*Resident
	held    int // size of known
	loading map[jid.JID]*residentLoad
}

type residentName struct{ space, key string }

// residentLoad is a reading that others may wait for. Before done is closed mu
// guards stale; after it nothing changes.
type residentLoad struct {
	account jid.JID // in memory of its own

	done  chan struct{}
	found *Resident
	err   error
	stale bool // something was written meanwhile
	again bool // it is of no use to who waits for it: stale, or given up by who read
}

func newResidents(store storage.Store, sessions cluster.Registry) *residents {
	return &residents{
		store: store, sessions: sessions, most: maxResidents, bytes: maxResidentBytes,
		known: map[jid.JID]*Resident{}, loading: map[jid.JID]*residentLoad{},
	}
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

// LoadResident is Resident that reads storage if need be; of many at once one
// reads, and the others wait for it.
func (h *Hosts) LoadResident(ctx context.Context, account jid.JID) (*Resident, error) {
	for {
		if known := h.Resident(account); known != nil {
			return known, nil
		}
		known, l, ours := h.residents.join(account)
		switch {
		case known != nil:
			return known, nil
		case ours:
			h.residents.load(ctx, l)
		default:
			select {
			case <-l.done:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if !l.again {
			return l.found, l.err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// join returns what is known by now of an account, or else the load that is
// under way; ours, if it is the caller who has to read.
func (r *residents) join(account jid.JID) (known *Resident, l *residentLoad, ours bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known = r.known[account]; known != nil {
		return known, nil, false
	}
	if l = r.loading[account]; l != nil {
		return nil, l, false
	}
	l = &residentLoad{account: account.Clone(), done: make(chan struct{})}
	r.loading[l.account] = l
	return nil, l, true
}

// load reads an account's entries for all who wait for them. What was written
// meanwhile may be missing among them: then they are read again.
func (r *residents) load(ctx context.Context, l *residentLoad) {
	l.found, l.err = r.read(ctx, l.account)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.loading, l.account)
	l.again = l.stale || l.err != nil && ctx.Err() != nil
	if l.err == nil && !l.stale {
		r.put(l.account, l.found)
	}
	close(l.done)
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
	if !slices.ContainsFunc(r.rosters, found.has) {
		return found, nil
	}
	return found, found.readRoster(ctx, r.store, account)
}

// readRoster takes the contacts of an account into memory.
func (r *Resident) readRoster(ctx context.Context, store storage.Rosters, account jid.JID) error {
	stored, err := store.Roster(ctx, account)
	if err != nil {
		return fmt.Errorf("load the roster of %s: %w", account, err)
	}
	r.contacts = map[jid.JID]struct{}{}
	for i := range stored.Items {
		if item := &stored.Items[i]; !item.Hidden {
			r.contacts[item.Contact] = struct{}{}
			r.bytes += len(item.Contact.String()) + contactCost
		}
	}
	return nil
}

// contactCost is what a contact takes besides its address, about.
const contactCost = 48

// put makes room and enters; r.mu is held.
func (r *residents) put(account jid.JID, found *Resident) {
	size := found.size(account)
	for len(r.known) > 0 && (len(r.known) >= r.most || r.held+size > r.bytes) {
		r.remove(r.victim())
	}
	r.known[account] = found
	r.held += size
}

// size is what an account takes of the bound. Anybody can have addresses looked up
// that are as long as they may be, and nobody's.
func (r *Resident) size(account jid.JID) int { return len(account.String()) + r.bytes }

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
		r.held -= was.size(account)
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

// RosterChanged has the roster of an account read again, if it is resident.
func (h *Hosts) RosterChanged(owner jid.JID) {
	r := h.residents
	if len(r.rosters) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if was := r.known[owner]; was != nil && was.contacts != nil {
		r.remove(owner)
	}
	if l := r.loading[owner]; l != nil {
		l.stale = true
	}
}

// Forget drops what is in memory of an account that was removed.
func (h *Hosts) Forget(account jid.JID) { h.residents.forget(account.Bare()) }

// commit writes, and has read again what is resident of it. It waits; rows, their edits, and removals
// of archives, have their place among those of others.
func (h *Hosts) commit(ctx context.Context, w writes) error { return h.commitPart(ctx, w, false) }

// commitPart is commit; again says that w is a part of what was to be one commit, and is none.
func (h *Hosts) commitPart(ctx context.Context, w writes, again bool) error {
	if len(w.rows)+len(w.removed)+len(w.edits) == 0 {
		return h.wrote(w, h.Store.Commit(ctx, w.all()))
	}
	p, err := h.appender.addPart(w, again)
	if err != nil {
		return err
	}
	return h.await(ctx, p)
}

// await waits for what was queued.
func (h *Hosts) await(ctx context.Context, p *pending) error {
	err := h.wrote(p.writes, p.wait(ctx))
	if errors.Is(err, storage.ErrConflict) { // the appender keeps the order of this node
		h.catchUp(ctx, p.rows)
	}
	return err
}

func (h *Hosts) wrote(w writes, err error) error {
	for i := range w.ops { // after an error nobody knows what is stored
		if op := &w.ops[i]; h.residents.declared(op.Space, op.Key) {
			h.residents.forget(op.Owner)
		}
	}
	return err
}
