package sql

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func archiveRow(owner jid.JID, id uint64) storage.Row {
	return storage.Row{Space: "a", Owner: owner, ID: id, Stamp: time.UnixMicro(int64(id)), With: jid.MustParse("juliet@example.net/balcony"), XML: "<message/>"}
}

// archivedIDs are what is in the archive of romeo.
func archivedIDs(t *testing.T, s *Store, owner jid.JID) (ids []uint64) {
	t.Helper()
	rows, _, err := s.Rows(context.Background(), storage.ArchiveKey{Space: "a", Owner: owner}, storage.Filter{}, storage.Page{Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return ids
}

// Looks into archives leave half of the connections to others; who finds no place in
// time is told that it is busy.
func TestLooks(t *testing.T) {
	s := openTest(t, Options{Path: filepath.Join(t.TempDir(), "hexmpp.db"), Readers: 5})
	if n := cap(s.looks); n != 2 {
		t.Errorf("%d looks at once", n)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for range cap(s.looks) {
		s.looks <- struct{}{}
	}
	if _, _, err := s.Rows(ended, storage.ArchiveKey{Space: "a", Owner: romeo}, storage.Filter{}, storage.Page{Limit: 1}); !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrBusy) {
		t.Error(err)
	}
	if _, err := s.Account(t.Context(), romeo); !errors.Is(err, storage.ErrNotFound) { // nobody else waits
		t.Error(err)
	}
	for range cap(s.looks) {
		<-s.looks
	}
	synctest.Test(t, func(t *testing.T) {
		s := &Store{looks: make(chan struct{}, 2)}
		hold := make(chan struct{})
		none := func() error { return nil }
		for range 2 {
			go func() { _ = s.look(t.Context(), func() error { <-hold; return nil }) }()
		}
		synctest.Wait()
		began := time.Now()
		if err := s.look(t.Context(), none); !errors.Is(err, storage.ErrBusy) || !errors.Is(err, storage.ErrUnavailable) || time.Since(began) != lookWait {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		time.AfterFunc(time.Second, func() { close(hold) })
		if err := s.look(t.Context(), none); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := len(s.looks); n != 0 {
			t.Errorf("%d places are taken", n)
		}
	})
}

// testGroupedRows has rows of many jobs in one transaction.
func testGroupedRows(t *testing.T, s *Store) {
	users := []jid.JID{romeo, jid.MustParse("juliet@example.org"), jid.MustParse("nobody@example.org")}
	for _, u := range users[:2] {
		if err := s.CreateAccount(t.Context(), storage.Account{User: u}); err != nil {
			t.Fatal(err)
		}
	}
	type queued struct {
		rows []storage.Row
		do   func(*tx) error
		want error
	}
	conflict := func(*tx) error { return storage.ErrConflict }
	next := uint64(0)
	row := func(u int) []storage.Row { next++; return []storage.Row{archiveRow(users[u], next)} }
	run := func(jobs ...queued) {
		t.Helper()
		release := hold(t, s)
		waiting := make([]*job, len(jobs))
		for i, q := range jobs {
			var err error
			waiting[i] = &job{do: q.do, rows: q.rows}
			if err = s.writer.enqueue(t.Context(), waiting[i]); err != nil {
				t.Fatal(err)
			}
		}
		release()
		for i, j := range waiting {
			if err := s.dialect.wrap("test", s.writer.wait(t.Context(), j)); !errors.Is(err, jobs[i].want) {
				t.Errorf("job %d: %v, want %v", i, err, jobs[i].want)
			}
		}
	}
	check := func(want ...[]uint64) {
		t.Helper()
		for i, w := range want {
			if got := archivedIDs(t, s, users[i]); !slices.Equal(got, w) {
				t.Errorf("%s has %v, want %v", users[i], got, w)
			}
		}
	}
	// New archives, one that is there no more than its owner, and an op beside.
	run(queued{rows: row(0)}, queued{rows: row(1)}, queued{rows: row(2)}, queued{rows: row(0), do: putJob("a", 1)}, queued{do: putJob("b", 1)}, queued{rows: row(0)})
	check([]uint64{1, 4, 5}, []uint64{2}, nil)
	if !has(t, s, "a") || !has(t, s, "b") {
		t.Error("an op is missing")
	}
	// One that came too late, and ops that fail beside rows, fail alone.
	late := []storage.Row{archiveRow(users[0], 3)}
	run(queued{rows: row(0)}, queued{rows: late, do: putJob("c", 1), want: storage.ErrConflict}, queued{rows: row(1), do: conflict, want: storage.ErrConflict},
		queued{rows: row(2)}, queued{rows: row(1)}, queued{rows: append(row(1), archiveRow(users[0], 5)), want: storage.ErrConflict}, queued{rows: row(0)})
	check([]uint64{1, 4, 5, 6, 11}, []uint64{2, 9}, nil)
	if has(t, s, "c") {
		t.Error("the op of a job that failed is there")
	}
	// Two of a group are in the wrong order among themselves.
	second, first := row(1), row(1)
	run(queued{rows: first}, queued{rows: second, want: storage.ErrConflict}, queued{rows: row(1)})
	check([]uint64{1, 4, 5, 6, 11}, []uint64{2, 9, 13, 14}, nil)
	// Nothing but rows of who is not there.
	run(queued{rows: row(2)}, queued{rows: row(2)})
	check([]uint64{1, 4, 5, 6, 11}, []uint64{2, 9, 13, 14}, nil)
	// Alone.
	run(queued{rows: row(0)})
	run(queued{rows: late, want: storage.ErrConflict})
	run(queued{rows: row(0), do: conflict, want: storage.ErrConflict})
	check([]uint64{1, 4, 5, 6, 11, 17}, []uint64{2, 9, 13, 14}, nil)
	mustPut(t, s, "after")
}

// What a removal that was cut short left behind goes with the next expiry.
func testAbandonedArchive(t *testing.T, s *Store) {
	if err := s.CreateAccount(t.Context(), storage.Account{User: romeo}); err != nil {
		t.Fatal(err)
	}
	rows := make([]storage.Row, 2*purgedAtOnce+10)
	for i := range rows {
		rows[i] = archiveRow(romeo, uint64(i+1))
	}
	if err := s.Commit(t.Context(), storage.Writes{Rows: rows}); err != nil {
		t.Fatal(err)
	}
	if err := s.write(t.Context(), "remove", func(t *tx) error {
		_, err := t.exec(deleteAccount, romeo.Domain(), romeo.Local())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	left := func() (n int) {
		t.Helper()
		if err := s.readers.Get(&n, "SELECT (SELECT count(*) FROM archives) + (SELECT count(*) FROM archived_messages)"); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := left(); n != len(rows)+1 {
		t.Fatalf("%d rows are left by the removal", n)
	}
	if ids := archivedIDs(t, s, romeo); len(ids) != 0 {
		t.Errorf("%d are found", len(ids))
	}
	if err := s.CreateAccount(t.Context(), storage.Account{User: romeo}); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), storage.Writes{Rows: []storage.Row{archiveRow(romeo, 1)}}); err != nil {
		t.Error(err)
	}
	for _, c := range []struct{ limit, want, left int }{{0, 0, len(rows) + 3}, {purgedAtOnce, purgedAtOnce, len(rows) + 3 - purgedAtOnce}, {len(rows), len(rows) - purgedAtOnce, 2}, {10, 0, 2}} {
		if n, err := s.ExpireRows(t.Context(), "another", 1, c.limit); err != nil || n != c.want || left() != c.left {
			t.Errorf("at most %d: %d, %v, %d are left, want %+v", c.limit, n, err, left(), c)
		}
	}
	if n := left(); n != 2 {
		t.Errorf("%d rows are left", n)
	}
	if ids := archivedIDs(t, s, romeo); !slices.Equal(ids, []uint64{1}) {
		t.Errorf("the new account has %v", ids)
	}
	// A removal waits for one transaction, however much there is.
	for i := range rows {
		rows[i].ID += 10
	}
	if err := s.Commit(t.Context(), storage.Writes{Rows: rows}); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveAccount(t.Context(), romeo); err != nil {
		t.Error(err)
	}
	if n := left(); n != len(rows)+2-purgedAtOnce {
		t.Errorf("%d rows are left by the removal", n)
	}
}

// testArchiveNodes has two nodes append to one archive: what a reader has seen is
// added to at its end only.
func testArchiveNodes(t *testing.T, a, b *Store) {
	var next, running atomic.Int64
	const writers, each = 8, 30
	running.Store(writers)
	var mu sync.Mutex
	var kept []uint64
	var wg sync.WaitGroup
	for i := range writers {
		s := []*Store{a, b}[i%2]
		wg.Go(func() {
			defer running.Add(-1)
			for range each {
				id := uint64(next.Add(1))
				err := s.Commit(context.Background(), storage.Writes{Rows: []storage.Row{archiveRow(romeo, id)}})
				switch {
				case err == nil:
					mu.Lock()
					kept = append(kept, id)
					mu.Unlock()
				case !errors.Is(err, storage.ErrConflict):
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		var seen []uint64
		for end := false; !end; {
			end = running.Load() == 0
			got := archivedIDs(t, a, romeo)
			if len(got) < len(seen) || !slices.Equal(got[:len(seen)], seen) {
				t.Errorf("%v, then %v", seen, got)
				return
			}
			seen = got
		}
	})
	wg.Wait()
	slices.Sort(kept)
	if got := archivedIDs(t, b, romeo); !slices.Equal(got, kept) {
		t.Errorf("got %v\nwant %v", got, kept)
	}
}

// testArchiveRemoval has one node remove the account that another appends to.
func testArchiveRemoval(t *testing.T, a, b *Store) {
	var wg sync.WaitGroup
	var next atomic.Int64
	ended := make(chan struct{})
	for i := range 4 {
		wg.Go(func() {
			for {
				var ops []storage.Op
				if i%2 == 0 {
					ops = []storage.Op{{Space: "s", Key: fmt.Sprint(i)}}
				}
				if err := a.Commit(context.Background(), storage.Writes{Ops: ops, Rows: []storage.Row{archiveRow(romeo, uint64(next.Add(1)))}}); err != nil && !errors.Is(err, storage.ErrConflict) {
					t.Error(err)
				}
				select {
				case <-ended:
					return
				default:
				}
			}
		})
	}
	for range 5 {
		if err := b.RemoveAccount(context.Background(), romeo); err != nil {
			t.Error(err)
		}
		if err := b.CreateAccount(context.Background(), storage.Account{User: romeo}); err != nil {
			t.Error(err)
		}
	}
	if err := b.RemoveAccount(context.Background(), romeo); err != nil {
		t.Error(err)
	}
	close(ended)
	wg.Wait()
	if _, err := b.ExpireRows(context.Background(), "a", 1, 1); err != nil {
		t.Error(err)
	}
	var n int
	if err := b.readers.Get(&n, "SELECT (SELECT count(*) FROM archives) + (SELECT count(*) FROM archived_messages)"); err != nil || n != 0 {
		t.Errorf("%d rows are left, %v", n, err)
	}
}
