package sql

import (
	"context"

	"github.com/jmoiron/sqlx"
)

// queries are the statements of entries, and those of readers, which are
// prepared once for every connection that their pool makes.
type queries struct {
	accountEntries, extensionEntries *entryStatements

	account      *sqlx.Stmt
	listAccounts *sqlx.Stmt
	secret       *sqlx.Stmt
	roster       *sqlx.Stmt
	subscription *sqlx.Stmt
	offline      *sqlx.Stmt
	owned        entryQueries // entries of accounts
	own          entryQueries // entries of extensions themselves
	archive      map[archiveQuery]*sqlx.Stmt
}

type entryQueries struct {
	get, scan *sqlx.Stmt
}

func newQueries(d *dialect) *queries {
	return &queries{accountEntries: accountEntries(d.revisions), extensionEntries: extensionEntries(d.revisions)}
}

// prepare prepares what readers need.
func (q *queries) prepare(ctx context.Context, d *dialect, db *sqlx.DB) error {
	for _, p := range []struct {
		to   **sqlx.Stmt
		text string
	}{
		{&q.account, selectAccount},
		{&q.listAccounts, selectAccounts},
		{&q.secret, selectSecret},
		{&q.roster, selectRoster},
		{&q.subscription, selectSubscription},
		{&q.offline, selectOffline},
		{&q.owned.get, q.accountEntries.get},
		{&q.owned.scan, q.accountEntries.scan},
		{&q.own.get, q.extensionEntries.get},
		{&q.own.scan, q.extensionEntries.scan},
	} {
		s, err := db.PreparexContext(ctx, db.Rebind(p.text))
		if err != nil {
			return err
		}
		*p.to = s
	}
	q.archive = make(map[archiveQuery]*sqlx.Stmt)
	for _, a := range archiveQueries() {
		s, err := db.PreparexContext(ctx, db.Rebind(a.text(d)))
		if err != nil {
			return err
		}
		q.archive[a] = s
	}
	return nil
}
