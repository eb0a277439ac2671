package sql

import (
	"context"
	"errors"
	"fmt"

	"github.com/hexmpp/hexmpp/ports/storage"
)

var (
	errClosed    = errors.New("the store is closed")
	errLooks     = fmt.Errorf("%w: archives are read by as many as may, and stayed so", storage.ErrBusy)
	errQueueFull = errors.New("the queue of writes is full, and stayed so")
	errUnwritten = errors.New("not written: given up while it waited for its turn")
	errInDoubt   = errors.New("lost while it was committed; whether it was is not known")
	errUnknown   = errors.New("given up while it was being written; whether it was is not known")
)

// named tells errors of the port, which are results and no failures.
func named(err error) bool {
	return errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrExists) ||
		errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrInvalid) ||
		errors.Is(err, storage.ErrQuota)
}

// wrap gives an error of an operation its outside form: it names the
// operation, and wraps an error of the port. An error of the database becomes
// ErrUnavailable with the file and, where there is one, a hint.
func (d *dialect) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	if result := d.result(err); result != nil {
		err = result
	}
	if named(err) {
		return fmt.Errorf("storage/sql: %s: %w", op, err)
	}
	return fmt.Errorf("storage/sql: %s: %w: %s %s%s: %w", op, storage.ErrUnavailable, d.name, d.where, d.hint(err), err)
}

// hint is what the administrator may do about an error, ready to be put into
// a message; mostly empty.
func (d *dialect) hint(err error) string {
	for _, ours := range []error{ErrInUse, ErrMissing, errLingers, errClosed, errLooks, errQueueFull, errUnwritten, errUnknown, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, ours) {
			return ""
		}
	}
	_, hint := d.diagnose(err)
	if hint == "" {
		return ""
	}
	return " (" + hint + ")"
}
