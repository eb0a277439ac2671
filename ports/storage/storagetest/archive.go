package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// row is a message of an archive in the space a.
func row(owner jid.JID, id uint64, with, xml string) storage.Row {
	return storage.Row{Space: "a", Owner: owner, ID: id, Stamp: stamp.Add(time.Duration(id) * time.Microsecond), With: jid.MustParse(with), XML: xml}
}

// archive appends rows, each by itself.
func archive(t *testing.T, s storage.Store, rows ...storage.Row) {
	t.Helper()
	for _, r := range rows {
		if err := s.Commit(t.Context(), storage.Writes{Rows: []storage.Row{r}}); err != nil {
			t.Fatalf("Commit of row %d: %v", r.ID, err)
		}
	}
}

// archived fails the test unless exactly these rows are in the archive.
func archived(t *testing.T, s storage.Store, owner jid.JID, want ...storage.Row) {
	t.Helper()
	got, more, err := s.Rows(t.Context(), storage.ArchiveKey{Space: "a", Owner: owner}, storage.Filter{}, storage.Page{Limit: 10_000})
	if err != nil || more || !slices.Equal(got, want) {
		t.Errorf("the archive of %s has %v, more: %t, %v\nwant %v", owner, ids(got), more, err, ids(want))
	}
}

func ids(rows []storage.Row) (all []uint64) {
	for _, r := range rows {
		all = append(all, r.ID)
	}
	return all
}

func testArchive(t *testing.T, open Open) {
	ctx := t.Context()
	long := strings.Repeat("l", 1023)
	t.Run("rows come back as they were", func(t *testing.T) {
		s := start(t, open, romeo)
		zone := time.FixedZone("", -5*3600)
		var want []storage.Row
		for i, r := range []storage.Row{
			{With: juliet, XML: "<message xmlns='jabber:client'>\r\n\t<body>é &lt; \" \\ {} , NULL 🙂</body></message>", Stamp: stamp},
			{With: jid.MustParse("juliet@example.org/balcony"), XML: " ", Stamp: time.Unix(0, 0).UTC()},
			{With: jid.MustParse("example.org"), XML: "NULL", Stamp: time.Unix(-1, 999_999_000).UTC()},
			{With: jid.MustParse("example.org/a/b@c d"), XML: `"`, Stamp: time.Time{}.UTC()},
			{With: jid.MustParse(long + "@" + strings.TrimSuffix(strings.Repeat("abcdefghi.", 25), ".") + "/" + long), XML: `\`, Stamp: stamp},
			{With: juliet, XML: strings.Repeat("x", storage.MaxValue), Stamp: stamp},
		} {
			r.Space, r.Owner, r.ID = "a", romeo, uint64(i+1)
			want = append(want, r)
		}
		last := row(romeo, storage.MaxID, "juliet@example.org", "last")
		want = append(want, last)
		archive(t, s, want...)
		archived(t, s, romeo, want...)

		rest := row(romeo, 1, "juliet@example.org", "x")
		rest.Space, rest.Stamp = "b", stamp.Add(999*time.Nanosecond).In(zone)
		archive(t, s, rest)
		got, _, err := s.Rows(ctx, storage.ArchiveKey{Space: "b", Owner: romeo}, storage.Filter{}, storage.Page{Limit: 10})
		if err != nil || len(got) != 1 || !got[0].Stamp.Equal(stamp) || got[0].Stamp.Location() != time.UTC {
			t.Errorf("got %v, %v, want the stamp %v", got, err, stamp)
		}
	})
	t.Run("each space and owner has an archive of its own", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		a, b, c := row(romeo, 5, "x.example", "a"), row(juliet, 5, "x.example", "b"), row(romeo, 4, "x.example", "c")
		c.Space = "c"
		archive(t, s, a, b, c)
		archived(t, s, romeo, a)
		archived(t, s, juliet, b)
		if got, _, err := s.Rows(ctx, storage.ArchiveKey{Space: "c", Owner: romeo}, storage.Filter{}, storage.Page{Limit: 10}); err != nil || !slices.Equal(got, []storage.Row{c}) {
			t.Errorf("got %v, %v", got, err)
		}
		for _, space := range []string{"", "none", "a\x00", strings.Repeat("a", storage.MaxName+1)} {
			if got, more, err := s.Rows(ctx, storage.ArchiveKey{Space: space, Owner: romeo}, storage.Filter{}, storage.Page{Limit: 10}); err != nil || more || len(got) > 0 {
				t.Errorf("space %q: got %v, %v", space, got, err)
			}
		}
		for _, owner := range []jid.JID{nobody, {}, jid.MustParse("romeo@example.org/x"), jid.MustParse("example.org")} {
			archived(t, s, owner)
		}
	})
	t.Run("ErrConflict for an ID that is not behind the others", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		a := row(romeo, 10, "x.example", "a")
		archive(t, s, a)
		for _, id := range []uint64{1, 9, 10} {
			is(t, fmt.Sprint("ID ", id), s.Commit(ctx, storage.Writes{Rows: []storage.Row{row(romeo, id, "x.example", "late")}}), storage.ErrConflict)
			is(t, fmt.Sprint("ID ", id, " and a good one"), s.Commit(ctx, storage.Writes{Rows: []storage.Row{row(romeo, id, "x.example", "late"), row(romeo, 20, "x.example", "b")}}), storage.ErrConflict)
			is(t, fmt.Sprint("ID ", id, " and another archive"), s.Commit(ctx, storage.Writes{Rows: []storage.Row{row(juliet, 20, "x.example", "b"), row(romeo, id, "x.example", "late")}}), storage.ErrConflict)
		}
		archived(t, s, romeo, a)
		archived(t, s, juliet)
		b, c := row(romeo, 11, "x.example", "b"), row(romeo, 12, "x.example", "c")
		if err := s.Commit(ctx, storage.Writes{Rows: []storage.Row{b, c}}); err != nil {
			t.Error(err)
		}
		archived(t, s, romeo, a, b, c)
	})
	t.Run("ErrInvalid appends nothing", func(t *testing.T) {
		s := start(t, open, romeo)
		bad := func(change func(*storage.Row)) storage.Row {
			r := row(romeo, 2, "x.example", "x")
			change(&r)
			return r
		}
		for name, r := range map[string]storage.Row{
			"no space":                  bad(func(r *storage.Row) { r.Space = "" }),
			"space that is no text":     bad(func(r *storage.Row) { r.Space = "a\xff" }),
			"no owner":                  bad(func(r *storage.Row) { r.Owner = jid.JID{} }),
			"owner with a resourcepart": bad(func(r *storage.Row) { r.Owner = jid.MustParse("romeo@example.org/x") }),
			"owner without a localpart": bad(func(r *storage.Row) { r.Owner = jid.MustParse("example.org") }),
			"no ID":                     bad(func(r *storage.Row) { r.ID = 0 }),
			"ID over the bound":         bad(func(r *storage.Row) { r.ID = storage.MaxID + 1 }),
			"with nobody":               bad(func(r *storage.Row) { r.With = jid.JID{} }),
			"no message":                bad(func(r *storage.Row) { r.XML = "" }),
			"message over the bound":    bad(func(r *storage.Row) { r.XML = strings.Repeat("x", storage.MaxValue+1) }),
			"message with NUL":          bad(func(r *storage.Row) { r.XML = "\x00" }),
			"message not in UTF-8":      bad(func(r *storage.Row) { r.XML = "\xff" }),
			"an ID twice":               bad(func(r *storage.Row) { r.ID = 1 }),
		} {
			is(t, name, s.Commit(ctx, storage.Writes{Ops: []storage.Op{{Space: "s", Key: "k"}}, Rows: []storage.Row{row(romeo, 1, "x.example", "x"), r}}), storage.ErrInvalid)
		}
		archived(t, s, romeo)
		absent(t, s, "s", jid.JID{}, "k")
		_, _, err := s.Rows(ctx, storage.ArchiveKey{Space: "a", Owner: romeo}, storage.Filter{IDs: make([]uint64, storage.MaxIDs+1)}, storage.Page{Limit: 1})
		is(t, "Rows", err, storage.ErrInvalid)
		_, _, err = s.CountRows(ctx, storage.ArchiveKey{Space: "a", Owner: romeo}, storage.Filter{IDs: make([]uint64, storage.MaxIDs+1)}, 1)
		is(t, "CountRows", err, storage.ErrInvalid)
	})
	t.Run("a row of who is no account is left out, without an error", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		a := row(romeo, 2, "x.example", "a")
		if err := s.Commit(ctx, storage.Writes{Ops: []storage.Op{{Space: "s", Key: "k", Value: []byte("v")}}, Rows: []storage.Row{row(nobody, 1, "x.example", "x"), a, row(nobody, 3, "x.example", "x")}}); err != nil {
			t.Error(err)
		}
		archive(t, s, row(nobody, 2, "x.example", "x"), row(nobody, 2, "x.example", "x"))
		archived(t, s, romeo, a)
		get(t, s, "s", jid.JID{}, "k", "v")
		create(t, s, nobody)
		archived(t, s, nobody)
		b := row(nobody, 1, "x.example", "b")
		archive(t, s, b)
		archived(t, s, nobody, b)
	})
	t.Run("rows and ops are one", func(t *testing.T) {
		s := start(t, open, romeo)
		a, b := row(romeo, 1, "x.example", "a"), row(romeo, 2, "x.example", "b")
		archive(t, s, a)
		op := storage.Op{Space: "s", Owner: romeo, Key: "k", Value: []byte("v")}
		is(t, "an op in conflict", s.Commit(ctx, storage.Writes{Ops: []storage.Op{op, {Space: "s", Key: "absent", If: true, Revision: 1}}, Rows: []storage.Row{b}}), storage.ErrConflict)
		is(t, "an op for nobody", s.Commit(ctx, storage.Writes{Ops: []storage.Op{op, {Space: "s", Owner: nobody, Key: "k"}}, Rows: []storage.Row{b}}), storage.ErrNotFound)
		is(t, "a row in conflict", s.Commit(ctx, storage.Writes{Ops: []storage.Op{op}, Rows: []storage.Row{row(romeo, 1, "x.example", "x")}}), storage.ErrConflict)
		is(t, "an op that is none", s.Commit(ctx, storage.Writes{Ops: []storage.Op{{}}, Rows: []storage.Row{b}}), storage.ErrInvalid)
		archived(t, s, romeo, a)
		absent(t, s, "s", romeo, "k")
		if err := s.Commit(ctx, storage.Writes{Ops: []storage.Op{op}, Rows: []storage.Row{b}}); err != nil {
			t.Error(err)
		}
		archived(t, s, romeo, a, b)
		get(t, s, "s", romeo, "k", "v")
	})
	t.Run("an archive goes with its account", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		many := make([]storage.Row, 1200)
		for i := range many {
			many[i] = row(romeo, uint64(i+1), "x.example", "x")
		}
		if err := s.Commit(ctx, storage.Writes{Rows: many}); err != nil {
			t.Fatal(err)
		}
		kept := row(juliet, 1, "x.example", "x")
		archive(t, s, kept)
		if err := s.RemoveAccount(ctx, romeo); err != nil {
			t.Fatal(err)
		}
		archived(t, s, romeo)
		if last, err := s.LastRow(ctx); err != nil || last != 1 {
			t.Errorf("LastRow: %d, %v", last, err)
		}
		create(t, s, romeo) // and a new account of the name inherits nothing
		archived(t, s, romeo)
		a := row(romeo, 1, "x.example", "new")
		archive(t, s, a)
		archived(t, s, romeo, a)
		archived(t, s, juliet, kept)
	})
}

func testArchiveExpiry(t *testing.T, open Open) {
	ctx := t.Context()
	s := start(t, open, romeo, juliet)
	expire := func(below uint64, limit, want int) {
		t.Helper()
		if n, err := s.ExpireRows(ctx, "a", below, limit); err != nil || n != want {
			t.Errorf("ExpireRows below %d, at most %d: %d, %v, want %d", below, limit, n, err, want)
		}
	}
	last := func(want uint64) {
		t.Helper()
		if id, err := s.LastRow(ctx); err != nil || id != want {
			t.Errorf("LastRow: %d, %v, want %d", id, err, want)
		}
	}
	expire(100, 10, 0)
	last(0)
	var all []storage.Row
	for id := range uint64(20) {
		all = append(all, row(romeo, id+1, "x.example", "x"))
	}
	other, apart := row(juliet, 7, "x.example", "x"), row(juliet, 30, "x.example", "x")
	apart.Space = "b"
	archive(t, s, all...)
	archive(t, s, other, apart)
	last(30)

	expire(5, 0, 0)
	expire(5, -1, 0)
	expire(0, 10, 0)
	expire(1, 10, 0)
	archived(t, s, romeo, all...)
	expire(5, 3, 3)
	archived(t, s, romeo, all[3:]...)
	expire(5, 3, 1)
	expire(5, 3, 0)
	archived(t, s, romeo, all[4:]...)
	archived(t, s, juliet, other)
	expire(9, 100, 5) // of both
	archived(t, s, romeo, all[8:]...)
	archived(t, s, juliet)
	is(t, "an ID below those that are left", s.Commit(ctx, storage.Writes{Rows: []storage.Row{row(romeo, 3, "x.example", "x")}}), storage.ErrConflict)
	for left := 12; left > 0; left -= 5 {
		expire(1<<64-1, 5, min(5, left))
	}
	expire(1<<64-1, 5, 0)
	archived(t, s, romeo)
	last(30)
	if got, _, err := s.Rows(ctx, storage.ArchiveKey{Space: "b", Owner: juliet}, storage.Filter{}, storage.Page{Limit: 10}); err != nil || !slices.Equal(got, []storage.Row{apart}) {
		t.Errorf("the other space has %v, %v", got, err)
	}
}

// testArchiveConcurrent has many write and read at once: what was read is never
// added to but at its end, and each row that was acknowledged is there.
func testArchiveConcurrent(t *testing.T, open Open) {
	ctx := t.Context()
	s := start(t, open, romeo, juliet)
	const writers, each = 16, 40
	owners := []jid.JID{romeo, juliet, nobody}
	var next, left atomic.Int64
	left.Store(writers)
	kept := make([][]storage.Row, writers)
	errs := inParallel(writers+2, func(i int) error {
		if i >= writers { // a reader
			var seen []storage.Row
			for end := false; !end; {
				end = left.Load() == 0
				got, _, err := s.Rows(ctx, storage.ArchiveKey{Space: "a", Owner: romeo}, storage.Filter{}, storage.Page{Limit: 10_000})
				if err != nil {
					return err
				}
				if len(got) < len(seen) || !slices.Equal(got[:len(seen)], seen) {
					return fmt.Errorf("%v, then %v", ids(seen), ids(got))
				}
				seen = got
			}
			return nil
		}
		defer left.Add(-1)
		for n := range each {
			owner := owners[(i+n)%len(owners)]
			var ops []storage.Op
			if n%5 == 0 {
				ops = append(ops, storage.Op{Space: "s", Owner: romeo, Key: fmt.Sprint(i, n)})
			}
			if n%7 == 0 { // never there: the row must not be, either
				ops = append(ops, storage.Op{Space: "s", Key: "absent", If: true, Revision: 1})
			}
			r := row(owner, uint64(next.Add(1)), "x.example", fmt.Sprint(i))
			err := s.Commit(ctx, storage.Writes{Ops: ops, Rows: []storage.Row{r}})
			switch {
			case n%7 == 0 && !errors.Is(err, storage.ErrConflict):
				return fmt.Errorf("an op in conflict: %w", err)
			case err == nil:
				kept[i] = append(kept[i], r)
			case !errors.Is(err, storage.ErrConflict):
				return err
			}
		}
		return nil
	})
	for i, err := range errs {
		if err != nil {
			t.Errorf("goroutine %d: %v", i, err)
		}
	}
	for _, owner := range owners[:2] {
		var want []storage.Row
		for _, rows := range kept {
			for _, r := range rows {
				if r.Owner == owner {
					want = append(want, r)
				}
			}
		}
		slices.SortFunc(want, func(a, b storage.Row) int { return int(a.ID) - int(b.ID) })
		archived(t, s, owner, want...)
		if len(want) < writers*each/10 {
			t.Errorf("only %d rows of %s found a place", len(want), owner)
		}
	}
	archived(t, s, nobody)
}
