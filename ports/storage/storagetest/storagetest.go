// Package storagetest is the suite that every implementation of ports/storage
// runs: each rule that the port's comments state is a test with a name. It
// leaves out what only one kind of store has: a power cut, a full disk, a held
// lock. Adapters test those themselves.
package storagetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Open returns a new, empty store. The suite closes it.
type Open func(t *testing.T) storage.Store

// Reopen closes a store that Open or Reopen gave and opens what it kept.
type Reopen func(t *testing.T, s storage.Store) storage.Store

// Run runs the suite. A store that outlives its process brings reopen; a nil
// reopen leaves the rules on durability out.
func Run(t *testing.T, open Open, reopen Reopen) {
	t.Run("Accounts", func(t *testing.T) { testAccounts(t, open) })
	t.Run("AccountsPaging", func(t *testing.T) { testPaging(t, open) })
	t.Run("AccountsRemoval", func(t *testing.T) { testRemoval(t, open) })
	t.Run("AccountsTouch", func(t *testing.T) { testTouch(t, open) })
	t.Run("MapEntries", func(t *testing.T) { testEntries(t, open) })
	t.Run("MapScan", func(t *testing.T) { testScan(t, open) })
	t.Run("MapCommit", func(t *testing.T) { testCommit(t, open) })
	t.Run("MapRevisions", func(t *testing.T) { testRevisions(t, open) })
	t.Run("MapConcurrent", func(t *testing.T) { testConcurrent(t, open) })
	t.Run("Rosters", func(t *testing.T) { testRosters(t, open) })
	t.Run("RostersVersions", func(t *testing.T) { testRosterVersions(t, open) })
	t.Run("RostersConcurrent", func(t *testing.T) { testRosterConcurrent(t, open) })
	t.Run("Offline", func(t *testing.T) { testOffline(t, open) })
	t.Run("OfflineAll", func(t *testing.T) { testOfflineAll(t, open) })
	t.Run("OfflinePaging", func(t *testing.T) { testOfflinePaging(t, open) })
	t.Run("OfflineQuota", func(t *testing.T) { testQuota(t, open) })
	t.Run("OfflineEach", func(t *testing.T) { testAddOfflineEach(t, open) })
	t.Run("Archive", func(t *testing.T) { testArchive(t, open) })
	t.Run("ArchiveExpiry", func(t *testing.T) { testArchiveExpiry(t, open) })
	t.Run("ArchivePages", func(t *testing.T) { testArchivePages(t, open) })
	t.Run("ArchiveConcurrent", func(t *testing.T) { testArchiveConcurrent(t, open) })
	t.Run("OwnArchive", func(t *testing.T) { testOwnArchive(t, open) })
	t.Run("OwnArchiveConcurrent", func(t *testing.T) { testOwnArchiveConcurrent(t, open) })
	t.Run("Secrets", func(t *testing.T) { testSecrets(t, open) })
	t.Run("Lifecycle", func(t *testing.T) { testLifecycle(t, open) })
	if reopen != nil {
		t.Run("Durable", func(t *testing.T) { testDurable(t, open, reopen) })
	}
}

var (
	romeo  = jid.MustParse("romeo@example.org")
	juliet = jid.MustParse("juliet@example.org")
	nobody = jid.MustParse("nobody@example.org")
)

// start opens a store that is closed with the test, and has these accounts.
func start(t *testing.T, open Open, users ...jid.JID) storage.Store {
	t.Helper()
	s := open(t)
	t.Cleanup(func() { s.Close() })
	for _, u := range users {
		create(t, s, u)
	}
	return s
}

func create(t *testing.T, s storage.Store, user jid.JID) {
	t.Helper()
	if err := s.CreateAccount(t.Context(), account(user)); err != nil {
		t.Fatalf("CreateAccount(%s): %v", user, err)
	}
}

// account has a whole key set, and bytes that no text encoding would keep.
func account(user jid.JID) storage.Account {
	return storage.Account{
		User:    user,
		Created: time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC),
		Keys: []storage.Key{
			{Hash: "SHA-1", Salt: []byte{0, 1, 2}, Iterations: 4096, StoredKey: []byte("stored\x00one"), ServerKey: []byte{0xff, 0xfe}},
			{Hash: "SHA-256", Salt: []byte{0}, Iterations: 10000, StoredKey: []byte("stored two"), ServerKey: []byte{0x80}},
		},
	}
}

func put(t *testing.T, s storage.Store, ops ...storage.Op) {
	t.Helper()
	if err := s.Commit(t.Context(), storage.Writes{Ops: ops}); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

// get fails the test unless the entry has this value; it returns the revision.
func get(t *testing.T, s storage.Store, space string, owner jid.JID, key, want string) uint64 {
	t.Helper()
	e, err := s.Get(t.Context(), space, owner, key)
	if err != nil {
		t.Fatalf("Get(%s, %q, %q): %v", space, owner, key, err)
	}
	if e.Key != key || string(e.Value) != want || e.Revision == 0 {
		t.Fatalf("Get(%s, %q, %q) = %q %q at revision %d, want the value %q", space, owner, key, e.Key, e.Value, e.Revision, want)
	}
	return e.Revision
}

func absent(t *testing.T, s storage.Store, space string, owner jid.JID, key string) {
	t.Helper()
	if e, err := s.Get(t.Context(), space, owner, key); !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("Get(%s, %q, %q) = %q, %v, want ErrNotFound", space, owner, key, e.Value, err)
	}
}

// is fails the test unless err wraps want and none of the port's other errors.
func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
	for _, other := range named {
		if other != want && errors.Is(err, other) {
			t.Errorf("%s: got %v, which is %v too", what, err, other)
		}
	}
}

var named = []error{storage.ErrNotFound, storage.ErrExists, storage.ErrConflict, storage.ErrUnavailable, storage.ErrInvalid, storage.ErrQuota}

// cancelled is a context that has ended.
func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
