package extensiontest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// idBits is what an ID has besides its microsecond.
const idBits = 11

// Rows returns the archive of an account, or one of the extension's own, as committed.
func (h *Harness) Rows(owner jid.JID) []storage.Row {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.rows[owner])
}

// AppendRow appends to an archive as an earlier run would have: with an ID and a
// Stamp of now, unless the row has them.
func (h *Harness) AppendRow(r storage.Row) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.ID == 0 {
		r.ID = h.newID()
	}
	if r.Stamp.IsZero() {
		r.Stamp = h.now
	}
	r.Space, r.Own = h.reg.Name, h.owns(r.Owner)
	h.lastID = max(h.lastID, r.ID)
	h.rows[r.Owner] = append(h.rows[r.Owner], r)
}

// newID is NewID with h.mu held.
func (h *Harness) newID() uint64 {
	h.lastID = max(uint64(h.now.UnixMicro())<<idBits, h.lastID+1)
	return h.lastID
}

// checkRow says what is wrong with a row that is appended: an error of the extension.
// h.mu is held.
func (h *Harness) checkRow(r *storage.Row) error {
	switch {
	case !r.Own && r.Owner.Local() == "" || r.With.IsZero() || r.XML == "" || len(r.XML) > storage.MaxValue || r.Stamp.IsZero():
		return fmt.Errorf("extensiontest: row %d is not complete, or too large", r.ID)
	case r.ID == 0 || r.ID > h.lastID:
		return fmt.Errorf("extensiontest: the ID %d of a row is none of NewID", r.ID)
	}
	return nil
}

// late says whether an archive has a row that is not older. h.mu is held.
func (h *Harness) late(r *storage.Row) bool {
	rows := h.rows[r.Owner]
	return len(rows) > 0 && rows[len(rows)-1].ID >= r.ID
}

// archive implements extension.Archive.
type archive struct{ t *tx }

func (x archive) NewID() uint64 {
	x.t.open()
	x.t.h.mu.Lock()
	defer x.t.h.mu.Unlock()
	return x.t.h.newID()
}

func (x archive) Append(row storage.Row) {
	x.t.open()
	row.Space, row.Owner, row.Own = x.t.h.reg.Name, row.Owner.Bare(), x.t.h.owns(row.Owner)
	if err := x.t.h.hasArchive(row.Owner); err != nil {
		x.t.err = err
		return
	}
	x.t.rows = append(x.t.rows, row)
}

func (x archive) Remove(owner jid.JID) {
	x.t.open()
	owner = owner.Bare()
	if !x.t.h.owns(owner) {
		x.t.err = fmt.Errorf("%w: %s does not own the archive of %q", extension.ErrPermission, x.t.h.reg.Name, owner)
		return
	}
	x.t.rows = slices.DeleteFunc(x.t.rows, func(r storage.Row) bool { return r.Owner == owner })
	x.t.edits = slices.DeleteFunc(x.t.edits, func(e storage.Edit) bool { return e.Owner == owner })
	x.t.removed = append(x.t.removed, owner)
}

func (x archive) Replace(owner jid.JID, id uint64, xml string) {
	x.t.open()
	owner = owner.Bare()
	switch err := x.t.h.hasArchive(owner); {
	case err != nil:
		x.t.err = err
	case id == 0 || xml == "" || len(xml) > storage.MaxValue:
		x.t.err = fmt.Errorf("extensiontest: what row %d is to say is not complete, or too large", id)
	default:
		x.t.edits = append(x.t.edits, storage.Edit{ArchiveKey: storage.ArchiveKey{Space: x.t.h.reg.Name, Owner: owner, Own: x.t.h.owns(owner)}, ID: id, XML: xml})
	}
}

// owns says whether an address is one of a component of the extension.
func (h *Harness) owns(j jid.JID) bool {
	return slices.ContainsFunc(h.componentDomains(), func(c component) bool { return c.domain == j.Domain() })
}

// hasArchive returns an error if there can be no archive of this owner.
func (h *Harness) hasArchive(owner jid.JID) error {
	if h.owns(owner) || h.hosted(owner.Domain()) {
		return nil
	}
	return fmt.Errorf("%w: %s keeps no archive of %q", extension.ErrPermission, h.reg.Name, owner)
}

// read returns the rows that a filter selects, in order.
func (x archive) read(call string, owner jid.JID, f *storage.Filter) (found []storage.Row, err error) {
	x.t.waits(call)
	if err := storage.CheckFilter(f); err != nil {
		return nil, err
	}
	h := x.t.h
	if err := h.hasArchive(owner); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return nil, fmt.Errorf("read: %w", h.fail)
	}
	for _, r := range h.rows[owner.Bare()] {
		if f.Matches(&r) {
			found = append(found, r)
		}
	}
	return found, nil
}

func (x archive) Rows(_ context.Context, owner jid.JID, f storage.Filter, p storage.Page) (page []storage.Row, more bool, err error) {
	all, err := x.read("Archive.Rows", owner, &f)
	if err != nil || p.Limit < 1 {
		return nil, false, err
	}
	if p.Backwards {
		slices.Reverse(all)
	}
	size := 0
	for _, r := range all {
		if more = len(page) == p.Limit || p.Bytes > 0 && size >= p.Bytes; more {
			break
		}
		page = append(page, r)
		size += len(r.XML)
	}
	if p.Backwards {
		slices.Reverse(page)
	}
	return page, more, nil
}

func (x archive) Count(_ context.Context, owner jid.JID, f storage.Filter, most int) (n int, all bool, err error) {
	found, err := x.read("Archive.Count", owner, &f)
	return min(len(found), max(most, 0)), len(found) <= most, err
}

func (x archive) Between(start, end time.Time) (after, before uint64) {
	x.t.open()
	if !start.IsZero() {
		after = max(uint64(max(start.UnixMicro(), 0))<<idBits, 1) - 1
	}
	if !end.IsZero() {
		before = max(uint64(max(end.UnixMicro()+1, 0))<<idBits, 1)
	}
	return after, before
}

func (x archive) Expire(_ context.Context, before time.Time, limit int) (n int, err error) {
	x.t.waits("Archive.Expire")
	h := x.t.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return 0, fmt.Errorf("expire: %w", h.fail)
	}
	for owner, rows := range h.rows {
		for len(rows) > 0 && rows[0].Stamp.Before(before) && n < limit {
			rows = rows[1:]
			n++
		}
		h.rows[owner] = rows
	}
	return n, nil
}
