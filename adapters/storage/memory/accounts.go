package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// CreateAccount implements storage.Accounts.
func (s *Store) CreateAccount(ctx context.Context, a storage.Account) error {
	op := "create account " + a.User.String()
	if err := storage.CheckAccount(a.User, a.Keys); err != nil {
		return fmt.Errorf("storage/memory: %s: %w", op, err)
	}
	if err := s.begin(ctx, op); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, there := s.accounts[a.User]; there {
		return fmt.Errorf("storage/memory: %s: %w", op, storage.ErrExists)
	}
	a.Keys = cloneKeys(a.Keys)
	s.accounts[a.User] = a
	return nil
}

// Account implements storage.Accounts.
func (s *Store) Account(ctx context.Context, user jid.JID) (storage.Account, error) {
	op := "read account " + user.String()
	if err := s.begin(ctx, op); err != nil {
		return storage.Account{}, err
	}
	defer s.mu.Unlock()
	a, there := s.accounts[user]
	if !there {
		return storage.Account{}, fmt.Errorf("storage/memory: %s: %w", op, storage.ErrNotFound)
	}
	a.Keys = cloneKeys(a.Keys)
	return a, nil
}

// SetKeys implements storage.Accounts.
func (s *Store) SetKeys(ctx context.Context, user jid.JID, keys []storage.Key) error {
	op := "set keys of " + user.String()
	if err := storage.CheckAccount(user, keys); err != nil {
		return fmt.Errorf("storage/memory: %s: %w", op, err)
	}
	if err := s.begin(ctx, op); err != nil {
		return err
	}
	defer s.mu.Unlock()
	a, there := s.accounts[user]
	if !there {
		return fmt.Errorf("storage/memory: %s: %w", op, storage.ErrNotFound)
	}
	a.Keys = cloneKeys(keys)
	s.accounts[user] = a
	return nil
}

// RemoveAccount implements storage.Accounts.
func (s *Store) RemoveAccount(ctx context.Context, user jid.JID) error {
	op := "remove account " + user.String()
	if err := s.begin(ctx, op); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, there := s.accounts[user]; !there {
		return fmt.Errorf("storage/memory: %s: %w", op, storage.ErrNotFound)
	}
	delete(s.accounts, user)
	for b := range s.buckets {
		if b.owner == user {
			delete(s.buckets, b)
		}
	}
	for a := range s.archives {
		if a.Owner == user && !a.Own {
			delete(s.archives, a)
		}
	}
	delete(s.rosters, user)
	delete(s.offline, user)
	return nil
}

// ListAccounts implements storage.Accounts.
func (s *Store) ListAccounts(ctx context.Context, domain, after string, limit int) ([]storage.Account, error) {
	if err := s.begin(ctx, "list accounts of "+domain); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var page []storage.Account
	for user, a := range s.accounts {
		if user.Domain() == domain && user.Local() > after {
			a.Keys = nil
			page = append(page, a)
		}
	}
	slices.SortFunc(page, func(a, b storage.Account) int { return strings.Compare(a.User.Local(), b.User.Local()) })
	return page[:min(len(page), max(limit, 0))], nil
}

// TouchAccounts implements storage.Accounts.
func (s *Store) TouchAccounts(ctx context.Context, logins map[jid.JID]time.Time) error {
	if err := s.begin(ctx, "write last logins"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for user, at := range logins {
		if a, there := s.accounts[user]; there && at.After(a.LastLogin) {
			a.LastLogin = at
			s.accounts[user] = a
		}
	}
	return nil
}

func cloneKeys(keys []storage.Key) []storage.Key {
	keys = slices.Clone(keys)
	for i := range keys {
		k := &keys[i]
		k.Salt, k.StoredKey, k.ServerKey = bytes.Clone(k.Salt), bytes.Clone(k.StoredKey), bytes.Clone(k.ServerKey)
	}
	return keys
}
