package wire

import (
	dbsql "database/sql"
	"errors"
	"testing"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/storage/sql"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/test/harness/pgtest"
)

// The configuration's driver and dsn open PostgreSQL, which keeps a secret.
func TestPostgres(t *testing.T) {
	pg := pgtest.Start(t)
	c, err := config.Parse("c.yaml", []byte("storage: {driver: postgres, dsn: \""+pg.DSN("postgres", "")+"\"}"))
	if err != nil {
		t.Fatal(err)
	}
	var first string
	for range 2 {
		store, err := openStore(t.Context(), c, observe.Storage{}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := openStore(t.Context(), c, observe.Storage{}, zap.NewNop()); !errors.Is(err, sql.ErrInUse) {
			t.Errorf("a second store: %v", err)
		}
		secret, err := store.Secret(t.Context(), "s")
		if err != nil || first != "" && string(secret) != first {
			t.Errorf("secret %x, was %x: %v", secret, first, err)
		}
		first = string(secret)
		if r, err := store.Roster(t.Context(), jid.MustParse("romeo@example.test")); err != nil || len(r.Items) != 0 {
			t.Error(r, err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A server whose database another one has taken, while its connection was
// broken, can't go on, and says why.
func TestDatabaseIsTaken(t *testing.T) {
	pg := pgtest.Start(t)
	dsn := pg.DSN("postgres", "")
	o, _, _ := setup(t, loopback+"storage: {driver: postgres, dsn: \""+dsn+"\"}\n")
	s := start(t, o)
	db, err := dbsql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var other storage.Store
	for other == nil {
		if _, err := db.Exec("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"); err != nil {
			t.Fatal(err)
		}
		// The first one may be faster: it looks every two seconds. Then once more.
		if other, err = openStore(t.Context(), o.Config, observe.Storage{}, zap.NewNop()); err != nil && !errors.Is(err, sql.ErrInUse) {
			t.Fatal(err)
		}
	}
	<-s.Failed()
	if !errors.Is(s.Cause(), sql.ErrInUse) {
		t.Errorf("cause %v", s.Cause())
	}
	stop(t, s)
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}
