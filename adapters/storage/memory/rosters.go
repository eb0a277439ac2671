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

// roster is the roster of an account that was changed at least once.
type roster struct {
	version uint64
	items   map[jid.JID]storage.RosterItem
}

// Roster implements storage.Rosters.
func (s *Store) Roster(ctx context.Context, owner jid.JID) (storage.Roster, error) {
	if err := s.begin(ctx, "read roster of "+owner.String()); err != nil {
		return storage.Roster{}, err
	}
	defer s.mu.Unlock()
	r, there := s.rosters[owner]
	if !there {
		return storage.Roster{}, nil
	}
	all := storage.Roster{Version: r.version, Items: make([]storage.RosterItem, 0, len(r.items))}
	for _, item := range r.items {
		all.Items = append(all.Items, cloneItem(item))
	}
	slices.SortFunc(all.Items, func(a, b storage.RosterItem) int {
		return strings.Compare(a.Contact.String(), b.Contact.String())
	})
	return all, nil
}

// Subscription implements storage.Rosters.
func (s *Store) Subscription(ctx context.Context, owner, contact jid.JID) (storage.Subscription, error) {
	if err := s.begin(ctx, "read subscription of "+owner.String()); err != nil {
		return "", err
	}
	defer s.mu.Unlock()
	if r := s.rosters[owner]; r != nil {
		if item, there := r.items[contact]; there {
			return item.Subscription, nil
		}
	}
	return storage.SubNone, nil
}

// ChangeRoster implements storage.Rosters.
func (s *Store) ChangeRoster(ctx context.Context, owner jid.JID, base uint64, put []storage.RosterItem, remove []jid.JID) error {
	op := "change roster of " + owner.String()
	if err := storage.CheckRoster(owner, put, remove); err != nil {
		return fmt.Errorf("storage/memory: %s: %w", op, err)
	}
	if err := s.begin(ctx, op); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, there := s.accounts[owner]; !there {
		return fmt.Errorf("storage/memory: %s: %w", op, storage.ErrNotFound)
	}
	r := s.rosters[owner]
	if r == nil {
		r = &roster{items: make(map[jid.JID]storage.RosterItem)}
	}
	if r.version != base {
		return fmt.Errorf("storage/memory: %s: at version %d, not %d: %w", op, r.version, base, storage.ErrConflict)
	}
	r.version++
	s.rosters[owner] = r
	for _, item := range put {
		r.items[item.Contact] = cloneItem(item)
	}
	for _, contact := range remove {
		delete(r.items, contact)
	}
	return nil
}

func cloneItem(item storage.RosterItem) storage.RosterItem {
	item.Groups = slices.Clone(item.Groups)
	item.Request = bytes.Clone(item.Request)
	return item
}
