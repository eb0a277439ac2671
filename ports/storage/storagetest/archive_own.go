package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

var (
	garden = jid.MustParse("garden@conference.example.org")
	crypt  = jid.MustParse("crypt@conference.example.org")
)

// ownRow is row of an archive that is the extension's own.
func ownRow(owner jid.JID, id uint64, xml string) storage.Row {
	r := row(owner, id, "juliet@example.org/balcony", xml)
	r.Own = true
	return r
}

// own names such an archive.
func own(owner jid.JID) storage.ArchiveKey {
	return storage.ArchiveKey{Space: "a", Owner: owner, Own: true}
}

// ownArchived is archived of such an archive.
func ownArchived(t *testing.T, s storage.Store, owner jid.JID, want ...storage.Row) {
	t.Helper()
	got, more, err := s.Rows(t.Context(), own(owner), storage.Filter{}, storage.Page{Limit: 10_000})
	if err != nil || more || !slices.Equal(got, want) {
		t.Errorf("the own archive %s has %v, more: %t, %v\nwant %v", owner, ids(got), more, err, ids(want))
	}
	n, all, err := s.CountRows(t.Context(), own(owner), storage.Filter{}, 10_000)
	if n != len(want) || !all || err != nil {
		t.Errorf("of the own archive %s %d are counted, all: %t, %v, want %d", owner, n, all, err, len(want))
	}
}

// remove removes own archives.
func remove(t *testing.T, s storage.Store, owners ...jid.JID) {
	t.Helper()
	var w storage.Writes
	for _, o := range owners {
		w.Remove = append(w.Remove, own(o))
	}
	if err := s.Commit(t.Context(), w); err != nil {
		t.Fatalf("Commit that removes %v: %v", owners, err)
	}
}

func testOwnArchive(t *testing.T, open Open) {
	ctx := t.Context()
	domain := jid.MustParse("conference.example.org")
	t.Run("it is made with its first row, whatever accounts there are", func(t *testing.T) {
		s := start(t, open, romeo)
		ownArchived(t, s, garden)
		a, b, c := ownRow(garden, 1, "a"), ownRow(garden, 2, "b"), ownRow(crypt, 1, "c")
		archive(t, s, a, c, b)
		ownArchived(t, s, garden, a, b)
		ownArchived(t, s, crypt, c)
		d := ownRow(domain, 1, "d")
		archive(t, s, d)
		ownArchived(t, s, domain, d)
		ownArchived(t, s, jid.JID{})
		is(t, "an ID that is not behind the others", s.Commit(ctx, storage.Writes{Rows: []storage.Row{ownRow(crypt, 2, "x"), ownRow(garden, 2, "x")}}), storage.ErrConflict)
		ownArchived(t, s, crypt, c)
	})
	t.Run("an account's of the same name is another, and so is that of another space", func(t *testing.T) {
		s := start(t, open, romeo)
		theirs, ours, other := row(romeo, 3, "x.example", "theirs"), ownRow(romeo, 2, "ours"), ownRow(romeo, 1, "other")
		other.Space = "b"
		if err := s.Commit(ctx, storage.Writes{Rows: []storage.Row{theirs, ours, other}}); err != nil {
			t.Fatal(err)
		}
		archived(t, s, romeo, theirs)
		ownArchived(t, s, romeo, ours)
		if err := s.RemoveAccount(ctx, romeo); err != nil {
			t.Fatal(err)
		}
		ownArchived(t, s, romeo, ours)
		create(t, s, romeo)
		archive(t, s, theirs)
		remove(t, s, romeo)
		ownArchived(t, s, romeo)
		archived(t, s, romeo, theirs)
		if got, _, err := s.Rows(ctx, storage.ArchiveKey{Space: "b", Owner: romeo, Own: true}, storage.Filter{}, storage.Page{Limit: 10}); err != nil || !slices.Equal(got, []storage.Row{other}) {
			t.Errorf("the other space has %v, %v", got, err)
		}
	})
	t.Run("pages, forwards, backwards, by contact and by IDs", func(t *testing.T) {
		s := start(t, open)
		var all []storage.Row
		for id := range uint64(100) {
			r := ownRow(garden, id+1, "x")
			if id%3 == 0 {
				r.With = jid.MustParse("nurse@example.org/k")
			}
			all = append(all, r)
		}
		if err := s.Commit(ctx, storage.Writes{Rows: all}); err != nil {
			t.Fatal(err)
		}
		for name, f := range map[string]storage.Filter{
			"all": {}, "a contact": {With: juliet}, "a resource": {With: jid.MustParse("nurse@example.org/k")}, "IDs": {IDs: []uint64{3, 50, 99, 101}},
			"times": {Start: all[10].Stamp, End: all[20].Stamp}, "between": {After: 10, Before: 40},
		} {
			for _, p := range []storage.Page{{Limit: 7}, {Limit: 7, Backwards: true}, {Limit: 1000}} {
				want, wantMore := selected(all, f, p)
				got, more, err := s.Rows(ctx, own(garden), f, p)
				if err != nil || more != wantMore || !slices.Equal(got, want) {
					t.Errorf("%s, %+v: got %v, more: %t, %v, want %v", name, p, ids(got), more, err, ids(want))
				}
			}
			matching, _ := selected(all, f, storage.Page{Limit: 1000})
			if n, _, err := s.CountRows(ctx, own(garden), f, 1000); n != len(matching) || err != nil {
				t.Errorf("%s: %d, %v, want %d", name, n, err, len(matching))
			}
		}
	})
	t.Run("ErrInvalid removes nothing", func(t *testing.T) {
		s := start(t, open, romeo)
		a := ownRow(garden, 1, "a")
		archive(t, s, a)
		for name, bad := range map[string]storage.ArchiveKey{
			"an account's archive":     {Space: "a", Owner: romeo},
			"no name":                  {Space: "a", Own: true},
			"no space":                 {Owner: garden, Own: true},
			"a space that is no text":  {Space: "a\xff", Owner: garden, Own: true},
			"a name with a resource":   {Space: "a", Owner: jid.MustParse("garden@conference.example.org/x"), Own: true},
			"nothing that could be it": {},
		} {
			is(t, name, s.Commit(ctx, storage.Writes{Remove: []storage.ArchiveKey{own(garden), bad}}), storage.ErrInvalid)
		}
		for name, bad := range map[string]storage.Row{
			"a row without an owner":  ownRow(jid.JID{}, 2, "x"),
			"a row of a full address": ownRow(jid.MustParse("garden@conference.example.org/x"), 2, "x"),
		} {
			is(t, name, s.Commit(ctx, storage.Writes{Remove: []storage.ArchiveKey{own(garden)}, Rows: []storage.Row{bad}}), storage.ErrInvalid)
		}
		ownArchived(t, s, garden, a)
	})
	t.Run("a removed one is not found, and a new one of the name is empty", func(t *testing.T) {
		s := start(t, open)
		kept := ownRow(crypt, 9, "kept")
		archive(t, s, ownRow(garden, 5, "a"), ownRow(garden, 6, "b"), kept)
		remove(t, s, garden, garden)
		ownArchived(t, s, garden)
		ownArchived(t, s, crypt, kept)
		remove(t, s, garden, jid.MustParse("none@conference.example.org")) // is not there
		anew := ownRow(garden, 1, "anew")
		archive(t, s, anew)
		ownArchived(t, s, garden, anew)
		// In front of the rows of the same commit.
		again, last := ownRow(garden, 1, "again"), ownRow(garden, 2, "last")
		if err := s.Commit(ctx, storage.Writes{Remove: []storage.ArchiveKey{own(garden)}, Rows: []storage.Row{again, last}}); err != nil {
			t.Fatal(err)
		}
		ownArchived(t, s, garden, again, last)
		one := ownRow(garden, 2, "one")
		if err := s.Commit(ctx, storage.Writes{Remove: []storage.ArchiveKey{own(garden)}, Rows: []storage.Row{one}}); err != nil {
			t.Fatal(err)
		}
		ownArchived(t, s, garden, one)
	})
	t.Run("removals, rows and ops are one", func(t *testing.T) {
		s := start(t, open)
		a, b := ownRow(garden, 1, "a"), ownRow(crypt, 5, "b")
		archive(t, s, a, b)
		op := storage.Op{Space: "s", Key: "k", Value: []byte("v")}
		gone := []storage.ArchiveKey{own(garden)}
		is(t, "an op in conflict", s.Commit(ctx, storage.Writes{Ops: []storage.Op{op, {Space: "s", Key: "absent", If: true, Revision: 1}}, Remove: gone}), storage.ErrConflict)
		is(t, "a row in conflict", s.Commit(ctx, storage.Writes{Remove: gone, Rows: []storage.Row{ownRow(garden, 7, "x"), ownRow(crypt, 5, "x")}}), storage.ErrConflict)
		ownArchived(t, s, garden, a)
		absent(t, s, "s", jid.JID{}, "k")
		if err := s.Commit(ctx, storage.Writes{Ops: []storage.Op{op}, Remove: gone}); err != nil {
			t.Fatal(err)
		}
		ownArchived(t, s, garden)
		get(t, s, "s", jid.JID{}, "k", "v")
	})
	t.Run("an edit replaces what a row says, and nothing else", func(t *testing.T) {
		s := start(t, open, romeo)
		a, b, c, theirs := ownRow(garden, 1, "a"), ownRow(garden, 2, "b"), ownRow(crypt, 2, "c"), row(romeo, 2, "juliet@example.org", "d")
		archive(t, s, a, b, c, theirs)
		edit := func(k storage.ArchiveKey, id uint64, xml string) storage.Edit {
			return storage.Edit{ArchiveKey: k, ID: id, XML: xml}
		}
		for name, bad := range map[string]storage.Edit{
			"no message": edit(own(garden), 1, ""), "no ID": edit(own(garden), 0, "x"), "no owner": edit(own(jid.JID{}), 1, "x"),
			"no text": edit(own(garden), 1, "\xff"), "too long": edit(own(garden), 1, strings.Repeat("x", storage.MaxValue+1)),
		} {
			is(t, name, s.Commit(ctx, storage.Writes{Edits: []storage.Edit{edit(own(garden), 2, "x"), bad}}), storage.ErrInvalid)
		}
		ownArchived(t, s, garden, a, b)
		if err := s.Commit(ctx, storage.Writes{Edits: []storage.Edit{
			edit(own(garden), 2, "B"), edit(own(garden), 3, "absent"), edit(own(jid.MustParse("nowhere@conference.example.org")), 1, "absent"), edit(theirs.Archive(), 2, "D"),
		}}); err != nil {
			t.Fatal(err)
		}
		b.XML, theirs.XML = "B", "D"
		ownArchived(t, s, garden, a, b)
		ownArchived(t, s, crypt, c)
		archived(t, s, romeo, theirs)
		op := storage.Op{Space: "s", Key: "k", Value: []byte("v")}
		is(t, "an op in conflict", s.Commit(ctx, storage.Writes{Ops: []storage.Op{op, {Space: "s", Key: "absent", If: true, Revision: 1}}, Edits: []storage.Edit{edit(own(garden), 1, "A")}}), storage.ErrConflict)
		ownArchived(t, s, garden, a, b)
		d := ownRow(garden, 3, "d")
		if err := s.Commit(ctx, storage.Writes{Ops: []storage.Op{op}, Rows: []storage.Row{d}, Edits: []storage.Edit{edit(own(garden), 1, "A"), edit(own(garden), 3, "D")}}); err != nil {
			t.Fatal(err)
		}
		a.XML, d.XML = "A", "D"
		ownArchived(t, s, garden, a, b, d)
		if err := s.Commit(ctx, storage.Writes{Remove: []storage.ArchiveKey{own(garden)}, Edits: []storage.Edit{edit(own(garden), 1, "x")}}); err != nil {
			t.Fatal(err)
		}
		ownArchived(t, s, garden)
	})
	t.Run("a big one is removed at once, and deleted by and by", func(t *testing.T) {
		s := start(t, open)
		many := make([]storage.Row, 2500)
		for i := range many {
			many[i] = ownRow(garden, uint64(i+1), "x")
		}
		if err := s.Commit(ctx, storage.Writes{Rows: many}); err != nil {
			t.Fatal(err)
		}
		remove(t, s, garden)
		ownArchived(t, s, garden)
		if last, err := s.LastRow(ctx); err != nil || last != 0 {
			t.Errorf("LastRow: %d, %v", last, err)
		}
		anew := ownRow(garden, 1, "anew")
		archive(t, s, anew)
		for n := 400; n == 400; {
			var err error
			if n, err = s.ExpireRows(ctx, "another", 0, 400); err != nil || n > 400 {
				t.Fatalf("ExpireRows: %d, %v", n, err)
			}
			ownArchived(t, s, garden, anew)
		}
	})
	t.Run("they expire as those of accounts do", func(t *testing.T) {
		s := start(t, open, romeo)
		a, b, c := ownRow(garden, 1, "a"), ownRow(garden, 5, "b"), ownRow(garden, 9, "c")
		theirs, other := row(romeo, 2, "x.example", "x"), ownRow(garden, 3, "other")
		other.Space = "b"
		archive(t, s, a, b, c, theirs, other)
		if last, err := s.LastRow(ctx); err != nil || last != 9 {
			t.Errorf("LastRow: %d, %v", last, err)
		}
		if n, err := s.ExpireRows(ctx, "a", 6, 10); n != 3 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		ownArchived(t, s, garden, c)
		archived(t, s, romeo)
		if n, _, err := s.CountRows(ctx, storage.ArchiveKey{Space: "b", Owner: garden, Own: true}, storage.Filter{}, 10); n != 1 || err != nil {
			t.Errorf("the other space has %d, %v", n, err)
		}
		is(t, "an ID below those that are left", s.Commit(ctx, storage.Writes{Rows: []storage.Row{ownRow(garden, 7, "x")}}), storage.ErrConflict)
	})
}

// testOwnArchiveConcurrent has some append to archives that others remove: what was in one
// when a removal began is never seen behind it, and what was appended behind the last
// removal is there.
func testOwnArchiveConcurrent(t *testing.T, open Open) {
	ctx := t.Context()
	s := start(t, open)
	rooms := []jid.JID{garden, crypt}
	const each = 150
	var next, running atomic.Int64
	acked := make([]atomic.Int64, len(rooms)) // greatest ID
	running.Store(int64(len(rooms)))
	errs := inParallel(2*len(rooms), func(i int) error {
		n := i % len(rooms)
		if i < len(rooms) {
			defer running.Add(-1)
			for range each {
				id := next.Add(1)
				if err := s.Commit(ctx, storage.Writes{Rows: []storage.Row{ownRow(rooms[n], uint64(id), "x")}}); err != nil {
					return err
				}
				acked[n].Store(id)
			}
			return nil
		}
		for running.Load() > 0 {
			before := uint64(acked[n].Load())
			if err := s.Commit(ctx, storage.Writes{Remove: []storage.ArchiveKey{own(rooms[n])}}); err != nil {
				return err
			}
			rows, _, err := s.Rows(ctx, own(rooms[n]), storage.Filter{}, storage.Page{Limit: 1})
			if err != nil {
				return err
			}
			if len(rows) > 0 && rows[0].ID <= before {
				return fmt.Errorf("row %d was there before %s was removed", rows[0].ID, rooms[n])
			}
		}
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	for _, room := range rooms {
		remove(t, s, room)
		last := ownRow(room, uint64(next.Add(1)), "last")
		archive(t, s, last)
		ownArchived(t, s, room, last)
	}
}
