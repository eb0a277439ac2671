package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Row is one message of an archive (XEP-0313 3).
type Row struct {
	Space string    // the extension whose archive it is; "" never
	Owner jid.JID   // bare JID of the account that it belongs to
	ID    uint64    // its place in the archive: 1 to MaxID
	Stamp time.Time // when it was sent or received; kept to the microsecond, given back in UTC
	With  jid.JID   // whom the owner exchanged it with
	XML   string    // the stanza, jabber:client declared; at most MaxValue
}

// MaxID is the largest ID of a Row.
const MaxID = math.MaxInt64

// MaxIDs is how many IDs a Filter may name.
const MaxIDs = 250

// Filter selects rows of one archive; the zero value selects all. What is zero
// selects by nothing.
type Filter struct {
	With          jid.JID   // bare: with any of its resources; full: with exactly that
	Start, End    time.Time // bounds of Stamp, both included; taken to the microsecond
	After, Before uint64    // bounds of ID, both excluded
	IDs           []uint64  // if not nil, these only; at most MaxIDs
}

// Matches tells whether the filter selects a row.
func (f *Filter) Matches(r *Row) bool {
	at := r.Stamp.UnixMicro()
	return (f.With.IsZero() || r.With == f.With || f.With.IsBare() && r.With.Bare() == f.With) &&
		(f.Start.IsZero() || at >= f.Start.UnixMicro()) && (f.End.IsZero() || at <= f.End.UnixMicro()) &&
		r.ID > f.After && (f.Before == 0 || r.ID < f.Before) &&
		(f.IDs == nil || slices.Contains(f.IDs, r.ID))
}

// Page says how much of what a Filter selects is wanted.
type Page struct {
	Backwards bool // the last rows, not the first; they come in order all the same
	Limit     int  // rows; below 1 there are none
	Bytes     int  // the row with which the XML reaches this size is the last; 0 for no such bound
}

// Archive keeps messages of accounts, one archive for each space and owner.
//
// # Order
//
// Map.Commit appends. The ID of a new row is greater than those of all rows that
// are in its archive, or the Commit gets ErrConflict: so who has read up to an ID
// misses nothing that comes later. Rows don't change. Those that are deleted are
// the oldest, and all of them with the account.
type Archive interface {
	// Rows returns rows in order of their IDs. more says that the filter selects
	// rows beyond. Of an account that is not there, there are none. ErrInvalid if
	// the filter names too many IDs.
	Rows(ctx context.Context, space string, owner jid.JID, f Filter, p Page) (rows []Row, more bool, err error)
	// CountRows counts what a filter selects, and stops at most: all says that
	// there are no more than n.
	CountRows(ctx context.Context, space string, owner jid.JID, f Filter, most int) (n int, all bool, err error)
	// ExpireRows deletes, of all archives of a space, rows with IDs below the
	// given one: the oldest of an archive first, at most limit in all. What is
	// left of accounts that were removed, of all spaces, goes before, and counts.
	// It returns how many. Less than limit says that none are left.
	ExpireRows(ctx context.Context, space string, below uint64, limit int) (n int, err error)
	// LastRow returns the largest ID of all archives, 0 if there are no rows.
	LastRow(ctx context.Context) (uint64, error)
}

// CheckRows tells whether rows keeps the rules of Map.Commit that need no look
// into the store: nil, or an error that wraps ErrInvalid. It is for adapters.
func CheckRows(rows []Row) error {
	type archive struct {
		space string
		owner jid.JID
	}
	var last map[archive]uint64
	if len(rows) > 1 {
		last = make(map[archive]uint64, len(rows))
	}
	for i := range rows {
		r := &rows[i]
		if err := checkRow(r); err != nil {
			return fmt.Errorf("%w: row %d: %w", ErrInvalid, i, err)
		}
		if last == nil {
			continue
		}
		a := archive{r.Space, r.Owner}
		if r.ID <= last[a] {
			return fmt.Errorf("%w: row %d: rows of one archive are not in order of their IDs", ErrInvalid, i)
		}
		last[a] = r.ID
	}
	return nil
}

func checkRow(r *Row) error {
	switch {
	case CheckName(r.Space) != nil:
		return CheckName(r.Space)
	case !r.Owner.IsBare() || r.Owner.Local() == "":
		return errors.New("the owner is no name of an account")
	case r.ID == 0 || r.ID > MaxID:
		return fmt.Errorf("ID %d", r.ID)
	case r.With.IsZero():
		return errors.New("with nobody")
	case r.XML == "" || len(r.XML) > MaxValue:
		return fmt.Errorf("message of %d bytes, allowed are 1 to %d", len(r.XML), MaxValue)
	case !isText(r.XML):
		return errors.New("the message is no text")
	}
	return nil
}

// CheckFilter tells whether a filter is within its bounds: nil, or an error that
// wraps ErrInvalid. It is for adapters.
func CheckFilter(f *Filter) error {
	if len(f.IDs) > MaxIDs {
		return fmt.Errorf("%w: filter with %d IDs, the limit is %d", ErrInvalid, len(f.IDs), MaxIDs)
	}
	return nil
}
