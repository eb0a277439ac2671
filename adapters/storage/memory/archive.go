package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
)

// behind says whether a row may be appended to its archive, when others were removed.
func (s *Store) behind(r *storage.Row, removed []storage.ArchiveKey) bool {
	rows := s.archives[r.Archive()]
	return len(rows) == 0 || rows[len(rows)-1].ID < r.ID || slices.Contains(removed, r.Archive())
}

// archive appends a row, unless it is of an account that is not there.
func (s *Store) archive(r *storage.Row) {
	if _, there := s.accounts[r.Owner]; !there && !r.Own {
		return
	}
	a := r.Archive()
	kept := *r
	kept.Stamp = time.UnixMicro(r.Stamp.UnixMicro()).UTC()
	s.archives[a] = append(s.archives[a], kept)
}

// edit replaces what a row says, if it is there. Who has read it before keeps what he has.
func (s *Store) edit(e *storage.Edit) {
	rows := s.archives[e.ArchiveKey]
	i, there := slices.BinarySearchFunc(rows, e.ID, func(r storage.Row, id uint64) int { return cmp.Compare(r.ID, id) })
	if !there {
		return
	}
	rows = slices.Clone(rows)
	rows[i].XML = e.XML
	s.archives[e.ArchiveKey] = rows
}

// Rows implements storage.Archive.
func (s *Store) Rows(ctx context.Context, a storage.ArchiveKey, f storage.Filter, p storage.Page) ([]storage.Row, bool, error) {
	op := "read the archive of " + a.Owner.String()
	if err := storage.CheckFilter(&f); err != nil {
		return nil, false, fmt.Errorf("storage/memory: %s: %w", op, err)
	}
	if err := s.begin(ctx, op); err != nil {
		return nil, false, err
	}
	defer s.mu.Unlock()
	var page []storage.Row
	size := 0
	for _, r := range s.walk(a, p.Backwards) {
		switch {
		case !f.Matches(&r) || p.Limit < 1:
			continue
		case len(page) == p.Limit || p.Bytes > 0 && size >= p.Bytes:
			return inOrder(page), true, nil
		}
		page = append(page, r)
		size += len(r.XML)
	}
	return inOrder(page), false, nil
}

// walk returns the rows of an archive, in the order in which a page is filled.
func (s *Store) walk(a storage.ArchiveKey, backwards bool) []storage.Row {
	rows := s.archives[a]
	if backwards {
		rows = slices.Clone(rows)
		slices.Reverse(rows)
	}
	return rows
}

func inOrder(page []storage.Row) []storage.Row {
	slices.SortFunc(page, func(a, b storage.Row) int { return cmp.Compare(a.ID, b.ID) })
	return page
}

// CountRows implements storage.Archive.
func (s *Store) CountRows(ctx context.Context, a storage.ArchiveKey, f storage.Filter, most int) (n int, all bool, err error) {
	op := "count the archive of " + a.Owner.String()
	if err := storage.CheckFilter(&f); err != nil {
		return 0, false, fmt.Errorf("storage/memory: %s: %w", op, err)
	}
	if err := s.begin(ctx, op); err != nil {
		return 0, false, err
	}
	defer s.mu.Unlock()
	for _, r := range s.archives[a] {
		if !f.Matches(&r) {
			continue
		}
		if n >= most {
			return n, false, nil
		}
		n++
	}
	return n, true, nil
}

// ExpireRows implements storage.Archive.
func (s *Store) ExpireRows(ctx context.Context, space string, below uint64, limit int) (n int, err error) {
	if err := s.begin(ctx, "expire archives of "+space); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	for a, rows := range s.archives {
		for a.Space == space && len(rows) > 0 && rows[0].ID < below && n < limit {
			rows = rows[1:]
			n++
		}
		if s.archives[a] = rows; len(rows) == 0 {
			delete(s.archives, a)
		}
	}
	return n, nil
}

// LastRow implements storage.Archive.
func (s *Store) LastRow(ctx context.Context) (last uint64, err error) {
	if err := s.begin(ctx, "read the last ID of archives"); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	for _, rows := range s.archives {
		last = max(last, rows[len(rows)-1].ID)
	}
	return last, nil
}
