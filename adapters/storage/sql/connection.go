package sql

import (
	"context"
	"database/sql/driver"

	"github.com/jmoiron/sqlx"
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
	closeForGood(c.conn)
}

// closeForGood closes a connection instead of giving it back to its pool.
func closeForGood(c *sqlx.Conn) {
	// Both answer that the connection is bad: it is what was asked for.
	_ = c.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.Close()
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
