package authtest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func testAccounts(t *testing.T, open Open) {
	ctx := t.Context()
	t.Run("what was created is told of", func(t *testing.T) {
		before := time.Now().Add(-time.Minute)
		s := start(t, open, romeo)
		a, err := s.Accounts.Get(ctx, romeo)
		if err != nil {
			t.Fatal(err)
		}
		if a.User != romeo || a.Disabled || !a.LastLogin.IsZero() || a.Created.Before(before) || a.Created.After(time.Now().Add(time.Minute)) {
			t.Errorf("got %+v", a)
		}
	})
	t.Run("ErrExists, and the password stays", func(t *testing.T) {
		s := start(t, open, romeo)
		is(t, "Create", s.Accounts.Create(ctx, romeo, "another"), auth.ErrExists)
		accepts(t, s, romeo, "pencil", "pencil", true)
	})
	t.Run("ErrNotFound for an unknown user", func(t *testing.T) {
		s := start(t, open, romeo)
		_, err := s.Accounts.Get(ctx, nobody)
		is(t, "Get", err, auth.ErrNotFound)
		is(t, "SetPassword", s.Accounts.SetPassword(ctx, nobody, "pencil"), auth.ErrNotFound)
		is(t, "Remove", s.Accounts.Remove(ctx, nobody), auth.ErrNotFound)
	})
	t.Run("Remove, then create again", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		if err := s.Accounts.Remove(ctx, romeo); err != nil {
			t.Fatal(err)
		}
		_, err := s.Accounts.Get(ctx, romeo)
		is(t, "Get", err, auth.ErrNotFound)
		accepts(t, s, romeo, "pencil", "pencil", false)
		accepts(t, s, juliet, "pencil", "pencil", true)
		if err := s.Accounts.Create(ctx, romeo, "other"); err != nil {
			t.Fatal(err)
		}
		accepts(t, s, romeo, "pencil", "pencil", false)
		accepts(t, s, romeo, "other", "other", true)
	})
	t.Run("List pages in order of the localpart", func(t *testing.T) {
		locals := []string{"a", "a-b", "ab", "b", "b10", "b2", "é", "日本"}
		var users []jid.JID
		for _, i := range []int{3, 0, 6, 1, 7, 5, 2, 4} {
			users = append(users, jid.MustParse(locals[i]+"@example.org"))
		}
		s := start(t, open, append(users, jid.MustParse("c@example.net"))...)
		for _, limit := range []int{1, 3, 100} {
			var got []string
			for after := ""; ; after = got[len(got)-1] {
				page, err := s.Accounts.List(ctx, "example.org", after, limit)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) > limit {
					t.Fatalf("a page of %d, limit %d", len(page), limit)
				}
				if len(page) == 0 {
					break
				}
				for _, a := range page {
					got = append(got, a.User.Local())
				}
			}
			if !slices.Equal(got, locals) {
				t.Errorf("limit %d: got %q, want %q", limit, got, locals)
			}
		}
	})
}

func testConcurrent(t *testing.T, open Open) {
	ctx := t.Context()
	s := start(t, open, romeo)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			user := jid.MustParse(fmt.Sprintf("user%d@example.org", i))
			if err := s.Accounts.Create(ctx, user, "pencil"); err != nil {
				t.Errorf("Create: %v", err)
				return
			}
			if err := s.Verifier.VerifyPassword(ctx, user, "pencil"); err != nil {
				t.Errorf("VerifyPassword: %v", err)
			}
			is(t, "VerifyPassword", s.Verifier.VerifyPassword(ctx, romeo, "wrong"), auth.ErrDenied)
			for _, u := range []jid.JID{romeo, user, nobody} {
				k, err := s.Credentials.SCRAM(ctx, u, auth.SHA256)
				if err != nil {
					t.Errorf("SCRAM: %v", err)
					continue
				}
				if err := login(auth.SHA256, k, "pencil"); (err == nil) != (u != nobody) {
					t.Errorf("login of %s: %v", u, err)
				}
			}
			if err := s.Accounts.Remove(ctx, user); err != nil {
				t.Errorf("Remove: %v", err)
			}
		})
	}
	wg.Wait()
}

func testContexts(t *testing.T, open Open) {
	s := start(t, open, romeo)
	// An ended context may be noticed or not; that it ended is never told as
	// a wrong password, nor as a missing account.
	for _, user := range []jid.JID{romeo, nobody} {
		_, err := s.Credentials.SCRAM(cancelled(t), user, auth.SHA256)
		notNamed(t, "SCRAM", err)
	}
	notNamed(t, "VerifyPassword", s.Verifier.VerifyPassword(cancelled(t), romeo, "pencil"))
	notNamed(t, "SetPassword", s.Accounts.SetPassword(cancelled(t), romeo, "pencil"))
	_, err := s.Accounts.Get(cancelled(t), romeo)
	notNamed(t, "Get", err)
	accepts(t, s, romeo, "pencil", "pencil", true)
}

func notNamed(t *testing.T, what string, err error) {
	t.Helper()
	for _, n := range named {
		if errors.Is(err, n) {
			t.Errorf("%s with an ended context: got %v", what, err)
		}
	}
}
