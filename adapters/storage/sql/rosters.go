package sql

import (
	"bytes"
	"context"
	dbsql "database/sql"
	"encoding/json"
	"errors"
	"math"
	"slices"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

const (
	// One statement, so that version and items are of the same moment. A
	// roster without items is a row without contact.
	selectRoster = `
		SELECT r.version, i.contact, i.name, i.groups, i.subscription, i.ask, i.approved, i.request, i.hidden
		FROM rosters r LEFT JOIN roster_items i ON i.owner = r.owner
		WHERE r.owner = (SELECT id FROM accounts WHERE domain = ? AND local = ?)
		ORDER BY i.contact`
	selectSubscription = `
		SELECT subscription FROM roster_items
		WHERE owner = (SELECT id FROM accounts WHERE domain = ? AND local = ?) AND contact = ?`
	insertRoster  = `INSERT INTO rosters (owner, version) VALUES (?, 1) ON CONFLICT (owner) DO NOTHING`
	updateRoster  = `UPDATE rosters SET version = version + 1 WHERE owner = ? AND version = ?`
	putRosterItem = `
		INSERT INTO roster_items (owner, contact, name, groups, subscription, ask, approved, request, hidden)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (owner, contact) DO UPDATE SET
			name = excluded.name, groups = excluded.groups, subscription = excluded.subscription, ask = excluded.ask,
			approved = excluded.approved, request = excluded.request, hidden = excluded.hidden`
	deleteRosterItem = `DELETE FROM roster_items WHERE owner = ? AND contact = ?`
)

// Roster implements storage.Rosters.
func (s *Store) Roster(ctx context.Context, owner jid.JID) (storage.Roster, error) {
	r, err := s.roster(ctx, owner)
	if err != nil {
		return storage.Roster{}, s.dialect.wrap("read roster of "+owner.String(), err)
	}
	return r, nil
}

func (s *Store) roster(ctx context.Context, owner jid.JID) (r storage.Roster, err error) {
	if err := s.read(ctx); err != nil || !owner.IsBare() {
		return r, err
	}
	rows, err := s.queries.roster.QueryContext(ctx, owner.Domain(), owner.Local())
	if err != nil {
		return r, err
	}
	defer rows.Close()
	for rows.Next() {
		item, err := scanRosterItem(rows, &r.Version)
		if err != nil {
			return r, err
		}
		if !item.Contact.IsZero() {
			r.Items = append(r.Items, item)
		}
	}
	return r, rows.Err()
}

// Subscription implements storage.Rosters.
func (s *Store) Subscription(ctx context.Context, owner, contact jid.JID) (storage.Subscription, error) {
	state := string(storage.SubNone)
	err := s.read(ctx)
	if err == nil && owner.IsBare() {
		err = s.queries.subscription.GetContext(ctx, &state, owner.Domain(), owner.Local(), contact.String())
	}
	if err != nil && !errors.Is(err, dbsql.ErrNoRows) {
		return "", s.dialect.wrap("read subscription of "+owner.String(), err)
	}
	return storage.Subscription(state), nil
}

// scanRosterItem reads a row of selectRoster; the item has no contact if the
// row is that of a roster without items.
func scanRosterItem(rows *dbsql.Rows, version *uint64) (item storage.RosterItem, err error) {
	var (
		contact, name, subscription dbsql.NullString
		ask, approved, hidden       dbsql.NullBool
		groups                      dbsql.RawBytes
		request                     dbsql.Null[[]byte]
	)
	if err := rows.Scan(version, &contact, &name, &groups, &subscription, &ask, &approved, &request, &hidden); err != nil || !contact.Valid {
		return item, err
	}
	item = storage.RosterItem{
		Name: name.String, Subscription: storage.Subscription(subscription.String),
		Ask: ask.Bool, Approved: approved.Bool, Hidden: hidden.Bool,
	}
	if request.Valid {
		item.Request = clone(request.V) // empty, where the driver gives nil
	}
	if item.Groups, err = decodeGroups(groups); err != nil {
		return item, err
	}
	item.Contact, err = jid.Parse(contact.String)
	return item, err
}

// ChangeRoster implements storage.Rosters.
func (s *Store) ChangeRoster(ctx context.Context, owner jid.JID, base uint64, put []storage.RosterItem, remove []jid.JID) error {
	op := "change roster of " + owner.String()
	if err := storage.CheckRoster(owner, put, remove); err != nil {
		return s.dialect.wrap(op, err)
	}
	rows := make([][]any, len(put)) // the caller may give up and use its memory for something else
	for i := range put {
		row, err := rosterRow(&put[i])
		if err != nil {
			return s.dialect.wrap(op, err)
		}
		rows[i] = row
	}
	remove = slices.Clone(remove)
	return s.write(ctx, op, func(t *tx) error {
		id, err := t.accountID(owner)
		if err != nil {
			return err
		}
		if err := t.nextRoster(id, base); err != nil {
			return err
		}
		for _, row := range rows {
			if _, err := t.exec(putRosterItem, append([]any{id}, row...)...); err != nil {
				return err
			}
		}
		for _, contact := range remove {
			if _, err := t.exec(deleteRosterItem, id, contact.String()); err != nil {
				return err
			}
		}
		return nil
	})
}

// nextRoster counts up the version of a roster, or returns storage.ErrConflict
// if it is not at base.
func (t *tx) nextRoster(owner int64, base uint64) (err error) {
	var n int64
	switch {
	case base == 0:
		n, err = t.exec(insertRoster, owner)
	case base < math.MaxInt64:
		n, err = t.exec(updateRoster, owner, int64(base))
	}
	if err == nil && n == 0 {
		err = storage.ErrConflict
	}
	return err
}

// rosterRow is what putRosterItem takes behind the owner.
func rosterRow(item *storage.RosterItem) ([]any, error) {
	groups, err := encodeGroups(item.Groups)
	if err != nil {
		return nil, err
	}
	var request any
	if item.Request != nil {
		request = bytes.Clone(item.Request)
	}
	return []any{
		item.Contact.String(), item.Name, groups, string(item.Subscription),
		flag(item.Ask), flag(item.Approved), request, flag(item.Hidden),
	}, nil
}

func encodeGroups(groups []string) (string, error) {
	if len(groups) == 0 {
		return "[]", nil
	}
	b, err := json.Marshal(groups)
	return string(b), err
}

func decodeGroups(b []byte) (groups []string, err error) {
	if string(b) == "[]" {
		return nil, nil
	}
	err = json.Unmarshal(b, &groups)
	return groups, err
}
