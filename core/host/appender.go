package host

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hexmpp/hexmpp/core/underway"
	"github.com/hexmpp/hexmpp/ports/extension/overlay"
	"github.com/hexmpp/hexmpp/ports/storage"
)

// Bounds of one commit of rows.
const (
	maxAppendRows  = 512
	maxAppendBytes = 8 << 20
)

// Bounds of what waits for storage: who sends more meanwhile is told to wait.
const (
	maxQueued      = 32_768
	maxQueuedBytes = 64 << 20
)

// errBehind: too much waits already.
var errBehind = fmt.Errorf("%w: too much waits for it already", storage.ErrUnavailable)

// errGivenUp: what was queued was not begun in time, and is never written.
var errGivenUp = fmt.Errorf("%w: nothing was written: given up while it waited for its turn", storage.ErrUnavailable)

// errLate: another row of the same archive, with a greater ID, was queued first. The
// handlers are run again, and have new IDs. It costs no look into storage.
var errLate = fmt.Errorf("host: %w: rows are queued too late", storage.ErrConflict)

// appender commits what has rows for archives, in one order, which is that of the IDs
// in each archive: IDs are made while handlers run, at the same time, and an archive
// takes none that is older than what it has. What waits together is one commit. It
// has a goroutine while there is something to do.
type appender struct {
	commit func(ctx context.Context, w writes) error
	told   func(rows int, took time.Duration, err error)
	finish func([]underway.Finished) // is told of commits that messages wait for
	ctx    context.Context           // of the kernel
	seed   maphash.Seed

	mu       sync.Mutex // guards what follows
	last     lastIDs
	queue    []*pending
	bytes    int           // of what is in the queue
	done     chan struct{} // closed when the goroutine ends; nil if there is none
	stopping bool
}

// pending is what was queued.
type pending struct {
	writes
	bytes   int
	again   bool // a part of what was queued before, whose IDs are noted: only storage knows if it is too late
	state   atomic.Int32
	message *underway.Message // that waits for it; nil: somebody waits for result
	since   time.Time         // of message: when it was queued
	result  chan error        // one place
}

// States of a pending: its commit has begun, or who waits for it has given up.
const (
	queued = iota
	begun
	givenUp
)

// writes are what handlers write: see storage.Writes.
type writes struct {
	ops     overlay.Writes
	removed []storage.ArchiveKey
	rows    []storage.Row
	edits   []storage.Edit // behind rows
}

func (w *writes) all() storage.Writes {
	return storage.Writes{Ops: w.ops, Remove: w.removed, Rows: w.rows, Edits: w.edits}
}

// remove removes an archive, with the rows that were appended to it so far.
func (w *writes) remove(a storage.ArchiveKey) {
	w.rows = slices.DeleteFunc(w.rows, func(r storage.Row) bool { return r.Archive() == a })
	w.edits = slices.DeleteFunc(w.edits, func(e storage.Edit) bool { return e.ArchiveKey == a })
	if !slices.Contains(w.removed, a) {
		w.removed = append(w.removed, a)
	}
}

// add adds what was asked for behind w.
func (w *writes) add(o *writes) {
	w.ops = append(w.ops, o.ops...)
	for _, a := range o.removed {
		w.remove(a)
	}
	w.rows = append(w.rows, o.rows...)
	w.edits = append(w.edits, o.edits...)
}

// alone says that they are a commit of their own, since they may fail, or have their place
// among the rows of others.
func (w *writes) alone() bool { return len(w.ops) > 0 || len(w.removed) > 0 || len(w.edits) > 0 }

// size is what they take in memory, about.
func (w *writes) size() (n int) {
	for i := range w.ops {
		n += len(w.ops[i].Value)
	}
	for _, a := range w.removed {
		n += len(a.Owner.String())
	}
	for i := range w.rows {
		n += len(w.rows[i].XML)
	}
	for i := range w.edits {
		n += len(w.edits[i].XML)
	}
	return n
}

func (w *writes) empty() bool { return !w.alone() && len(w.rows) == 0 }

func newAppender(ctx context.Context, commit func(context.Context, writes) error, told func(int, time.Duration, error), finish func([]underway.Finished)) *appender {
	if told == nil {
		told = func(int, time.Duration, error) {}
	}
	if finish == nil {
		finish = func([]underway.Finished) {}
	}
	return &appender{commit: commit, told: told, finish: finish, ctx: ctx, seed: maphash.MakeSeed()}
}

// maxRecent is how many archives one generation of lastIDs has.
const maxRecent = 16_384

// lastIDs are the greatest IDs that were queued, by a hash of 64 bits of the archive: those
// of the last 16,384 archives, at least. A row that is too late for another one is found
// by storage, which costs a look. The zero value knows of none.
type lastIDs struct{ recent, before map[uint64]uint64 }

// of returns 0 for what is not known.
func (l *lastIDs) of(archive uint64) uint64 {
	if id, there := l.recent[archive]; there {
		return id
	}
	return l.before[archive]
}

func (l *lastIDs) note(archive, id uint64) {
	if _, there := l.recent[archive]; !there && len(l.recent) >= maxRecent {
		l.before, l.recent = l.recent, l.before // the older ones are forgotten
		clear(l.recent)
	}
	if l.recent == nil {
		l.recent = map[uint64]uint64{}
	}
	l.recent[archive] = id
}

// hash names an archive.
func (a *appender) hash(r *storage.Row) uint64 {
	h := maphash.String(a.seed, r.Owner.String()) ^ bits.RotateLeft64(maphash.String(a.seed, r.Space), 1)
	if r.Own {
		h = ^h
	}
	return h
}

// add queues writes: errLate if a row has no place any more, errBehind if there is no
// room. It never waits.
func (a *appender) add(w writes) (*pending, error) { return a.addPart(w, false) }

// addPart is add; again says that w is a part of what was queued before, and was not committed.
func (a *appender) addPart(w writes, again bool) (*pending, error) {
	p := &pending{writes: w, bytes: w.size(), again: again, result: make(chan error, 1)}
	if err := a.queueUp(p, nil); err != nil {
		return nil, err
	}
	return p, nil
}

// addFor queues the writes of a message that joins a Line: join is called if there is
// no error, before the commit begins. What has not begun in maxWorkTime never does.
func (a *appender) addFor(w writes, m *underway.Message, join func()) error {
	return a.queueUp(&pending{writes: w, bytes: w.size(), message: m, since: time.Now()}, join)
}

func (a *appender) queueUp(p *pending, join func()) error {
	w := &p.writes
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopping {
		return fmt.Errorf("%w: the server is shutting down", storage.ErrUnavailable)
	}
	if len(a.queue) > 0 && (len(a.queue) >= maxQueued || a.bytes+p.bytes > maxQueuedBytes) {
		return errBehind
	}
	for i := range w.rows {
		if !p.again && w.rows[i].ID <= a.last.of(a.hash(&w.rows[i])) {
			return errLate
		}
	}
	if join != nil {
		join()
	}
	for i := range w.rows {
		archive := a.hash(&w.rows[i])
		a.last.note(archive, max(a.last.of(archive), w.rows[i].ID))
	}
	a.queue = append(a.queue, p)
	a.bytes += p.bytes
	if a.done == nil {
		a.done = make(chan struct{})
		go a.run(a.done)
	}
	return nil
}

// wait returns what became of the commit. What has not begun when ctx ends never does.
// What has is waited for a while longer, since it ends by itself, within maxWorkTime: a
// sender who is told of a failure sends again.
func (p *pending) wait(ctx context.Context) error {
	select {
	case err := <-p.result:
		return err
	case <-ctx.Done():
	}
	if p.state.CompareAndSwap(queued, givenUp) {
		return fmt.Errorf("%w: %w", errGivenUp, ctx.Err())
	}
	last := time.NewTimer(maxWorkTime)
	defer last.Stop()
	select {
	case err := <-p.result:
		return err
	case <-last.C:
		return fmt.Errorf("%w: whether it was written is not known: %w", storage.ErrUnavailable, ctx.Err())
	}
}

// run commits until nothing waits. It yields before each commit, so that those whose
// stanza came behind the last one can queue theirs.
func (a *appender) run(done chan struct{}) {
	defer close(done)
	for {
		runtime.Gosched()
		group := a.take()
		if group == nil {
			return
		}
		a.write(group)
	}
}

// take takes what comes next: either something with ops, or removals of archives, by
// itself, or as many rows as there are; nil if nothing waits. What was given up it drops,
// and messages that have waited for too long go back.
func (a *appender) take() (group []*pending) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var late []underway.Finished
	defer func() { a.finish(late) }()
	rows, bytes := 0, 0
	last := time.Now().Add(-maxWorkTime)
	for len(a.queue) > 0 {
		p := a.queue[0]
		given := p.state.Load() == givenUp
		if p.message != nil && !p.since.After(last) {
			given = true
			late = append(late, underway.Finished{Message: p.message, Err: errGivenUp})
		}
		full := p.alone() || rows+len(p.rows) > maxAppendRows || bytes+p.bytes > maxAppendBytes
		if !given && len(group) > 0 && full {
			return group
		}
		a.queue[0] = nil
		a.queue = a.queue[1:]
		a.bytes -= p.bytes
		if given || !p.state.CompareAndSwap(queued, begun) {
			continue
		}
		group = append(group, p)
		rows += len(p.rows)
		bytes += p.bytes
		if p.alone() {
			return group
		}
	}
	if a.queue = nil; group == nil {
		a.done = nil
	}
	return group
}

func (a *appender) write(group []*pending) {
	w := group[0].writes
	if len(group) > 1 {
		w = writes{}
		for _, p := range group {
			w.rows = append(w.rows, p.rows...)
		}
	}
	ctx, cancel := context.WithTimeout(a.ctx, maxWorkTime)
	began := time.Now()
	err := a.commit(ctx, w)
	cancel()
	if err != nil && len(group) > 1 && !errors.Is(err, storage.ErrUnavailable) {
		for _, p := range group { // whose rows it was is not known
			a.write([]*pending{p})
		}
		return
	}
	if len(w.rows) > 0 {
		a.told(len(w.rows), time.Since(began), err)
	}
	var messages []underway.Finished
	for _, p := range group {
		if p.message == nil {
			p.result <- err
			continue
		}
		if messages == nil {
			messages = make([]underway.Finished, 0, len(group))
		}
		messages = append(messages, underway.Finished{Message: p.message, Err: err})
	}
	a.finish(messages)
}

// stop lets nothing in any more and returns when what was queued is committed, or
// has failed, as it does at the end of the kernel's context.
func (a *appender) stop() {
	a.mu.Lock()
	a.stopping = true
	done := a.done
	a.mu.Unlock()
	if done != nil {
		<-done
	}
}
