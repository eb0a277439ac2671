// Package sql implements ports/storage in an SQL database: SQLite, in one file
// beside the server, or PostgreSQL. What differs is in dialect.go, sqlite.go
// and postgres*.go, and in the folders of migrations/; the rest is shared.
//
// Every write goes through one goroutine (writer.go), which puts all that wait
// at that moment into one transaction and answers them when it is committed.
// Reads go through a pool of connections and see the last commit. Accounts,
// rosters, offline messages and archives are tables that an administrator may
// query; migrations/ says what is in them.
//
// It leaves out what no feature needs yet: the spool.
package sql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/storage"
)

// The databases that Options.Driver names.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Options of a store. The zero value of each field but Path, or DSN, means its
// default.
type Options struct {
	// Driver is SQLite (the default) or Postgres.
	Driver string
	// Path of the SQLite file; it is made if it isn't there. Other files are
	// put beside it: -wal, -shm, .lock. It must be on a local disk.
	Path string
	// DSN says how to reach PostgreSQL, version 13 or later: a URL
	// ("postgres://user:password@host/database?sslmode=verify-full") or
	// settings ("host=/run/postgresql user=hexmpp dbname=hexmpp"). The
	// encoding of the database must be UTF8, its locale doesn't matter. Over
	// TCP sslmode must be named: disable, require, verify-ca or verify-full.
	// The user must be allowed to create tables. Poolers must keep a
	// connection for a session (PgBouncer: pool_mode session).
	DSN string
	// BusyTimeout is how long a call waits for a lock that another process
	// holds: on the SQLite file, or for the time of a migration. Default 5 s,
	// with PostgreSQL 1 min.
	BusyTimeout time.Duration
	// ConnectTimeout is how long it may take to connect to PostgreSQL, unless
	// the DSN has a connect_timeout. Default 5 s.
	ConnectTimeout time.Duration
	// StatementTimeout is how long one statement may take in PostgreSQL;
	// migrations take the time they need. Default 30 s.
	StatementTimeout time.Duration
	// Readers is the number of connections that read. Default 4, with
	// PostgreSQL 8. One more connection writes. Archives are read by half of
	// them at a time: what a client asks of its own may take long.
	Readers int
	// QueueLength is how many writes may wait; more wait for a place in the
	// queue, as long as their context allows. Default 4,096.
	QueueLength int
	// Exclusive has New fail with ErrInUse while another process uses the
	// database that asked for the same: one server works on a database. See
	// also Store.Lost.
	Exclusive bool
	// Existing has New fail with ErrMissing where it would make a database.
	Existing bool
	// Observe is told of the transactions that write.
	Observe observe.Storage
}

func (o *Options) complete() error {
	o.Driver = cmp.Or(o.Driver, SQLite)
	busy, readers := 5*time.Second, 4
	switch o.Driver {
	case SQLite:
		if o.Path == "" {
			return errors.New("no path of a database file")
		}
	case Postgres:
		if o.DSN == "" {
			return errors.New("no DSN of a database")
		}
		busy, readers = time.Minute, 8
	default:
		return fmt.Errorf("no driver %q, there are %s and %s", o.Driver, SQLite, Postgres)
	}
	if o.BusyTimeout < 0 || o.ConnectTimeout < 0 || o.StatementTimeout < 0 || o.Readers < 0 || o.QueueLength < 0 {
		return errors.New("an option is negative")
	}
	o.BusyTimeout = cmp.Or(o.BusyTimeout, busy)
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, 5*time.Second)
	o.StatementTimeout = cmp.Or(o.StatementTimeout, 30*time.Second)
	o.Readers = cmp.Or(o.Readers, readers)
	o.QueueLength = cmp.Or(o.QueueLength, 4096)
	return nil
}

// Check finds what is wrong with the options without connecting to anything or
// making anything. The error has nothing of the DSN in it.
func (o Options) Check() error {
	if err := o.complete(); err != nil {
		return err
	}
	if o.Driver == Postgres {
		_, err := postgresConfig(o)
		return err
	}
	return checkSQLite(o)
}

// Name says which database the options are about: the file, or place and name
// at PostgreSQL; without user and password.
func (o Options) Name() string {
	if o.Driver != Postgres {
		return o.Path
	}
	config, err := postgresConfig(o)
	if err != nil {
		return "PostgreSQL"
	}
	return "PostgreSQL " + databaseName(config)
}

// newDialect returns the dialect that the options name. It may make files, but
// connects to nothing.
func newDialect(o Options, log *zap.Logger) (dialect, error) {
	if o.Driver == Postgres {
		return newPostgres(o, log)
	}
	return newSQLite(o)
}

// Store is a storage.Store. Any goroutine may call it.
type Store struct {
	dialect dialect
	readers *sqlx.DB
	queries *queries
	looks   chan struct{} // a place for each look into archives that is under way
	writer  *writer
	claim   *claim // nil: not exclusive
	closed  atomic.Bool
	close   sync.Once
	failed  error // of Close
}

var _ storage.Store = (*Store)(nil)

// New opens the database, brings its schema up to date, and starts the writer.
// A schema that is newer than this binary is refused. The context bounds New
// alone; Close ends what it started.
func New(ctx context.Context, o Options, log *zap.Logger) (*Store, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("storage/sql: options: %w", err)
	}
	d, err := newDialect(o, log)
	if err != nil {
		return nil, err
	}
	return open(ctx, d, o, log)
}

func open(ctx context.Context, d dialect, o Options, log *zap.Logger) (_ *Store, err error) {
	s := &Store{dialect: d, queries: newQueries(&d), looks: make(chan struct{}, max(1, o.Readers/2))}
	if err := s.takeClaim(ctx, o); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.dropClaim())
		}
	}()
	if err := migrate(ctx, d, o.Existing, log); err != nil {
		return nil, fmt.Errorf("storage/sql: open %s%s: %w", d.where, d.hint(err), err)
	}
	db, err := d.openWriter(ctx)
	if err != nil {
		return nil, d.wrap("open", err)
	}
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	if s.readers, err = d.openReaders(ctx); err != nil {
		return nil, d.wrap("open", err)
	}
	if err := s.queries.prepare(ctx, &d, s.readers); err != nil {
		s.readers.Close()
		return nil, d.wrap("open", err)
	}
	s.writer = startWriter(d, s.queries, db, o, log)
	return s, nil
}

// Close refuses new calls, waits until every write that was handed over is
// answered, and closes the database. The second Close returns what the first
// did.
func (s *Store) Close() error {
	s.close.Do(func() {
		s.closed.Store(true)
		err := s.readers.Close()
		// The writer is last: closing the last connection empties the log.
		if e := s.writer.close(); err == nil {
			err = e
		}
		// Whoever waits for the database gets it when nothing is written any more.
		if e := s.dropClaim(); err == nil {
			err = e
		}
		// What was committed is safe with a server, whether or not it hears that
		// we leave; a file is where the last connection's end writes to.
		if err != nil && !s.dialect.remote {
			s.failed = s.dialect.wrap("close", err)
		}
	})
	return s.failed
}

// Stopped is closed when the store stops writing by itself, since the disk
// lost what was written to it. Every write gets ErrUnavailable from then on,
// until the process is started again: only a restart reads from the disk what
// is really there. Whoever runs the process should end it.
func (s *Store) Stopped() <-chan struct{} { return s.writer.stopped }

// read begins a read: an error if the store is closed.
func (s *Store) read(ctx context.Context) error {
	if s.closed.Load() {
		return errClosed
	}
	return ctx.Err()
}

// write hands a job to the writer and waits until it is committed or refused.
func (s *Store) write(ctx context.Context, op string, do func(*tx) error) error {
	return s.dialect.wrap(op, s.writer.do(ctx, &job{do: do}))
}
