package sql

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Rows implements storage.Archive.
func (s *Store) Rows(ctx context.Context, a storage.ArchiveKey, f storage.Filter, p storage.Page) ([]storage.Row, bool, error) {
	r := rowReader{store: s, archive: archiveKey(a), filter: &f, page: p}
	err := storage.CheckFilter(&f)
	if err == nil {
		err = s.read(ctx)
	}
	if err == nil && r.archive.there() && p.Limit > 0 {
		err = s.look(ctx, func() error { return r.fill(ctx) })
	}
	if err != nil {
		return nil, false, s.dialect.wrap("read the archive of "+a.Owner.String(), err)
	}
	if p.Backwards {
		slices.Reverse(r.rows)
	}
	return r.rows, r.more, nil
}

// lookWait is how long a look into archives waits for its place.
const lookWait = 2 * time.Second

// look calls f, which reads archives. However slow that is, and however many ask for it,
// it leaves others half of the connections.
func (s *Store) look(ctx context.Context, f func() error) error {
	select {
	case s.looks <- struct{}{}:
	default:
		last := time.NewTimer(lookWait)
		defer last.Stop()
		select {
		case s.looks <- struct{}{}:
		case <-last.C:
			return errLooks
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-s.looks }()
	return f()
}

// rowReader fills a page.
type rowReader struct {
	store   *Store
	archive archiveKey
	filter  *storage.Filter
	page    storage.Page
	count   bool // without the messages; of a filter with IDs

	rows []storage.Row
	size int
	more bool
}

func (r *rowReader) fill(ctx context.Context) error {
	if r.filter.IDs != nil {
		return r.fillByID(ctx)
	}
	q := r.archive.query(r.filter)
	q.backwards = r.page.Backwards
	return r.query(ctx, q, q.args(r.archive, r.filter, min(r.page.Limit, math.MaxInt32-1)+1))
}

// fillByID looks IDs up, some at a time.
func (r *rowReader) fillByID(ctx context.Context) error {
	var ids []int64
	for _, id := range r.filter.IDs {
		if id <= storage.MaxID {
			ids = append(ids, int64(id))
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if r.page.Backwards {
		slices.Reverse(ids)
	}
	for some := range slices.Chunk(ids, idsAtOnce) {
		err := r.query(ctx, archiveQuery{own: r.archive.Own, byID: true, backwards: r.page.Backwards, count: r.count}, argsByID(r.archive, some))
		if err != nil || r.more {
			return err
		}
	}
	return nil
}

func (r *rowReader) query(ctx context.Context, q archiveQuery, args []any) error {
	rows, err := r.store.queries.archive[q].QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for !r.more && rows.Next() {
		row := storage.Row{Space: r.archive.Space, Owner: r.archive.Owner, Own: r.archive.Own}
		var stamp int64
		var contact, resource string
		if err := rows.Scan(&row.ID, &stamp, &contact, &resource, &row.XML); err != nil {
			return err
		}
		if resource != "" {
			contact += "/" + resource
		}
		if row.With, err = jid.Parse(contact); err != nil {
			return err
		}
		row.Stamp = unixMicro(stamp)
		r.add(row)
	}
	return rows.Err()
}

// add puts a row on the page, if it is selected and there is room.
func (r *rowReader) add(row storage.Row) {
	switch {
	case !r.filter.Matches(&row):
	case len(r.rows) == r.page.Limit, r.page.Bytes > 0 && r.size >= r.page.Bytes:
		r.more = true
	default:
		r.rows = append(r.rows, row)
		r.size += len(row.XML)
	}
}

// CountRows implements storage.Archive.
func (s *Store) CountRows(ctx context.Context, a storage.ArchiveKey, f storage.Filter, most int) (n int, all bool, err error) {
	most = min(max(most, 0), math.MaxInt32-1)
	if n, err = s.count(ctx, archiveKey(a), &f, most+1); err != nil {
		return 0, false, s.dialect.wrap("count the archive of "+a.Owner.String(), err)
	}
	return min(n, most), n <= most, nil
}

func (s *Store) count(ctx context.Context, a archiveKey, f *storage.Filter, limit int) (n int, err error) {
	if err := storage.CheckFilter(f); err != nil {
		return 0, err
	}
	if err := s.read(ctx); err != nil || !a.there() {
		return 0, err
	}
	err = s.look(ctx, func() error {
		if f.IDs != nil {
			r := rowReader{store: s, archive: a, filter: f, page: storage.Page{Limit: limit}, count: true}
			err := r.fillByID(ctx)
			n = len(r.rows)
			return err
		}
		q := a.query(f)
		q.count = true
		return s.queries.archive[q].QueryRowContext(ctx, q.args(a, f, limit)...).Scan(&n)
	})
	return n, err
}

const selectLastRow = `SELECT coalesce(max((SELECT max(m.id) FROM archived_messages m WHERE m.archive = a.id)), 0) FROM archives a WHERE a.owner IS NOT NULL OR a.name IS NOT NULL`

// LastRow implements storage.Archive: a look into the index for each archive.
func (s *Store) LastRow(ctx context.Context) (last uint64, err error) {
	if err = s.read(ctx); err == nil {
		err = s.readers.GetContext(ctx, &last, selectLastRow)
	}
	if err != nil {
		return 0, s.dialect.wrap("read the last ID of archives", err)
	}
	return last, nil
}
