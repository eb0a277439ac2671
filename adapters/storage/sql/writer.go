package sql

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/jmoiron/sqlx"
	"go.uber.org/zap"
)

// maxGroup bounds the jobs of one transaction, and with that how long the
// first of them waits for the last.
const maxGroup = 512

// job is one write. It runs inside a transaction that it may share; do may be
// called a second time after its first transaction was lost.
type job struct {
	do     func(*tx) error
	state  atomic.Int32
	result chan error // one place: the writer never waits for whoever asked
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
	db      *sqlx.DB
	conn    *connection // nil: to be opened
	log     *zap.Logger
	queue   chan *job
	quit    chan struct{} // closed by close
	ended   chan struct{} // closed when the goroutine has ended
	stopped chan struct{} // closed when the writer stops by itself
	closing sync.Once
	fatal   error // why it stopped; the goroutine's own, as is what follows
	failing bool  // the last transaction was lost
	result  error // of closing; read after ended
}

func startWriter(d dialect, db *sqlx.DB, queue int, log *zap.Logger) *writer {
	w := &writer{
		dialect: d, db: db, log: log,
		queue:   make(chan *job, queue),
		quit:    make(chan struct{}),
		ended:   make(chan struct{}),
		stopped: make(chan struct{}),
	}
	go w.run()
	return w
}

// do queues a job and waits for its commit. When ctx ends first, a job that
// was not begun is never run; of one that was, the outcome is not known.
func (w *writer) do(ctx context.Context, do func(*tx) error) error {
	j, err := w.enqueue(ctx, do)
	if err != nil {
		return err
	}
	return w.wait(ctx, j)
}

func (w *writer) enqueue(ctx context.Context, do func(*tx) error) (*job, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnwritten, err)
	}
	select {
	case <-w.quit:
		return nil, errClosed
	default:
	}
	j := &job{do: do, result: make(chan error, 1)}
	select {
	case w.queue <- j:
		return j, nil
	case <-w.quit:
		return nil, errClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errQueueFull, ctx.Err())
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
			continue
		case <-w.quit:
		}
		break
	}
	for {
		select {
		case j := <-w.queue:
			w.write(w.gather(j))
			continue
		default:
		}
		break
	}
	w.dropConnection()
	w.result = w.db.Close()
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

// write runs and answers the jobs of a group.
func (w *writer) write(group []*job) {
	if len(group) == 0 {
		return
	}
	if w.fatal != nil {
		for _, j := range group {
			j.result <- w.fatal
		}
		return
	}
	results, culprit, err := w.transaction(group)
	if culprit && len(group) > 1 {
		// One job took the others' transaction with it (a full disk can do
		// that). Nothing was committed: let each fail or succeed by itself.
		for _, j := range group {
			w.write([]*job{j})
		}
		return
	}
	w.report(err)
	for i, j := range group {
		if err != nil {
			j.result <- err
		} else {
			j.result <- results[i]
		}
	}
}

// transaction runs the jobs and commits. It returns what became of each job,
// or the error with which all was lost; culprit if it was lost by a job, on a
// connection that is sound otherwise.
func (w *writer) transaction(group []*job) (results []error, culprit bool, err error) {
	defer func() {
		if err != nil {
			w.lost(err)
		}
	}()
	if w.conn == nil {
		if w.conn, err = openConnection(w.db); err != nil {
			return nil, false, err
		}
	}
	if err := w.conn.run(w.dialect.begin); err != nil {
		return nil, false, err
	}
	t := &tx{conn: w.conn}
	results = make([]error, len(group))
	kept := 0
	for i, j := range group {
		if len(group) > 1 {
			err = w.inSavepoint(t, j, &results[i])
		} else {
			results[i] = j.do(t)
			err = w.unlessNamed(results[i])
		}
		if err != nil {
			e, _ := w.dialect.diagnose(err)
			return nil, e == transactionLost, err
		}
		if results[i] == nil {
			kept++
		}
	}
	if kept == 0 {
		return results, false, w.conn.run("ROLLBACK")
	}
	if err := t.keepRevision(); err != nil {
		return nil, false, err
	}
	return results, false, w.conn.run("COMMIT")
}

// inSavepoint runs a job so that its failure undoes nothing but the job. It
// returns an error if the transaction can't go on.
func (w *writer) inSavepoint(t *tx, j *job, result *error) error {
	if err := w.conn.run("SAVEPOINT job"); err != nil {
		return err
	}
	*result = j.do(t)
	if err := w.unlessNamed(*result); err != nil {
		return err
	}
	if *result != nil {
		if err := w.conn.run("ROLLBACK TO SAVEPOINT job"); err != nil {
			return err
		}
	}
	return w.conn.run("RELEASE SAVEPOINT job")
}

// unlessNamed returns err if the transaction is lost with it.
func (w *writer) unlessNamed(err error) error {
	if err == nil || named(err) {
		return nil
	}
	if e, _ := w.dialect.diagnose(err); e == statementFailed {
		return nil
	}
	return err
}

// lost cleans up after a lost transaction, and stops the writer if the disk
// can't be trusted any more. The connection is dropped each time: that undoes
// whatever is left of the transaction, without a question to ask it.
func (w *writer) lost(err error) {
	w.dropConnection()
	e, hint := w.dialect.diagnose(err)
	if e != diskLost {
		return
	}
	w.fatal = fmt.Errorf("the writer has stopped: %w", err)
	w.log.Error("the database stops writing until the server is started again",
		zap.String("database", w.dialect.where), zap.String("hint", hint), zap.Error(err))
	close(w.stopped)
}

func (w *writer) dropConnection() {
	if w.conn != nil {
		w.conn.close()
		w.conn = nil
	}
}

// report logs when writes begin to fail and when they work again, once each.
func (w *writer) report(err error) {
	switch {
	case err != nil && !w.failing && w.fatal == nil:
		_, hint := w.dialect.diagnose(err)
		w.log.Warn("the database can't be written", zap.String("database", w.dialect.where), zap.String("hint", hint), zap.Error(err))
	case err == nil && w.failing:
		w.log.Info("the database can be written again", zap.String("database", w.dialect.where))
	}
	w.failing = err != nil
}
