package local

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/auth/authtest"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

var (
	romeo  = jid.MustParse("romeo@example.org")
	nobody = jid.MustParse("nobody@example.org")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The suite, with the least count of iterations that is allowed, since most
// of its time is key derivation.
func TestSource(t *testing.T) {
	authtest.Run(t, func(t *testing.T) authtest.Sources { return sources(t, newFakeStore()) })
}

func sources(t *testing.T, store *fakeStore) authtest.Sources {
	s := newTest(t, store, Options{Iterations: minIterations})
	return authtest.Sources{
		Credentials: s, Verifier: s, Accounts: s,
		SetDisabled: func(_ *testing.T, user jid.JID, disabled bool) { store.setDisabled(user, disabled) },
		Restart:     func(t *testing.T) authtest.Sources { return sources(t, store) },
	}
}

func newTest(t testing.TB, store *fakeStore, o Options) *Source {
	t.Helper()
	s, err := New(o, Deps{Accounts: store, Secrets: store, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		ok   bool
	}{
		{"defaults", Options{}, true},
		{"RFC 7677 4: fewer than 4096 iterations", Options{Iterations: 4095}, false},
		{"too many iterations", Options{Iterations: maxIterations + 1}, false},
		{"negative", Options{Workers: -1}, false},
	} {
		s, err := New(c.o, Deps{})
		if (err == nil) != c.ok {
			t.Errorf("%s: got %v", c.name, err)
		}
		if err == nil && (s.options.Iterations != 10_000 || cap(s.workers) != runtime.GOMAXPROCS(0)) {
			t.Errorf("%s: got %+v", c.name, s.options)
		}
	}
}

// What storage fails with is never told as a wrong password or an unknown
// user: the client must hear temporary-auth-failure (RFC 6120 6.5.11).
func TestStorageFails(t *testing.T) {
	store := newFakeStore()
	s := newTest(t, store, Options{Iterations: minIterations})
	if err := s.Create(t.Context(), romeo, "pencil"); err != nil {
		t.Fatal(err)
	}
	store.fail(storage.ErrUnavailable)
	for name, call := range map[string]func() error{
		"SCRAM":          func() error { _, err := s.SCRAM(t.Context(), nobody, auth.SHA1); return err },
		"VerifyPassword": func() error { return s.VerifyPassword(t.Context(), romeo, "pencil") },
		"Create":         func() error { return s.Create(t.Context(), nobody, "pencil") },
		"Get":            func() error { _, err := s.Get(t.Context(), romeo); return err },
		"List":           func() error { _, err := s.List(t.Context(), "example.org", "", 1); return err },
		"Remove":         func() error { return s.Remove(t.Context(), romeo) },
	} {
		err := call()
		if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, auth.ErrDenied) || errors.Is(err, auth.ErrNotFound) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	store.fail(nil)
	if err := s.VerifyPassword(t.Context(), romeo, "pencil"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// One who asks for an unknown user causes the same reads and the same
// derivation as one who asks for a known user.
func TestSameWork(t *testing.T) {
	store := newFakeStore()
	s := newTest(t, store, Options{Iterations: minIterations})
	if err := s.Create(t.Context(), romeo, "pencil"); err != nil {
		t.Fatal(err)
	}
	reads := func(user jid.JID) int {
		before := store.accountReads()
		if _, err := s.SCRAM(t.Context(), user, auth.SHA256); err != nil {
			t.Fatal(err)
		}
		if err := s.VerifyPassword(t.Context(), user, "wrong"); !errors.Is(err, auth.ErrDenied) {
			t.Fatal(err)
		}
		return store.accountReads() - before
	}
	if a, b := reads(romeo), reads(nobody); a != b {
		t.Errorf("%d reads for a known user, %d for an unknown one", a, b)
	}
	known, err := s.keys(t.Context(), romeo, verified...)
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := s.keys(t.Context(), nobody, verified...)
	if err != nil {
		t.Fatal(err)
	}
	if known.hash != auth.SHA256 {
		t.Errorf("VerifyPassword derives with %s", known.hash)
	}
	if known.hash != unknown.hash || known.Iterations != unknown.Iterations || len(known.Salt) != len(unknown.Salt) {
		t.Errorf("VerifyPassword derives otherwise: %s with %d iterations, %s with %d for an unknown user",
			known.hash, known.Iterations, unknown.hash, unknown.Iterations)
	}
	if !known.real || unknown.real {
		t.Errorf("real: %v for a known user, %v for an unknown one", known.real, unknown.real)
	}
}

// Accounts from elsewhere may have fewer key sets.
func TestFewerHashes(t *testing.T) {
	store := newFakeStore()
	s := newTest(t, store, Options{Iterations: minIterations})
	if err := s.Create(t.Context(), romeo, "pencil"); err != nil {
		t.Fatal(err)
	}
	for _, only := range auth.Hashes {
		if err := s.SetPassword(t.Context(), romeo, "pencil"); err != nil {
			t.Fatal(err)
		}
		store.keepHash(romeo, string(only))
		if err := s.VerifyPassword(t.Context(), romeo, "pencil"); err != nil {
			t.Errorf("VerifyPassword with %s only: %v", only, err)
		}
		if err := s.VerifyPassword(t.Context(), romeo, "pen"); !errors.Is(err, auth.ErrDenied) {
			t.Errorf("VerifyPassword with %s only and a wrong password: %v", only, err)
		}
	}
	k, err := s.SCRAM(t.Context(), romeo, auth.SHA512)
	if err != nil || len(k.Salt) != saltSize || len(k.StoredKey) != 64 {
		t.Errorf("SCRAM for the hash without keys: got %+v, %v, want a decoy", k, err)
	}
}

// With every worker busy, a login waits as long as its context allows, and
// hears that the source failed, not that the password was wrong.
func TestWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTest(t, newFakeStore(), Options{Iterations: minIterations, Workers: 1})
		if err := s.Create(t.Context(), romeo, "pencil"); err != nil {
			t.Fatal(err)
		}
		done, err := s.work(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.VerifyPassword(ctx, romeo, "pencil"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, auth.ErrDenied) {
			t.Errorf("VerifyPassword with no worker: %v", err)
		}
		result := make(chan error, 1)
		go func() { result <- s.VerifyPassword(t.Context(), romeo, "pencil") }()
		synctest.Wait()
		select {
		case err := <-result:
			t.Errorf("VerifyPassword did not wait: %v", err)
		default:
		}
		done()
		if err := <-result; err != nil {
			t.Errorf("VerifyPassword when a worker is free: %v", err)
		}
	})
}

func TestPasswordsAreNotStored(t *testing.T) {
	store := newFakeStore()
	s := newTest(t, store, Options{Iterations: minIterations})
	if err := s.Create(t.Context(), romeo, "a password in clear"); err != nil {
		t.Fatal(err)
	}
	a, err := store.Account(t.Context(), romeo)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Keys) != len(auth.Hashes) {
		t.Errorf("%d key sets, want one for each of %v", len(a.Keys), auth.Hashes)
	}
	for _, k := range a.Keys {
		if len(k.Salt) != saltSize || k.Iterations != minIterations {
			t.Errorf("%s: salt of %d bytes, %d iterations", k.Hash, len(k.Salt), k.Iterations)
		}
	}
}

func BenchmarkVerifyPassword(b *testing.B) {
	s := newTest(b, newFakeStore(), Options{})
	if err := s.Create(b.Context(), romeo, "pencil"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := s.VerifyPassword(b.Context(), romeo, "pencil"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSCRAM(b *testing.B) {
	s := newTest(b, newFakeStore(), Options{})
	if err := s.Create(b.Context(), romeo, "pencil"); err != nil {
		b.Fatal(err)
	}
	for name, user := range map[string]jid.JID{"known": romeo, "unknown": nobody} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.SCRAM(b.Context(), user, auth.SHA256); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
