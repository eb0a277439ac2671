package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/core/ids"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// archive implements extension.Archive.
type archive struct{ t *tx }

func (x archive) NewID() uint64 { return x.t.g.hosts.ids.Next() }

func (x archive) Append(row storage.Row) {
	if row.ID == 0 || row.ID > x.t.g.hosts.ids.Last() { // nothing could be appended behind it
		x.t.err = errors.Join(x.t.err, fmt.Errorf("host: a row has the ID %d, which NewID has not returned", row.ID))
		return
	}
	a, err := x.t.g.archive(row.Owner)
	if err != nil {
		x.t.err = errors.Join(x.t.err, err)
		return
	}
	row.Space, row.Owner, row.Own = a.Space, a.Owner, a.Own
	x.t.rows = append(x.t.rows, row)
}

func (x archive) Remove(owner jid.JID) {
	a, err := x.t.g.archive(owner)
	if err == nil && !a.Own {
		err = fmt.Errorf("%w: the archive of %s goes with the account", extension.ErrPermission, a.Owner)
	}
	if err != nil {
		x.t.err = errors.Join(x.t.err, err)
		return
	}
	x.t.remove(a)
}

func (x archive) Replace(owner jid.JID, id uint64, xml string) {
	a, err := x.t.g.archive(owner)
	if err != nil {
		x.t.err = errors.Join(x.t.err, err)
		return
	}
	x.t.edits = append(x.t.edits, storage.Edit{ArchiveKey: a, ID: id, XML: xml})
}

// archive names the guest's archive of an account, or its own one that has the name of
// an address of its components. Nobody else's has one.
func (g *Guest) archive(owner jid.JID) (storage.ArchiveKey, error) {
	a := storage.ArchiveKey{Space: g.Reg.Name, Owner: account(owner), Own: slices.Contains(g.domains, owner.Domain())}
	if !a.Own && !slices.Contains(g.hosts.Domains, owner.Domain()) {
		return a, fmt.Errorf("%w: %s keeps archives of accounts, and of addresses of its components, not of %q",
			extension.ErrPermission, g.Reg.Name, owner)
	}
	return a, nil
}

func (x archive) Rows(ctx context.Context, owner jid.JID, f storage.Filter, p storage.Page) ([]storage.Row, bool, error) {
	a, err := x.t.g.archive(owner)
	if err != nil {
		return nil, false, err
	}
	rows, more, err := x.t.g.hosts.Store.Rows(ctx, a, f, p)
	if err != nil {
		return nil, false, fmt.Errorf("read the archive: %w", err)
	}
	return rows, more, nil
}

func (x archive) Count(ctx context.Context, owner jid.JID, f storage.Filter, most int) (n int, all bool, err error) {
	a, err := x.t.g.archive(owner)
	if err != nil {
		return 0, false, err
	}
	if n, all, err = x.t.g.hosts.Store.CountRows(ctx, a, f, most); err != nil {
		return 0, false, fmt.Errorf("count the archive: %w", err)
	}
	return n, all, nil
}

func (x archive) Between(start, end time.Time) (after, before uint64) {
	return x.t.g.hosts.ids.Between(start, end)
}

func (x archive) Expire(ctx context.Context, before time.Time, limit int) (int, error) {
	below := uint64(0)
	if !before.IsZero() {
		below = ids.Before(before)
	}
	n, err := x.t.g.hosts.Store.ExpireRows(ctx, x.t.g.Reg.Name, below, limit)
	if err != nil {
		return 0, fmt.Errorf("expire archives: %w", err)
	}
	return n, nil
}

// LoadIDs has new IDs be greater than those that are stored. It is called once, before
// the first client comes.
func (h *Hosts) LoadIDs(ctx context.Context) error {
	last, err := h.Store.LastRow(ctx)
	if err != nil {
		return fmt.Errorf("host: the last ID of archives: %w", err)
	}
	h.ids.Above(last)
	return nil
}

// catchUp has new IDs be greater than those of archives that another node appends to.
func (h *Hosts) catchUp(ctx context.Context, rows []storage.Row) {
	for i := range rows {
		last, _, err := h.Store.Rows(ctx, rows[i].Archive(), storage.Filter{}, storage.Page{Backwards: true, Limit: 1})
		if err == nil && len(last) > 0 {
			h.ids.Above(last[0].ID)
		}
	}
}

// CatchUp is for rows of a message under way that came behind those of another node: new
// IDs are greater.
func (h *Hosts) CatchUp(fx *Effects) transport.Wait {
	w, _, _ := fx.together()
	return h.Own(func(ctx context.Context) { h.catchUp(ctx, w.rows) })
}

// maxLate is how often handlers run whose rows were queued too late: each time
// somebody else's were in time, and to find out costs next to nothing.
const maxLate = 1000

// Again says whether handlers are to be run again after an error of a commit, at its
// try of this number, from 1.
func Again(err error, try int) bool {
	if errors.Is(err, errLate) {
		return try < maxLate
	}
	return errors.Is(err, storage.ErrConflict) && try < ConflictRetries
}
