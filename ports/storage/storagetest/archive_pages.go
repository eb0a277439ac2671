package storagetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// conversations are 120 rows of romeo with some people, with IDs 10, 20, ...,
// among those of juliet.
func conversations(t *testing.T, s storage.Store) (all []storage.Row) {
	people := []string{"juliet@example.org", "juliet@example.org/balcony", "juliet@example.org/Balcony", "nurse@example.org/k",
		"juliet@example.net/balcony", "example.org", "example.org/balcony"}
	for n := range 120 {
		r := row(romeo, uint64(10*(n+1)), people[n*n%len(people)], strings.Repeat("x", 10+n%3))
		r.Stamp = stamp.Add(time.Duration(n/4) * time.Second)
		if n%10 == 9 { // a clock that was put back
			r.Stamp = r.Stamp.Add(-3 * time.Second)
		}
		all = append(all, r)
		other := r
		other.Owner, other.ID = juliet, r.ID+5
		if err := s.Commit(t.Context(), storage.Writes{Rows: []storage.Row{r, other}}); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// selected is what Rows has to return.
func selected(all []storage.Row, f storage.Filter, p storage.Page) (page []storage.Row, more bool) {
	all = slices.Clone(all)
	if p.Backwards {
		slices.Reverse(all)
	}
	size := 0
	for _, r := range all {
		if !f.Matches(&r) || p.Limit < 1 {
			continue
		}
		if len(page) == p.Limit || p.Bytes > 0 && size >= p.Bytes {
			more = true
			break
		}
		page = append(page, r)
		size += len(r.XML)
	}
	if p.Backwards {
		slices.Reverse(page)
	}
	return page, more
}

func testArchivePages(t *testing.T, open Open) {
	ctx := t.Context()
	s := start(t, open, romeo, juliet)
	all := conversations(t, s)
	check := func(t *testing.T, f storage.Filter, p storage.Page) {
		t.Helper()
		want, wantMore := selected(all, f, p)
		got, more, err := s.Rows(ctx, storage.ArchiveKey{Space: "a", Owner: romeo}, f, p)
		if err != nil || more != wantMore || !slices.Equal(got, want) {
			t.Errorf("%+v, %+v\n got %v, more: %t, %v\nwant %v, more: %t", f, p, ids(got), more, err, ids(want), wantMore)
		}
	}
	many := storage.Page{Limit: 1000}
	at := func(n int) time.Time { return stamp.Add(time.Duration(n) * time.Second) }
	some := make([]uint64, 0, 200)
	for id := range uint64(200) {
		some = append(some, (id*7)%200*10)
	}
	filters := map[string]storage.Filter{
		"all":                              {},
		"with a bare JID":                  {With: juliet},
		"with a full JID":                  {With: jid.MustParse("juliet@example.org/balcony")},
		"with another resource":            {With: jid.MustParse("juliet@example.org/balconY")},
		"with a domain":                    {With: jid.MustParse("example.org")},
		"with a domain's resource":         {With: jid.MustParse("example.org/balcony")},
		"with a stranger":                  {With: nobody},
		"start is included":                {Start: at(5)},
		"end is included":                  {End: at(5)},
		"the same start and end":           {Start: at(5), End: at(5)},
		"start behind end":                 {Start: at(6), End: at(5)},
		"within a microsecond":             {Start: at(5).Add(999), End: at(5).Add(999)},
		"a microsecond later":              {Start: at(5).Add(1000), End: at(6).Add(-1000)},
		"times far away":                   {Start: time.Unix(-1<<40, 0), End: time.Unix(1<<40, 0)},
		"after is excluded":                {After: 100},
		"before is excluded":               {Before: 100},
		"between":                          {After: 100, Before: 200},
		"between those that are not there": {After: 101, Before: 199},
		"after behind before":              {After: 200, Before: 100},
		"after all":                        {After: 1200},
		"before all":                       {Before: 10},
		"IDs beyond the bound":             {After: 1 << 63, Before: 1<<64 - 1},
		"before beyond the bound":          {Before: 1<<64 - 1},
		"no IDs":                           {IDs: []uint64{}},
		"IDs":                              {IDs: []uint64{30, 10, 5, 10, 1 << 63, 0, 1210, 1200}},
		"many IDs":                         {IDs: some},
		"everything at once":               {With: juliet, Start: at(2), End: at(25), After: 30, Before: 1100, IDs: some},
	}
	for name, f := range filters {
		t.Run(name, func(t *testing.T) {
			for _, p := range []storage.Page{many, {Limit: 1000, Backwards: true}, {Limit: 3}, {Limit: 3, Backwards: true}, {Limit: 5, Bytes: 25}, {Limit: 0}, {Limit: -1}} {
				check(t, f, p)
			}
		})
	}
	t.Run("drawn at random", func(t *testing.T) {
		for range 300 {
			check(t, randomFilter(at), storage.Page{Limit: rand.IntN(20), Bytes: rand.IntN(2) * rand.IntN(200), Backwards: rand.IntN(2) == 0})
		}
	})
	t.Run("a page has a row, however big", func(t *testing.T) {
		check(t, storage.Filter{}, storage.Page{Limit: 10, Bytes: 1})
		check(t, storage.Filter{}, storage.Page{Limit: 10, Bytes: 1, Backwards: true})
	})
	for _, backwards := range []bool{false, true} {
		t.Run(fmt.Sprint("paging finds each row once, backwards: ", backwards), func(t *testing.T) {
			var got []storage.Row
			f := storage.Filter{With: juliet}
			for more := true; more; {
				page, m, err := s.Rows(ctx, storage.ArchiveKey{Space: "a", Owner: romeo}, f, storage.Page{Limit: 7, Backwards: backwards})
				if err != nil || m && len(page) != 7 {
					t.Fatalf("a page of %v, %v", ids(page), err)
				}
				switch more = m; {
				case len(page) == 0:
				case backwards:
					got = append(slices.Clone(page), got...)
					f.Before = page[0].ID
				default:
					got = append(got, page...)
					f.After = page[len(page)-1].ID
				}
			}
			if want, _ := selected(all, storage.Filter{With: juliet}, many); !slices.Equal(got, want) {
				t.Errorf("got %v\nwant %v", ids(got), ids(want))
			}
		})
	}
	t.Run("counts up to a bound", func(t *testing.T) {
		for name, f := range filters {
			want, _ := selected(all, f, many)
			for _, most := range []int{-1, 0, 1, len(want) - 1, len(want), len(want) + 1, 1000} {
				n, all, err := s.CountRows(ctx, storage.ArchiveKey{Space: "a", Owner: romeo}, f, most)
				if wantAll := max(most, 0) >= len(want); err != nil || n != min(len(want), max(most, 0)) || all != wantAll {
					t.Errorf("%s, at most %d: %d, all: %t, %v; there are %d", name, most, n, all, err, len(want))
				}
			}
		}
		if n, all, err := s.CountRows(ctx, storage.ArchiveKey{Space: "a", Owner: nobody}, storage.Filter{}, 10); n != 0 || !all || err != nil {
			t.Errorf("of nobody: %d, %t, %v", n, all, err)
		}
	})
}

func randomFilter(at func(int) time.Time) (f storage.Filter) {
	if rand.IntN(2) == 0 {
		people := []string{"juliet@example.org", "juliet@example.org/balcony", "nurse@example.org", "example.org"}
		f.With = jid.MustParse(people[rand.IntN(len(people))])
	}
	if rand.IntN(3) == 0 {
		f.Start = at(rand.IntN(30))
	}
	if rand.IntN(3) == 0 {
		f.End = at(rand.IntN(30))
	}
	if rand.IntN(3) == 0 {
		f.After = uint64(rand.IntN(1300))
	}
	if rand.IntN(3) == 0 {
		f.Before = uint64(rand.IntN(1300))
	}
	if rand.IntN(4) == 0 {
		for range rand.IntN(150) {
			f.IDs = append(f.IDs, uint64(rand.IntN(130)*10))
		}
	}
	return f
}
