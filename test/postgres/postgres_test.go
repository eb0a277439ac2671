package postgres

import (
	"flag"
	"os"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/pgtest"
)

var only = flag.String("only", "", "run only the tests that match: go test ./test/postgres -args -only TestRoster")

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// onceIsEnough are the tests of test/e2e that no database makes different, and
// that take time: what clients may do wrong ends before anything is stored,
// and the command line is looked at without a server.
var onceIsEnough = []string{
	"TestHostile", "TestSlowClients",
	"TestConfigCheck", "TestConfigShow", "TestServeWithoutConfiguration", "TestVersionCommand",
	"TestDatabaseIsLost", // which has a PostgreSQL for itself
}

func TestOnPostgres(t *testing.T) {
	server := pgtest.Start(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of PostgreSQL's log:\n%s", server.Log())
		}
	})
	t.Run("e2e", func(t *testing.T) { again(t, server, "e2e", onceIsEnough) })
	t.Run("interop", func(t *testing.T) { again(t, server, "interop", nil) })
}

// again runs the tests of a folder below test, all but those to skip.
func again(t *testing.T, server *pgtest.Server, folder string, skip []string) {
	t.Parallel() // foreign clients let a processor wait most of the time
	harness.Again(t, folder, *only, skip, harness.PostgresVariable+"="+server.Folder())
}
