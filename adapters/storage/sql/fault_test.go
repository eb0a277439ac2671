package sql

import (
	"context"
	dbsql "database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"go.uber.org/zap/zaptest"
	"modernc.org/sqlite"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// smallDisk is a connector whose connections refuse to let the file grow over
// a number of pages, with the error of a full disk.
type smallDisk struct {
	driver.Connector
	pages atomic.Int64
}

func (d *smallDisk) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := d.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	pragma := fmt.Sprintf("PRAGMA max_page_count = %d", d.pages.Load())
	if _, err := c.(driver.ExecerContext).ExecContext(ctx, pragma, nil); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// openSmall opens a store on a disk that has room for the schema and some
// 100 KiB. change may alter the dialect.
func openSmall(t *testing.T, change func(*dialect)) (*Store, *smallDisk) {
	t.Helper()
	o := Options{Path: filepath.Join(t.TempDir(), "hexmpp.db"), BusyTimeout: 20 * time.Second}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	d, err := newSQLite(o)
	if err != nil {
		t.Fatal(err)
	}
	disk := new(smallDisk)
	disk.pages.Store(60)
	d.openWriter = func(context.Context) (*sqlx.DB, error) {
		dsn := "file:" + d.where + "?_error_rc=1&_pragma=" + strings.Join(writing, "&_pragma=")
		if disk.Connector, err = sqlite.NewConnector(dsn); err != nil {
			return nil, err
		}
		return sqlx.NewDb(dbsql.OpenDB(disk), "sqlite"), nil
	}
	if change != nil {
		change(&d)
	}
	s, err := open(t.Context(), d, o, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, disk
}

func put(s *Store, key string, size int) error {
	return s.Commit(context.Background(), storage.Writes{Ops: []storage.Op{{Space: "s", Key: key, Value: make([]byte, size)}}})
}

func mustPut(t *testing.T, s *Store, key string) {
	t.Helper()
	if err := put(s, key, 1); err != nil {
		t.Fatal(err)
	}
}

func has(t *testing.T, s *Store, key string) bool {
	t.Helper()
	_, err := s.Get(t.Context(), "s", jid.JID{}, key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func unavailable(t *testing.T, what string, err error, hint string) {
	t.Helper()
	if !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(hint)) {
		t.Errorf("%s: got %v, want ErrUnavailable that says %q", what, err, hint)
	}
}

// hold keeps the writer busy until the test calls release, and returns when
// it is. What is written meanwhile waits together.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	begun, free := make(chan struct{}), make(chan struct{})
	var once sync.Once
	release = func() { once.Do(func() { close(free) }) }
	done := make(chan error, 1)
	go func() {
		done <- s.write(context.Background(), "hold", func(*tx) error {
			select {
			case <-begun:
			default:
				close(begun)
			}
			<-free
			return nil
		})
	}()
	t.Cleanup(func() {
		release()
		<-done
	})
	<-begun
	return release
}

// together queues the jobs while the writer is held, so that they share a
// transaction, and returns what became of each.
func together(t *testing.T, s *Store, jobs ...func(*tx) error) []error {
	t.Helper()
	release := hold(t, s)
	var queued []*job
	for _, do := range jobs {
		j := &job{do: do}
		err := s.writer.enqueue(t.Context(), j)
		if err != nil {
			t.Fatal(err)
		}
		queued = append(queued, j)
	}
	release()
	errs := make([]error, len(queued))
	for i, j := range queued {
		errs[i] = s.dialect.wrap("test", s.writer.wait(t.Context(), j))
	}
	return errs
}

// putJob is the job of put.
func putJob(key string, size int) func(*tx) error {
	return func(t *tx) error { return t.apply(&storage.Op{Space: "s", Key: key, Value: make([]byte, size)}) }
}

func TestDiskFull(t *testing.T) {
	s, disk := openSmall(t, nil)
	mustPut(t, s, "before")
	for i := range 3 {
		unavailable(t, "a write that does not fit", put(s, fmt.Sprint("big ", i), 1<<20), "the disk is full")
	}
	mustPut(t, s, "small ones still fit")
	if !has(t, s, "before") || has(t, s, "big 0") {
		t.Error("what was committed is gone, or what was refused is there")
	}

	t.Run("one that does not fit fails alone", func(t *testing.T) {
		errs := together(t, s,
			putJob("a", 1),
			putJob("huge", 1<<20),
			func(t *tx) error { return t.apply(&storage.Op{Space: "s", Key: "c", If: true, Revision: 7}) },
			putJob("b", 1))
		unavailable(t, "the huge one", errs[1], "the disk is full")
		if !errors.Is(errs[2], storage.ErrConflict) {
			t.Errorf("a conflict beside it: %v", errs[2])
		}
		for i, key := range map[int]string{0: "a", 3: "b"} {
			if errs[i] != nil || !has(t, s, key) {
				t.Errorf("%s: %v", key, errs[i])
			}
		}
	})
	t.Run("it works again when space returns", func(t *testing.T) {
		unavailable(t, "full", put(s, "big", 1<<20), "the disk is full")
		disk.pages.Store(1 << 20)
		if err := put(s, "big", 1<<20); err != nil || !has(t, s, "big") {
			t.Errorf("got %v", err)
		}
	})
	select {
	case <-s.Stopped():
		t.Error("the writer stopped for a full disk")
	default:
	}
}

// A failed COMMIT leaves nothing of any job, and the next transaction works.
// Here it fails over a foreign key that is checked as late as that.
func TestCommitFails(t *testing.T) {
	s := openTest(t, Options{Path: filepath.Join(t.TempDir(), "hexmpp.db")})
	errs := together(t, s,
		putJob("a", 1),
		func(t *tx) error {
			if _, err := t.exec("PRAGMA defer_foreign_keys = 1"); err != nil {
				return err
			}
			_, err := t.exec("INSERT INTO account_entries (owner, space, key, revision, value) VALUES (4711, '', '', 1, '')")
			return err
		},
		putJob("b", 1))
	for i, err := range errs {
		unavailable(t, fmt.Sprint("job ", i), err, "FOREIGN KEY")
	}
	if has(t, s, "a") || has(t, s, "b") {
		t.Error("something was committed")
	}
	mustPut(t, s, "after")
}

// TestPostgres runs this too.
func TestGroups(t *testing.T) {
	testGroups(t, func(t *testing.T) *Store { return openTest(t, Options{Path: filepath.Join(t.TempDir(), "hexmpp.db")}) })
}

// testGroups are the tests of jobs that share a transaction, for every database.
func testGroups(t *testing.T, open func(*testing.T) *Store) {
	t.Run("a statement that fails takes only its own job with it", func(t *testing.T) { testStatementFails(t, open(t)) })
	t.Run("a job that fails half-way leaves nothing", func(t *testing.T) { testHalfWay(t, open(t)) })
	t.Run("an error that a job hides is its error", func(t *testing.T) { testHiddenError(t, open(t)) })
	t.Run("rows of many jobs", func(t *testing.T) { testGroupedRows(t, open(t)) })
	t.Run("an archive without owner", func(t *testing.T) { testAbandonedArchive(t, open(t)) })
	t.Run("removals of archives among rows of many jobs", func(t *testing.T) { testGroupedRemovals(t, open(t)) })
	t.Run("an archive that was removed", func(t *testing.T) { testRemovedArchive(t, open(t)) })
}

func testHalfWay(t *testing.T, s *Store) {
	errs := together(t, s,
		putJob("a", 1),
		func(t *tx) error {
			if err := putJob("half", 1)(t); err != nil {
				return err
			}
			return storage.ErrConflict
		},
		func(*tx) error { return storage.ErrNotFound },
		putJob("b", 1))
	if !errors.Is(errs[1], storage.ErrConflict) || !errors.Is(errs[2], storage.ErrNotFound) {
		t.Errorf("the failing jobs: %v, %v", errs[1], errs[2])
	}
	if errs[0] != nil || errs[3] != nil || !has(t, s, "a") || !has(t, s, "b") || has(t, s, "half") {
		t.Errorf("the others: %v, %v", errs[0], errs[3])
	}
	// Alone, too.
	err := s.write(t.Context(), "alone", func(t *tx) error {
		if err := putJob("half", 1)(t); err != nil {
			return err
		}
		return storage.ErrConflict
	})
	if !errors.Is(err, storage.ErrConflict) || has(t, s, "half") {
		t.Errorf("alone: %v", err)
	}
	mustPut(t, s, "after")
}

func testHiddenError(t *testing.T, s *Store) {
	hide := func(t *tx) error {
		t.exec("INSERT INTO secrets (name, value) VALUES ('x', NULL)")
		return nil
	}
	errs := together(t, s, putJob("a", 1), hide, putJob("b", 1))
	unavailable(t, "the job that hides it", errs[1], "null")
	if errs[0] != nil || errs[2] != nil || !has(t, s, "a") || !has(t, s, "b") {
		t.Errorf("the others: %v, %v", errs[0], errs[2])
	}
	unavailable(t, "alone", s.write(t.Context(), "alone", hide), "null")
	mustPut(t, s, "after")
}

func testStatementFails(t *testing.T, s *Store) {
	errs := together(t, s,
		putJob("a", 1),
		func(t *tx) error {
			if err := putJob("half", 1)(t); err != nil {
				return err
			}
			_, err := t.exec("INSERT INTO secrets (name, value) VALUES ('x', NULL)")
			return err
		},
		putJob("b", 1))
	unavailable(t, "the failing job", errs[1], "null")
	if errs[0] != nil || errs[2] != nil || !has(t, s, "a") || !has(t, s, "b") || has(t, s, "half") {
		t.Errorf("the others: %v, %v", errs[0], errs[2])
	}
}

// A failed fsync can't be made to happen here: a full disk is told as one.
func TestDiskLost(t *testing.T) {
	s, disk := openSmall(t, func(d *dialect) {
		diagnose := d.diagnose
		d.diagnose = func(err error) (effect, string) {
			if e, hint := diagnose(err); e != transactionLost {
				return e, hint
			}
			return diskLost, "told as lost"
		}
	})
	mustPut(t, s, "before")
	errs := together(t, s,
		putJob("a", 1),
		putJob("big", 1<<20),
		putJob("b", 1))
	for i, err := range errs {
		unavailable(t, fmt.Sprint("job ", i), err, "told as lost")
	}
	<-s.Stopped()
	disk.pages.Store(1 << 20)
	unavailable(t, "a later write", put(s, "c", 1), "the writer has stopped")
	if !has(t, s, "before") || has(t, s, "a") || has(t, s, "b") {
		t.Error("reads don't see what was committed before")
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestLockHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hexmpp.db")
	s := openTest(t, Options{Path: path, BusyTimeout: time.Millisecond})
	mustPut(t, s, "before")
	other := openTest(t, Options{Path: path, BusyTimeout: time.Millisecond}) // stands for another process
	release := hold(t, other)
	for range 2 {
		unavailable(t, "a write under another's lock", put(s, "meanwhile", 1), "another process holds a lock")
	}
	if !has(t, s, "before") {
		t.Error("reads fail under another's write lock")
	}
	release()
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "after")
}

func TestQueue(t *testing.T) {
	s := openTest(t, Options{Path: filepath.Join(t.TempDir(), "hexmpp.db"), QueueLength: 1})
	begun, free := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		first <- s.write(ctx, "first", func(tx *tx) error {
			close(begun)
			<-free
			return tx.apply(&storage.Op{Space: "s", Key: "first", Value: []byte{}})
		})
	}()
	<-begun
	cancel()
	err := <-first
	unavailable(t, "given up while it was written", err, "not known")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it doesn't name the cause: %v", err)
	}

	ctx, cancel = context.WithCancel(t.Context())
	second := &job{do: putJob("second", 1)}
	err = s.writer.enqueue(ctx, second)
	if err != nil {
		t.Fatal(err)
	}
	full, cancelFull := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancelFull()
	unavailable(t, "no place in the queue", s.Commit(full, storage.Writes{Ops: []storage.Op{{Space: "s", Key: "third"}}}), "the queue of writes is full")
	cancel()
	unavailable(t, "given up while it waited", s.dialect.wrap("test", s.writer.wait(ctx, second)), "not written")
	close(free)
	mustPut(t, s, "after")
	if has(t, s, "second") || has(t, s, "third") {
		t.Error("what its caller gave up while it waited was written")
	}
	if !has(t, s, "first") {
		t.Error("what was given up while it was written has vanished")
	}
}
