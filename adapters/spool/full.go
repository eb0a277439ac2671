package spool

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// errFull: the disk takes no more. What was to be written is in the buffer still,
// and nothing of it is behind the last whole record of the file.
var errFull = errors.New("spool: the disk is full")

// noRoom wraps an error of a write, or of making a file, that says so: no space, a
// quota, or a limit on the size of files. It is none of fsync: what was written
// before it may be lost then.
func noRoom(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("%w: %w", errFull, err)
	}
	return err
}

// Full implements storage.Spool.
func (s *Spool) Full() bool { return s.full.Load() }

// report notes whether the disk takes what is written. It is called by the writer
// behind each turn, and logs each change once.
func (s *Spool) report(err error) {
	s.refused = err
	if full := err != nil; s.full.Swap(full) == full {
		return
	}
	if err != nil {
		s.log.Error("the disk of the spool is full: messages of clients with stream management are refused until there is room",
			zap.String("folder", s.Dir), zap.Error(err))
		return
	}
	s.log.Info("the spool can be written again", zap.String("folder", s.Dir))
}

// await waits until there is something to do: while the disk is full, for the next
// try.
func (s *Spool) await() {
	if !s.full.Load() {
		<-s.wake
		return
	}
	t := time.NewTimer(s.RetryEvery)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.closing:
	}
}

// free removes old segments of which nothing is needed, to make room. It says whether
// there were any.
func (s *Spool) free() (freed bool, err error) {
	stay := 1
	if s.pending.sync { // the head of the last one is not on disk yet: that of the one before is
		stay = 2
	}
	for len(s.segments) > stay && !s.pending.carried { // else what was in the oldest isn't on disk elsewhere
		s.mu.Lock()
		live := s.segments[0].live
		s.mu.Unlock()
		if live > 0 {
			break
		}
		if err := s.remove(); err != nil {
			return freed, err
		}
		freed = true
	}
	return freed, nil
}

// cancel forgets that a session began which is not written yet, while the disk is
// full: then both may wait for long. s.mu is held.
func (s *Spool) cancel(n *note) bool {
	if n.what != kindEnded || !s.full.Load() {
		return false
	}
	i := slices.IndexFunc(s.notes, func(was note) bool { return was.what == kindSession && was.session.ID == n.session.ID })
	if i < 0 {
		return false
	}
	s.notes = slices.Delete(s.notes, i, i+1)
	return true
}
