package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Get implements storage.Map.
func (s *Store) Get(ctx context.Context, space string, owner jid.JID, key string) (storage.Entry, error) {
	op := "read " + space
	if err := s.begin(ctx, op); err != nil {
		return storage.Entry{}, err
	}
	defer s.mu.Unlock()
	e, there := s.buckets[bucket{space, owner}][key]
	if !there {
		return storage.Entry{}, fmt.Errorf("storage/memory: %s: %w", op, storage.ErrNotFound)
	}
	e.Value = bytes.Clone(e.Value)
	return e, nil
}

// Scan implements storage.Map.
func (s *Store) Scan(ctx context.Context, space string, owner jid.JID, prefix, after string, limit int) ([]storage.Entry, error) {
	if err := s.begin(ctx, "scan "+space); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var page []storage.Entry
	for key, e := range s.buckets[bucket{space, owner}] {
		if strings.HasPrefix(key, prefix) && key > after {
			page = append(page, e)
		}
	}
	slices.SortFunc(page, func(a, b storage.Entry) int { return strings.Compare(a.Key, b.Key) })
	page = page[:min(len(page), max(limit, 0))]
	for i := range page {
		page[i].Value = bytes.Clone(page[i].Value)
	}
	return page, nil
}

// Commit implements storage.Map: first all is checked, then all is written.
func (s *Store) Commit(ctx context.Context, w storage.Writes) error {
	if err := storage.CheckWrites(&w); err != nil {
		return fmt.Errorf("storage/memory: commit: %w", err)
	}
	if err := s.begin(ctx, "commit"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for i := range w.Ops {
		if err := s.allowed(&w.Ops[i]); err != nil {
			return fmt.Errorf("storage/memory: commit to %s: %w", w.Ops[i].Space, err)
		}
	}
	for i := range w.Rows {
		if !s.behind(&w.Rows[i], w.Remove) {
			return fmt.Errorf("storage/memory: commit to the archive of %s: %w", w.Rows[i].Owner, storage.ErrConflict)
		}
	}
	for i := range w.Ops {
		s.apply(&w.Ops[i])
	}
	for _, a := range w.Remove {
		delete(s.archives, a)
	}
	for i := range w.Rows {
		s.archive(&w.Rows[i])
	}
	for i := range w.Edits {
		s.edit(&w.Edits[i])
	}
	return nil
}

func (s *Store) allowed(op *storage.Op) error {
	if _, there := s.accounts[op.Owner]; !there && !op.Owner.IsZero() && !op.Delete {
		return storage.ErrNotFound
	}
	if op.If && s.buckets[bucket{op.Space, op.Owner}][op.Key].Revision != op.Revision {
		return storage.ErrConflict
	}
	return nil
}

func (s *Store) apply(op *storage.Op) {
	b := bucket{op.Space, op.Owner}
	if op.Delete {
		delete(s.buckets[b], op.Key)
		if len(s.buckets[b]) == 0 {
			delete(s.buckets, b)
		}
		return
	}
	if s.buckets[b] == nil {
		s.buckets[b] = make(map[string]storage.Entry)
	}
	s.revision++
	s.buckets[b][op.Key] = storage.Entry{Key: op.Key, Value: bytes.Clone(op.Value), Revision: s.revision}
}
