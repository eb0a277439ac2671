package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

var stamp = time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)

func message(xml string) storage.OfflineMessage {
	return storage.OfflineMessage{Stamp: stamp, XML: []byte(xml)}
}

// add stores a message and returns its ID.
func add(t *testing.T, s storage.Store, owner jid.JID, xml string) uint64 {
	t.Helper()
	id, err := s.AddOffline(t.Context(), owner, message(xml), 1000)
	if err != nil || id == 0 {
		t.Fatalf("AddOffline(%s): ID %d, %v", owner, id, err)
	}
	return id
}

// stored is a message as it must be found.
type stored struct {
	id  uint64
	xml string
}

// waiting fails the test unless exactly these messages wait for the owner.
func waiting(t *testing.T, s storage.Store, owner jid.JID, want ...stored) {
	t.Helper()
	if got := page(t, s, owner, 0, 1000); !slices.Equal(got, want) {
		t.Errorf("OfflineMessages(%s)\n got %v\nwant %v", owner, got, want)
	}
}

func page(t *testing.T, s storage.Store, owner jid.JID, after uint64, limit int) (got []stored) {
	t.Helper()
	all, err := s.OfflineMessages(t.Context(), owner, after, limit)
	if err != nil {
		t.Fatalf("OfflineMessages(%s, %d, %d): %v", owner, after, limit, err)
	}
	for _, m := range all {
		got = append(got, stored{m.ID, string(m.XML)})
	}
	return got
}

func testOffline(t *testing.T, open Open) {
	ctx := t.Context()
	t.Run("XML is kept to the byte", func(t *testing.T) {
		s := start(t, open, romeo)
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		var want []stored
		for _, xml := range []string{"<message xmlns='jabber:client'>\r\n<body>é &lt; \"</body></message>", " ", "\x00", string(every), strings.Repeat("x", storage.MaxValue)} {
			want = append(want, stored{add(t, s, romeo, xml), xml})
		}
		waiting(t, s, romeo, want...)
	})
	t.Run("stamps are kept to the microsecond, in UTC", func(t *testing.T) {
		s := start(t, open, romeo)
		zone := time.FixedZone("", -5*3600)
		stamps := []time.Time{stamp, stamp.Add(999 * time.Nanosecond).In(zone), time.Unix(0, 0), time.Unix(-1, 999_999_999), {}}
		for _, at := range stamps {
			if _, err := s.AddOffline(ctx, romeo, storage.OfflineMessage{Stamp: at, XML: []byte("x")}, 10); err != nil {
				t.Fatal(err)
			}
		}
		all, err := s.OfflineMessages(ctx, romeo, 0, 10)
		if err != nil || len(all) != len(stamps) {
			t.Fatalf("got %v, %v", all, err)
		}
		for i, m := range all {
			if want := stamps[i].Truncate(time.Microsecond); !m.Stamp.Equal(want) || m.Stamp.Location() != time.UTC {
				t.Errorf("got %v, want %v in UTC", m.Stamp, want)
			}
		}
	})
	t.Run("the ID of the message given is ignored", func(t *testing.T) {
		s := start(t, open, romeo)
		m := message("x")
		m.ID = 4711
		for range 2 {
			id, err := s.AddOffline(ctx, romeo, m, 10)
			if err != nil || id == 4711 {
				t.Errorf("ID %d, %v", id, err)
			}
		}
	})
	t.Run("IDs grow over all accounts", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		last := uint64(0)
		for i := range 20 {
			id := add(t, s, []jid.JID{romeo, juliet}[i%2], "x")
			if id <= last {
				t.Errorf("ID %d after %d", id, last)
			}
			last = id
		}
	})
	t.Run("IDs grow over deletions and removed accounts", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		first := add(t, s, romeo, "x")
		if err := s.DeleteOffline(ctx, romeo, []uint64{first}); err != nil {
			t.Fatal(err)
		}
		second := add(t, s, juliet, "x")
		if err := s.RemoveAccount(ctx, juliet); err != nil {
			t.Fatal(err)
		}
		if third := add(t, s, romeo, "x"); !(first < second && second < third) {
			t.Errorf("IDs %d, %d, %d", first, second, third)
		}
	})
	t.Run("deletes what it names, of this owner, and skips the rest", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		a, b, c := add(t, s, romeo, "a"), add(t, s, romeo, "b"), add(t, s, romeo, "c")
		other := add(t, s, juliet, "d")
		for _, ids := range [][]uint64{nil, {}, {other}, {0, c + 1000, 1<<63 - 1, 1 << 63, 1<<64 - 1}} {
			if err := s.DeleteOffline(ctx, romeo, ids); err != nil {
				t.Errorf("DeleteOffline(%v): %v", ids, err)
			}
			waiting(t, s, romeo, stored{a, "a"}, stored{b, "b"}, stored{c, "c"})
		}
		if err := s.DeleteOffline(ctx, romeo, []uint64{c, a, other, a, 1 << 63}); err != nil {
			t.Error(err)
		}
		waiting(t, s, romeo, stored{b, "b"})
		waiting(t, s, juliet, stored{other, "d"})
		if err := s.DeleteOffline(ctx, nobody, []uint64{b, other}); err != nil {
			t.Errorf("DeleteOffline of nobody: %v", err)
		}
		waiting(t, s, romeo, stored{b, "b"})
	})
	t.Run("deletes many at once", func(t *testing.T) {
		s := start(t, open, romeo)
		ids := make([]uint64, 333)
		for i, err := range inParallel(len(ids), func(i int) (err error) {
			ids[i], err = s.AddOffline(ctx, romeo, message("x"), 1000)
			return err
		}) {
			if err != nil {
				t.Fatalf("AddOffline %d: %v", i, err)
			}
		}
		if err := s.DeleteOffline(ctx, romeo, ids[1:]); err != nil {
			t.Fatal(err)
		}
		waiting(t, s, romeo, stored{ids[0], "x"})
	})
	t.Run("messages go with the account", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		add(t, s, romeo, "a")
		b := add(t, s, juliet, "b")
		if err := s.RemoveAccount(ctx, romeo); err != nil {
			t.Fatal(err)
		}
		waiting(t, s, romeo)
		create(t, s, romeo) // and a new account of the name inherits nothing
		waiting(t, s, romeo)
		waiting(t, s, juliet, stored{b, "b"})
	})
	t.Run("ErrNotFound for who is no account", func(t *testing.T) {
		s := start(t, open, romeo)
		for _, owner := range []jid.JID{nobody, {}, jid.MustParse("example.org")} {
			for _, quota := range []int{0, 10} {
				_, err := s.AddOffline(ctx, owner, message("x"), quota)
				is(t, "AddOffline "+owner.String(), err, storage.ErrNotFound)
			}
			waiting(t, s, owner)
		}
	})
	t.Run("ErrInvalid stores nothing", func(t *testing.T) {
		s := start(t, open, romeo)
		full := jid.MustParse("romeo@example.org/balcony")
		for name, c := range map[string]struct {
			owner jid.JID
			size  int
		}{"owner with a resourcepart": {full, 1}, "no XML": {romeo, 0}, "too much XML": {romeo, storage.MaxValue + 1}} {
			_, err := s.AddOffline(ctx, c.owner, storage.OfflineMessage{XML: make([]byte, c.size)}, 10)
			is(t, name, err, storage.ErrInvalid)
		}
		waiting(t, s, romeo)
		waiting(t, s, full)
	})
	t.Run("the caller's and the store's memory are apart", func(t *testing.T) {
		s := start(t, open, romeo)
		m := message("text")
		id, err := s.AddOffline(ctx, romeo, m, 10)
		if err != nil {
			t.Fatal(err)
		}
		m.XML[0] = 'X'
		all, err := s.OfflineMessages(ctx, romeo, 0, 10)
		if err != nil || len(all) != 1 || !bytes.Equal(all[0].XML, []byte("text")) {
			t.Fatalf("got %v, %v", all, err)
		}
		all[0].XML[0] = 'Y'
		waiting(t, s, romeo, stored{id, "text"})
	})
}

func testOfflineAll(t *testing.T, open Open) {
	ctx := t.Context()
	many := func(n int) (all []storage.OfflineMessage, bodies []string) {
		for i := range n {
			bodies = append(bodies, fmt.Sprint(i))
			all = append(all, message(bodies[i]))
		}
		return all, bodies
	}
	bodies := func(t *testing.T, s storage.Store, owner jid.JID) (got []string) {
		last := uint64(0)
		for _, m := range page(t, s, owner, 0, 1000) {
			if m.id <= last {
				t.Errorf("ID %d after %d", m.id, last)
			}
			last = m.id
			got = append(got, m.xml)
		}
		return got
	}
	for _, n := range []int{0, 1, 63, 64, 65, 300} {
		t.Run(fmt.Sprintf("%d at once, in order", n), func(t *testing.T) {
			s := start(t, open, romeo, juliet)
			first := add(t, s, romeo, "first")
			all, want := many(n)
			if err := s.AddOfflineAll(ctx, romeo, all); err != nil {
				t.Fatal(err)
			}
			if last := add(t, s, romeo, "last"); last < first+uint64(n)+1 {
				t.Errorf("IDs %d and %d", first, last)
			}
			if got := bodies(t, s, romeo); !slices.Equal(got, append(append([]string{"first"}, want...), "last")) {
				t.Errorf("got %q", got)
			}
			waiting(t, s, juliet)
		})
	}
	t.Run("the quota does not count, and is not forgotten", func(t *testing.T) {
		s := start(t, open, romeo)
		add(t, s, romeo, "first")
		all, _ := many(3)
		if err := s.AddOfflineAll(ctx, romeo, all); err != nil {
			t.Fatal(err)
		}
		_, err := s.AddOffline(ctx, romeo, message("over"), 4)
		is(t, "a quota of 4", err, storage.ErrQuota)
		if err := s.AddOfflineAll(ctx, romeo, all); err != nil {
			t.Fatal(err)
		}
		if got := bodies(t, s, romeo); len(got) != 7 {
			t.Errorf("got %q", got)
		}
	})
	t.Run("stamps, bytes and memory are those of AddOffline", func(t *testing.T) {
		s := start(t, open, romeo)
		all := []storage.OfflineMessage{{ID: 4711, Stamp: stamp.Add(999 * time.Nanosecond), XML: []byte("\x00\xff")}}
		if err := s.AddOfflineAll(ctx, romeo, all); err != nil {
			t.Fatal(err)
		}
		all[0].XML[0] = 'X'
		got, err := s.OfflineMessages(ctx, romeo, 0, 10)
		if err != nil || len(got) != 1 || got[0].ID == 4711 || !got[0].Stamp.Equal(stamp) || string(got[0].XML) != "\x00\xff" {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("all or none", func(t *testing.T) {
		s := start(t, open, romeo)
		all, _ := many(70)
		all[69].XML = nil
		is(t, "the last without XML", s.AddOfflineAll(ctx, romeo, all), storage.ErrInvalid)
		is(t, "no account", s.AddOfflineAll(ctx, nobody, all[:69]), storage.ErrNotFound)
		is(t, "a resourcepart", s.AddOfflineAll(ctx, jid.MustParse("romeo@example.org/balcony"), all[:69]), storage.ErrInvalid)
		waiting(t, s, romeo)
		waiting(t, s, nobody)
	})
}

func testOfflinePaging(t *testing.T, open Open) {
	s := start(t, open, romeo, juliet)
	var want []stored
	for i := range 25 {
		xml := fmt.Sprint("message ", i)
		want = append(want, stored{add(t, s, romeo, xml), xml})
		add(t, s, juliet, xml)
	}
	for _, limit := range []int{1, 2, 7, 25, 1000} {
		t.Run(fmt.Sprintf("pages of %d in order", limit), func(t *testing.T) {
			var got []stored
			for after := uint64(0); ; after = got[len(got)-1].id {
				next := page(t, s, romeo, after, limit)
				if len(next) > limit {
					t.Fatalf("a page of %d", len(next))
				}
				if len(next) == 0 {
					break
				}
				got = append(got, next...)
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %v\nwant %v", got, want)
			}
		})
	}
	t.Run("behind an ID that is not there", func(t *testing.T) {
		// The next ID belongs to the other account.
		if got := page(t, s, romeo, want[3].id+1, 2); !slices.Equal(got, want[4:6]) {
			t.Errorf("got %v, want %v", got, want[4:6])
		}
	})
	t.Run("nothing behind the last, nor for limits below 1", func(t *testing.T) {
		for _, c := range []struct {
			after uint64
			limit int
		}{{want[24].id, 10}, {1<<63 - 1, 10}, {1 << 63, 10}, {1<<64 - 1, 10}, {0, 0}, {0, -1}} {
			if got := page(t, s, romeo, c.after, c.limit); len(got) != 0 {
				t.Errorf("behind %d, limit %d: got %v", c.after, c.limit, got)
			}
		}
	})
	t.Run("nothing for who is no account", func(t *testing.T) {
		for _, owner := range []jid.JID{nobody, {}, jid.MustParse("romeo@example.org/x"), jid.MustParse("romeo@example.net")} {
			waiting(t, s, owner)
		}
	})
}

// testAddOfflineEach: one commit, and yet each message by itself.
func testAddOfflineEach(t *testing.T, open Open) {
	ctx := t.Context()
	with := func(owner jid.JID, xml string) storage.OfflineAdd {
		return storage.OfflineAdd{Owner: owner, Message: message(xml)}
	}
	t.Run("each has a result of its own, what is stored is in order", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		all := []storage.OfflineAdd{
			with(romeo, "1"), with(juliet, "1"), with(nobody, "1"), with(romeo, "2"), with(romeo, "over"),
			{Owner: juliet, Message: storage.OfflineMessage{Stamp: stamp}}, with(jid.MustParse("juliet@example.org/x"), "x"), with(juliet, "2"),
		}
		want := []error{nil, nil, storage.ErrNotFound, nil, storage.ErrQuota, storage.ErrInvalid, storage.ErrInvalid, nil}
		results, err := s.AddOfflineEach(ctx, all, 2)
		if err != nil || len(results) != len(all) {
			t.Fatalf("%d results, %v", len(results), err)
		}
		for i, err := range results {
			if want[i] == nil && err != nil || want[i] != nil && !errors.Is(err, want[i]) {
				t.Errorf("message %d: %v, want %v", i, err, want[i])
			}
		}
		last := uint64(0)
		for _, owner := range []jid.JID{romeo, juliet} {
			got := page(t, s, owner, 0, 10)
			if len(got) != 2 || got[0].xml != "1" || got[1].xml != "2" || got[0].id >= got[1].id {
				t.Errorf("%s has %v", owner, got)
			}
			last = max(last, got[1].id)
		}
		if id := add(t, s, romeo, "later"); id <= last {
			t.Errorf("ID %d behind %d", id, last)
		}
	})
	t.Run("of nobody, and none", func(t *testing.T) {
		s := start(t, open, romeo)
		results, err := s.AddOfflineEach(ctx, []storage.OfflineAdd{with(nobody, "1")}, 10)
		if err != nil || len(results) != 1 || !errors.Is(results[0], storage.ErrNotFound) {
			t.Error(results, err)
		}
		if results, err := s.AddOfflineEach(ctx, nil, 10); err != nil || len(results) != 0 {
			t.Error(results, err)
		}
		waiting(t, s, romeo)
	})
	t.Run("many at once, beside others", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		const goroutines, each = 8, 40
		errs := inParallel(goroutines, func(i int) error {
			var all []storage.OfflineAdd
			for n := range each {
				all = append(all, with([]jid.JID{romeo, juliet}[n%2], fmt.Sprint(i, " ", n)))
			}
			results, err := s.AddOfflineEach(ctx, all, 1000)
			return errors.Join(append(results, err)...)
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		for k, owner := range []jid.JID{romeo, juliet} {
			next := make([]int, goroutines)
			got := page(t, s, owner, 0, 1000)
			for _, m := range got {
				var i, n int
				fmt.Sscan(m.xml, &i, &n)
				if n != 2*next[i]+k {
					t.Errorf("%s: %q is out of order", owner, m.xml)
				}
				next[i]++
			}
			if len(got) != goroutines*each/2 {
				t.Errorf("%s has %d", owner, len(got))
			}
		}
	})
}

func testQuota(t *testing.T, open Open) {
	ctx := t.Context()
	t.Run("ErrQuota stores nothing, and what is there stays", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		var want []stored
		for i := range 3 {
			xml := fmt.Sprint(i)
			id, err := s.AddOffline(ctx, romeo, message(xml), 3)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, stored{id, xml})
		}
		for _, quota := range []int{3, 2, 1, 0, -1} {
			_, err := s.AddOffline(ctx, romeo, message("over"), quota)
			is(t, fmt.Sprint("quota ", quota), err, storage.ErrQuota)
			waiting(t, s, romeo, want...)
		}
		_, err := s.AddOffline(ctx, juliet, message("x"), 0)
		is(t, "quota 0", err, storage.ErrQuota)
		_, err = s.AddOffline(ctx, juliet, message("x"), 1)
		if err != nil {
			t.Errorf("the quota is of each owner: %v", err)
		}
	})
	t.Run("a deletion makes room", func(t *testing.T) {
		s := start(t, open, romeo)
		a := add(t, s, romeo, "a")
		_, err := s.AddOffline(ctx, romeo, message("b"), 1)
		is(t, "full", err, storage.ErrQuota)
		if err := s.DeleteOffline(ctx, romeo, []uint64{a}); err != nil {
			t.Fatal(err)
		}
		b, err := s.AddOffline(ctx, romeo, message("b"), 1)
		if err != nil {
			t.Fatal(err)
		}
		waiting(t, s, romeo, stored{b, "b"})
	})
	t.Run("exact when 32 goroutines add at once", func(t *testing.T) {
		s := start(t, open, romeo)
		const quota, each = 50, 4
		ids := make([][]uint64, 32)
		errs := inParallel(len(ids), func(i int) error {
			for range each {
				id, err := s.AddOffline(ctx, romeo, message(fmt.Sprint(i)), quota)
				if errors.Is(err, storage.ErrQuota) {
					continue
				}
				if err != nil {
					return err
				}
				ids[i] = append(ids[i], id)
			}
			return nil
		})
		var want []stored
		for i, err := range errs {
			if err != nil {
				t.Errorf("goroutine %d: %v", i, err)
			}
			for _, id := range ids[i] {
				want = append(want, stored{id, fmt.Sprint(i)})
			}
		}
		if len(want) != quota {
			t.Errorf("%d messages were stored, the quota is %d", len(want), quota)
		}
		slices.SortFunc(want, func(a, b stored) int { return int(a.id) - int(b.id) })
		waiting(t, s, romeo, want...)
	})
}
