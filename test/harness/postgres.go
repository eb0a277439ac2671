package harness

import "os"

// PostgresVariable names the environment variable with the folder of the
// socket of a PostgreSQL server. With it, each server that tests start keeps
// its data in a new database there. test/postgres sets it.
const PostgresVariable = "HEXMPP_TEST_POSTGRES"

var onPostgres = os.Getenv(PostgresVariable)

// OnPostgres reports whether this test process tests servers on PostgreSQL.
func OnPostgres() bool { return onPostgres != "" }
