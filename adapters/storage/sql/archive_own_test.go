package sql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

var garden = jid.MustParse("garden@conference.example.org")

func ownRow(owner jid.JID, id uint64) storage.Row {
	r := archiveRow(owner, id)
	r.Own = true
	return r
}

func own(owner jid.JID) storage.ArchiveKey {
	return storage.ArchiveKey{Space: "a", Owner: owner, Own: true}
}

// ownIDs are what is in an archive that is an extension's own.
func ownIDs(t *testing.T, s *Store, owner jid.JID) (ids []uint64) {
	t.Helper()
	rows, _, err := s.Rows(context.Background(), own(owner), storage.Filter{}, storage.Page{Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return ids
}

// testGroupedRemovals has removals of archives, and rows for the same ones, in one
// transaction: all in the order in which they were asked for.
func testGroupedRemovals(t *testing.T, s *Store) {
	if err := s.CreateAccount(t.Context(), storage.Account{User: romeo}); err != nil {
		t.Fatal(err)
	}
	crypt := jid.MustParse("crypt@conference.example.org")
	next := uint64(0)
	row := func(owner jid.JID) []storage.Row {
		next++
		if owner == romeo {
			return []storage.Row{archiveRow(owner, next)}
		}
		return []storage.Row{ownRow(owner, next)}
	}
	gone := func(owners ...jid.JID) (list []storage.ArchiveKey) {
		for _, o := range owners {
			list = append(list, own(o))
		}
		return list
	}
	conflict := func(*tx) error { return storage.ErrConflict }
	run := func(jobs ...*job) (errs []error) {
		t.Helper()
		release := hold(t, s)
		for _, j := range jobs {
			if err := s.writer.enqueue(t.Context(), j); err != nil {
				t.Fatal(err)
			}
		}
		release()
		for _, j := range jobs {
			errs = append(errs, s.writer.wait(t.Context(), j))
		}
		return errs
	}
	check := func(errs []error, want []error, inGarden, inCrypt, ofRomeo []uint64) {
		t.Helper()
		for i, err := range errs {
			if !errors.Is(err, want[i]) {
				t.Errorf("job %d: %v, want %v", i, err, want[i])
			}
		}
		if got := ownIDs(t, s, garden); !slices.Equal(got, inGarden) {
			t.Errorf("the garden has %v, want %v", got, inGarden)
		}
		if got := ownIDs(t, s, crypt); !slices.Equal(got, inCrypt) {
			t.Errorf("the crypt has %v, want %v", got, inCrypt)
		}
		if got := archivedIDs(t, s, romeo); !slices.Equal(got, ofRomeo) {
			t.Errorf("romeo has %v, want %v", got, ofRomeo)
		}
	}
	// 1 and 3 are in the garden when it is removed; 4 and 6 come behind that.
	errs := run(&job{rows: row(garden)}, &job{rows: row(romeo)}, &job{rows: row(garden)}, &job{removed: gone(garden), rows: row(garden)},
		&job{rows: row(crypt)}, &job{rows: row(garden)})
	check(errs, make([]error, 6), []uint64{4, 6}, []uint64{5}, []uint64{2})
	// Twice in a row, and behind everything.
	errs = run(&job{rows: row(garden)}, &job{removed: gone(garden)}, &job{removed: gone(garden), rows: row(garden)}, &job{rows: row(garden)}, &job{removed: gone(crypt)})
	check(errs, make([]error, 5), []uint64{8, 9}, nil, []uint64{2})
	// One that fails removes nothing, and takes nobody with it.
	errs = run(&job{rows: row(garden)}, &job{removed: gone(garden), rows: row(garden), do: conflict}, &job{rows: row(romeo)},
		&job{removed: gone(garden), rows: []storage.Row{archiveRow(romeo, 1)}}, &job{rows: row(crypt), do: putJob("a", 1)})
	check(errs, []error{nil, storage.ErrConflict, nil, storage.ErrConflict, nil}, []uint64{8, 9, 10}, []uint64{13}, []uint64{2, 12})
	if !has(t, s, "a") {
		t.Error("an op is missing")
	}
	// A row that is too late for its archive, but not for the new one.
	errs = run(&job{rows: []storage.Row{ownRow(garden, 9)}}, &job{removed: gone(garden, crypt), rows: []storage.Row{ownRow(garden, 1)}}, &job{rows: []storage.Row{ownRow(garden, 1)}})
	check(errs, []error{storage.ErrConflict, nil, storage.ErrConflict}, []uint64{1}, nil, []uint64{2, 12})
	// Alone, and of many rows of several archives.
	check(run(&job{removed: gone(garden, crypt), rows: []storage.Row{ownRow(garden, 2), ownRow(crypt, 1), ownRow(garden, 3), archiveRow(romeo, 20)}}), make([]error, 1), []uint64{2, 3}, []uint64{1}, []uint64{2, 12, 20})
	mustPut(t, s, "after")
}

// testRemovedArchive: what is left of an archive that was removed is found by nobody, and
// goes with what expires, some rows at a time.
func testRemovedArchive(t *testing.T, s *Store) {
	rows := make([]storage.Row, 2*purgedAtOnce+10)
	for i := range rows {
		rows[i] = ownRow(garden, uint64(i+1))
	}
	left := func() (n int) {
		t.Helper()
		if err := s.readers.Get(&n, "SELECT (SELECT count(*) FROM archives) + (SELECT count(*) FROM archived_messages)"); err != nil {
			t.Fatal(err)
		}
		return n
	}
	commit := func(w storage.Writes) {
		t.Helper()
		if err := s.Commit(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	small := []jid.JID{jid.MustParse("a@conference.example.org"), jid.MustParse("b@conference.example.org")}
	commit(storage.Writes{Rows: rows})
	commit(storage.Writes{Rows: []storage.Row{ownRow(small[0], 1), ownRow(small[1], 1)}})
	// A small one leaves nothing, and no removal more than it has to.
	commit(storage.Writes{Remove: []storage.ArchiveKey{own(small[0])}})
	if n := left(); n != len(rows)+1+2 {
		t.Fatalf("%d rows are left", n)
	}
	commit(storage.Writes{Remove: []storage.ArchiveKey{own(garden), own(small[1])}})
	// The garden without 1,000 of its rows, and the other one as it was: there was no time for it.
	if n := left(); n != len(rows)+1-purgedAtOnce+2 {
		t.Fatalf("%d rows are left by the removal", n)
	}
	if last, err := s.LastRow(t.Context()); err != nil || last != 0 {
		t.Errorf("LastRow: %d, %v", last, err)
	}
	commit(storage.Writes{Rows: []storage.Row{ownRow(garden, 1)}})
	if n, err := s.ExpireRows(t.Context(), "another", 0, 100); n != 100 || err != nil {
		t.Errorf("%d are deleted, %v", n, err)
	}
	if ids := ownIDs(t, s, garden); !slices.Equal(ids, []uint64{1}) {
		t.Errorf("the new one has %v", ids)
	}
	if n, err := s.ExpireRows(t.Context(), "another", 0, 100_000); n != len(rows)-purgedAtOnce-100+1 || err != nil {
		t.Errorf("%d are deleted, %v", n, err)
	}
	if n := left(); n != 2 {
		t.Errorf("%d rows are left", n)
	}
}

// testOwnArchiveNodes has one node append to an archive that both remove: whoever has
// removed it does not see what was there before.
func testOwnArchiveNodes(t *testing.T, a, b *Store) {
	var next, acked, running atomic.Int64
	const writers, each = 4, 60
	running.Store(writers)
	var wg sync.WaitGroup
	for i := range writers {
		s := []*Store{a, b}[i%2]
		wg.Go(func() {
			defer running.Add(-1)
			for range each {
				id := next.Add(1)
				var ops []storage.Op
				if i > 1 {
					ops = []storage.Op{{Space: "s", Key: fmt.Sprint(i)}}
				}
				switch err := s.Commit(context.Background(), storage.Writes{Ops: ops, Rows: []storage.Row{ownRow(garden, uint64(id))}}); {
				case err == nil:
					for was := acked.Load(); was < id && !acked.CompareAndSwap(was, id); was = acked.Load() {
					}
				case !errors.Is(err, storage.ErrConflict):
					t.Error(err)
				}
			}
		})
	}
	var removals atomic.Int64
	var seen sync.Mutex // over a removal and the look behind it
	for _, s := range []*Store{a, b} {
		wg.Go(func() {
			for running.Load() > 0 {
				func() {
					seen.Lock()
					defer seen.Unlock()
					before := uint64(acked.Load())
					if err := s.Commit(context.Background(), storage.Writes{Remove: []storage.ArchiveKey{own(garden)}}); err != nil {
						t.Error(err)
					}
					rows, _, err := s.Rows(context.Background(), own(garden), storage.Filter{IDs: []uint64{before}}, storage.Page{Limit: 1})
					if err != nil || len(rows) > 0 {
						t.Errorf("row %d was there before the removal, %v", before, err)
					}
					removals.Add(1)
				}()
			}
		})
	}
	wg.Wait()
	if removals.Load() == 0 {
		t.Error("nothing was removed")
	}
	if err := b.Commit(context.Background(), storage.Writes{Remove: []storage.ArchiveKey{own(garden)}}); err != nil {
		t.Error(err)
	}
	if _, err := b.ExpireRows(context.Background(), "a", 0, 10_000); err != nil {
		t.Error(err)
	}
	var n int
	if err := b.readers.Get(&n, "SELECT (SELECT count(*) FROM archives) + (SELECT count(*) FROM archived_messages)"); err != nil || n != 0 {
		t.Errorf("%d rows are left, %v", n, err)
	}
}
