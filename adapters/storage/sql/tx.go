package sql

import (
	dbsql "database/sql"
	"errors"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// tx is what a job may do in its transaction.
type tx struct {
	conn     *connection
	dialect  *dialect
	queries  *queries
	revision int64 // given out last; 0: not read yet
	moved    bool  // revision is ahead of the table
	appended bool  // the rows of all jobs are, as far as the next removal
	purged   int   // rows of removed archives that were deleted

	// Of the job that runs:
	changed bool  // it has changed something
	failed  error // of the database; the first that it met
}

// run runs a job. It fails with any error of the database that it met, also
// if it thinks otherwise: PostgreSQL answers the COMMIT after one by rolling
// back.
func (t *tx) run(j *job) error {
	t.changed, t.failed = false, nil
	err := j.run(t)
	if err == nil {
		err = t.failed
	}
	return err
}

// run removes archives and appends the job's rows, unless that was done for all the group,
// and calls the job.
func (j *job) run(t *tx) error {
	if !t.appended {
		if err := t.removeArchives(j.removed); err != nil {
			return err
		}
	}
	if !t.appended && len(j.rows) > 1 && t.dialect.lockRow == "" {
		if err := t.appendMany(j.rows); err != nil {
			return err
		}
	} else if !t.appended {
		for i := range j.rows {
			if err := t.appendRow(&j.rows[i]); err != nil {
				return err
			}
		}
	}
	if j.do == nil {
		return nil
	}
	return j.do(t)
}

func (t *tx) note(err error) error {
	if t.failed == nil {
		t.failed = err
	}
	return err
}

// exec runs a statement and returns the number of rows that it changed.
func (t *tx) exec(query string, args ...any) (n int64, err error) {
	_, n, err = t.change(query, args)
	return n, err
}

// add runs a statement that inserts a row, or none, and returns the row's id, or 0.
// It is cheaper than insert, and no PostgreSQL knows it.
func (t *tx) add(query string, args ...any) (id int64, err error) {
	r, n, err := t.change(query, args)
	if err != nil || n == 0 {
		return 0, err
	}
	id, err = r.LastInsertId()
	return id, t.note(err)
}

func (t *tx) change(query string, args []any) (r dbsql.Result, n int64, err error) {
	s, err := t.conn.statement(query)
	if err != nil {
		return nil, 0, t.note(err)
	}
	if r, err = s.Exec(args...); err != nil {
		return nil, 0, t.note(err)
	}
	n, err = r.RowsAffected()
	t.changed = t.changed || n > 0
	return r, n, t.note(err)
}

// first reads the first row of a result into dest; false if there is none.
func (t *tx) first(query string, args []any, dest ...any) (bool, error) {
	s, err := t.conn.statement(query)
	if err != nil {
		return false, t.note(err)
	}
	err = s.QueryRow(args...).Scan(dest...)
	if errors.Is(err, dbsql.ErrNoRows) {
		return false, nil
	}
	return err == nil, t.note(err)
}

// each scans each row of a result into dest, and calls f.
func (t *tx) each(query string, args []any, f func(), dest ...any) error {
	s, err := t.conn.statement(query)
	if err != nil {
		return t.note(err)
	}
	rows, err := s.Query(args...)
	if err != nil {
		return t.note(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return t.note(err)
		}
		f()
	}
	return t.note(rows.Err())
}

// insert is first for INSERT ... RETURNING; false if nothing was inserted.
func (t *tx) insert(query string, args []any, dest ...any) (bool, error) {
	made, err := t.first(query, args, dest...)
	t.changed = t.changed || made
	return made, err
}

const selectAccountID = `SELECT id FROM accounts WHERE domain = ? AND local = ?`

// accountID returns the id of a user, or storage.ErrNotFound.
func (t *tx) accountID(user jid.JID) (int64, error) { return t.findAccount(selectAccountID, user) }

// lockAccount is accountID, and keeps the writers of other nodes from doing
// the same until the transaction ends.
func (t *tx) lockAccount(user jid.JID) (int64, error) {
	return t.findAccount(selectAccountID+t.dialect.lockRow, user)
}

func (t *tx) findAccount(query string, user jid.JID) (id int64, err error) {
	found, err := t.first(query, []any{user.Domain(), user.Local()}, &id)
	if err == nil && !found {
		err = storage.ErrNotFound
	}
	return id, err
}

const (
	selectRevision = `SELECT value FROM entries_revision WHERE id = 1`
	updateRevision = `UPDATE entries_revision SET value = ? WHERE id = 1`
)

// nextRevision gives out a revision as the parameter of a statement, or none
// if the database does. The numbers are read once and kept once a transaction;
// what a failed job took is left out.
func (t *tx) nextRevision() ([]any, error) {
	if !t.dialect.revisions.counted {
		return nil, nil
	}
	if t.revision == 0 {
		found, err := t.first(selectRevision, nil, &t.revision)
		if err == nil && !found {
			err = errors.New("the table entries_revision has lost its row")
		}
		if err != nil {
			return nil, err
		}
	}
	t.revision++
	t.moved = true
	return []any{t.revision}, nil
}

func (t *tx) keepRevision() error {
	if !t.moved {
		return nil
	}
	_, err := t.exec(updateRevision, t.revision)
	return err
}
