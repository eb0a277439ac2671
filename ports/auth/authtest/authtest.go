// Package authtest is the suite that every source of accounts runs: each rule
// that the comments of ports/auth state is a test with a name. Times aren't
// measured: that an unknown user costs the same work is for the source's own
// tests and for a reviewer.
package authtest

import (
	"context"
	"errors"
	"testing"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Sources is one source behind the interfaces that it implements.
type Sources struct {
	Credentials auth.Credentials
	Verifier    auth.Verifier
	Accounts    auth.Accounts

	// SetDisabled disables or enables an account. nil leaves the rules on
	// disabled accounts out.
	SetDisabled func(t *testing.T, user jid.JID, disabled bool)
	// Restart returns the same source as after a restart of the server. nil
	// leaves the rules on restarts out.
	Restart func(t *testing.T) Sources
}

// Open returns a new source without any account.
type Open func(t *testing.T) Sources

// Run runs the suite.
func Run(t *testing.T, open Open) {
	t.Run("Accounts", func(t *testing.T) { testAccounts(t, open) })
	t.Run("SCRAM", func(t *testing.T) { testSCRAM(t, open) })
	t.Run("Decoys", func(t *testing.T) { testDecoys(t, open) })
	t.Run("Verifier", func(t *testing.T) { testVerifier(t, open) })
	t.Run("Passwords", func(t *testing.T) { testPasswords(t, open) })
	t.Run("Disabled", func(t *testing.T) { testDisabled(t, open) })
	t.Run("Contexts", func(t *testing.T) { testContexts(t, open) })
	t.Run("Concurrent", func(t *testing.T) { testConcurrent(t, open) })
}

var (
	romeo  = jid.MustParse("romeo@example.org")
	juliet = jid.MustParse("juliet@example.org")
	nobody = jid.MustParse("nobody@example.org")
)

// start opens a source with these accounts, whose password is "pencil".
func start(t *testing.T, open Open, users ...jid.JID) Sources {
	t.Helper()
	s := open(t)
	for _, u := range users {
		if err := s.Accounts.Create(t.Context(), u, "pencil"); err != nil {
			t.Fatalf("Create(%s): %v", u, err)
		}
	}
	return s
}

func keys(t *testing.T, s Sources, user jid.JID, h auth.Hash) auth.Keys {
	t.Helper()
	k, err := s.Credentials.SCRAM(t.Context(), user, h)
	if err != nil {
		t.Fatalf("SCRAM(%s, %s): %v", user, h, err)
	}
	return k
}

// accepts fails the test unless both ways to log in do, or don't, take the
// password. For SCRAM the client prepares the password itself; prepared is
// what it gets.
func accepts(t *testing.T, s Sources, user jid.JID, password, prepared string, want bool) {
	t.Helper()
	for _, h := range auth.Hashes {
		err := login(h, keys(t, s, user, h), prepared)
		if (err == nil) != want {
			t.Errorf("SCRAM-%s with %q: got %v, should work: %v", h, prepared, err, want)
		}
	}
	err := s.Verifier.VerifyPassword(t.Context(), user, password)
	if want && err != nil || !want && !errors.Is(err, auth.ErrDenied) {
		t.Errorf("VerifyPassword with %q: got %v, should work: %v", password, err, want)
	}
}

var named = []error{auth.ErrDenied, auth.ErrExists, auth.ErrNotFound, auth.ErrPassword}

// is fails the test unless err is want and none of the port's other errors.
// ErrDenied may have ErrPassword as its reason.
func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
	for _, other := range named {
		if other != want && errors.Is(err, other) && !(want == auth.ErrDenied && other == auth.ErrPassword) {
			t.Errorf("%s: got %v, which is %v too", what, err, other)
		}
	}
}

func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
