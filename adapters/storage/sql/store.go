// Package sql implements ports/storage in an SQL database: SQLite, in one file
// beside the server.
//
// Every write goes through one goroutine (writer.go), which puts all that wait
// at that moment into one transaction and answers them when it is committed.
// Reads go through a pool of connections and see the last commit. Accounts,
// rosters and offline messages are tables that an administrator may query;
// migrations/ says what is in them.
//
// It leaves out what no feature needs yet: spool and archive.
package sql

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/storage"
)

// Options of a store. The zero value of each field but Path means its default.
type Options struct {
	// Path of the SQLite file; it is made if it isn't there. Other files are
	// put beside it: -wal, -shm, .lock. It must be on a local disk.
	Path string
	// BusyTimeout is how long a call waits for a lock that another process
	// holds on the file. Default 5 s.
	BusyTimeout time.Duration
	// Readers is the number of connections that read. Default 4.
	Readers int
	// QueueLength is how many writes may wait; more wait for a place in the
	// queue, as long as their context allows. Default 4,096.
	QueueLength int
}

func (o *Options) complete() error {
	if o.Path == "" {
		return errors.New("no path of a database file")
	}
	if o.BusyTimeout < 0 || o.Readers < 0 || o.QueueLength < 0 {
		return errors.New("an option is negative")
	}
	if o.BusyTimeout == 0 {
		o.BusyTimeout = 5 * time.Second
	}
	if o.Readers == 0 {
		o.Readers = 4
	}
	if o.QueueLength == 0 {
		o.QueueLength = 4096
	}
	return nil
}

// Store is a storage.Store. Any goroutine may call it.
type Store struct {
	dialect dialect
	readers *sqlx.DB
	queries queries // prepared on readers
	writer  *writer
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
	d, err := newSQLite(o)
	if err != nil {
		return nil, fmt.Errorf("storage/sql: open %s: %w", o.Path, err)
	}
	return open(ctx, d, o, log)
}

func open(ctx context.Context, d dialect, o Options, log *zap.Logger) (_ *Store, err error) {
	s := &Store{dialect: d}
	db, err := d.openWriter(ctx)
	if err != nil {
		return nil, d.wrap("open", err)
	}
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	if err := migrate(ctx, d, db, log); err != nil {
		return nil, fmt.Errorf("storage/sql: open %s: %w", d.where, err)
	}
	if s.readers, err = d.openReaders(ctx); err != nil {
		return nil, d.wrap("open", err)
	}
	if err := s.queries.prepare(ctx, s.readers); err != nil {
		s.readers.Close()
		return nil, d.wrap("open", err)
	}
	s.writer = startWriter(d, db, o.QueueLength, log)
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
		if err != nil {
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

// write hands job to the writer and waits until it is committed or refused.
func (s *Store) write(ctx context.Context, op string, job func(*tx) error) error {
	return s.dialect.wrap(op, s.writer.do(ctx, job))
}
