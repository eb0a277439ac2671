package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// contact is a plain item of a roster.
func contact(c jid.JID) storage.RosterItem {
	return storage.RosterItem{Contact: c, Name: c.Local(), Groups: []string{"Friends"}, Subscription: storage.SubBoth}
}

// items are plain items for these contacts.
func items(contacts ...string) (all []storage.RosterItem) {
	for _, c := range contacts {
		all = append(all, contact(jid.MustParse(c)))
	}
	return all
}

// rosterOf puts items in one change and returns what the roster must be then,
// if nothing else was in it.
func rosterOf(t *testing.T, s storage.Store, owner jid.JID, base uint64, put ...storage.RosterItem) storage.Roster {
	t.Helper()
	change(t, s, owner, base, put)
	put = slices.Clone(put)
	slices.SortFunc(put, func(a, b storage.RosterItem) int { return strings.Compare(a.Contact.String(), b.Contact.String()) })
	return storage.Roster{Version: base + 1, Items: put}
}

func change(t *testing.T, s storage.Store, owner jid.JID, base uint64, put []storage.RosterItem, remove ...jid.JID) {
	t.Helper()
	if err := s.ChangeRoster(t.Context(), owner, base, put, remove); err != nil {
		t.Fatalf("ChangeRoster(%s, %d): %v", owner, base, err)
	}
}

// sameRoster fails the test unless the roster has this version and exactly
// these items in this order.
func sameRoster(t *testing.T, s storage.Store, owner jid.JID, want storage.Roster) {
	t.Helper()
	got, err := s.Roster(t.Context(), owner)
	if err != nil {
		t.Fatalf("Roster(%s): %v", owner, err)
	}
	if got.Version != want.Version || !slices.EqualFunc(got.Items, want.Items, sameItem) {
		t.Errorf("Roster(%s)\n got %+v\nwant %+v", owner, got, want)
	}
}

func sameItem(a, b storage.RosterItem) bool {
	return a.Contact == b.Contact && a.Name == b.Name && slices.Equal(a.Groups, b.Groups) &&
		a.Subscription == b.Subscription && a.Ask == b.Ask && a.Approved == b.Approved && a.Hidden == b.Hidden &&
		bytes.Equal(a.Request, b.Request) && (a.Request == nil) == (b.Request == nil)
}

func testRosters(t *testing.T, open Open) {
	ctx := t.Context()
	t.Run("an account without a roster has an empty one", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		change(t, s, juliet, 0, items("a@example.org"))
		sameRoster(t, s, romeo, storage.Roster{})
	})
	t.Run("who is no account has an empty roster", func(t *testing.T) {
		s := start(t, open, romeo)
		change(t, s, romeo, 0, items("a@example.org"))
		for _, owner := range []jid.JID{nobody, {}, jid.MustParse("example.org"), jid.MustParse("romeo@example.org/balcony"), jid.MustParse("romeo@example.net")} {
			sameRoster(t, s, owner, storage.Roster{})
		}
	})
	t.Run("every field is kept", func(t *testing.T) {
		for _, change := range []func(*storage.RosterItem){
			func(*storage.RosterItem) {},
			func(i *storage.RosterItem) { i.Name = "Juliet" },
			func(i *storage.RosterItem) { i.Groups = []string{"Friends"} },
			func(i *storage.RosterItem) { i.Subscription = storage.SubTo },
			func(i *storage.RosterItem) { i.Subscription = storage.SubFrom },
			func(i *storage.RosterItem) { i.Subscription = storage.SubBoth },
			func(i *storage.RosterItem) { i.Ask = true },
			func(i *storage.RosterItem) { i.Approved = true },
			func(i *storage.RosterItem) { i.Hidden = true },
			func(i *storage.RosterItem) { i.Request = []byte("<presence type='subscribe'/>") },
			func(i *storage.RosterItem) {
				*i = storage.RosterItem{Contact: i.Contact, Name: "J", Groups: []string{"a", "b"}, Subscription: storage.SubTo,
					Ask: true, Approved: true, Hidden: true, Request: []byte{0}}
			},
		} {
			item := storage.RosterItem{Contact: juliet, Subscription: storage.SubNone}
			change(&item)
			s := start(t, open, romeo)
			sameRosterAfter(t, s, item)
			// Put over another item, it replaces all of that.
			other := storage.RosterItem{Contact: juliet, Name: "other", Groups: []string{"x", "y"}, Subscription: storage.SubBoth,
				Ask: !item.Ask, Approved: !item.Approved, Hidden: !item.Hidden, Request: []byte("other")}
			rosterOf(t, s, romeo, 1, other)
			sameRoster(t, s, romeo, rosterOf(t, s, romeo, 2, item))
		}
	})
	t.Run("the subscription with one contact, and none with all others", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		all := items("none@example.org", "to@example.org", "from@example.org", "both@example.org", "example.net")
		for i, state := range []storage.Subscription{storage.SubNone, storage.SubTo, storage.SubFrom, storage.SubBoth, storage.SubFrom} {
			all[i].Subscription = state
		}
		all[2].Hidden = true
		change(t, s, romeo, 0, all)
		want := func(owner, contact jid.JID, want storage.Subscription) {
			t.Helper()
			if got, err := s.Subscription(ctx, owner, contact); err != nil || got != want {
				t.Errorf("Subscription(%s, %s): %q, %v, want %q", owner, contact, got, err, want)
			}
		}
		for _, item := range all {
			want(romeo, item.Contact, item.Subscription)
			want(juliet, item.Contact, storage.SubNone)
		}
		from := all[2].Contact
		full := jid.MustParse("from@example.org/x")
		for _, other := range []jid.JID{juliet, romeo, nobody, {}, full, jid.MustParse("from@example.net"), jid.MustParse("example.org")} {
			want(romeo, other, storage.SubNone)
		}
		for _, owner := range []jid.JID{nobody, {}, jid.MustParse("example.org"), jid.MustParse("romeo@example.org/x"), jid.MustParse("romeo@example.net"), from} {
			want(owner, from, storage.SubNone)
		}
		change(t, s, romeo, 1, nil, from)
		want(romeo, from, storage.SubNone)
		if err := s.RemoveAccount(ctx, romeo); err != nil {
			t.Fatal(err)
		}
		want(romeo, all[3].Contact, storage.SubNone)
	})
	t.Run("hidden items are given back with the others", func(t *testing.T) {
		s := start(t, open, romeo)
		hidden := storage.RosterItem{Contact: nobody, Subscription: storage.SubNone, Hidden: true, Request: []byte("<presence/>")}
		sameRosterAfter(t, s, contact(juliet), hidden)
	})
	t.Run("Request: nil, empty and any bytes are three things", func(t *testing.T) {
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		all := items("a@example.org", "b@example.org", "c@example.org", "d@example.org")
		for i, request := range [][]byte{nil, {}, every, bytes.Repeat([]byte("x"), 100_000)} {
			all[i].Request = request
		}
		sameRosterAfter(t, start(t, open, romeo), all...)
	})
	t.Run("names are kept to the byte", func(t *testing.T) {
		var all []storage.RosterItem
		for i, name := range []string{"", " ", " a ", "a\tb\r\n", `"'<>&`, `\u0041\`, "%s", "'; DROP TABLE accounts; --",
			"é", "e\u0301", "日本語", "\u202e", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "\x01\x7f", "NULL", strings.Repeat("n", 10_000)} {
			item := contact(jid.MustParse(fmt.Sprintf("c%02d@example.org", i)))
			item.Name = name
			all = append(all, item)
		}
		sameRosterAfter(t, start(t, open, romeo), all...)
	})
	t.Run("groups keep their order and their bytes", func(t *testing.T) {
		all := items("a@example.org", "b@example.org", "c@example.org")
		all[0].Groups = []string{"z", "a", "Z", "a ", "é", "e\u0301", `"],["`, "<b>&amp;", `\`, "\u2028", "\ufffd", "\uffff", "\x01\n", "null"}
		all[1].Groups = []string{"a", "z"}
		all[2].Groups = nil
		s := start(t, open, romeo)
		sameRosterAfter(t, s, all...)
		slices.Reverse(all[0].Groups)
		change(t, s, romeo, 1, all[:1])
		sameRoster(t, s, romeo, storage.Roster{Version: 2, Items: all})
	})
	t.Run("items are in byte order of their contacts", func(t *testing.T) {
		// A locale would order otherwise.
		want := items("a-b@example.org", "a.b@example.org", "a@b.example", "a@example.org", "ab@example.org", "b10@example.org",
			"b1@example.org", "b2@example.org", "b@example.org", "example.org", "z@example.org", "é@example.org", "ж@example.org", "日本@example.org")
		if !slices.IsSortedFunc(want, func(a, b storage.RosterItem) int { return strings.Compare(a.Contact.String(), b.Contact.String()) }) {
			t.Fatal("the test is wrong")
		}
		s := start(t, open, romeo)
		for n, i := range []int{5, 0, 12, 3, 9, 13, 1, 11, 7, 2, 10, 4, 8, 6} {
			change(t, s, romeo, uint64(n), want[i:i+1])
		}
		sameRoster(t, s, romeo, storage.Roster{Version: 14, Items: want})
	})
	t.Run("many items", func(t *testing.T) {
		var all []storage.RosterItem
		for i := range 1000 {
			all = append(all, contact(jid.MustParse(fmt.Sprintf("contact%03d@example.org", i))))
		}
		sameRosterAfter(t, start(t, open, romeo), all...)
	})
	t.Run("put and remove in one change", func(t *testing.T) {
		s := start(t, open, romeo)
		change(t, s, romeo, 0, items("a@example.org", "b@example.org", "c@example.org"))
		b := contact(jid.MustParse("b@example.org"))
		b.Name = "changed"
		change(t, s, romeo, 1, append(items("d@example.org"), b), jid.MustParse("a@example.org"))
		want := items("b@example.org", "c@example.org", "d@example.org")
		want[0].Name = "changed"
		sameRoster(t, s, romeo, storage.Roster{Version: 2, Items: want})
	})
	t.Run("removing an item that is not there is no error", func(t *testing.T) {
		s := start(t, open, romeo)
		change(t, s, romeo, 0, items("a@example.org"))
		change(t, s, romeo, 1, nil, juliet)
		sameRoster(t, s, romeo, storage.Roster{Version: 2, Items: items("a@example.org")})
	})
	t.Run("rosters are apart", func(t *testing.T) {
		other := jid.MustParse("romeo@example.net")
		s := start(t, open, romeo, juliet, other)
		change(t, s, romeo, 0, items("a@example.org", "b@example.org"))
		change(t, s, juliet, 0, items("a@example.org"))
		change(t, s, other, 0, items("c@example.org"))
		change(t, s, romeo, 1, nil, jid.MustParse("a@example.org"))
		sameRoster(t, s, romeo, storage.Roster{Version: 2, Items: items("b@example.org")})
		sameRoster(t, s, juliet, storage.Roster{Version: 1, Items: items("a@example.org")})
		sameRoster(t, s, other, storage.Roster{Version: 1, Items: items("c@example.org")})
	})
	t.Run("the roster goes with the account", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		change(t, s, romeo, 0, items("a@example.org"))
		change(t, s, juliet, 0, items("b@example.org"))
		if err := s.RemoveAccount(ctx, romeo); err != nil {
			t.Fatal(err)
		}
		sameRoster(t, s, romeo, storage.Roster{})
		create(t, s, romeo) // and a new account of the name inherits nothing
		sameRoster(t, s, romeo, storage.Roster{})
		change(t, s, romeo, 0, nil)
		sameRoster(t, s, romeo, storage.Roster{Version: 1})
		sameRoster(t, s, juliet, storage.Roster{Version: 1, Items: items("b@example.org")})
	})
	t.Run("ErrInvalid changes nothing", func(t *testing.T) {
		s := start(t, open, romeo)
		change(t, s, romeo, 0, items("a@example.org"))
		bad := func(change func(*storage.RosterItem)) []storage.RosterItem {
			i := contact(juliet)
			change(&i)
			return append(items("b@example.org"), i)
		}
		full := jid.MustParse("juliet@example.org/balcony")
		for name, err := range map[string]error{
			"full JID":         s.ChangeRoster(ctx, romeo, 1, bad(func(i *storage.RosterItem) { i.Contact = full }), nil),
			"no contact":       s.ChangeRoster(ctx, romeo, 1, bad(func(i *storage.RosterItem) { i.Contact = jid.JID{} }), nil),
			"a contact twice":  s.ChangeRoster(ctx, romeo, 1, items("b@example.org", "b@example.org"), nil),
			"put and removed":  s.ChangeRoster(ctx, romeo, 1, items("b@example.org"), []jid.JID{jid.MustParse("b@example.org")}),
			"a group twice":    s.ChangeRoster(ctx, romeo, 1, bad(func(i *storage.RosterItem) { i.Groups = []string{"g", "g"} }), nil),
			"an empty group":   s.ChangeRoster(ctx, romeo, 1, bad(func(i *storage.RosterItem) { i.Groups = []string{""} }), nil),
			"no subscription":  s.ChangeRoster(ctx, romeo, 1, bad(func(i *storage.RosterItem) { i.Subscription = "" }), nil),
			"a name with NUL":  s.ChangeRoster(ctx, romeo, 1, bad(func(i *storage.RosterItem) { i.Name = "a\x00" }), nil),
			"a name not UTF-8": s.ChangeRoster(ctx, romeo, 1, bad(func(i *storage.RosterItem) { i.Name = "a\xff" }), nil),
			"owner's resource": s.ChangeRoster(ctx, jid.MustParse("romeo@example.org/x"), 1, nil, nil),
		} {
			is(t, name, err, storage.ErrInvalid)
		}
		sameRoster(t, s, romeo, storage.Roster{Version: 1, Items: items("a@example.org")})
	})
	t.Run("the caller's and the store's memory are apart", func(t *testing.T) {
		s := start(t, open, romeo)
		mine := func() storage.RosterItem {
			i := contact(juliet)
			i.Request = []byte("request")
			return i
		}
		item := mine()
		change(t, s, romeo, 0, []storage.RosterItem{item})
		item.Groups[0], item.Request[0] = "X", 'X'
		for range 2 {
			got, err := s.Roster(ctx, romeo)
			if err != nil || len(got.Items) != 1 || !sameItem(got.Items[0], mine()) {
				t.Fatalf("got %+v, %v", got, err)
			}
			got.Items[0].Groups[0], got.Items[0].Request[0] = "Y", 'Y'
		}
	})
}

// sameRosterAfter puts items into the empty roster of romeo and reads them.
func sameRosterAfter(t *testing.T, s storage.Store, put ...storage.RosterItem) {
	t.Helper()
	sameRoster(t, s, romeo, rosterOf(t, s, romeo, 0, put...))
}

func testRosterVersions(t *testing.T, open Open) {
	ctx := t.Context()
	t.Run("grow by one with each change, also one that does nothing", func(t *testing.T) {
		s := start(t, open, romeo)
		for base := range uint64(5) {
			change(t, s, romeo, base, nil)
			sameRoster(t, s, romeo, storage.Roster{Version: base + 1})
		}
	})
	t.Run("go on when the last item is removed", func(t *testing.T) {
		s := start(t, open, romeo)
		change(t, s, romeo, 0, items("a@example.org"))
		change(t, s, romeo, 1, nil, jid.MustParse("a@example.org"))
		sameRoster(t, s, romeo, storage.Roster{Version: 2})
	})
	t.Run("ErrConflict for any other base, and nothing is changed", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		change(t, s, juliet, 0, nil)
		for _, base := range []uint64{1, 2, 1 << 62, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
			is(t, fmt.Sprint("never changed, base ", base), s.ChangeRoster(ctx, romeo, base, items("b@example.org"), nil), storage.ErrConflict)
		}
		sameRoster(t, s, romeo, storage.Roster{})
		change(t, s, romeo, 0, items("a@example.org"))
		change(t, s, romeo, 1, nil)
		for _, base := range []uint64{0, 1, 3, 1 << 62, 1<<63 - 1, 1 << 63, 1<<64 - 1, 1<<63 + 2} {
			is(t, fmt.Sprint("at 2, base ", base), s.ChangeRoster(ctx, romeo, base, items("b@example.org"), []jid.JID{jid.MustParse("a@example.org")}), storage.ErrConflict)
		}
		sameRoster(t, s, romeo, storage.Roster{Version: 2, Items: items("a@example.org")})
	})
	t.Run("ErrNotFound for who is no account", func(t *testing.T) {
		s := start(t, open, romeo)
		for _, owner := range []jid.JID{nobody, {}, jid.MustParse("example.org")} {
			for _, base := range []uint64{0, 1} {
				is(t, "ChangeRoster "+owner.String(), s.ChangeRoster(ctx, owner, base, items("a@example.org"), nil), storage.ErrNotFound)
			}
			sameRoster(t, s, owner, storage.Roster{})
		}
		change(t, s, romeo, 0, nil)
		if err := s.RemoveAccount(ctx, romeo); err != nil {
			t.Fatal(err)
		}
		is(t, "ChangeRoster after the removal", s.ChangeRoster(ctx, romeo, 1, nil, nil), storage.ErrNotFound)
	})
}

func testRosterConcurrent(t *testing.T, open Open) {
	ctx := t.Context()
	t.Run("changes of 32 goroutines are all kept, each at its version", func(t *testing.T) {
		s := start(t, open, romeo)
		const each = 4
		errs := inParallel(32, func(i int) error {
			for n := 0; n < each; {
				r, err := s.Roster(ctx, romeo)
				if err != nil {
					return err
				}
				if int(r.Version) != len(r.Items) {
					return fmt.Errorf("%d items at version %d", len(r.Items), r.Version)
				}
				err = s.ChangeRoster(ctx, romeo, r.Version, items(fmt.Sprintf("c%d.%d@example.org", i, n)), nil)
				if err == nil {
					n++
				} else if !errors.Is(err, storage.ErrConflict) {
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
		r, err := s.Roster(ctx, romeo)
		if err != nil || r.Version != 32*each || len(r.Items) != 32*each {
			t.Errorf("got %d items at version %d, %v, want %d", len(r.Items), r.Version, err, 32*each)
		}
	})
	t.Run("one of many with the same base wins", func(t *testing.T) {
		s := start(t, open, romeo)
		for base := range uint64(3) {
			won := 0
			for i, err := range inParallel(32, func(i int) error {
				return s.ChangeRoster(ctx, romeo, base, items(fmt.Sprintf("c%d.%d@example.org", base, i)), nil)
			}) {
				if err == nil {
					won++
					continue
				}
				is(t, fmt.Sprint("goroutine ", i), err, storage.ErrConflict)
			}
			r, err := s.Roster(ctx, romeo)
			if won != 1 || err != nil || r.Version != base+1 || len(r.Items) != int(base)+1 {
				t.Errorf("base %d: %d won, %d items at version %d, %v", base, won, len(r.Items), r.Version, err)
			}
		}
	})
	t.Run("a change and other writes fail or succeed each by itself", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		errs := inParallel(64, func(i int) error {
			switch i % 4 {
			case 0:
				return s.ChangeRoster(ctx, nobody, 0, items("a@example.org"), nil)
			case 1:
				return s.ChangeRoster(ctx, juliet, 7, items("a@example.org"), nil)
			case 2:
				return s.Commit(ctx, storage.Writes{Ops: []storage.Op{{Space: "s", Owner: romeo, Key: fmt.Sprint(i)}}})
			}
			_, err := s.AddOffline(ctx, romeo, message(fmt.Sprint(i)), 100)
			return err
		})
		for i, err := range errs {
			switch i % 4 {
			case 0:
				is(t, "ChangeRoster of nobody", err, storage.ErrNotFound)
			case 1:
				is(t, "ChangeRoster at a wrong base", err, storage.ErrConflict)
			default:
				if err != nil {
					t.Errorf("%d: %v", i, err)
				}
			}
		}
		sameRoster(t, s, juliet, storage.Roster{})
		if page, err := s.OfflineMessages(ctx, romeo, 0, 100); err != nil || len(page) != 16 {
			t.Errorf("%d messages, %v, want 16", len(page), err)
		}
	})
}
