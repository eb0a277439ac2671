package sql

import (
	"fmt"
	"time"

	"go.uber.org/zap"
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

// report logs when writes begin to fail and when they work again. With a full
// disk the two may alternate, so it says so once a minute at most.
func (w *writer) report(err error) {
	if err == nil {
		if w.warned {
			w.warned = false
			w.log.Info("the database can be written again", zap.String("database", w.dialect.where))
		}
		return
	}
	if w.warned || w.fatal != nil || time.Since(w.warnedAt) < time.Minute {
		return
	}
	w.warned, w.warnedAt = true, time.Now()
	_, hint := w.dialect.diagnose(err)
	w.log.Warn("the database can't be written", zap.String("database", w.dialect.where), zap.String("hint", hint), zap.Error(err))
}
