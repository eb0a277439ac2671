package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"go.uber.org/zap"
)

// drop removes the oldest segments while they hold nothing that is needed. When more
// than half of too long a log isn't, it writes what is needed of the oldest segment
// anew, one segment a turn. That ends: once round the log, less is written than removed.
func (s *Spool) drop() error {
	carried := false
	for len(s.segments) > 1 || len(s.segments) == 1 && s.file == nil {
		oldest := s.segments[0]
		s.mu.Lock()
		live := oldest.live
		s.mu.Unlock()
		if live > 0 {
			if carried || !s.wasteful() {
				return nil
			}
			if err := s.carry(oldest); err != nil {
				return err
			}
			carried = true
		}
		if s.file == nil { // the log must go on knowing the last ID, and the sessions
			if err := s.open(); err != nil {
				return err
			}
			if err := s.put(); err != nil {
				return err
			}
		}
		if err := s.remove(); err != nil {
			return err
		}
	}
	return nil
}

// wasteful says whether the log is longer than MaxBytes, and more than half of it is
// not needed. What segments begin with does not count: to write anew makes no less
// of that.
func (s *Spool) wasteful() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var total, live int64
	for _, seg := range s.segments {
		total += seg.filled()
		live += seg.liveBytes
	}
	return total > s.MaxBytes && live < total/2
}

// remove removes the oldest segment.
func (s *Spool) remove() error {
	seg := s.segments[0]
	switch err := seg.remove(); {
	case errors.Is(err, fs.ErrNotExist):
		s.log.Error("spool: a file was gone before its time; nothing but the server may touch this folder", zap.String("file", seg.path))
	case err != nil:
		return err
	case seg.damaged:
		s.log.Error("spool: a damaged file is kept aside; nothing reads it any more", zap.String("file", seg.path+aside))
	}
	s.segments = s.segments[1:]
	return nil
}

func (s *Spool) total() (bytes int64) {
	for _, seg := range s.segments {
		bytes += seg.size
	}
	return bytes
}

// carry writes the records of a segment that are not done at the end of the log. What
// can't be read there any more is given up.
func (s *Spool) carry(from *segment) error {
	if err := s.open(); err != nil {
		return err
	}
	p, err := os.ReadFile(from.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spool: %w", err)
	}
	type record struct {
		id uint64
		place
	}
	var records []record
	s.mu.Lock()
	for id, where := range s.live {
		if where.seg == from {
			records = append(records, record{id, where})
		}
	}
	s.mu.Unlock()
	slices.SortFunc(records, func(a, b record) int { return cmp.Compare(a.id, b.id) })
	to := s.active()
	lost := 0
	for i := range records {
		r := &records[i]
		frame := p[min(r.at, int64(len(p))):min(r.at+int64(r.n), int64(len(p)))]
		if _, _, behind, err := nextFrame(frame); err != nil || len(behind) > 0 {
			lost++
			r.place = place{}
			continue
		}
		r.place = place{to, to.size + int64(len(s.buf)), r.n}
		s.buf = append(s.buf, frame...)
	}
	if lost > 0 {
		from.damaged = true
		s.log.Error("spool: records that were written can't be read any more; check the disk", zap.String("file", from.path), zap.Int("records", lost))
	}
	s.mu.Lock()
	for _, r := range records {
		if _, there := s.live[r.id]; !there { // done meanwhile, which is noted behind it
			continue
		}
		if r.seg == nil {
			delete(s.live, r.id)
			continue
		}
		s.live[r.id] = r.place
		to.live++
		to.liveBytes += int64(r.n)
	}
	from.live, from.liveBytes = 0, 0
	s.mu.Unlock()
	s.pending.sync, s.pending.carried = true, true // before the other copy goes
	return s.put()
}
