package spool

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/storage"
)

// Load implements storage.Spool. A frame that is not whole is where a process was
// killed while it wrote: nobody was told that it is safe. Nothing follows it in its
// file, since each process begins another one.
func (s *Spool) Load(f func(storage.SpoolRecord) error) ([]storage.SpoolSession, error) {
	l := loading{records: map[uint64]loaded{}}
	for _, seg := range s.segments {
		if err := s.read(seg, &l); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	for id, r := range l.records {
		s.live[id] = r.where
		r.where.seg.live++
		r.where.seg.liveBytes += int64(r.where.n)
	}
	s.mu.Unlock()
	s.measure()
	for _, id := range slices.Sorted(maps.Keys(l.records)) {
		if err := f(l.records[id].SpoolRecord); err != nil {
			return nil, fmt.Errorf("spool: record %d: %w", id, err)
		}
	}
	s.kick() // what has no live record goes
	return slices.Collect(maps.Values(s.sessions)), nil
}

// loading is what has been read.
type loading struct{ records map[uint64]loaded }

type loaded struct {
	storage.SpoolRecord
	where place
}

// read reads one file. Before the spool is in use nobody else touches its fields.
func (s *Spool) read(seg *segment, l *loading) error {
	p, err := os.ReadFile(seg.path)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.scan(seg, p, l)
	return nil
}

// scan takes the records of a file, as far as they are whole.
func (s *Spool) scan(seg *segment, p []byte, l *loading) {
	seg.size = int64(len(p))
	for rest := p; len(rest) > 0; {
		at := int64(len(p) - len(rest))
		kind, body, behind, err := nextFrame(rest)
		if err == nil {
			err = s.apply(l, kind, body, place{seg, at, int32(len(rest) - len(behind))})
		}
		if err != nil {
			s.log.Warn("spool: the end of a file is no whole record: if the server was killed, nothing that was acknowledged is in it; if not, the disk is damaged",
				zap.String("file", seg.path), zap.Int64("at", at), zap.Int("bytes", len(rest)), zap.Error(err))
			return
		}
		rest = behind
	}
}

func (s *Spool) apply(l *loading, kind byte, body []byte, where place) error {
	switch kind {
	case kindMessage:
		r, err := parseMessage(body)
		if err != nil {
			return err
		}
		l.records[r.ID] = loaded{r, where} // a later copy of a record replaces it
		s.next = max(s.next, r.ID)
		s.handled(r.Sender, r.Handled)
	case kindDone:
		for len(body) > 0 {
			id, n := binary.Uvarint(body)
			if n <= 0 {
				return errFrame
			}
			delete(l.records, id)
			body = body[n:]
		}
	case kindSession:
		known, err := parseSession(body)
		if err != nil {
			return err
		}
		s.sessions[known.ID] = known
	case kindEnded:
		delete(s.sessions, string(body))
	default:
		return fmt.Errorf("%w: kind %d", errFrame, kind)
	}
	return nil
}

// handled notes the count of a session that sent.
func (s *Spool) handled(sender string, h uint32) bool {
	known, ok := s.sessions[sender]
	if ok {
		known.Handled = later(known.Handled, h)
		s.sessions[sender] = known
	}
	return ok
}

// later returns the greater of two counts modulo 2^32 (XEP-0198 4).
func later(a, b uint32) uint32 {
	if int32(b-a) > 0 {
		return b
	}
	return a
}
