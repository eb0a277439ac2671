package sql

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/hexmpp/hexmpp/adapters/storage/sql/pgtest"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/storage/storagetest"
)

// schemas counts the schemas that tests have made: each store gets one, which
// costs less than a database.
var schemas atomic.Int64

// newSchema makes a schema and returns the DSN of a store in it.
func newSchema(t testing.TB, server *pgtest.Server) string {
	t.Helper()
	name := fmt.Sprint("store", schemas.Add(1))
	db, err := sqlx.Open("postgres", server.DSN("postgres", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE SCHEMA " + name); err != nil {
		t.Fatalf("%v\n%s", err, server.Log())
	}
	return server.DSN("postgres", name)
}

func openPostgres(t testing.TB, dsn string) *Store {
	t.Helper()
	return openTest(t, Options{Driver: Postgres, DSN: dsn})
}

func TestPostgres(t *testing.T) {
	server := pgtest.Start(t)
	dsns := make(map[storage.Store]string)
	storagetest.Run(t,
		func(t *testing.T) storage.Store {
			dsn := newSchema(t, server)
			s := openPostgres(t, dsn)
			dsns[s] = dsn
			return s
		},
		func(t *testing.T, s storage.Store) storage.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return openPostgres(t, dsns[s])
		})
	if t.Failed() {
		lines := strings.Split(server.Log(), "\n")
		t.Logf("the end of the server's log:\n%s", strings.Join(lines[max(0, len(lines)-30):], "\n"))
	}
}
