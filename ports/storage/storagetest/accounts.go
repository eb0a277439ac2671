package storagetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func testAccounts(t *testing.T, open Open) {
	ctx := t.Context()
	t.Run("what was created is read", func(t *testing.T) {
		s := start(t, open)
		want := account(romeo)
		want.Disabled = true
		want.LastLogin = want.Created.Add(time.Hour)
		if err := s.CreateAccount(ctx, want); err != nil {
			t.Fatal(err)
		}
		sameAccount(t, s, want)
	})
	t.Run("never logged in is the zero time", func(t *testing.T) {
		s := start(t, open, romeo)
		sameAccount(t, s, account(romeo))
	})
	t.Run("no keys", func(t *testing.T) {
		s := start(t, open)
		want := storage.Account{User: romeo, Created: account(romeo).Created}
		if err := s.CreateAccount(ctx, want); err != nil {
			t.Fatal(err)
		}
		sameAccount(t, s, want)
	})
	t.Run("names beyond ASCII", func(t *testing.T) {
		user := jid.MustParse("юлия@παράδειγμα.example")
		s := start(t, open, user)
		sameAccount(t, s, account(user))
	})
	t.Run("the same localpart in two domains is two accounts", func(t *testing.T) {
		other := jid.MustParse("romeo@example.net")
		s := start(t, open, romeo)
		_, err := s.Account(ctx, other)
		is(t, "Account", err, storage.ErrNotFound)
		create(t, s, other)
		sameAccount(t, s, account(other))
	})
	t.Run("ErrExists leaves the account as it is", func(t *testing.T) {
		s := start(t, open, romeo)
		is(t, "CreateAccount", s.CreateAccount(ctx, storage.Account{User: romeo, Disabled: true}), storage.ErrExists)
		sameAccount(t, s, account(romeo))
	})
	t.Run("ErrNotFound for an unknown user", func(t *testing.T) {
		s := start(t, open, romeo)
		_, err := s.Account(ctx, nobody)
		is(t, "Account", err, storage.ErrNotFound)
		is(t, "SetKeys", s.SetKeys(ctx, nobody, account(nobody).Keys), storage.ErrNotFound)
		is(t, "RemoveAccount", s.RemoveAccount(ctx, nobody), storage.ErrNotFound)
	})
	t.Run("SetKeys replaces all keys and nothing else", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		want := account(romeo)
		want.Keys = []storage.Key{{Hash: "SHA-512", Salt: []byte("s"), Iterations: 1, StoredKey: []byte("a"), ServerKey: []byte("b")}}
		if err := s.SetKeys(ctx, romeo, want.Keys); err != nil {
			t.Fatal(err)
		}
		sameAccount(t, s, want)
		sameAccount(t, s, account(juliet))
	})
	t.Run("ErrInvalid for what is no account", func(t *testing.T) {
		s := start(t, open, romeo)
		for _, u := range []jid.JID{{}, jid.MustParse("example.org"), jid.MustParse("romeo@example.org/balcony")} {
			is(t, "CreateAccount "+u.String(), s.CreateAccount(ctx, storage.Account{User: u}), storage.ErrInvalid)
		}
		twice := []storage.Key{{Hash: "SHA-1"}, {Hash: "SHA-1"}}
		is(t, "CreateAccount", s.CreateAccount(ctx, storage.Account{User: juliet, Keys: twice}), storage.ErrInvalid)
		is(t, "SetKeys", s.SetKeys(ctx, romeo, twice), storage.ErrInvalid)
		sameAccount(t, s, account(romeo))
	})
	t.Run("the caller's and the store's memory are apart", func(t *testing.T) {
		s := start(t, open)
		a := account(romeo)
		if err := s.CreateAccount(ctx, a); err != nil {
			t.Fatal(err)
		}
		a.Keys[0].Salt[0] = 'X'
		sameAccount(t, s, account(romeo))
		read, err := s.Account(ctx, romeo)
		if err != nil {
			t.Fatal(err)
		}
		read.Keys[0].StoredKey[0] = 'X'
		sameAccount(t, s, account(romeo))
	})
	t.Run("one of many creators wins", func(t *testing.T) {
		s := start(t, open)
		errs := inParallel(16, func(int) error { return s.CreateAccount(ctx, account(romeo)) })
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
				continue
			}
			is(t, "CreateAccount", err, storage.ErrExists)
		}
		if won != 1 {
			t.Errorf("%d creators got nil, want 1", won)
		}
	})
}

func testPaging(t *testing.T, open Open) {
	ctx := t.Context()
	// Byte order, where a locale would order otherwise.
	locals := []string{"a", "a-b", "a.b", "ab", "b", "b1", "b10", "b2", "z", "zz", "é", "ж", "日本"}
	s := start(t, open)
	for _, i := range []int{5, 0, 12, 3, 9, 1, 11, 7, 2, 10, 4, 8, 6} {
		create(t, s, jid.MustParse(locals[i]+"@example.org"))
	}
	create(t, s, jid.MustParse("c@example.net"))

	for _, limit := range []int{1, 2, 5, len(locals), 100} {
		t.Run(fmt.Sprintf("pages of %d in byte order", limit), func(t *testing.T) {
			var got []string
			after := ""
			for {
				page, err := s.ListAccounts(ctx, "example.org", after, limit)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) > limit {
					t.Fatalf("a page of %d", len(page))
				}
				if len(page) == 0 {
					break
				}
				for _, a := range page {
					got = append(got, a.User.Local())
					if a.User.Domain() != "example.org" || a.Keys != nil || !a.Created.Equal(account(romeo).Created) {
						t.Errorf("got %+v", a)
					}
				}
				after = got[len(got)-1]
			}
			if !slices.Equal(got, locals) {
				t.Errorf("got %q\nwant %q", got, locals)
			}
		})
	}
	t.Run("with all but the keys", func(t *testing.T) {
		want := account(jid.MustParse("full@example.edu"))
		want.Disabled, want.LastLogin = true, want.Created.Add(time.Hour)
		if err := s.CreateAccount(ctx, want); err != nil {
			t.Fatal(err)
		}
		page, err := s.ListAccounts(ctx, "example.edu", "", 10)
		if err != nil || len(page) != 1 {
			t.Fatalf("got %v, %v", page, err)
		}
		got := page[0]
		if got.User != want.User || !got.Disabled || !got.Created.Equal(want.Created) || !got.LastLogin.Equal(want.LastLogin) || got.Keys != nil {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("after a name that is not there", func(t *testing.T) {
		page, err := s.ListAccounts(ctx, "example.org", "b11", 2)
		if err != nil || len(page) != 2 || page[0].User.Local() != "b2" || page[1].User.Local() != "z" {
			t.Errorf("got %v, %v", page, err)
		}
	})
	t.Run("nothing for other domains and limits below 1", func(t *testing.T) {
		for _, c := range []struct {
			domain string
			limit  int
		}{{"example.com", 10}, {"", 10}, {"example.org", 0}, {"example.org", -1}} {
			if page, err := s.ListAccounts(ctx, c.domain, "", c.limit); err != nil || len(page) != 0 {
				t.Errorf("%q, limit %d: got %v, %v", c.domain, c.limit, page, err)
			}
		}
	})
}

func testRemoval(t *testing.T, open Open) {
	ctx := t.Context()
	s := start(t, open, romeo, juliet)
	for _, owner := range []jid.JID{romeo, juliet, {}} {
		put(t, s,
			storage.Op{Space: "vcard", Owner: owner, Key: "k", Value: []byte("v " + owner.String())},
			storage.Op{Space: "private", Owner: owner, Key: "k", Value: []byte("p " + owner.String())})
	}
	if err := s.RemoveAccount(ctx, romeo); err != nil {
		t.Fatal(err)
	}
	t.Run("the account is gone", func(t *testing.T) {
		_, err := s.Account(ctx, romeo)
		is(t, "Account", err, storage.ErrNotFound)
		is(t, "RemoveAccount", s.RemoveAccount(ctx, romeo), storage.ErrNotFound)
		page, err := s.ListAccounts(ctx, "example.org", "", 10)
		if err != nil || len(page) != 1 || page[0].User != juliet {
			t.Errorf("ListAccounts: got %v, %v", page, err)
		}
	})
	t.Run("its entries are gone and no others", func(t *testing.T) {
		for _, space := range []string{"vcard", "private"} {
			absent(t, s, space, romeo, "k")
			get(t, s, space, juliet, "k", space[:1]+" juliet@example.org")
			get(t, s, space, jid.JID{}, "k", space[:1]+" ")
		}
		sameAccount(t, s, account(juliet))
	})
	t.Run("a new account of the name inherits nothing", func(t *testing.T) {
		create(t, s, romeo)
		absent(t, s, "vcard", romeo, "k")
		if page, err := s.Scan(ctx, "private", romeo, "", "", 10); err != nil || len(page) != 0 {
			t.Errorf("Scan: got %v, %v", page, err)
		}
		sameAccount(t, s, account(romeo))
	})
}

func testTouch(t *testing.T, open Open) {
	ctx := t.Context()
	s := start(t, open, romeo, juliet)
	at := account(romeo).Created.Add(time.Hour)
	touch := func(logins map[jid.JID]time.Time) {
		t.Helper()
		if err := s.TouchAccounts(ctx, logins); err != nil {
			t.Fatal(err)
		}
	}
	touch(map[jid.JID]time.Time{romeo: at, nobody: at})
	t.Run("writes some, skips accounts that are gone", func(t *testing.T) {
		want := account(romeo)
		want.LastLogin = at
		sameAccount(t, s, want)
		sameAccount(t, s, account(juliet))
		_, err := s.Account(ctx, nobody)
		is(t, "Account", err, storage.ErrNotFound)
	})
	t.Run("a later login replaces, an earlier does not", func(t *testing.T) {
		want := account(romeo)
		want.LastLogin = at.Add(time.Minute)
		touch(map[jid.JID]time.Time{romeo: want.LastLogin})
		touch(map[jid.JID]time.Time{romeo: at})
		sameAccount(t, s, want)
	})
	t.Run("many at once", func(t *testing.T) {
		logins := make(map[jid.JID]time.Time)
		for i := range 300 {
			logins[jid.MustParse(fmt.Sprintf("user%d@example.org", i))] = at
		}
		logins[juliet] = at
		touch(logins)
		want := account(juliet)
		want.LastLogin = at
		sameAccount(t, s, want)
	})
	t.Run("none", func(t *testing.T) { touch(nil) })
}

func sameAccount(t *testing.T, s storage.Store, want storage.Account) {
	t.Helper()
	got, err := s.Account(t.Context(), want.User)
	if err != nil {
		t.Fatalf("Account(%s): %v", want.User, err)
	}
	byHash := func(a, b storage.Key) int { return strings.Compare(a.Hash, b.Hash) }
	slices.SortFunc(got.Keys, byHash)
	slices.SortFunc(want.Keys, byHash)
	if got.User != want.User || !got.Created.Equal(want.Created) || !got.LastLogin.Equal(want.LastLogin) ||
		got.LastLogin.IsZero() != want.LastLogin.IsZero() || got.Disabled != want.Disabled ||
		!slices.EqualFunc(got.Keys, want.Keys, sameKey) {
		t.Errorf("Account(%s)\n got %+v\nwant %+v", want.User, got, want)
	}
}

func sameKey(a, b storage.Key) bool {
	return a.Hash == b.Hash && a.Iterations == b.Iterations && bytes.Equal(a.Salt, b.Salt) &&
		bytes.Equal(a.StoredKey, b.StoredKey) && bytes.Equal(a.ServerKey, b.ServerKey)
}
