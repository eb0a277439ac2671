// Package memory implements ports/storage in memory: the reference against
// which the other adapters are read, and the store of tests. It keeps every
// rule of the port but one: nothing survives the process.
package memory

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

var errClosed = errors.New("the store is closed")

// Store is a storage.Store. Any goroutine may call it.
type Store struct {
	mu       sync.Mutex // guards all below; held for a whole call, which makes each call a transaction
	closed   bool
	accounts map[jid.JID]storage.Account
	buckets  map[bucket]map[string]storage.Entry
	secrets  map[string][]byte
	rosters  map[jid.JID]*roster
	offline  map[jid.JID][]storage.OfflineMessage // in order of their IDs
	archives map[storage.ArchiveKey][]storage.Row // in order of their IDs
	lastID   uint64                               // of the latest message, so that IDs grow over deletions too
	revision uint64                               // of the latest write to any entry, so it grows over deletions too
}

// bucket is where entries of one space and owner are.
type bucket struct {
	space string
	owner jid.JID
}

var _ storage.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	return &Store{
		accounts: make(map[jid.JID]storage.Account),
		buckets:  make(map[bucket]map[string]storage.Entry),
		secrets:  make(map[string][]byte),
		rosters:  make(map[jid.JID]*roster),
		offline:  make(map[jid.JID][]storage.OfflineMessage),
		archives: make(map[storage.ArchiveKey][]storage.Row),
	}
}

// Close ends the store: every later call gets storage.ErrUnavailable. The
// second Close does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// begin locks the store for a call. If it returns nil, the caller must unlock.
func (s *Store) begin(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("storage/memory: %s: %w: %w", op, storage.ErrUnavailable, err)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return fmt.Errorf("storage/memory: %s: %w: %w", op, storage.ErrUnavailable, errClosed)
	}
	return nil
}
