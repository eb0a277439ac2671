package sql

import (
	"bytes"
	"context"
	dbsql "database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

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
	insertRoster = `
		INSERT INTO rosters (owner, version) SELECT id, 1 FROM accounts WHERE domain = ? AND local = ?
		ON CONFLICT (owner) DO NOTHING RETURNING owner`
	updateRoster = `
		UPDATE rosters SET version = version + 1
		WHERE owner = (SELECT id FROM accounts WHERE domain = ? AND local = ?) AND version = ? RETURNING owner`
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
	var row scannedItem
	for rows.Next() {
		item, err := row.scan(rows, &r.Version)
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

// scannedItem is a row of selectRoster as the driver gives it. One is used for
// all rows of a result.
type scannedItem struct {
	contact, name, subscription dbsql.NullString
	ask, approved, hidden       dbsql.NullBool
	groups                      dbsql.RawBytes
	request                     dbsql.Null[[]byte]
}

// scan reads a row; the item has no contact if the row is that of a roster
// without items.
func (s *scannedItem) scan(rows *dbsql.Rows, version *uint64) (item storage.RosterItem, err error) {
	err = rows.Scan(version, &s.contact, &s.name, &s.groups, &s.subscription, &s.ask, &s.approved, &s.request, &s.hidden)
	if err != nil || !s.contact.Valid {
		return item, err
	}
	item = storage.RosterItem{
		Name: s.name.String, Subscription: storage.Subscription(s.subscription.String),
		Ask: s.ask.Bool, Approved: s.approved.Bool, Hidden: s.hidden.Bool,
	}
	if s.request.Valid {
		item.Request = clone(s.request.V) // empty, where the driver gives nil
	}
	if item.Groups, err = decodeGroups(s.groups); err != nil {
		return item, err
	}
	item.Contact, err = jid.Parse(s.contact.String)
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
		id, err := t.nextRoster(owner, base)
		if err != nil {
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

// nextRoster counts up the version of a roster and returns the id of its owner,
// or storage.ErrConflict if it is not at base. Only then is it asked whether
// there is such an account.
func (t *tx) nextRoster(owner jid.JID, base uint64) (id int64, err error) {
	var changed bool
	switch {
	case base == 0:
		changed, err = t.insert(insertRoster, []any{owner.Domain(), owner.Local()}, &id)
	case base < math.MaxInt64:
		changed, err = t.insert(updateRoster, []any{owner.Domain(), owner.Local(), int64(base)}, &id)
	}
	if err != nil || changed {
		return id, err
	}
	if _, err = t.accountID(owner); err == nil {
		err = storage.ErrConflict
	}
	return 0, err
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

// decodeGroups reads what encodeGroups wrote, or what PostgreSQL made of it,
// which puts white space behind the commas. Where nothing is escaped, as mostly,
// the names are what stands between quotes.
func decodeGroups(b []byte) (groups []string, err error) {
	if string(b) == "[]" {
		return nil, nil
	}
	if bytes.IndexByte(b, '\\') >= 0 {
		err = json.Unmarshal(b, &groups)
		return groups, err
	}
	parts := strings.Split(string(b), `"`) // "[", a name, ",", a name, "]"
	last := len(parts) - 1
	wrong := last%2 != 0 || parts[0] != "[" || parts[last] != "]"
	groups = make([]string, 0, len(parts)/2)
	for i := 1; i < last; i += 2 {
		groups = append(groups, parts[i])
		wrong = wrong || i+1 < last && strings.TrimSpace(parts[i+1]) != ","
	}
	if wrong {
		return nil, fmt.Errorf("groups of a roster item are no JSON array of strings: %q", b)
	}
	return groups, nil
}
