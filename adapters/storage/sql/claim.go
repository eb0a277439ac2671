package sql

import (
	"context"
	"errors"
	"fmt"
)

// ErrInUse is the error of New with Options.Exclusive when another process has
// the database, and of Store.Lost when one has taken it since.
var ErrInUse = errors.New("another hexmpp uses this database: stop that one, or give this one a database of its own (storage.dsn)")

// ErrMissing is the error of New with Options.Existing when there is no database.
var ErrMissing = errors.New("there is no database of hexmpp")

// claim is the right to be the only one who uses a database. It ends with the
// process, however that ends.
type claim struct {
	// lost gets one error if another process has the database now; nil for a
	// database whose claim can't be lost.
	lost <-chan error
	// release gives it back, and waits for the end of what looks after it.
	release func() error
}

// claim makes the claim that the options ask for; none is a nil pointer.
func (s *Store) takeClaim(ctx context.Context, o Options) (err error) {
	if !o.Exclusive {
		return nil
	}
	if s.claim, err = s.dialect.claim(ctx); err != nil {
		return fmt.Errorf("storage/sql: open %s%s: %w", s.dialect.where, s.dialect.hint(err), err)
	}
	return nil
}

// dropClaim gives the claim back, if there is one.
func (s *Store) dropClaim() error {
	if s.claim == nil {
		return nil
	}
	return s.claim.release()
}

// Lost gets one error, which wraps ErrInUse, when another process has taken the
// database: the connection that held the claim broke, and the other one was
// faster. This one should end then. The channel is nil if that can't happen.
func (s *Store) Lost() <-chan error {
	if s.claim == nil {
		return nil
	}
	return s.claim.lost
}
