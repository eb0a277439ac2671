package sql

import (
	"context"
	dbsql "database/sql"
	"database/sql/driver"
	"errors"

	"github.com/jmoiron/sqlx"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// connection is the writer's connection, with each statement it ever ran
// prepared. It takes no context: a transaction belongs to many callers, and
// none of them may end it.
type connection struct {
	conn     *sqlx.Conn
	prepared map[string]*sqlx.Stmt
}

func openConnection(db *sqlx.DB) (*connection, error) {
	conn, err := db.Connx(context.Background())
	if err != nil {
		return nil, err
	}
	return &connection{conn: conn, prepared: make(map[string]*sqlx.Stmt)}, nil
}

// close closes the connection for good, instead of giving it back to its pool.
func (c *connection) close() {
	for _, s := range c.prepared {
		s.Close()
	}
	// Both answer that the connection is bad: it is what was asked for.
	_ = c.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.conn.Close()
}

func (c *connection) statement(query string) (*sqlx.Stmt, error) {
	if s, there := c.prepared[query]; there {
		return s, nil
	}
	s, err := c.conn.PreparexContext(context.Background(), c.conn.Rebind(query))
	if err != nil {
		return nil, err
	}
	c.prepared[query] = s
	return s, nil
}

// run runs a statement that has no result.
func (c *connection) run(query string) error {
	s, err := c.statement(query)
	if err != nil {
		return err
	}
	_, err = s.Exec()
	return err
}

// tx is what a job may do in its transaction.
type tx struct {
	conn     *connection
	revision int64 // given out last; 0: not read yet
	moved    bool  // revision is ahead of the table
}

// exec runs a statement and returns the number of rows that it changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	s, err := t.conn.statement(query)
	if err != nil {
		return 0, err
	}
	r, err := s.Exec(args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// first reads the first row of a result into dest; false if there is none.
func (t *tx) first(query string, args []any, dest ...any) (bool, error) {
	s, err := t.conn.statement(query)
	if err != nil {
		return false, err
	}
	err = s.QueryRow(args...).Scan(dest...)
	if errors.Is(err, dbsql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

const selectAccountID = `SELECT id FROM accounts WHERE domain = ? AND local = ?`

// accountID returns the id of a user, or storage.ErrNotFound.
func (t *tx) accountID(user jid.JID) (id int64, err error) {
	found, err := t.first(selectAccountID, []any{user.Domain(), user.Local()}, &id)
	if err == nil && !found {
		err = storage.ErrNotFound
	}
	return id, err
}

const (
	selectRevision = `SELECT value FROM entries_revision WHERE id = 1`
	updateRevision = `UPDATE entries_revision SET value = ? WHERE id = 1`
)

// nextRevision gives out a revision. The numbers are read once and kept once
// a transaction; what a failed job took is left out.
func (t *tx) nextRevision() (int64, error) {
	if t.revision == 0 {
		found, err := t.first(selectRevision, nil, &t.revision)
		if err == nil && !found {
			err = errors.New("the table entries_revision has lost its row")
		}
		if err != nil {
			return 0, err
		}
	}
	t.revision++
	t.moved = true
	return t.revision, nil
}

func (t *tx) keepRevision() error {
	if !t.moved {
		return nil
	}
	_, err := t.exec(updateRevision, t.revision)
	return err
}
