package sql

import (
	"context"

	"github.com/jmoiron/sqlx"
)

// queries are the statements of readers, prepared once for every connection
// that the pool makes.
type queries struct {
	account      *sqlx.Stmt
	listAccounts *sqlx.Stmt
	secret       *sqlx.Stmt
	roster       *sqlx.Stmt
	offline      *sqlx.Stmt
	owned        entryQueries // entries of accounts
	own          entryQueries // entries of extensions themselves
}

type entryQueries struct {
	get, scan *sqlx.Stmt
}

func (q *queries) prepare(ctx context.Context, db *sqlx.DB) error {
	for _, p := range []struct {
		to   **sqlx.Stmt
		text string
	}{
		{&q.account, selectAccount},
		{&q.listAccounts, selectAccounts},
		{&q.secret, selectSecret},
		{&q.roster, selectRoster},
		{&q.offline, selectOffline},
		{&q.owned.get, accountEntries.get},
		{&q.owned.scan, accountEntries.scan},
		{&q.own.get, extensionEntries.get},
		{&q.own.scan, extensionEntries.scan},
	} {
		s, err := db.PreparexContext(ctx, db.Rebind(p.text))
		if err != nil {
			return err
		}
		*p.to = s
	}
	return nil
}
