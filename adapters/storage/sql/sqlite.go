package sql

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	code "modernc.org/sqlite/lib"
)

//go:embed migrations/sqlite/*.sql
var sqliteMigrations embed.FS

// maxWAL is the size in bytes to which the log file is cut after a checkpoint.
const maxWAL = 64 << 20

// checkpointPages is how many pages of 4 KiB the log collects before they are
// copied to the file: archives change the same pages of their indexes again and
// again, and with four times the default a message costs a fifth less.
const checkpointPages = 4000

// writing are the settings of the connection that writes. With
// synchronous(FULL) the log is synced at the end of each transaction.
var writing = []string{"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
	fmt.Sprintf("journal_size_limit(%d)", maxWAL), fmt.Sprintf("wal_autocheckpoint(%d)", checkpointPages)}

// newSQLite returns the dialect for the file o.Path. It makes the file, with
// mode 0600, if it isn't there and o doesn't ask for an existing one; its folder
// must be there.
func newSQLite(o Options) (dialect, error) {
	d, err := sqliteAt(o)
	if err != nil {
		return dialect{}, fmt.Errorf("storage/sql: open %s: %w", o.Path, err)
	}
	return d, nil
}

func sqliteAt(o Options) (dialect, error) {
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return dialect{}, err
	}
	if err := checkSQLite(o); err != nil {
		return dialect{}, err
	}
	if _, err := os.Stat(path); o.Existing && errors.Is(err, fs.ErrNotExist) {
		return dialect{}, ErrMissing
	}
	if err := makePrivate(path); err != nil {
		return dialect{}, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil { // one file, one lock
		return dialect{}, err
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return dialect{}, err
	}
	migrations, err := fs.Sub(sqliteMigrations, "migrations/sqlite")
	if err != nil {
		return dialect{}, err
	}
	lock := &fileLock{path: path + ".lock", busy: o.BusyTimeout}
	openWriter := func(ctx context.Context) (*sqlx.DB, error) {
		return openSQLite(ctx, path, o.BusyTimeout, 1, writing...)
	}
	return dialect{
		name:       "SQLite",
		where:      path,
		goose:      goose.DialectSQLite3,
		migrations: migrations,
		begin:      "BEGIN IMMEDIATE",
		revisions:  revisions{counted: true, inserted: "?", replaced: "excluded.revision"},
		useIndex:   func(index string) string { return " INDEXED BY " + index },
		openWriter: openWriter,
		openSchema: openWriter,
		openReaders: func(ctx context.Context) (*sqlx.DB, error) {
			return openSQLite(ctx, path, o.BusyTimeout, o.Readers, "query_only(1)")
		},
		claim:      lock.claim,
		lockSchema: lock.forSchema,
		diagnose:   diagnoseSQLite,
		result:     func(error) error { return nil }, // with one writer at a time all is known before
	}, nil
}

// makePrivate makes the file if it isn't there, and takes it away from other
// users if it is; the files that SQLite puts beside it get the same mode.
//
// One that is there is not opened: to close a file drops each lock that this
// process has on it by another descriptor (fcntl(2)).
func makePrivate(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		return f.Close()
	}
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return os.Chmod(path, 0o600)
}

// checkSQLite finds what is wrong with the options of a file, and makes nothing.
func checkSQLite(o Options) error {
	folder := filepath.Dir(o.Path)
	info, err := os.Stat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no folder %s: make it, or name another file (storage.dsn)", folder)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no folder: name another file (storage.dsn)", folder)
	}
	return nil
}

// syncFolder makes sure that the name of a new file survives a loss of power;
// SQLite does so for the files it makes beside it.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" { // it can't, and needs not
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// openSQLite opens a pool of at most n connections, which are kept.
func openSQLite(ctx context.Context, path string, busy time.Duration, n int, pragmas ...string) (*sqlx.DB, error) {
	query := url.Values{
		"_pragma":   append([]string{fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds())}, pragmas...),
		"_error_rc": {"1"}, // else an old message of the connection may be appended
		"_dqs":      {"0"}, // "x" is a name, never a string
		"mode":      {"rw"},
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}
	db, err := sqlx.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	if err := pingSQLite(ctx, db, busy); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// busyPause is how long an attempt to open a file waits for the next one.
const busyPause = 10 * time.Millisecond

// pingSQLite opens the first connection. While another process puts the file into WAL
// mode, or closes its last connection, SQLite refuses others at once, whatever
// busy_timeout says: so it is tried again for that long.
func pingSQLite(ctx context.Context, db *sqlx.DB, busy time.Duration) error {
	for last := time.Now().Add(busy); ; {
		err := db.PingContext(ctx)
		var e *sqlite.Error
		if err == nil || !errors.As(err, &e) || e.Code()&0xff != code.SQLITE_BUSY || time.Now().After(last) {
			return err
		}
		pause := time.NewTimer(busyPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}

// fileLock is the lock of a database file: the file beside it, .lock. It is held
// while the schema is migrated, and by who claims the database all the time.
type fileLock struct {
	path    string
	busy    time.Duration
	claimed bool
}

func (l *fileLock) claim(ctx context.Context) (*claim, error) {
	unlock, err := lockSQLite(ctx, l.path, l.busy)
	if err != nil {
		var e *sqlite.Error
		if errors.As(err, &e) && e.Code()&0xff == code.SQLITE_BUSY {
			return nil, ErrInUse
		}
		return nil, err
	}
	l.claimed = true
	return &claim{release: unlock}, nil
}

func (l *fileLock) forSchema(ctx context.Context) (unlock func() error, err error) {
	if l.claimed {
		return func() error { return nil }, nil
	}
	return lockSQLite(ctx, l.path, l.busy)
}

// lockSQLite takes a lock that ends with the process, however it ends: the
// write lock on an empty SQLite file, which every platform's SQLite has.
func lockSQLite(ctx context.Context, path string, busy time.Duration) (func() error, error) {
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	db, err := openSQLite(ctx, path, busy, 1)
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		db.Close()
		return nil, err
	}
	return db.Close, nil // closing the connection rolls back, and with that unlocks
}

// diagnoseSQLite goes by SQLite's result codes.
//
// A full disk, also one that write(2) reports, rolls the transaction back and
// leaves file and log as they were. A failed fsync is another matter: Linux
// marks the pages clean that it could not write, so the next fsync succeeds
// and proves nothing. (A checkpoint that fails is no loss, and SQLite doesn't
// report it: the log keeps the pages, and the next checkpoint writes all of
// them again.)
func diagnoseSQLite(err error) (effect, string) {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return connectionLost, ""
	}
	switch e.Code() {
	case code.SQLITE_IOERR_FSYNC, code.SQLITE_IOERR_DIR_FSYNC:
		return diskLost, "the disk could not keep what was written: check the disk, then restart"
	}
	switch e.Code() & 0xff {
	case code.SQLITE_FULL:
		return transactionLost, "the disk is full"
	case code.SQLITE_BUSY, code.SQLITE_LOCKED:
		return transactionLost, "another process holds a lock on the database file"
	case code.SQLITE_NOMEM:
		return transactionLost, "out of memory"
	case code.SQLITE_INTERRUPT, code.SQLITE_ABORT:
		return transactionLost, ""
	case code.SQLITE_READONLY, code.SQLITE_PERM, code.SQLITE_CANTOPEN:
		return connectionLost, "check that the database file and its folder exist and may be written"
	case code.SQLITE_CORRUPT, code.SQLITE_NOTADB:
		return diskLost, "the database file is damaged: restore a backup"
	case code.SQLITE_IOERR:
		return connectionLost, "the disk failed to read or write: check the disk and its quota"
	}
	return statementFailed, ""
}
