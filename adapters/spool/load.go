package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/storage/frame"
)

// Load implements storage.Spool. What can't be read is left out, and the file is kept
// then (segment.damaged): all of its bytes, but for that nothing reads them any more.
// Whole records behind damage are found, as far as the bound of the search goes. That a
// message is done may be among what is lost: it comes a second time then.
func (s *Spool) Load(f func(storage.SpoolRecord) error) ([]storage.SpoolSession, error) {
	l := loading{records: map[uint64]loaded{}}
	for _, seg := range s.segments {
		if err := s.read(seg, &l); err != nil {
			return nil, err
		}
	}
	s.measure()
	s.mu.Lock()
	for id, r := range l.records {
		s.live[id] = r.where
		r.where.seg.live++
		r.where.seg.liveBytes += int64(r.where.n)
	}
	s.mu.Unlock()
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
	if err := s.scan(seg, p, l); err != nil {
		return fmt.Errorf("%w; use that version, or move %s away", err, seg.path)
	}
	return nil
}

// maxFaults is how many faults of a file are logged one by one.
const maxFaults = 10

// scan takes the records of a file. A frame that can't be read is skipped, whether
// its bytes are damaged or its content makes no sense. The error is errFormat.
func (s *Spool) scan(seg *segment, p []byte, l *loading) error {
	seg.size = int64(len(p))
	search := search{left: 1<<20 + 64*len(p)}
	faults := 0
	fault := func(msg string, at, n int, err error) {
		seg.damaged = true
		if faults++; faults <= maxFaults {
			s.log.Error(msg, zap.String("file", seg.path), zap.Int("at", at), zap.Int("bytes", n), zap.Error(err))
		}
	}
	for at := 0; at < len(p); {
		kind, body, behind, err := nextFrame(p[at:])
		end := len(p) - len(behind)
		if err == nil {
			if err = s.apply(l, kind, body, place{seg, int64(at), int32(end - at)}); errors.Is(err, errFormat) {
				return err
			} else if err != nil {
				fault("spool: a record is whole and can't be understood; it is left out, and its file will be kept", at, end-at, err)
			}
			at = end
			continue
		}
		next := search.frame(p, at+1)
		if next == len(p) && isCut(p[at:]) {
			s.log.Warn("spool: a file ends within a record: the server was killed, or the power failed, while it was written; nothing that was acknowledged is in it",
				zap.String("file", seg.path), zap.Int("at", at), zap.Int("bytes", next-at))
			break
		}
		fault("spool: a part of a file is damaged; it is left out, and the file will be kept. Unless the power failed, check the disk", at, next-at, err)
		at = next
	}
	if faults > maxFaults {
		s.log.Error("spool: more of a file can't be read", zap.String("file", seg.path), zap.Int("faults", faults))
	}
	return nil
}

// isCut says whether p, which does not begin with a whole frame, can be all that a
// process wrote of one, or that a file had grown by when the power failed.
func isCut(p []byte) bool {
	if len(p) <= frame.Head {
		return true
	}
	if n := binary.LittleEndian.Uint32(p); n > 0 {
		return n <= maxBody && int64(n) > int64(len(p)-frame.Head)
	}
	return !slices.ContainsFunc(p, func(c byte) bool { return c != 0 })
}

// search finds frames behind damage. left bounds the bytes whose checksums it takes,
// so that no file takes for ever. A client can't have put a frame into a message:
// the head of one has a zero byte (maxBody), and XML has none.
type search struct{ left int }

// frame returns where the first whole frame begins at from or behind it, len(p) if
// there is none.
func (s *search) frame(p []byte, from int) int {
	for at := from; at+frame.Head < len(p) && s.left > 0; at++ {
		n := int64(binary.LittleEndian.Uint32(p[at:]))
		if kind := p[at+frame.Head]; n == 0 || n > maxBody || n > int64(len(p)-at-frame.Head) || kind < kindMessage || kind > lastKind {
			continue
		}
		s.left -= int(n)
		if _, _, _, err := nextFrame(p[at:]); err == nil {
			return at
		}
	}
	return len(p)
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
		for f := (frame.Fields{P: body}); len(f.P) > 0; {
			id := f.Uint()
			if f.Err != nil {
				return f.Err
			}
			delete(l.records, id)
			s.next = max(s.next, id)
		}
	case kindSession:
		known, err := parseSession(body)
		if err != nil {
			return err
		}
		s.sessions[known.ID] = known
	case kindEnded:
		delete(s.sessions, string(body))
	case kindHead:
		last, behind, err := parseHead(body)
		if err != nil {
			return err
		}
		s.next = max(s.next, last)
		if where.at == 0 {
			where.seg.head = min(int64(where.n)+behind, where.seg.size)
		}
	case kindLast:
		f := frame.Fields{P: body}
		s.next = max(s.next, f.Uint())
		return f.Err
	default:
		return fmt.Errorf("%w: kind %d", frame.ErrFrame, kind)
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
