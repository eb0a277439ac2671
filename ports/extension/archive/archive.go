// Package archive answers queries (XEP-0313) out of an extension's archives, for all
// who keep some: of accounts, of rooms. It decides which rows are on a page and what is
// said of it; who may ask, and how a row is sent, is the caller's affair.
//
// Decided, where the specifications leave it open:
//
//   - before and after together (4.3.2) are both bounds of a page that is filled
//     backwards;
//   - a page by index (XEP-0059 2.6) is feature-not-implemented;
//   - the index of a page is told of a first page alone, where it is 0 whatever else is
//     written or deleted meanwhile, and not of pages that are filled backwards: slixmpp
//     takes the last page for the end of its way then;
//   - how many messages there are is told if they are few (Limits.Count), or if that is
//     what was asked for and they are not too many (Limits.CountAlone): an exact number
//     takes a look at each of them;
//   - a flipped page (4.3.4) has the same <first/> and <last/> as one that is not.
package archive

import (
	"context"
	"fmt"
	"slices"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/mam"
	"github.com/hexmpp/hexmpp/ports/xmpp/rsm"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Limits of a page.
type Limits struct {
	Default, Most     int // messages: if the query does not say how many, and in any case
	Bytes             int // of the results as they are sent, about; a page has one message in any case
	Count, CountAlone int // see above
}

// Archive is one archive and how its IDs are written.
type Archive struct {
	extension.Archive
	IDs   *mam.IDs
	Owner jid.JID
}

// Page is the answer to a query.
type Page struct {
	Rows []storage.Row // in the order in which they are sent
	Fin  mam.Fin
}

// resultCost is what a result takes besides its message, about.
const resultCost = 600

// Query answers a query. A *stanza.Error is for who asked: item-not-found for an ID
// that is not in the archive (4.1.3, 4.3.2).
func (a *Archive) Query(ctx context.Context, q *mam.Query, l Limits) (*Page, error) {
	if q.Set.Index != rsm.None {
		return nil, stanza.Err(stanza.FeatureNotImplemented, "pages by index are not known here")
	}
	all, f, err := a.filters(ctx, q)
	if err != nil {
		return nil, err
	}
	limit := l.Default
	if q.Set.Max != rsm.None {
		limit = min(q.Set.Max, l.Most)
	}
	if limit == 0 {
		return a.count(ctx, all, l.CountAlone)
	}
	rows, more, err := a.Rows(ctx, a.Owner, f, storage.Page{Backwards: q.Set.HasBefore, Limit: limit, Bytes: l.Bytes})
	if err != nil {
		return nil, err
	}
	rows, more = fit(rows, more, q, l.Bytes)
	p := &Page{Rows: rows, Fin: mam.Fin{Complete: !more, Page: rsm.Page{Index: rsm.None, Count: rsm.None}}}
	if n := len(rows); n > 0 {
		p.Fin.First, p.Fin.Last = a.IDs.Write(rows[0].ID), a.IDs.Write(rows[n-1].ID)
	}
	if err := a.place(ctx, p, q, all, f, more, l.Count); err != nil {
		return nil, err
	}
	if q.Flip {
		slices.Reverse(p.Rows)
	}
	return p, nil
}

// count tells how many messages there are, and nothing else (XEP-0059 2.7).
func (a *Archive) count(ctx context.Context, all storage.Filter, most int) (*Page, error) {
	p := &Page{Fin: mam.Fin{Page: rsm.Page{Index: rsm.None, Count: rsm.None}}}
	n, exact, err := a.Count(ctx, a.Owner, all, most)
	if err != nil {
		return nil, err
	}
	if exact {
		p.Fin.Count = n
		p.Fin.Complete = n == 0
	}
	return p, nil
}

// place tells where in the whole set the page is, as far as that is cheap.
func (a *Archive) place(ctx context.Context, p *Page, q *mam.Query, all, f storage.Filter, more bool, most int) error {
	n := len(p.Rows)
	if whole := all.After == f.After && all.Before == f.Before; whole && !more {
		p.Fin.Index, p.Fin.Count = 0, n
		return nil
	}
	count, exact, err := a.Count(ctx, a.Owner, all, most)
	if err != nil {
		return err
	}
	// More may have come between the two looks, at the end.
	if exact && count >= n {
		p.Fin.Count = count
	}
	if !q.Set.HasBefore && !q.Set.HasAfter {
		p.Fin.Index = 0
	}
	return nil
}

// filters returns what a query selects without and with the bounds of its page.
func (a *Archive) filters(ctx context.Context, q *mam.Query) (all, f storage.Filter, err error) {
	r := reader{ids: a.IDs}
	all = storage.Filter{With: q.With, Start: q.Start, End: q.End}
	all.After, all.Before = a.Between(q.Start, q.End)
	all.After = max(all.After, r.read(q.AfterID))
	all.Before = least(all.Before, r.read(q.BeforeID))
	for _, id := range q.IDs {
		all.IDs = append(all.IDs, r.read(id))
	}
	f = all
	f.After = max(f.After, r.read(q.Set.After))
	f.Before = least(f.Before, r.read(q.Set.Before))
	if err := r.check(ctx, a); err != nil {
		return all, f, err
	}
	return all, f, nil
}

// least is min where 0 is no bound.
func least(a, b uint64) uint64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// reader reads IDs.
type reader struct {
	ids     *mam.IDs
	found   []uint64
	unknown bool
}

// read returns an ID, 0 for none.
func (r *reader) read(text string) uint64 {
	if text == "" {
		return 0
	}
	id, ok := r.ids.Read(text)
	r.unknown = r.unknown || !ok || id == 0 || id > storage.MaxID
	if !slices.Contains(r.found, id) {
		r.found = append(r.found, id)
	}
	return id
}

// check says whether all that were read are in the archive.
func (r *reader) check(ctx context.Context, a *Archive) error {
	n := 0
	if !r.unknown && len(r.found) > 0 {
		var err error
		if n, _, err = a.Count(ctx, a.Owner, storage.Filter{IDs: r.found}, len(r.found)); err != nil {
			return err
		}
	}
	if r.unknown || n < len(r.found) {
		return stanza.Err(stanza.ItemNotFound, "a message of this id is not in the archive")
	}
	return nil
}

// fit cuts a page to size, at the end where it would go on.
func fit(rows []storage.Row, more bool, q *mam.Query, bytes int) ([]storage.Row, bool) {
	size, backwards := 0, q.Set.HasBefore
	for i := range rows {
		r := &rows[i]
		if backwards {
			r = &rows[len(rows)-1-i]
		}
		size += len(r.XML) + len(q.ID) + resultCost
		switch {
		case bytes <= 0 || i == 0 || size <= bytes:
		case backwards:
			return rows[len(rows)-i:], true
		default:
			return rows[:i], true
		}
	}
	return rows, more
}

// Metadata tells of the first and the last message (5).
func (a *Archive) Metadata(ctx context.Context) (*stanza.Element, error) {
	ends := make([]*mam.Entry, 2)
	for i := range ends {
		rows, _, err := a.Rows(ctx, a.Owner, storage.Filter{}, storage.Page{Backwards: i == 1, Limit: 1})
		if err != nil {
			return nil, fmt.Errorf("metadata: %w", err)
		}
		if len(rows) > 0 {
			ends[i] = &mam.Entry{ID: a.IDs.Write(rows[0].ID), At: rows[0].Stamp}
		}
	}
	return mam.Metadata(ends[0], ends[1]), nil
}
