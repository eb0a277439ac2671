package spool

import (
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/storage/frame"
)

// maxBuffer is how much room for output is kept from one turn to the next.
const maxBuffer = 1 << 20

// write is the writer: it writes until Close, or until a write fails.
func (s *Spool) write() {
	defer close(s.flush)
	for {
		s.await()
		last, err := s.turn()
		if errors.Is(err, errFull) {
			switch freed, failed := s.free(); {
			case failed != nil:
				err = failed
			case freed:
				last, err = s.turn()
			}
		}
		full := errors.Is(err, errFull)
		if err != nil && !full {
			s.fail(err)
			return
		}
		s.report(err)
		s.measure()
		if last || full && s.isClosed() {
			return
		}
	}
}

// sync is the syncer: it ends behind the writer.
func (s *Spool) sync() {
	defer close(s.gone)
	for range s.flush {
		s.mu.Lock()
		upTo, dirty := s.written, s.dirty
		s.dirty = false
		s.mu.Unlock()
		if dirty {
			if err := s.dataSync(); err != nil {
				s.fail(err)
			}
		}
		select {
		case <-s.failed:
		default:
			s.synced(upTo)
		}
	}
	s.syncing.Lock()
	defer s.syncing.Unlock()
	if s.file != nil {
		if err := errors.Join(s.file.Sync(), s.file.Close()); err != nil {
			s.fail(err)
		}
	}
}

// dataSync has what was written on disk.
func (s *Spool) dataSync() error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	return dataSync(s.file)
}

// turn is what waits to be told of when the buffer is written.
type turn struct {
	records bool   // there are some:
	upTo    uint64 // they are written up to this ID,
	dirty   bool   // and to be synced
	sync    bool   // older segments must not go before it is on disk: a head, and
	carried bool   // records of the oldest one
}

// turn writes everything that waits.
func (s *Spool) turn() (last bool, err error) {
	if err := s.put(); err != nil { // what a full disk did not take
		return false, err
	}
	s.mu.Lock()
	some := len(s.waiting)+len(s.done)+len(s.notes)+len(s.told) > 0
	last = s.closed
	s.mu.Unlock()
	if some {
		if err := s.open(); err != nil { // before anything is taken
			return false, err
		}
		s.take()
		if err := s.put(); err != nil {
			return false, err
		}
	}
	return last, s.drop()
}

// take puts what waits into the buffer.
func (s *Spool) take() {
	s.mu.Lock()
	batch, done, notes, told, upTo := s.waiting, s.done, s.notes, s.told, s.next
	s.waiting, s.done, s.notes, s.told = nil, nil, nil, nil
	for i := range batch {
		if !batch[i].done {
			s.live[batch[i].ID] = place{} // from now on Done finds it there
		}
	}
	s.mu.Unlock()
	for i := range notes { // first: the records name these sessions
		s.encodeNote(&notes[i])
	}
	s.pending.records, s.pending.upTo = len(batch) > 0, upTo
	s.pending.dirty = s.encode(batch)
	s.encodeTold(told)
	if len(done) > 0 {
		s.buf = appendDone(s.buf, done)
	}
}

// open makes sure that there is a segment with room, which begins with the last ID
// and what is known of the sessions. That is put into the buffer, which is empty.
func (s *Spool) open() error {
	if s.file != nil && s.active().filled() < s.SegmentBytes {
		return nil
	}
	s.syncing.Lock()
	defer s.syncing.Unlock()
	if s.file != nil {
		if err := errors.Join(s.file.Sync(), s.file.Close()); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		s.file = nil
	}
	seg, f, err := create(s.Dir, s.number+1)
	if err != nil {
		return err
	}
	s.number = seg.number
	s.segments, s.file = append(s.segments, seg), f
	s.mu.Lock()
	last := s.next
	s.mu.Unlock()
	s.buf = appendHead(s.buf, last, s.sessions)
	seg.head = int64(len(s.buf))
	s.pending.sync = true
	return nil
}

// active returns the segment that is written.
func (s *Spool) active() *segment { return s.segments[len(s.segments)-1] }

// encode puts the records that are not done into the buffer, and of those that
// are the counts of their senders: a client whose session is gone is not to send
// again what had arrived. It says whether any of it must be synced.
func (s *Spool) encode(batch []waiting) (dirty bool) {
	seg := s.active()
	s.mu.Lock()
	for i := range batch {
		if _, there := s.live[batch[i].ID]; there {
			dirty = dirty || !batch[i].Light
			seg.live++
			s.live[batch[i].ID] = place{seg: seg}
		} else {
			batch[i].done = true
		}
	}
	s.mu.Unlock()
	counts := map[string]struct{}{}
	for i := range batch {
		w := &batch[i]
		known := s.handled(w.Sender, w.Handled)
		if w.done {
			if known {
				counts[w.Sender] = struct{}{}
			}
			continue
		}
		at := len(s.buf)
		s.buf = appendMessage(s.buf, &w.SpoolRecord)
		if n := len(s.buf) - at - frame.Head; n > maxBody { // an extension built it: nothing else lets it in
			s.log.Error("spool: a message is too long to be kept; it is lost if the server is killed", zap.Stringer("to", w.To), zap.Int("bytes", n))
			s.buf = s.buf[:at]
			s.forget(w.ID, seg)
			continue
		}
		s.settle(w.ID, place{seg, seg.size + int64(at), int32(len(s.buf) - at)})
	}
	for sender := range counts {
		known := s.sessions[sender]
		s.buf = appendSession(s.buf, &known)
	}
	if n := len(batch); n > 0 && batch[n-1].done { // no ID is given twice
		s.buf = appendLast(s.buf, batch[n-1].ID)
	}
	return dirty
}

// forget gives up a record that is not in the buffer.
func (s *Spool) forget(id uint64, seg *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.live[id]; there {
		delete(s.live, id)
		seg.live--
	}
}

// settle notes where a record is, if it is not done by now.
func (s *Spool) settle(id uint64, where place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.live[id]; there {
		s.live[id] = where
		where.seg.liveBytes += int64(where.n)
	}
}

func (s *Spool) encodeNote(n *note) {
	id := n.session.ID
	switch n.what {
	case kindSession:
		s.sessions[id] = n.session
		s.buf = appendSession(s.buf, &n.session)
	case kindEnded:
		if _, known := s.sessions[id]; known {
			delete(s.sessions, id)
			s.buf = appendEnded(s.buf, id)
		}
	}
}

// put writes the buffer, and tells of what was in it. When the disk is full both
// stay as they are.
func (s *Spool) put() error {
	if err := s.writeBuffer(); err != nil {
		return err
	}
	p := s.pending
	s.pending = turn{}
	if p.sync {
		if err := s.dataSync(); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	if !p.records {
		return nil
	}
	s.mu.Lock()
	s.written, s.dirty = p.upTo, s.dirty || p.dirty
	if s.news != nil {
		close(s.news)
		s.news = nil
	}
	s.mu.Unlock()
	select {
	case s.flush <- struct{}{}:
	default:
	}
	return nil
}

// writeBuffer writes all of the buffer behind the last whole record, or nothing.
func (s *Spool) writeBuffer() error {
	if len(s.buf) == 0 {
		return nil
	}
	seg := s.active()
	n, err := s.file.WriteAt(s.buf, seg.size)
	if err != nil {
		err = fmt.Errorf("spool: %w", noRoom(err))
		if n > 0 && errors.Is(err, errFull) {
			if failed := s.file.Truncate(seg.size); failed != nil {
				return fmt.Errorf("spool: %w", failed)
			}
		}
		return err
	}
	seg.size += int64(n)
	if s.buf = s.buf[:0]; cap(s.buf) > maxBuffer {
		s.buf = nil
	}
	return nil
}
