package sql

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"github.com/hexmpp/hexmpp/test/harness/pgtest"
)

// refuse checks that a store is not opened, for this reason.
func refuse(t *testing.T, o Options, want error) {
	t.Helper()
	if o.Driver == "" {
		o.BusyTimeout = 200 * time.Millisecond
	}
	s, err := New(t.Context(), o, zaptest.NewLogger(t))
	if err == nil {
		s.Close()
	}
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

// testExclusive is what both databases do.
func testExclusive(t *testing.T, o, other Options) {
	o.Exclusive, other.Exclusive = true, true
	first := openTest(t, o)
	refuse(t, o, ErrInUse)
	mustPut(t, first, "k")
	openTest(t, other)
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	second := openTest(t, o)
	if !has(t, second, "k") {
		t.Error("the entry is gone")
	}
	o.Exclusive = false
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	o.Existing = true
	if !has(t, openTest(t, o), "k") {
		t.Error("the entry is gone")
	}
}

func TestExclusive(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "hexmpp.db")
	testExclusive(t, Options{Path: path}, Options{Path: filepath.Join(dir, "other.db")})
	t.Run("a link to the file is the same database", func(t *testing.T) {
		o := Options{Path: path, Exclusive: true}
		openTest(t, o)
		o.Path = filepath.Join(t.TempDir(), "link.db")
		if err := os.Symlink(path, o.Path); err != nil {
			t.Fatal(err)
		}
		refuse(t, o, ErrInUse)
	})
}

func TestExistingMakesNothing(t *testing.T) {
	dir := t.TempDir()
	refuse(t, Options{Path: filepath.Join(dir, "hexmpp.db"), Existing: true}, ErrMissing)
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("%v, %v", files, err)
	}
}

func testPostgresClaim(t *testing.T, server *pgtest.Server) {
	options := func() Options { return Options{Driver: Postgres, DSN: newSchema(t, server)} }
	t.Run("one server", func(t *testing.T) { testExclusive(t, options(), options()) })
	t.Run("an existing schema", func(t *testing.T) {
		o := options()
		o.Existing = true
		refuse(t, o, ErrMissing)
	})

	t.Run("a lost connection", func(t *testing.T) {
		o := options()
		o.Exclusive = true
		again := make(chan struct{}, 10)
		log := zaptest.NewLogger(t, zaptest.WrapOptions(zap.Hooks(func(e zapcore.Entry) error {
			if strings.Contains(e.Message, "is taken again") {
				again <- struct{}{}
			}
			return nil
		})))
		s, err := New(t.Context(), o, log)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		terminate := func() {
			t.Helper()
			administer(t, o.DSN, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint = 1751480421
				AND objid = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())`)
		}
		terminate()
		select {
		case err := <-s.Lost():
			t.Fatalf("nobody else was there: %v", err)
		case <-again:
		}
		refuse(t, o, ErrInUse)

		var other *Store
		for other == nil {
			terminate()
			// The first one may be faster: it looks every two seconds. Then once more.
			if other, err = New(t.Context(), o, zaptest.NewLogger(t)); err != nil && !errors.Is(err, ErrInUse) {
				t.Fatal(err)
			}
		}
		defer other.Close()
		if err := <-s.Lost(); !errors.Is(err, ErrInUse) {
			t.Errorf("lost: %v", err)
		}
		mustPut(t, other, "k")
	})
}
