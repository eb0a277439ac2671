package sql

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"go.uber.org/zap/zaptest"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/storage/storagetest"
	"github.com/hexmpp/hexmpp/test/harness/pgtest"
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
	open := func(t *testing.T) *Store { return openPostgres(t, newSchema(t, server)) }
	t.Run("Suite", func(t *testing.T) { testPostgresSuite(t, server) })
	t.Run("Schema", func(t *testing.T) {
		testSchema(t, func(t *testing.T) Options { return Options{Driver: Postgres, DSN: newSchema(t, server)} })
	})
	t.Run("Groups", func(t *testing.T) { testGroups(t, open) })
	t.Run("Settings", func(t *testing.T) { testPostgresSettings(t, server) })
	t.Run("QueryPlans", func(t *testing.T) { testPostgresPlans(t, open(t)) })
	t.Run("RoundTrips", func(t *testing.T) { testRoundTrips(t, server) })
	t.Run("Domains", func(t *testing.T) { testDomains(t, open(t)) })
	t.Run("Claim", func(t *testing.T) { testPostgresClaim(t, server) })
	t.Run("Nodes", func(t *testing.T) { testNodes(t, server) })
	t.Run("Lost", func(t *testing.T) { testLost(t, server) }) // last, since it ends the server
	if t.Failed() {
		t.Logf("the end of the server's log:\n%s", server.Log())
	}
}

func testPostgresSuite(t *testing.T, server *pgtest.Server) {
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
}

// administer runs a statement as the administrator of the server.
func administer(t testing.TB, dsn, statement string) {
	t.Helper()
	db, err := sqlx.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func testPostgresSettings(t *testing.T, server *pgtest.Server) {
	setting := func(t *testing.T, s *Store, name string) (got string) {
		t.Helper()
		if err := s.write(t.Context(), "read settings", func(tx *tx) error {
			_, err := tx.first("SHOW "+name, nil, &got)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	t.Run("a reader can't write", func(t *testing.T) {
		s := openPostgres(t, newSchema(t, server))
		if _, err := s.readers.Exec("DELETE FROM accounts"); err == nil {
			t.Error("it can")
		}
	})
	t.Run("a commit waits for the disk, whatever the database says", func(t *testing.T) {
		s := openPostgres(t, newSchema(t, server))
		if got := setting(t, s, "fsync") + setting(t, s, "synchronous_commit"); got != "onon" {
			t.Errorf("by default: %s", got)
		}
		for in, want := range map[string]string{"off": "on", "local": "local", "remote_apply": "remote_apply"} {
			s := openPostgres(t, newSchema(t, server)+" synchronous_commit="+in)
			if got := setting(t, s, "synchronous_commit"); got != want {
				t.Errorf("synchronous_commit = %s becomes %s", in, got)
			}
		}
	})
	t.Run("isolation and timeouts", func(t *testing.T) {
		s := openTest(t, Options{Driver: Postgres, DSN: newSchema(t, server) + " default_transaction_isolation=serializable", StatementTimeout: 7 * time.Second})
		for name, want := range map[string]string{
			"transaction_isolation": "read committed", "statement_timeout": "7s", "idle_in_transaction_session_timeout": "1min",
		} {
			if got := setting(t, s, name); got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
	})
	t.Run("a database that isn't UTF8 is refused", func(t *testing.T) {
		administer(t, server.DSN("postgres", ""), "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'")
		refused(t, Options{Driver: Postgres, DSN: server.DSN("ascii", "")}, "must be UTF8")
	})
	t.Run("a user that can't create tables is told so", func(t *testing.T) {
		administer(t, server.DSN("postgres", ""), "CREATE ROLE weak LOGIN")
		refused(t, Options{Driver: Postgres, DSN: strings.Replace(server.DSN("postgres", ""), "user=postgres", "user=weak", 1)}, "make it the owner of the database")
	})
	t.Run("a database that isn't there", func(t *testing.T) {
		refused(t, Options{Driver: Postgres, DSN: server.DSN("missing", "")}, "create the database")
	})
	t.Run("a user that isn't there", func(t *testing.T) {
		refused(t, Options{Driver: Postgres, DSN: server.DSN("postgres", "") + " user=stranger password=secret"}, "doesn't accept user and password")
	})
}

// refused fails the test unless a store can't be opened, with an error that
// says so and keeps the password for itself.
func refused(t *testing.T, o Options, hint string) {
	t.Helper()
	s, err := New(t.Context(), o, zaptest.NewLogger(t))
	if err == nil {
		s.Close()
		t.Fatalf("%s: no error", o.DSN)
	}
	if !strings.Contains(err.Error(), hint) || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, want one that says %q and not the password", err, hint)
	}
}

func TestPostgresDSN(t *testing.T) {
	for name, c := range map[string]struct{ dsn, hint string }{
		"no sslmode over TCP":           {"host=localhost user=u password=secret", "sslmode must be named"},
		"no sslmode in a URL":           {"postgres://u:secret@localhost/db", "sslmode must be named"},
		"sslmode that falls back":       {"host=localhost user=u password=secret sslmode=prefer", "sslmode=prefer"},
		"sslmode that isn't there":      {"host=localhost user=u password=secret sslmode=maybe", "can't be read"},
		"URL with a password too plain": {"postgres://u:a/secret@localhost/db?sslmode=disable", "can't be read"},
		"password with a space":         {"host=localhost sslmode=disable password=a secret user=u", "can't be read"},
		"no DSN":                        {"", "no DSN"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, Options{Driver: Postgres, DSN: c.dsn}, c.hint) })
	}
	t.Run("no driver", func(t *testing.T) { refused(t, Options{Driver: "mysql", DSN: "secret"}, `no driver "mysql"`) })
	t.Run("nobody there", func(t *testing.T) {
		where := filepath.Join(t.TempDir(), "nobody")
		refused(t, Options{Driver: Postgres, DSN: "host=" + where + " user=u dbname=db password=secret"}, "check that it runs")
	})
}

// No query that runs often has to read a whole table. The tables are empty, so
// reading them whole is made to look expensive.
func testPostgresPlans(t *testing.T, s *Store) {
	for _, q := range frequentQueries(s) {
		args := strings.TrimSuffix(strings.Repeat("NULL, ", strings.Count(q, "?")), ", ")
		err := s.write(t.Context(), "explain", func(t *tx) error {
			for _, statement := range []string{
				"SET LOCAL enable_seqscan = off", "SET LOCAL plan_cache_mode = force_generic_plan",
				"PREPARE q AS " + sqlx.Rebind(sqlx.DOLLAR, q),
			} {
				if _, err := t.conn.conn.ExecContext(context.Background(), statement); err != nil {
					return err
				}
			}
			var steps []string
			if err := t.conn.conn.SelectContext(context.Background(), &steps, "EXPLAIN EXECUTE q("+args+")"); err != nil {
				return err
			}
			for _, step := range steps {
				if strings.Contains(step, "Seq Scan") {
					return fmt.Errorf("%s", strings.Join(steps, "\n"))
				}
			}
			_, err := t.conn.conn.ExecContext(context.Background(), "DEALLOCATE q")
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", q, err)
		}
	}
}
