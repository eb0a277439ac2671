package sql

import (
	"bytes"
	"context"
	dbsql "database/sql"
	"slices"
	"strings"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

const (
	selectAccount = `
		SELECT a.created, a.last_login, a.disabled, k.hash, k.salt, k.iterations, k.stored_key, k.server_key
		FROM accounts a LEFT JOIN account_keys k ON k.account = a.id
		WHERE a.domain = ? AND a.local = ?`
	selectAccounts = `
		SELECT local, created, last_login, disabled FROM accounts
		WHERE domain = ? AND local > ? ORDER BY local LIMIT ?`
	insertAccount = `
		INSERT INTO accounts (domain, local, created, last_login, disabled) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (domain, local) DO NOTHING RETURNING id`
	deleteAccount = `DELETE FROM accounts WHERE domain = ? AND local = ?`
	deleteKeys    = `DELETE FROM account_keys WHERE account = ?`
	insertKey     = `
		INSERT INTO account_keys (account, hash, salt, iterations, stored_key, server_key)
		VALUES (?, ?, ?, ?, ?, ?)`
)

// touchedAtOnce is the number of last logins that one statement writes.
const touchedAtOnce = 64

var touchAccounts = `
	UPDATE accounts SET last_login = v.column1
	FROM (VALUES (CAST(? AS BIGINT), ?, ?)` + strings.Repeat(", (CAST(? AS BIGINT), ?, ?)", touchedAtOnce-1) + `) AS v
	WHERE domain = v.column2 AND local = v.column3 AND (last_login IS NULL OR last_login < v.column1)`

// CreateAccount implements storage.Accounts.
func (s *Store) CreateAccount(ctx context.Context, a storage.Account) error {
	op := "create account " + a.User.String()
	if err := storage.CheckAccount(a.User, a.Keys); err != nil {
		return s.dialect.wrap(op, err)
	}
	keys := cloneKeys(a.Keys)
	return s.write(ctx, op, func(t *tx) error {
		var id int64
		made, err := t.insert(insertAccount, []any{a.User.Domain(), a.User.Local(), a.Created.UnixMicro(), nullTime(a.LastLogin), flag(a.Disabled)}, &id)
		if err != nil {
			return err
		}
		if !made {
			return storage.ErrExists
		}
		return t.insertKeys(id, keys)
	})
}

// SetKeys implements storage.Accounts.
func (s *Store) SetKeys(ctx context.Context, user jid.JID, keys []storage.Key) error {
	op := "set keys of " + user.String()
	if err := storage.CheckAccount(user, keys); err != nil {
		return s.dialect.wrap(op, err)
	}
	keys = cloneKeys(keys)
	return s.write(ctx, op, func(t *tx) error {
		id, err := t.accountID(user)
		if err != nil {
			return err
		}
		if _, err := t.exec(deleteKeys, id); err != nil {
			return err
		}
		return t.insertKeys(id, keys)
	})
}

func (t *tx) insertKeys(account int64, keys []storage.Key) error {
	for _, k := range keys {
		if _, err := t.exec(insertKey, account, k.Hash, k.Salt, k.Iterations, k.StoredKey, k.ServerKey); err != nil {
			return err
		}
	}
	return nil
}

// RemoveAccount implements storage.Accounts: every table that has an owner
// refers to accounts with ON DELETE CASCADE; but for archives, which may be too
// big for one transaction: they lose their owner, and nobody finds them any more.
func (s *Store) RemoveAccount(ctx context.Context, user jid.JID) error {
	err := s.write(ctx, "remove account "+user.String(), func(t *tx) error {
		n, err := t.exec(deleteAccount, user.Domain(), user.Local())
		if err == nil && n == 0 {
			err = storage.ErrNotFound
		}
		return err
	})
	if err == nil {
		_, _ = s.purge(ctx, purgedAtOnce) // the account is gone in any case; what is left ExpireRows deletes
	}
	return err
}

// TouchAccounts implements storage.Accounts, in one transaction.
func (s *Store) TouchAccounts(ctx context.Context, logins map[jid.JID]time.Time) error {
	var statements [][]any // the parameters of each
	i := 0
	for user, at := range logins {
		if i%touchedAtOnce == 0 {
			statements = append(statements, make([]any, 0, 3*touchedAtOnce))
		}
		last := len(statements) - 1
		statements[last] = append(statements[last], at.UnixMicro(), user.Domain(), user.Local())
		i++
	}
	if len(statements) == 0 {
		return s.dialect.wrap("write last logins", s.read(ctx))
	}
	for last := len(statements) - 1; len(statements[last]) < 3*touchedAtOnce; {
		statements[last] = append(statements[last], 0, "", "") // names no account
	}
	return s.write(ctx, "write last logins", func(t *tx) error {
		for _, args := range statements {
			if _, err := t.exec(touchAccounts, args...); err != nil {
				return err
			}
		}
		return nil
	})
}

// Account implements storage.Accounts: one query, a row for each key set.
func (s *Store) Account(ctx context.Context, user jid.JID) (storage.Account, error) {
	a, err := s.account(ctx, user)
	if err != nil {
		return storage.Account{}, s.dialect.wrap("read account "+user.String(), err)
	}
	return a, nil
}

func (s *Store) account(ctx context.Context, user jid.JID) (a storage.Account, err error) {
	if err := s.read(ctx); err != nil {
		return a, err
	}
	rows, err := s.queries.account.QueryContext(ctx, user.Domain(), user.Local())
	if err != nil {
		return a, err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			created               int64
			disabled              bool
			lastLogin, iterations dbsql.NullInt64
			hash                  dbsql.NullString
			k                     storage.Key
		)
		if err := rows.Scan(&created, &lastLogin, &disabled, &hash, &k.Salt, &iterations, &k.StoredKey, &k.ServerKey); err != nil {
			return a, err
		}
		a.User, a.Created, a.LastLogin, a.Disabled = user, unixMicro(created), timeOf(lastLogin), disabled
		if hash.Valid {
			k.Hash, k.Iterations = hash.String, int(iterations.Int64)
			a.Keys = append(a.Keys, k)
		}
	}
	if err := rows.Err(); err != nil {
		return a, err
	}
	if a.User.IsZero() {
		return a, storage.ErrNotFound
	}
	return a, nil
}

// Domains returns how many accounts each domain has, hosted or not. It reads
// the whole index of accounts: once at a start.
func (s *Store) Domains(ctx context.Context) (map[string]int, error) {
	const op = "count accounts"
	if err := s.read(ctx); err != nil {
		return nil, s.dialect.wrap(op, err)
	}
	var counts []struct {
		Domain   string
		Accounts int
	}
	if err := s.readers.SelectContext(ctx, &counts, "SELECT domain, count(*) AS accounts FROM accounts GROUP BY domain"); err != nil {
		return nil, s.dialect.wrap(op, err)
	}
	all := make(map[string]int, len(counts))
	for _, c := range counts {
		all[c.Domain] = c.Accounts
	}
	return all, nil
}

// ListAccounts implements storage.Accounts.
func (s *Store) ListAccounts(ctx context.Context, domain, after string, limit int) ([]storage.Account, error) {
	page, err := s.listAccounts(ctx, domain, after, limit)
	if err != nil {
		return nil, s.dialect.wrap("list accounts of "+domain, err)
	}
	return page, nil
}

func (s *Store) listAccounts(ctx context.Context, domain, after string, limit int) ([]storage.Account, error) {
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	rows, err := s.queries.listAccounts.QueryContext(ctx, domain, after, max(limit, 0))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []storage.Account
	for rows.Next() {
		var (
			local     string
			created   int64
			lastLogin dbsql.NullInt64
			disabled  bool
		)
		if err := rows.Scan(&local, &created, &lastLogin, &disabled); err != nil {
			return nil, err
		}
		user, err := jid.New(local, domain, "")
		if err != nil {
			return nil, err
		}
		page = append(page, storage.Account{User: user, Created: unixMicro(created), LastLogin: timeOf(lastLogin), Disabled: disabled})
	}
	return page, rows.Err()
}

// Times are stored as microseconds since 1970, so that they sort and compare.

func unixMicro(n int64) time.Time { return time.UnixMicro(n).UTC() }

func timeOf(n dbsql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return unixMicro(n.Int64)
}

func nullTime(t time.Time) dbsql.NullInt64 {
	return dbsql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// cloneKeys takes the caller's bytes away from the caller, who may give up and
// use them for something else while the writer still has the job. Absent bytes
// become empty ones, since the database has no NULL there.
func cloneKeys(keys []storage.Key) []storage.Key {
	keys = slices.Clone(keys)
	for i := range keys {
		k := &keys[i]
		k.Salt, k.StoredKey, k.ServerKey = clone(k.Salt), clone(k.StoredKey), clone(k.ServerKey)
	}
	return keys
}

func clone(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return bytes.Clone(b)
}
