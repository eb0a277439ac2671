package sql

import (
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/storage/storagetest"
)

func TestStore(t *testing.T) {
	storagetest.Run(t,
		func(t *testing.T) storage.Store {
			return openTest(t, Options{Path: filepath.Join(t.TempDir(), "hexmpp.db")})
		},
		func(t *testing.T, s storage.Store) storage.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return openTest(t, Options{Path: s.(*Store).dialect.where})
		})
}

func openTest(t testing.TB, o Options) *Store {
	t.Helper()
	if o.BusyTimeout == 0 {
		o.BusyTimeout = 20 * time.Second // a loaded machine isn't what these tests are about
	}
	s, err := New(t.Context(), o, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
