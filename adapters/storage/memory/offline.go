package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// AddOffline implements storage.Offline.
func (s *Store) AddOffline(ctx context.Context, owner jid.JID, m storage.OfflineMessage, quota int) (uint64, error) {
	op := "store a message for " + owner.String()
	if err := storage.CheckOffline(owner, m); err != nil {
		return 0, fmt.Errorf("storage/memory: %s: %w", op, err)
	}
	if err := s.begin(ctx, op); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	if err := s.addWithin(owner, m, quota); err != nil {
		return 0, fmt.Errorf("storage/memory: %s: %w", op, err)
	}
	return s.lastID, nil
}

// addWithin stores a message if the quota lets it; s.mu is held.
func (s *Store) addWithin(owner jid.JID, m storage.OfflineMessage, quota int) error {
	if _, there := s.accounts[owner]; !there {
		return storage.ErrNotFound
	}
	if len(s.offline[owner]) >= quota {
		return storage.ErrQuota
	}
	s.addOffline(owner, m)
	return nil
}

// AddOfflineEach implements storage.Offline.
func (s *Store) AddOfflineEach(ctx context.Context, all []storage.OfflineAdd, quota int) ([]error, error) {
	const op = "store messages"
	results := make([]error, len(all))
	if err := s.begin(ctx, op); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for i := range all {
		err := storage.CheckOffline(all[i].Owner, all[i].Message)
		if err == nil {
			err = s.addWithin(all[i].Owner, all[i].Message, quota)
		}
		if err != nil {
			results[i] = fmt.Errorf("storage/memory: %s: for %s: %w", op, all[i].Owner, err)
		}
	}
	return results, nil
}

// AddOfflineAll implements storage.Offline.
func (s *Store) AddOfflineAll(ctx context.Context, owner jid.JID, all []storage.OfflineMessage) error {
	op := "store messages for " + owner.String()
	for _, m := range all {
		if err := storage.CheckOffline(owner, m); err != nil {
			return fmt.Errorf("storage/memory: %s: %w", op, err)
		}
	}
	if err := s.begin(ctx, op); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, there := s.accounts[owner]; !there {
		return fmt.Errorf("storage/memory: %s: %w", op, storage.ErrNotFound)
	}
	for _, m := range all {
		s.addOffline(owner, m)
	}
	return nil
}

// addOffline stores a message; s.mu is held.
func (s *Store) addOffline(owner jid.JID, m storage.OfflineMessage) {
	s.lastID++
	m.ID, m.Stamp, m.XML = s.lastID, time.UnixMicro(m.Stamp.UnixMicro()).UTC(), bytes.Clone(m.XML)
	s.offline[owner] = append(s.offline[owner], m)
}

// OfflineMessages implements storage.Offline.
func (s *Store) OfflineMessages(ctx context.Context, owner jid.JID, after uint64, limit int) ([]storage.OfflineMessage, error) {
	if err := s.begin(ctx, "read messages of "+owner.String()); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var page []storage.OfflineMessage
	for _, m := range s.offline[owner] {
		if len(page) >= limit {
			break
		}
		if m.ID > after {
			m.XML = bytes.Clone(m.XML)
			page = append(page, m)
		}
	}
	return page, nil
}

// DeleteOffline implements storage.Offline.
func (s *Store) DeleteOffline(ctx context.Context, owner jid.JID, ids []uint64) error {
	if err := s.begin(ctx, "delete messages of "+owner.String()); err != nil {
		return err
	}
	defer s.mu.Unlock()
	left := slices.DeleteFunc(s.offline[owner], func(m storage.OfflineMessage) bool { return slices.Contains(ids, m.ID) })
	if len(left) == 0 {
		delete(s.offline, owner)
	} else {
		s.offline[owner] = left
	}
	return nil
}
