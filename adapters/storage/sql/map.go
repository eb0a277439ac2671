package sql

import (
	"context"
	dbsql "database/sql"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// entryStatements are the statements of a table of entries. Those of accounts
// take the domain and localpart of the owner before all else. Where the
// database gives revisions, that parameter is left out.
type entryStatements struct {
	get      string // space, key
	scan     string // space, from, to, limit
	exists   string // space, key
	put      string // space, key, revision, value
	create   string // as put, but changes nothing that is there
	update   string // revision, value, space, key, revision expected
	delete   string // space, key
	deleteAt string // space, key, revision expected
}

const withOwner = `WITH o AS (SELECT id FROM accounts WHERE domain = ? AND local = ?) `

func accountEntries(r revisions) *entryStatements {
	return &entryStatements{
		get:    withOwner + `SELECT revision, value FROM account_entries WHERE owner = (SELECT id FROM o) AND space = ? AND key = ?`,
		scan:   withOwner + `SELECT key, revision, value FROM account_entries WHERE owner = (SELECT id FROM o) AND space = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?`,
		exists: withOwner + `SELECT 1 FROM account_entries WHERE owner = (SELECT id FROM o) AND space = ? AND key = ?`,
		put: withOwner + `INSERT INTO account_entries (owner, space, key, revision, value) SELECT o.id, ?, ?, ` + r.inserted + `, ? FROM o WHERE true
			ON CONFLICT (owner, space, key) DO UPDATE SET revision = ` + r.replaced + `, value = excluded.value`,
		create: withOwner + `INSERT INTO account_entries (owner, space, key, revision, value) SELECT o.id, ?, ?, ` + r.inserted + `, ? FROM o WHERE true
			ON CONFLICT (owner, space, key) DO NOTHING`,
		update:   withOwner + `UPDATE account_entries SET revision = ` + r.inserted + `, value = ? WHERE owner = (SELECT id FROM o) AND space = ? AND key = ? AND revision = ?`,
		delete:   withOwner + `DELETE FROM account_entries WHERE owner = (SELECT id FROM o) AND space = ? AND key = ?`,
		deleteAt: withOwner + `DELETE FROM account_entries WHERE owner = (SELECT id FROM o) AND space = ? AND key = ? AND revision = ?`,
	}
}

func extensionEntries(r revisions) *entryStatements {
	return &entryStatements{
		get:    `SELECT revision, value FROM extension_entries WHERE space = ? AND key = ?`,
		scan:   `SELECT key, revision, value FROM extension_entries WHERE space = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?`,
		exists: `SELECT 1 FROM extension_entries WHERE space = ? AND key = ?`,
		put: `INSERT INTO extension_entries (space, key, revision, value) VALUES (?, ?, ` + r.inserted + `, ?)
			ON CONFLICT (space, key) DO UPDATE SET revision = ` + r.replaced + `, value = excluded.value`,
		create:   `INSERT INTO extension_entries (space, key, revision, value) VALUES (?, ?, ` + r.inserted + `, ?) ON CONFLICT (space, key) DO NOTHING`,
		update:   `UPDATE extension_entries SET revision = ` + r.inserted + `, value = ? WHERE space = ? AND key = ? AND revision = ?`,
		delete:   `DELETE FROM extension_entries WHERE space = ? AND key = ?`,
		deleteAt: `DELETE FROM extension_entries WHERE space = ? AND key = ? AND revision = ?`,
	}
}

// withOwnerArgs puts what withOwner takes before args.
func withOwnerArgs(owner jid.JID, args ...any) []any {
	if owner.IsZero() {
		return args
	}
	return append([]any{owner.Domain(), owner.Local()}, args...)
}

func (s *Store) entryQueries(owner jid.JID) *entryQueries {
	if owner.IsZero() {
		return &s.queries.own
	}
	return &s.queries.owned
}

// Get implements storage.Map.
func (s *Store) Get(ctx context.Context, space string, owner jid.JID, key string) (storage.Entry, error) {
	e := storage.Entry{Key: key}
	err := s.read(ctx)
	if err == nil && storage.CheckName(space) != nil {
		err = storage.ErrNotFound // nothing can be there
	}
	if err == nil {
		args := withOwnerArgs(owner, space, []byte(key))
		err = s.entryQueries(owner).get.QueryRowContext(ctx, args...).Scan(&e.Revision, &e.Value)
	}
	if errors.Is(err, dbsql.ErrNoRows) {
		err = storage.ErrNotFound
	}
	if err != nil {
		return storage.Entry{}, s.dialect.wrap("read "+space, err)
	}
	return e, nil
}

// Scan implements storage.Map.
func (s *Store) Scan(ctx context.Context, space string, owner jid.JID, prefix, after string, limit int) ([]storage.Entry, error) {
	page, err := s.scan(ctx, space, owner, prefix, after, limit)
	if err != nil {
		return nil, s.dialect.wrap("scan "+space, err)
	}
	return page, nil
}

func (s *Store) scan(ctx context.Context, space string, owner jid.JID, prefix, after string, limit int) ([]storage.Entry, error) {
	if err := s.read(ctx); err != nil || storage.CheckName(space) != nil {
		return nil, err
	}
	from := max(prefix, after+"\x00") // the first key behind after is after and a zero byte
	args := withOwnerArgs(owner, space, []byte(from), []byte(behind(prefix)), max(limit, 0))
	rows, err := s.entryQueries(owner).scan.QueryContext(ctx, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []storage.Entry
	for rows.Next() {
		var key []byte
		var e storage.Entry
		if err := rows.Scan(&key, &e.Revision, &e.Value); err != nil {
			return nil, err
		}
		e.Key = string(key)
		page = append(page, e)
	}
	return page, rows.Err()
}

// behindAll is greater than every key.
var behindAll = strings.Repeat("\xff", storage.MaxKey+1)

// behind returns the least string that is greater than each key with this
// prefix: its last byte below 0xff is counted up, and what follows cut off.
func behind(prefix string) string {
	for last := len(prefix) - 1; last >= 0; last-- {
		if c := prefix[last]; c < 0xff {
			return prefix[:last] + string([]byte{c + 1})
		}
	}
	return behindAll
}

// Commit implements storage.Map.
func (s *Store) Commit(ctx context.Context, w storage.Writes) error {
	if err := storage.CheckWrites(&w); err != nil {
		return s.dialect.wrap("commit", err)
	}
	// The caller may give up and use its memory for something else while the
	// writer still has it.
	ops, edits, j := slices.Clone(w.Ops), slices.Clone(w.Edits), &job{removed: slices.Clone(w.Remove), rows: slices.Clone(w.Rows)}
	for i := range ops {
		ops[i].Value = clone(ops[i].Value)
	}
	var op string
	switch {
	case w.Empty():
		return s.dialect.wrap("commit", s.read(ctx))
	case len(ops) > 0:
		op = "commit to " + ops[0].Space
		j.do = func(t *tx) error {
			if err := t.applyAll(ops); err != nil {
				return err
			}
			return t.edit(edits)
		}
	case len(edits) > 0:
		op = "edit the archive of " + edits[0].Owner.String()
		j.do = func(t *tx) error { return t.edit(edits) }
	case len(j.rows) > 0:
		op = "commit to the archive of " + j.rows[0].Owner.String()
	default:
		op = "remove the archive of " + j.removed[0].Owner.String()
	}
	return s.dialect.wrap(op, s.writer.do(ctx, j))
}

func (t *tx) applyAll(ops []storage.Op) error {
	for i := range ops {
		if err := t.apply(&ops[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) apply(op *storage.Op) error {
	statements := t.queries.accountEntries
	if op.Owner.IsZero() {
		statements = t.queries.extensionEntries
	}
	if op.Delete {
		return t.delete(statements, op)
	}
	return t.put(statements, op)
}

// put writes an entry. Whether the owner is there, and whether the revision
// matches, is part of the statement; only if nothing was changed is it asked
// which of the two it was.
func (t *tx) put(statements *entryStatements, op *storage.Op) error {
	revision, err := t.nextRevision()
	if err != nil {
		return err
	}
	key := []byte(op.Key)
	inserted := func() []any { return append(append([]any{op.Space, key}, revision...), op.Value) }
	var n int64
	switch {
	case !op.If:
		n, err = t.exec(statements.put, withOwnerArgs(op.Owner, inserted()...)...)
	case op.Revision == 0:
		n, err = t.exec(statements.create, withOwnerArgs(op.Owner, inserted()...)...)
	case op.Revision <= math.MaxInt64:
		updated := append(slices.Clip(revision), op.Value, op.Space, key, int64(op.Revision))
		n, err = t.exec(statements.update, withOwnerArgs(op.Owner, updated...)...)
	}
	if err != nil || n > 0 {
		return err
	}
	if !op.Owner.IsZero() {
		if _, err := t.accountID(op.Owner); err != nil {
			return err
		}
	}
	return storage.ErrConflict
}

func (t *tx) delete(statements *entryStatements, op *storage.Op) error {
	key := []byte(op.Key)
	switch {
	case !op.If:
		_, err := t.exec(statements.delete, withOwnerArgs(op.Owner, op.Space, key)...)
		return err
	case op.Revision == 0:
		var one int
		there, err := t.first(statements.exists, withOwnerArgs(op.Owner, op.Space, key), &one)
		if err == nil && there {
			err = storage.ErrConflict
		}
		return err
	case op.Revision > math.MaxInt64:
		return storage.ErrConflict
	}
	n, err := t.exec(statements.deleteAt, withOwnerArgs(op.Owner, op.Space, key, int64(op.Revision))...)
	if err == nil && n == 0 {
		err = storage.ErrConflict
	}
	return err
}
