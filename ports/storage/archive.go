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

// ArchiveKey names an archive. An account and an extension's own may have the same
// Owner, and are two.
type ArchiveKey struct {
	Space string  // the extension whose archive it is; "" never
	Owner jid.JID // bare JID of the account that it belongs to; of an own one, its name
	// Own: it is the extension's own, not an account's: it is made with its first row, and
	// there until it is removed by Writes.Remove. Its Owner is any bare JID.
	Own bool
}

// Row is one message of an archive (XEP-0313 3).
type Row struct {
	Space string    // this and the next two say whose archive it is: see ArchiveKey
	Owner jid.JID   //
	Own   bool      //
	ID    uint64    // its place in the archive: 1 to MaxID
	Stamp time.Time // when it was sent or received; kept to the microsecond, given back in UTC
	With  jid.JID   // whom the owner exchanged it with
	XML   string    // the stanza, jabber:client declared; at most MaxValue
}

// Archive names the archive of the row.
func (r *Row) Archive() ArchiveKey { return ArchiveKey{r.Space, r.Owner, r.Own} }

// Edit replaces the XML of a row: a message that was taken back has no content any more
// (XEP-0424 4). All else of the row stays.
type Edit struct {
	ArchiveKey
	ID  uint64
	XML string // as that of a Row
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

// Archive keeps messages: of accounts, one archive for each space and owner, and what
// extensions keep for themselves, such as those of rooms.
//
// # Order
//
// Map.Commit appends. The ID of a new row is greater than those of all rows that
// are in its archive, or the Commit gets ErrConflict: so who has read up to an ID
// misses nothing that comes later. What a row says may be replaced by an Edit. Those that are deleted are
// the oldest, and all of them with the account, or by Writes.Remove. One that is made
// anew under the name of one that was removed is empty.
type Archive interface {
	// Rows returns rows in order of their IDs. more says that the filter selects
	// rows beyond. Of an archive that is not there, there are none. ErrInvalid if
	// the filter names too many IDs.
	Rows(ctx context.Context, a ArchiveKey, f Filter, p Page) (rows []Row, more bool, err error)
	// CountRows counts what a filter selects, and stops at most: all says that
	// there are no more than n.
	CountRows(ctx context.Context, a ArchiveKey, f Filter, most int) (n int, all bool, err error)
	// ExpireRows deletes, of all archives of a space, rows with IDs below the
	// given one: the oldest of an archive first, at most limit in all. What is
	// left of archives that were removed, of all spaces, and with accounts or not, goes
	// before, and counts. It returns how many. Less than limit says that none are left.
	ExpireRows(ctx context.Context, space string, below uint64, limit int) (n int, err error)
	// LastRow returns the largest ID of all archives, 0 if there are no rows.
	LastRow(ctx context.Context) (uint64, error)
}

// CheckRows tells whether rows keeps the rules of Map.Commit that need no look
// into the store: nil, or an error that wraps ErrInvalid. It is for adapters.
func CheckRows(rows []Row) error {
	var last map[ArchiveKey]uint64
	if len(rows) > 1 {
		last = make(map[ArchiveKey]uint64, len(rows))
	}
	for i := range rows {
		r := &rows[i]
		if err := checkRow(r); err != nil {
			return fmt.Errorf("%w: row %d: %w", ErrInvalid, i, err)
		}
		if last == nil {
			continue
		}
		a := r.Archive()
		if r.ID <= last[a] {
			return fmt.Errorf("%w: row %d: rows of one archive are not in order of their IDs", ErrInvalid, i)
		}
		last[a] = r.ID
	}
	return nil
}

// checkArchive says what is wrong with the name of an archive.
func checkArchive(a ArchiveKey) error {
	switch {
	case CheckName(a.Space) != nil:
		return CheckName(a.Space)
	case a.Own && (!a.Owner.IsBare() || a.Owner.IsZero()):
		return errors.New("the owner is no bare JID")
	case !a.Own && (!a.Owner.IsBare() || a.Owner.Local() == ""):
		return errors.New("the owner is no name of an account")
	}
	return nil
}

func checkRow(r *Row) error {
	if err := checkArchive(r.Archive()); err != nil {
		return err
	}
	switch {
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

// CheckWrites tells whether writes keep the rules of Map.Commit that need no look into
// the store: nil, or an error that wraps ErrInvalid. It is for adapters.
func CheckWrites(w *Writes) error {
	if err := CheckOps(w.Ops); err != nil {
		return err
	}
	for i, a := range w.Remove {
		err := checkArchive(a)
		if err == nil && !a.Own {
			err = errors.New("an archive of an account goes with the account")
		}
		if err != nil {
			return fmt.Errorf("%w: removal %d: %w", ErrInvalid, i, err)
		}
	}
	for i := range w.Edits {
		e := &w.Edits[i]
		r := Row{Space: e.Space, Owner: e.Owner, Own: e.Own, ID: e.ID, With: e.Owner, XML: e.XML}
		if err := checkRow(&r); err != nil {
			return fmt.Errorf("%w: edit %d: %w", ErrInvalid, i, err)
		}
	}
	return CheckRows(w.Rows)
}

// CheckFilter tells whether a filter is within its bounds: nil, or an error that
// wraps ErrInvalid. It is for adapters.
func CheckFilter(f *Filter) error {
	if len(f.IDs) > MaxIDs {
		return fmt.Errorf("%w: filter with %d IDs, the limit is %d", ErrInvalid, len(f.IDs), MaxIDs)
	}
	return nil
}
