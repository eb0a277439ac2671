// Package roster keeps the rosters of accounts (RFC 6121 section 2) and the
// states of their subscriptions (section 3 and appendix A). A roster that
// somebody is using is in memory, as a snapshot that readers share and that
// each change replaces; a change is committed before it shows.
//
// Who is told of a change, and where subscription stanzas go, is the affair of
// package presence.
package roster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Snapshot is a roster at one version.
type Snapshot struct {
	Version uint64
	Items   []Item // in order of Contact
}

func byContact(i Item, c jid.JID) int { return cmp.Compare(i.Contact.String(), c.String()) }

// Get returns the item of a contact (bare JID); the zero Item, with the
// contact set, if there is none.
func (s *Snapshot) Get(contact jid.JID) Item {
	if i, ok := slices.BinarySearchFunc(s.Items, contact, byContact); ok {
		return s.Items[i]
	}
	return Item{Contact: contact}
}

// with returns a snapshot of the next version in which item replaces the one
// of the same contact; an item of which nothing is left to know is removed.
func (s *Snapshot) with(item Item) *Snapshot {
	i, found := slices.BinarySearchFunc(s.Items, item.Contact, byContact)
	next := &Snapshot{Version: s.Version + 1, Items: make([]Item, 0, len(s.Items)+1)}
	next.Items = append(next.Items, s.Items[:i]...)
	if !item.empty() {
		next.Items = append(next.Items, item)
	}
	if found {
		i++
	}
	next.Items = append(next.Items, s.Items[i:]...)
	return next
}

// Rosters gives rosters out. Its methods may be called by any goroutine; those
// with a context read or write storage.
type Rosters struct {
	store  storage.Rosters
	limits Limits

	mu   sync.Mutex // guards held and Account.holders
	held map[jid.JID]*Account
}

// Limits bound a roster. A zero field means its default.
type Limits struct {
	Items    int // contacts in it; default 1,000
	Requests int // of strangers that wait for an answer, and pre-approvals; default 200
}

// New returns Rosters over a store.
func New(store storage.Rosters, l Limits) *Rosters {
	if l.Items <= 0 {
		l.Items = 1000
	}
	if l.Requests <= 0 {
		l.Requests = 200
	}
	return &Rosters{store: store, limits: l, held: map[jid.JID]*Account{}}
}

// Account is the roster of one account while somebody holds it.
type Account struct {
	Owner    jid.JID
	all      *Rosters
	holders  int
	changing sync.Mutex // held over a commit, by worker goroutines only
	showing  sync.Mutex // orders what clients are told: pushes and whole rosters
	snapshot atomic.Pointer[Snapshot]
	next     *Snapshot // committed, not shown yet; changing guards it
}

// Snapshot returns the roster as it is.
func (a *Account) Snapshot() *Snapshot { return a.snapshot.Load() }

// Held returns the account's roster if it is in memory, else nil. It does not
// hold it.
func (r *Rosters) Held(owner jid.JID) *Account {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.held[owner]; a != nil && a.snapshot.Load() != nil {
		return a
	}
	return nil
}

// TryHold holds the account's roster if it is in memory, else it returns nil.
func (r *Rosters) TryHold(owner jid.JID) *Account {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.held[owner]
	if a == nil || a.snapshot.Load() == nil {
		return nil
	}
	a.holders++
	return a
}

// Hold returns the account's roster and keeps it in memory until Drop.
func (r *Rosters) Hold(ctx context.Context, owner jid.JID) (*Account, error) {
	r.mu.Lock()
	a := r.held[owner]
	if a == nil {
		a = &Account{Owner: owner, all: r}
		r.held[owner] = a
	}
	a.holders++
	r.mu.Unlock()
	if a.snapshot.Load() != nil {
		return a, nil
	}
	if err := a.load(ctx); err != nil {
		a.Drop()
		return nil, err
	}
	return a, nil
}

func (a *Account) load(ctx context.Context) error {
	a.changing.Lock()
	defer a.changing.Unlock()
	if a.snapshot.Load() != nil {
		return nil
	}
	s, err := a.read(ctx)
	if err != nil {
		return err
	}
	a.snapshot.Store(s)
	return nil
}

// read reads the roster from storage.
func (a *Account) read(ctx context.Context) (*Snapshot, error) {
	stored, err := a.all.store.Roster(ctx, a.Owner)
	if err != nil {
		return nil, fmt.Errorf("roster: load %s: %w", a.Owner, err)
	}
	s := &Snapshot{Version: stored.Version, Items: make([]Item, len(stored.Items))}
	for i := range stored.Items {
		s.Items[i] = fromStored(&stored.Items[i])
	}
	return s, nil
}

// Drop lets go of a roster that Hold or TryHold returned.
func (a *Account) Drop() {
	a.all.mu.Lock()
	defer a.all.mu.Unlock()
	if a.holders--; a.holders == 0 {
		delete(a.all.held, a.Owner)
	}
}

// full says that a new item would be one too many of its sort: what strangers
// ask for takes no room from the user's own contacts.
func (s *Snapshot) full(before, after *Item, l *Limits) bool {
	if after.empty() || !before.empty() && before.Listed == after.Listed {
		return false
	}
	n := 0
	for i := range s.Items {
		if s.Items[i].Listed == after.Listed {
			n++
		}
	}
	return after.Listed && n >= l.Items || !after.Listed && n >= l.Requests
}

// ErrFull: the account may not have more contacts.
var ErrFull = errors.New("roster: too many contacts")

// Change replaces one item by what change makes of it, commits that, and calls
// done with the item before and after, also if nothing changed. done is called
// under the lock that orders the changes of this roster, so that what it queues
// is in the order of the changes. Neither function may wait; an error of change
// is returned.
func (a *Account) Change(ctx context.Context, contact jid.JID, change func(Item) (Item, error), done func(before, after *Item)) error {
	a.changing.Lock()
	defer a.changing.Unlock()
	now := a.Snapshot()
	before := now.Get(contact)
	after, err := change(before)
	if err != nil {
		return err
	}
	after.Contact = contact
	if !same(&before, &after) {
		if now.full(&before, &after, &a.all.limits) {
			return ErrFull
		}
		var put []storage.RosterItem
		var remove []jid.JID
		if after.empty() {
			remove = []jid.JID{contact}
		} else {
			put = []storage.RosterItem{stored(&after)}
		}
		if err := a.commit(ctx, now, &after, put, remove); err != nil {
			return err
		}
	}
	a.showing.Lock()
	defer a.showing.Unlock()
	if next := a.next; next != nil {
		a.snapshot.Store(next)
		a.next = nil
	}
	done(&before, &after)
	return nil
}

// commit writes one item; a.changing is held. After an error nobody knows what
// is stored: the roster is read again, lest every later change fail.
func (a *Account) commit(ctx context.Context, now *Snapshot, after *Item, put []storage.RosterItem, remove []jid.JID) error {
	err := a.all.store.ChangeRoster(ctx, a.Owner, now.Version, put, remove)
	if err == nil {
		a.next = now.with(*after)
		return nil
	}
	if s, failed := a.read(ctx); failed == nil {
		a.showing.Lock()
		a.snapshot.Store(s)
		a.showing.Unlock()
	}
	return fmt.Errorf("roster: change %s: %w", a.Owner, err)
}

// Show calls f with the roster as it is. What f queues is in order with what
// done of Change queues: a client never gets an older roster behind a newer
// push. f must not wait.
func (a *Account) Show(f func(*Snapshot)) {
	a.showing.Lock()
	defer a.showing.Unlock()
	f(a.Snapshot())
}
