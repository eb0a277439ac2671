package sql

import (
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/storage"
)

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
	began := time.Now()
	results, again, err := w.transaction(group, !w.dialect.remote)
	if again == withSavepoints {
		results, again, err = w.transaction(group, true)
	}
	if again == eachAlone && len(group) > 1 {
		for _, j := range group {
			w.write([]*job{j})
		}
		return
	}
	w.report(err)
	if f := w.observe.Committed; f != nil {
		f(len(group), time.Since(began), err)
	}
	for i, j := range group {
		if err != nil {
			j.result <- err
		} else {
			j.result <- results[i]
		}
	}
}

// again says how the jobs of a group have to be run again, since nothing of
// them was committed.
type again int

const (
	settled again = iota
	// withSavepoints: a job failed half-way, and its half can't be undone alone.
	withSavepoints
	// eachAlone: one job took the others' transaction with it (a full disk can
	// do that, a deadlock too). Let each fail or succeed by itself.
	eachAlone
)

// transaction runs the jobs and commits. It returns what became of each job,
// or the error with which all was lost. A group of one needs no savepoint.
func (w *writer) transaction(group []*job, savepoints bool) (results []error, _ again, err error) {
	defer func() {
		if err != nil {
			w.lost(err)
		}
	}()
	if err := w.begin(); err != nil {
		return nil, settled, err
	}
	t := &tx{conn: w.conn, dialect: &w.dialect, queries: w.queries}
	results = make([]error, len(group))
	kept := 0
	for i, j := range group {
		if !savepoints && (i == 0 || len(j.removed) > 0) {
			ok, failed := t.appendAll(group[i:])
			if err := w.unlessNamed(failed); err != nil {
				return nil, w.afterLoss(err), err
			}
			if !ok {
				return nil, withSavepoints, w.conn.run("ROLLBACK")
			}
		}
		if savepoints && len(group) > 1 && !w.indivisible(j) {
			err = w.inSavepoint(t, j, &results[i])
		} else {
			results[i] = t.run(j)
			err = w.unlessNamed(results[i])
		}
		if err != nil {
			return nil, w.afterLoss(err), err
		}
		if results[i] == nil {
			kept++
		} else if !savepoints && len(group) > 1 && (t.changed || t.failed != nil || len(j.rows)+len(j.removed) > 0) {
			return nil, withSavepoints, w.conn.run("ROLLBACK")
		}
	}
	if kept == 0 {
		return results, settled, w.conn.run("ROLLBACK")
	}
	if err := t.keepRevision(); err != nil {
		return nil, settled, err
	}
	return results, settled, w.commit()
}

// afterLoss says what to do with a group whose transaction was lost.
func (w *writer) afterLoss(err error) again {
	if e, _ := w.dialect.diagnose(err); e == transactionLost {
		return eachAlone
	}
	return settled
}

// indivisible says whether a job that fails leaves nothing to be undone.
func (w *writer) indivisible(j *job) bool {
	return !w.dialect.remote && (j.do == nil && len(j.rows) == 1 && len(j.removed) == 0 || j.single)
}

// appendAll removes the archives that the first job does, and appends the rows of all jobs
// as far as the next one that removes archives; ok is false if not all have a place.
func (t *tx) appendAll(group []*job) (ok bool, err error) {
	t.appended = true
	if err := t.removeArchives(group[0].removed); err != nil {
		return false, err
	}
	var rows []storage.Row
	for i, j := range group {
		if i > 0 && len(j.removed) > 0 {
			break
		}
		rows = append(rows, j.rows...)
	}
	if len(rows) == 0 {
		return true, nil
	}
	return t.appendRows(rows)
}

// begin begins a transaction, on a new connection if need be: that the old one
// is gone shows only when it is used, and then nothing was done yet.
func (w *writer) begin() error {
	if w.conn != nil {
		err := w.conn.run(w.dialect.begin)
		if err == nil {
			return nil
		}
		if e, _ := w.dialect.diagnose(err); e != connectionLost {
			return err
		}
		w.dropConnection()
	}
	conn, err := openConnection(w.db)
	if err != nil {
		return err
	}
	w.conn = conn
	return w.conn.run(w.dialect.begin)
}

func (w *writer) commit() error {
	err := w.conn.run("COMMIT")
	if err == nil {
		return nil
	}
	if e, _ := w.dialect.diagnose(err); e == connectionLost {
		return fmt.Errorf("%w: %w", errInDoubt, err)
	}
	return err
}

// inSavepoint runs a job so that its failure undoes nothing but the job. It
// returns an error if the transaction can't go on.
func (w *writer) inSavepoint(t *tx, j *job, result *error) error {
	if err := w.conn.run("SAVEPOINT job"); err != nil {
		return err
	}
	*result = t.run(j)
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

// report logs when writes begin to fail and when they work again. With a full
// disk the two may alternate, so it says so once a minute at most.
func (w *writer) report(err error) {
	if err == nil {
		w.failing.Store(nil)
		if w.warned {
			w.warned = false
			w.log.Info("the database can be written again", zap.String("database", w.dialect.where))
		}
		return
	}
	w.failing.Store(&err)
	if w.warned || w.fatal != nil || time.Since(w.warnedAt) < time.Minute {
		return
	}
	w.warned, w.warnedAt = true, time.Now()
	_, hint := w.dialect.diagnose(err)
	w.log.Warn("the database can't be written", zap.String("database", w.dialect.where), zap.String("hint", hint), zap.Error(err))
}
