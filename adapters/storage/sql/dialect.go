package sql

import (
	"context"
	"io/fs"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
)

// dialect is all that differs between databases; everything else in this
// package is the same SQL for each of them. Statements are written with "?"
// and rebound by the driver's name (sqlx).
type dialect struct {
	name       string        // of the database, as messages call it
	where      string        // which one it is: a file, a host; without passwords
	goose      goose.Dialect // how goose keeps its table of versions
	migrations fs.FS         // the .sql files
	begin      string        // begins a transaction that will write
	lockRow    string        // behind a SELECT: until the end of the transaction nobody else locks what it found
	revisions  revisions

	// useIndex, behind the name of a table, names the index to be used.
	useIndex func(index string) string

	// remote: the database is a server. A statement is a round trip, so jobs get
	// a savepoint only when one of their group needs it; and it does not depend
	// on us when we leave.
	remote bool

	// openWriter and openReaders open the pool of the one writing connection
	// and that of readers; every connection they make is set up alike.
	// openSchema opens a pool for migrations, which may take long.
	openWriter  func(context.Context) (*sqlx.DB, error)
	openReaders func(context.Context) (*sqlx.DB, error)
	openSchema  func(context.Context) (*sqlx.DB, error)

	// claim makes this process the only one that uses the database; the error
	// wraps ErrInUse if another one does.
	claim func(context.Context) (*claim, error)

	// lockSchema keeps other processes from migrating until unlock is called.
	lockSchema func(context.Context) (unlock func() error, err error)

	// diagnose says what an error of the database means for the writer, and a
	// hint for the administrator, which may be empty.
	diagnose func(error) (effect, string)

	// result tells an error of the database that is a result: the error of
	// the port, or nil.
	result func(error) error
}

// revisions says where the revisions of entries come from.
type revisions struct {
	counted  bool   // by the writer, in the table entries_revision; else by SQL alone
	inserted string // SQL of the revision of a write: a parameter, or a sequence
	replaced string // the same where an INSERT found the entry there and replaces it
}

// effect is what an error leaves behind.
type effect int

const (
	// statementFailed: the transaction is alive and can go on, if need be from
	// its last savepoint.
	statementFailed effect = iota
	// transactionLost: the database rolled the transaction back, or never
	// began it. The next one may succeed: disk full, lock held.
	transactionLost
	// connectionLost: the connection can't be trusted any more; a new one may
	// do: a failed read or write, a server that went away.
	connectionLost
	// diskLost: what the database believes to be on disk may not be (a failed
	// fsync), or the file is damaged. Going on would turn that into a lie.
	diskLost
)
