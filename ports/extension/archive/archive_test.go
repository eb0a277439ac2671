package archive_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/archive"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/mam"
	"github.com/hexmpp/hexmpp/ports/xmpp/rsm"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

var (
	owner = jid.MustParse("juliet@example.org")
	romeo = jid.MustParse("romeo@example.net/orchard")
	nurse = jid.MustParse("nurse@example.net/house")
	began = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

	limits = archive.Limits{Default: 5, Most: 8, Count: 10, CountAlone: 15}
)

func newIDs(t testing.TB) *mam.IDs {
	ids, err := mam.NewIDs(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// bench is an archive of n messages, one a minute, every third with the nurse.
type bench struct {
	*extensiontest.Harness
	ask func(ctx context.Context, a *archive.Archive) error
	ids *mam.IDs
}

func newBench(t testing.TB, n int) *bench {
	b := &bench{ids: newIDs(t)}
	reg := extension.Registration{Name: "test", IQ: []extension.IQHandler{{Space: "urn:t", Local: "t", To: extension.ToOwnAccount,
		Handle: func(ctx context.Context, h *extension.Host, _ extension.IQ) (*stanza.Element, error) {
			return nil, b.ask(ctx, &archive.Archive{Archive: h.Archive, IDs: b.ids, Owner: owner})
		}}}}
	b.Harness = extensiontest.New(t, reg, extensiontest.Options{Now: began.Add(time.Duration(n) * time.Minute)})
	for i := range n {
		with := romeo
		if i%3 == 2 {
			with = nurse
		}
		b.AppendRow(storage.Row{Owner: owner, ID: id(i), Stamp: minute(i), With: with, XML: fmt.Sprintf("<message xmlns='jabber:client' id='%d'/>", i)})
	}
	return b
}

func minute(i int) time.Time { return began.Add(time.Duration(i) * time.Minute) }
func id(i int) uint64        { return uint64(minute(i).UnixMicro()) << 11 }

// run calls f with the archive and returns its error.
func (b *bench) run(f func(ctx context.Context, a *archive.Archive) error) (err error) {
	b.ask = func(ctx context.Context, a *archive.Archive) error { err = f(ctx, a); return nil }
	b.IQ(extensiontest.Client("juliet@example.org/balcony"), stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, ID: "1"}, stanza.El("urn:t", "t")))
	return err
}

func (b *bench) query(q mam.Query, l archive.Limits) (p *archive.Page, err error) {
	err = b.run(func(ctx context.Context, a *archive.Archive) (err error) {
		p, err = a.Query(ctx, &q, l)
		return err
	})
	return p, err
}

// String is a page as "numbers, complete, first, last, index, count".
func (b *bench) String(p *archive.Page) string {
	number := func(text string) string {
		n, ok := b.ids.Read(text)
		if !ok {
			return text
		}
		return fmt.Sprint(int(time.UnixMicro(int64(n>>11)).Sub(began) / time.Minute))
	}
	var rows []string
	for _, r := range p.Rows {
		rows = append(rows, number(b.ids.Write(r.ID)))
	}
	s := strings.Join(rows, " ")
	if p.Fin.Complete {
		s += " complete"
	}
	if p.Fin.First != "" {
		s += fmt.Sprintf(" %s-%s", number(p.Fin.First), number(p.Fin.Last))
	}
	if p.Fin.Index != rsm.None {
		s += fmt.Sprintf(" index %d", p.Fin.Index)
	}
	if p.Fin.Count != rsm.None {
		s += fmt.Sprintf(" of %d", p.Fin.Count)
	}
	return strings.TrimSpace(s)
}

func TestQuery(t *testing.T) {
	b := newBench(t, 12)
	text := func(i int) string { return b.ids.Write(id(i)) }
	set := func(max int) rsm.Request { return rsm.Request{Max: max, Index: rsm.None} }
	after := func(max, i int) rsm.Request { s := set(max); s.After, s.HasAfter = text(i), true; return s }
	before := func(max, i int) rsm.Request { s := set(max); s.Before, s.HasBefore = text(i), true; return s }
	last := func(max int) rsm.Request { s := set(max); s.HasBefore = true; return s }
	between := after(3, 2)
	between.Before, between.HasBefore = text(9), true
	for _, c := range []struct {
		name string
		q    mam.Query
		want string
	}{
		{"XEP-0313 4.3.1 the server's own limit", mam.Query{Set: set(rsm.None)}, "0 1 2 3 4 0-4 index 0"},
		{"XEP-0313 4.3.1 example 18: max", mam.Query{Set: set(2)}, "0 1 0-1 index 0"},
		{"XEP-0313 4.3.1 more than the server gives", mam.Query{Set: set(100)}, "0 1 2 3 4 5 6 7 0-7 index 0"},
		{"XEP-0059 2.2 the next page", mam.Query{Set: after(2, 1)}, "2 3 2-3"},
		{"XEP-0313 4.3.2 the last page forwards", mam.Query{Set: after(8, 8)}, "9 10 11 complete 9-11"},
		{"XEP-0059 2.2 nothing is behind the last", mam.Query{Set: after(8, 11)}, "complete"},
		{"XEP-0313 4.3.3 the last page", mam.Query{Set: last(3)}, "9 10 11 9-11"},
		{"XEP-0059 2.3 the page before", mam.Query{Set: before(3, 9)}, "6 7 8 6-8"},
		{"XEP-0313 4.3.2 the first page backwards", mam.Query{Set: before(5, 3)}, "0 1 2 complete 0-2"},
		{"XEP-0059 2.3 nothing is before the first", mam.Query{Set: before(5, 0)}, "complete"},
		{"XEP-0313 4.3.2 both bounds, which RSM leaves open", mam.Query{Set: between}, "6 7 8 6-8"},
		{"XEP-0059 2.7 the count alone", mam.Query{Set: set(0)}, "of 12"},
		{"XEP-0313 4.3.4 flipped", mam.Query{Set: after(3, 1), Flip: true}, "4 3 2 2-4"},
		{"XEP-0313 4.3.4 the last page, flipped", mam.Query{Set: last(2), Flip: true}, "11 10 10-11"},
		{"XEP-0313 4.1.1 with a bare JID", mam.Query{With: nurse.Bare(), Set: set(rsm.None)}, "2 5 8 11 complete 2-11 index 0 of 4"},
		{"XEP-0313 4.1.1 with a full JID", mam.Query{With: nurse, Set: last(2)}, "8 11 8-11 of 4"},
		{"XEP-0313 4.1.1 with another resource", mam.Query{With: jid.MustParse("nurse@example.net/kitchen"), Set: set(rsm.None)}, "complete index 0 of 0"},
		{"XEP-0313 4.1.2 start and end are included", mam.Query{Start: minute(3), End: minute(5), Set: set(rsm.None)}, "3 4 5 complete 3-5 index 0 of 3"},
		{"XEP-0313 4.1.2 start alone", mam.Query{Start: minute(7).Add(time.Microsecond), Set: set(2)}, "8 9 8-9 index 0 of 4"},
		{"XEP-0313 4.1.2 end alone", mam.Query{End: minute(5).Add(-1), Set: last(2)}, "3 4 3-4 of 5"},
		{"XEP-0313 4.1.2 a span that is none", mam.Query{Start: minute(5), End: minute(3), Set: set(rsm.None)}, "complete index 0 of 0"},
		{"XEP-0313 4.1 together", mam.Query{With: romeo.Bare(), Start: minute(1), End: minute(7), Set: set(3)}, "1 3 4 1-4 index 0 of 5"},
		{"XEP-0313 4.1 together, the next page", mam.Query{With: romeo.Bare(), Start: minute(1), End: minute(7), Set: after(3, 4)}, "6 7 complete 6-7 of 5"},
		{"XEP-0313 4.1.3 example 9: after-id", mam.Query{AfterID: text(8), Set: set(2)}, "9 10 9-10 index 0 of 3"},
		{"XEP-0313 4.1.3 example 10: between", mam.Query{AfterID: text(3), BeforeID: text(7), Set: set(rsm.None)}, "4 5 6 complete 4-6 index 0 of 3"},
		{"XEP-0313 4.1.3 before-id does not page backwards", mam.Query{BeforeID: text(7), Set: set(2)}, "0 1 0-1 index 0 of 7"},
		{"XEP-0313 4.1.3 example 11: ids", mam.Query{IDs: []string{text(9), text(2), text(4)}, Set: set(rsm.None)}, "2 4 9 complete 2-9 index 0 of 3"},
		{"XEP-0313 4.1.3 ids, and what else is asked", mam.Query{IDs: []string{text(9), text(2), text(4)}, With: nurse.Bare(), Set: set(rsm.None)}, "2 complete 2-2 index 0 of 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := b.query(c.q, limits)
			if err != nil {
				t.Fatal(err)
			}
			if got := b.String(p); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestNotFound(t *testing.T) {
	b := newBench(t, 3)
	unknown := b.ids.Write(id(1) + 1)
	none := rsm.Request{Max: rsm.None, Index: rsm.None}
	for _, text := range []string{unknown, "1", "28482-98726-73623", b.ids.Write(0), b.ids.Write(1 << 63), strings.Repeat("x", 22)} {
		after, before := none, none
		after.After, after.HasAfter = text, true
		before.Before, before.HasBefore = text, true
		for name, q := range map[string]mam.Query{
			"XEP-0313 4.3.2 after": {Set: after}, "XEP-0313 4.3.2 before": {Set: before}, "XEP-0313 4.1.3 after-id": {AfterID: text, Set: none},
			"XEP-0313 4.1.3 before-id": {BeforeID: text, Set: none}, "XEP-0313 4.1.3 one of ids": {IDs: []string{b.ids.Write(id(1)), text}, Set: none},
		} {
			var told *stanza.Error
			if p, err := b.query(q, limits); !errors.As(err, &told) || told.Condition != stanza.ItemNotFound || p != nil {
				t.Errorf("%s %q: %v, %v", name, text, p, err)
			}
		}
	}
	index := none
	index.Index = 0
	if _, err := b.query(mam.Query{Set: index}, limits); stanza.AsError(err).Condition != stanza.FeatureNotImplemented {
		t.Errorf("XEP-0059 2.6: %v", err)
	}
}

// Pages are bounded in bytes, have one message at least, and say that more follow.
func TestPagesAreBoundedInBytes(t *testing.T) {
	b := newBench(t, 6)
	l := limits
	l.Bytes = 2000 // of three results
	for _, c := range []struct {
		set  rsm.Request
		want string
	}{
		{rsm.Request{Max: 5, Index: rsm.None}, "0 1 2 0-2 index 0 of 6"},
		{rsm.Request{Max: 5, Index: rsm.None, HasBefore: true}, "3 4 5 3-5 of 6"},
		{rsm.Request{Max: 3, Index: rsm.None, HasBefore: true, Before: b.ids.Write(id(3))}, "0 1 2 complete 0-2 of 6"},
	} {
		if p, err := b.query(mam.Query{Set: c.set}, l); err != nil || b.String(p) != c.want {
			t.Errorf("%+v: %v, %q", c.set, err, b.String(p))
		}
	}
	l.Bytes = 1
	if p, err := b.query(mam.Query{Set: rsm.Request{Max: 5, Index: rsm.None}}, l); err != nil || b.String(p) != "0 0-0 index 0 of 6" {
		t.Error(err, p)
	}
}

func TestCounts(t *testing.T) {
	b := newBench(t, 30)
	for max, want := range map[int]string{0: "", 1: "0 0-0 index 0"} { // too many to be counted
		if p, err := b.query(mam.Query{Set: rsm.Request{Max: max, Index: rsm.None}}, limits); err != nil || b.String(p) != want {
			t.Errorf("max %d: %v, %q", max, err, b.String(p))
		}
	}
	empty := newBench(t, 0)
	if p, err := empty.query(mam.Query{Set: rsm.Request{Max: 0, Index: rsm.None}}, limits); err != nil || empty.String(p) != "complete of 0" {
		t.Error(err, p)
	}
}

func TestMetadata(t *testing.T) {
	for n, want := range map[int]string{
		0: "<metadata xmlns='urn:xmpp:mam:2'/>",
		3: fmt.Sprintf("<metadata xmlns='urn:xmpp:mam:2'><start id='%s' timestamp='2026-01-02T03:00:00.000Z'/><end id='%s' timestamp='2026-01-02T03:02:00.000Z'/></metadata>", newIDs(t).Write(id(0)), newIDs(t).Write(id(2))),
	} {
		b := newBench(t, n)
		if err := b.run(func(ctx context.Context, a *archive.Archive) error {
			m, err := a.Metadata(ctx)
			if err == nil && string(m.Append(nil, "")) != want {
				err = fmt.Errorf("%s", m.Append(nil, ""))
			}
			return err
		}); err != nil {
			t.Errorf("%d messages: %v", n, err)
		}
	}
}

func TestStorageFails(t *testing.T) {
	b := newBench(t, 20)
	gone := errors.New("gone")
	b.FailStore(gone)
	for _, q := range []mam.Query{
		{Set: rsm.Request{Max: 0, Index: rsm.None}}, {Set: rsm.Request{Max: 1, Index: rsm.None}},
		{Set: rsm.Request{Max: 1, Index: rsm.None, After: b.ids.Write(id(0)), HasAfter: true}},
	} {
		if _, err := b.query(q, limits); !errors.Is(err, gone) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	if err := b.run(func(ctx context.Context, a *archive.Archive) error { _, err := a.Metadata(ctx); return err }); !errors.Is(err, gone) {
		t.Error(err)
	}
}

// Whoever pages through an archive, either way and with any filter, gets each message
// that was there when it began, once, in order, also if others come and the oldest go.
func TestPaging(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(rt, "messages")
		b := newBench(t, n)
		backwards := rapid.Bool().Draw(rt, "backwards")
		q := mam.Query{Set: rsm.Request{Index: rsm.None, HasBefore: backwards}, Flip: rapid.Bool().Draw(rt, "flip")}
		if rapid.Bool().Draw(rt, "with") {
			q.With = nurse.Bare()
		}
		if rapid.Bool().Draw(rt, "timed") {
			q.Start, q.End = minute(rapid.IntRange(0, 20).Draw(rt, "start")), minute(rapid.IntRange(10, 40).Draw(rt, "end"))
		}
		f := storage.Filter{With: q.With, Start: q.Start, End: q.End}
		var want, got []uint64
		for _, r := range b.Rows(owner) {
			if f.Matches(&r) {
				want = append(want, r.ID)
			}
		}
		added := n
		for page := 0; ; page++ {
			if page > n+1 {
				rt.Fatal("it does not end")
			}
			q.Set.Max = rapid.IntRange(1, 9).Draw(rt, "max")
			p, err := b.query(q, limits)
			if err != nil {
				rt.Fatal(err)
			}
			ids := make([]uint64, len(p.Rows))
			for i := range ids {
				ids[i] = p.Rows[i].ID
			}
			if q.Flip {
				slices.Reverse(ids)
			}
			if backwards {
				got = append(slices.Clone(ids), got...)
				q.Set.Before = p.Fin.First
			} else {
				got = append(got, ids...)
				q.Set.After, q.Set.HasAfter = p.Fin.Last, true
			}
			if p.Fin.Complete {
				break
			}
			if backwards && rapid.Bool().Draw(rt, "one comes") { // which a page forwards would see
				b.AppendRow(storage.Row{Owner: owner, ID: id(added), Stamp: minute(added), With: nurse, XML: "<message xmlns='jabber:client'/>"})
				added++
			}
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("got %v, want %v", got, want)
		}
	})
}
