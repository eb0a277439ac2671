package sql

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/storage"
)

// maxGroup bounds the jobs of one transaction, and with that how long the
// first of them waits for the last.
const maxGroup = 512

// job is one write: archives that are removed, rows for others, then do, which may be nil. It runs inside
// a transaction that it may share; do may be called again after its first
// transaction was lost.
type job struct {
	removed []storage.ArchiveKey
	rows    []storage.Row
	do      func(*tx) error
	single  bool // do changes something by its last statement only: a failure leaves nothing behind
	state   atomic.Int32
	result  chan error // one place: the writer never waits for whoever asked
}

// States of a job: it is begun by the writer, or given up by its caller.
const (
	waiting = iota
	begun
	givenUp
)

// writer owns the one connection that writes, and a goroutine that ends with
// close. Jobs that wait together share a transaction (group commit), since
// the fsync at its end costs more than all the rest.
//
// An error of a job fails that job only. A transaction that is lost (disk
// full, lock held) fails its jobs with ErrUnavailable and the next begins
// anew. After a failed read or write the connection is replaced. After a
// failed fsync, or when the file is damaged, the writer stops for good: see
// Store.Stopped.
type writer struct {
	dialect dialect
	queries *queries
	db      *sqlx.DB
	conn    *connection // nil: to be opened
	log     *zap.Logger
	observe observe.Storage
	queue   chan *job
	quit    chan struct{} // closed by close
	ended   chan struct{} // closed when the goroutine has ended
	stopped chan struct{} // closed when the writer stops by itself
	closing sync.Once
	failing atomic.Pointer[error] // the last transaction was lost with it; nil: it was not
	result  error                 // of closing; read after ended

	// The goroutine's own:
	fatal    error     // why it stopped
	warned   bool      // it was logged that writes fail
	warnedAt time.Time // when
}

func startWriter(d dialect, q *queries, db *sqlx.DB, o Options, log *zap.Logger) *writer {
	w := &writer{
		dialect: d, queries: q, db: db, log: log, observe: o.Observe,
		queue:   make(chan *job, o.QueueLength),
		quit:    make(chan struct{}),
		ended:   make(chan struct{}),
		stopped: make(chan struct{}),
	}
	go w.run()
	return w
}

// do queues a job and waits for its commit. When ctx ends first, a job that
// was not begun is never run; of one that was, the outcome is not known.
func (w *writer) do(ctx context.Context, j *job) error {
	if err := w.enqueue(ctx, j); err != nil {
		return err
	}
	return w.wait(ctx, j)
}

func (w *writer) enqueue(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", errUnwritten, err)
	}
	select {
	case <-w.quit:
		return errClosed
	default:
	}
	j.result = make(chan error, 1)
	select {
	case w.queue <- j:
		return nil
	case <-w.quit:
		return errClosed
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errQueueFull, ctx.Err())
	}
}

func (w *writer) wait(ctx context.Context, j *job) error {
	select {
	case err := <-j.result:
		return err
	case <-ctx.Done():
		if j.state.CompareAndSwap(waiting, givenUp) {
			return fmt.Errorf("%w: %w", errUnwritten, ctx.Err())
		}
		return j.resultOr(fmt.Errorf("%w: %w", errUnknown, ctx.Err()))
	case <-w.ended:
		return j.resultOr(errClosed)
	}
}

func (j *job) resultOr(err error) error {
	select {
	case err := <-j.result:
		return err
	default:
		return err
	}
}

// close lets the writer finish what is queued, and waits for its end.
func (w *writer) close() error {
	w.closing.Do(func() { close(w.quit) })
	<-w.ended
	return w.result
}

func (w *writer) run() {
	defer close(w.ended)
	for {
		select {
		case j := <-w.queue:
			w.write(w.gather(j))
		case <-w.quit:
			w.finish()
			return
		}
	}
}

// finish writes what is queued and closes the database.
func (w *writer) finish() {
	for {
		select {
		case j := <-w.queue:
			w.write(w.gather(j))
		default:
			w.dropConnection()
			w.result = w.db.Close()
			return
		}
	}
}

// gather takes what waits besides first. It yields once, so that callers whose
// answer came from the last transaction can queue their next write.
func (w *writer) gather(first *job) []*job {
	runtime.Gosched()
	group := make([]*job, 0, min(len(w.queue)+1, maxGroup))
	for j := first; ; {
		if j.state.CompareAndSwap(waiting, begun) {
			group = append(group, j)
		}
		if len(group) == maxGroup {
			return group
		}
		select {
		case j = <-w.queue:
		default:
			return group
		}
	}
}
