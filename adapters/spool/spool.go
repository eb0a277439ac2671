// Package spool implements storage.Spool as an append-only log of segments in a
// folder: what is accepted and not yet acknowledged is written by one goroutine,
// all that waits at that moment together. Another one syncs, as often as the disk
// can: a kill of the process loses nothing that was written, and writing, which
// tells what is done, does not wait for a sync. A record that is done before its
// turn is never written. Segments are dropped from the oldest on, when
// all records in them are done; when most of too long a log is not needed, the oldest
// has its last records written anew at the end (compact.go).
//
// What can't be read at a start costs nothing but itself, and its file is kept aside
// (load.go). IDs grow across restarts: each segment begins with the last one.
//
// A full disk ends nothing: what was written of a batch is cut off again, the batch
// waits in memory, and is written when there is room (full.go). Any other write that
// fails, and each fsync that does, ends the spool (storage.ErrSpool): nobody knows then
// what is on the disk.
package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/storage"
)

// Options of a spool. A zero field means its default.
type Options struct {
	Dir          string        // it is made if it isn't there
	SegmentBytes int64         // a segment that is larger is followed by another; default 16 MiB
	MaxBytes     int64         // of the log, beyond which old records are written anew; default 16 segments
	RetryEvery   time.Duration // how often a full disk is tried again; default 1 s
}

// Spool implements storage.Spool.
type Spool struct {
	Options
	log     *zap.Logger
	wake    chan struct{} // has room for one
	flush   chan struct{} // wakes the syncer; has room for one, closed by the writer
	gone    chan struct{} // closed when writer and syncer have ended
	failed  chan struct{} // closed by fail
	synced  func(uint64)
	once    sync.Once     // of fail
	closing chan struct{} // closed by Close
	full    atomic.Bool

	mu      sync.Mutex // guards what follows
	started bool
	closed  bool
	next    uint64 // the last ID given
	waiting []waiting
	done    []uint64 // of records that are on their way to disk, or there
	notes   []note
	told    map[string]uint32 // see Told
	live    map[uint64]place  // records that are on their way to disk, or there, and not done
	written uint64            // everything up to it is written, or done
	dirty   bool              // since the last sync
	size    int64             // of the log, in bytes
	news    chan struct{}     // closed when written grows; nil if nobody waits

	// The writer's own, and Load's before it.
	segments []*segment                      // in order; the last is the one that is written if file is not nil
	number   uint64                          // of the newest file that there was
	buf      []byte                          // is written at the end of the last segment
	pending  turn                            // what buf is
	refused  error                           // why the disk took nothing the last time
	sessions map[string]storage.SpoolSession // as the log has them

	syncing sync.Mutex // held while a file is synced or replaced
	file    *os.File   // the writer changes it
}

// waiting is a record that is not written yet; done: nor need it be.
type waiting struct {
	storage.SpoolRecord
	done bool
}

// note is news of a session.
type note struct {
	what    byte // kindSession, kindEnded
	session storage.SpoolSession
}

// place is where a record is.
type place struct {
	seg *segment
	at  int64
	n   int32
}

var _ storage.Spool = (*Spool)(nil)

// Open opens the spool in a folder, of which the caller holds the lock, and
// starts its writer. Load comes next.
func Open(o Options, log *zap.Logger) (*Spool, error) {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 16 << 20
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 16 * o.SegmentBytes
	}
	if o.RetryEvery <= 0 {
		o.RetryEvery = time.Second
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	all, last, err := segments(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{
		Options: o, log: log, segments: all, number: last,
		wake: make(chan struct{}, 1), flush: make(chan struct{}, 1), gone: make(chan struct{}), failed: make(chan struct{}), synced: func(uint64) {},
		closing: make(chan struct{}),
		live:    map[uint64]place{}, sessions: map[string]storage.SpoolSession{},
	}
	return s, nil
}

// Synced implements storage.Spool, and starts writer and syncer.
func (s *Spool) Synced(f func(id uint64)) {
	s.synced = f
	s.mu.Lock()
	s.started = true
	s.mu.Unlock()
	go s.write()
	go s.sync()
}

// fail ends the spool: nobody knows what is on the disk.
func (s *Spool) fail(err error) {
	s.once.Do(func() {
		s.log.Error("the spool can't be written: nothing more is acknowledged, and the server must end", zap.Error(err))
		close(s.failed)
	})
}

// Append implements storage.Spool.
func (s *Spool) Append(r storage.SpoolRecord) uint64 {
	s.mu.Lock()
	s.next++
	r.ID = s.next
	s.waiting = append(s.waiting, waiting{SpoolRecord: r})
	s.mu.Unlock()
	s.kick()
	return r.ID
}

// Written implements storage.Spool.
func (s *Spool) Written(ctx context.Context, id uint64) {
	for {
		s.mu.Lock()
		if s.written >= id {
			s.mu.Unlock()
			return
		}
		if s.news == nil {
			s.news = make(chan struct{})
		}
		news := s.news
		s.mu.Unlock()
		select {
		case <-news:
		case <-s.failed:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Done implements storage.Spool.
func (s *Spool) Done(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if where, there := s.live[id]; there {
		delete(s.live, id)
		if where.seg != nil {
			where.seg.live--
			where.seg.liveBytes -= int64(where.n)
		}
		s.done = append(s.done, id)
		s.kick()
		return
	}
	i, found := slices.BinarySearchFunc(s.waiting, id, func(w waiting, id uint64) int {
		switch {
		case w.ID < id:
			return -1
		case w.ID > id:
			return 1
		}
		return 0
	})
	if found { // its sender's count is still to be written
		s.waiting[i].done, s.waiting[i].Stanza = true, nil
	}
}

// Began implements storage.Spool. It is written though the session may never send
// anything that is kept: its client is told its count after a kill, too.
func (s *Spool) Began(session storage.SpoolSession) {
	s.note(note{kindSession, session})
	s.kick()
}

// Ended implements storage.Spool.
func (s *Spool) Ended(sender string) {
	s.note(note{kindEnded, storage.SpoolSession{ID: sender}})
}

func (s *Spool) note(n note) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.cancel(&n) {
		s.notes = append(s.notes, n)
	}
}

// kick wakes the writer.
func (s *Spool) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Spool) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Failed implements storage.Spool.
func (s *Spool) Failed() <-chan struct{} { return s.failed }

// Close implements storage.Spool.
func (s *Spool) Close() error {
	s.mu.Lock()
	again, started := s.closed, s.started
	s.closed = true
	s.mu.Unlock()
	switch {
	case again:
		return errors.New("spool: closed twice")
	case !started:
		return nil
	}
	close(s.closing)
	s.kick()
	<-s.gone
	select {
	case <-s.failed:
		return storage.ErrSpool
	default:
	}
	if s.refused != nil {
		return fmt.Errorf("%w; what was not written was not acknowledged either", s.refused)
	}
	return nil
}
