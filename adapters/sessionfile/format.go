package sessionfile

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/storage/frame"
)

// version of the format. Whoever changes the format counts it up: a server does not
// read what a newer one has written. Version 1 had no kindTicket.
const version = 2

// What a frame is. A file begins with kindHead and ends with kindEnd. Sessions are
// followed by their stanzas, and capabilities and forks come before what first
// refers to them: by number, in the order of their frames, from 1 on.
const (
	kindHead    byte = 1 + iota // magic, version, time
	kindCaps                    // <c/>, features
	kindSession                 // see appendSession
	kindFork                    // flags, record, time, message
	kindStanza                  // flags, fork, stored, time, to, stanza
	kindEnded                   // SM-ID, user, handled
	kindEnd                     // how many frames came before it
	kindTicket                  // number, size: of the session before it
)

const magic = "hexmpp sessions"

// Flags of a fork.
const (
	forkTaken   byte = 1 << iota
	forkFollows      // its message is the stanza of the next frame
	forkHas          // its message is in the frame
)

// Flags of a session.
const (
	sessionInterested byte = 1 << iota
	sessionFetches
	sessionAvailable // its presence is in the frame
)

// writing writes frames, and numbers what several of them refer to.
type writing struct {
	out    io.Writer
	err    error
	buf    []byte
	frames uint64
	caps   map[*storage.SavedCaps]uint64
	forks  map[*storage.SavedFork]uint64
}

func (w *writing) frame(kind byte, fill func([]byte) []byte) {
	if w.err != nil {
		return
	}
	w.buf = frame.Append(w.buf[:0], kind, fill)
	w.frames++
	_, w.err = w.out.Write(w.buf)
}

// write writes all of s.
func write(out io.Writer, s *storage.Saved) error {
	w := writing{out: out, caps: map[*storage.SavedCaps]uint64{}, forks: map[*storage.SavedFork]uint64{}}
	w.frame(kindHead, func(dst []byte) []byte {
		dst = frame.AppendUint(frame.AppendString(dst, magic), version)
		return appendTime(dst, s.At)
	})
	for i := range s.Sessions {
		w.session(&s.Sessions[i])
	}
	for i := range s.Ended {
		e := &s.Ended[i]
		w.frame(kindEnded, func(dst []byte) []byte {
			return frame.AppendUint(frame.AppendJID(frame.AppendString(dst, e.ID), e.User), uint64(e.Handled))
		})
	}
	n := w.frames
	w.frame(kindEnd, func(dst []byte) []byte { return frame.AppendUint(dst, n) })
	return w.err
}

func (w *writing) session(s *storage.SavedSession) {
	caps := w.capsOf(s.Caps)
	w.frame(kindSession, func(dst []byte) []byte { return appendSession(dst, s, caps) })
	for _, t := range s.Tickets {
		w.frame(kindTicket, func(dst []byte) []byte {
			return frame.AppendUint(frame.AppendUint(dst, uint64(t.N)), uint64(t.Size))
		})
	}
	for i := range s.Queue {
		w.stanza(&s.Queue[i])
	}
}

// capsOf returns the number of capabilities, 0 for none, and writes them if they
// are new.
func (w *writing) capsOf(c *storage.SavedCaps) uint64 {
	if c == nil {
		return 0
	}
	if n := w.caps[c]; n > 0 {
		return n
	}
	w.frame(kindCaps, func(dst []byte) []byte {
		dst = frame.AppendUint(frame.AppendString(dst, c.XML), uint64(len(c.Features)))
		for _, f := range c.Features {
			dst = frame.AppendString(dst, f)
		}
		return dst
	})
	w.caps[c] = uint64(len(w.caps) + 1)
	return w.caps[c]
}

func appendSession(dst []byte, s *storage.SavedSession, caps uint64) []byte {
	dst = frame.AppendJID(dst, s.JID)
	dst = frame.AppendString(dst, s.ID)
	dst = frame.AppendInt(dst, int64(s.Max/time.Millisecond))
	dst = frame.AppendInt(dst, s.Until.UnixMilli())
	dst = frame.AppendUint(dst, uint64(s.Handled))
	dst = frame.AppendUint(dst, uint64(s.Acked))
	var flags byte
	if s.Interested {
		flags |= sessionInterested
	}
	if s.Fetches {
		flags |= sessionFetches
	}
	if s.Presence != nil {
		flags |= sessionAvailable
	}
	dst = append(dst, flags, byte(s.Priority))
	dst = frame.AppendUint(dst, uint64(len(s.Directed)))
	for _, j := range s.Directed {
		dst = frame.AppendJID(dst, j)
	}
	dst = frame.AppendUint(dst, uint64(len(s.Marks)))
	for _, m := range s.Marks {
		dst = frame.AppendString(dst, m)
	}
	dst = frame.AppendUint(dst, caps)
	dst = frame.AppendUint(dst, uint64(s.Written))
	dst = frame.AppendInt(dst, int64(s.Gap))
	if s.Presence == nil {
		return dst
	}
	return frame.AppendStanza(dst, s.Presence)
}

func (w *writing) stanza(q *storage.SavedStanza) {
	fork := w.forkOf(q)
	w.frame(kindStanza, func(dst []byte) []byte {
		dst = frame.AppendUint(dst, fork)
		dst = frame.AppendUint(dst, q.Stored)
		dst = appendTime(dst, q.At)
		dst = frame.AppendJID(dst, q.To)
		return frame.AppendStanza(dst, q.Stanza)
	})
}

// forkOf is capsOf for a fork.
func (w *writing) forkOf(q *storage.SavedStanza) uint64 {
	f := q.Fork
	if f == nil {
		return 0
	}
	if n := w.forks[f]; n > 0 {
		return n
	}
	var flags byte
	switch f.Message {
	case nil:
	case q.Stanza:
		flags = forkFollows
	default:
		flags = forkHas
	}
	if f.Taken {
		flags |= forkTaken
	}
	w.frame(kindFork, func(dst []byte) []byte {
		dst = frame.AppendUint(append(dst, flags), f.Record)
		dst = appendTime(dst, f.At)
		if flags&forkHas != 0 {
			dst = frame.AppendStanza(dst, f.Message)
		}
		return dst
	})
	w.forks[f] = uint64(len(w.forks) + 1)
	return w.forks[f]
}

// appendTime appends a time in microseconds, of which 0 is the zero time.
func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return frame.AppendInt(dst, 0)
	}
	return frame.AppendInt(dst, t.UnixMicro())
}

func readTime(f *frame.Fields) time.Time {
	us := f.Int()
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// errNewer: the file is of a newer version of hexmpp.
var errNewer = errors.New("it was written by a newer version of hexmpp")

// reading is what has been read.
type reading struct {
	saved   storage.Saved
	caps    []*storage.SavedCaps
	forks   []*storage.SavedFork
	follows *storage.SavedFork // gets the next stanza
	head    bool
	spoiled map[int]error // sessions with a stanza that is none, by their places in saved
}

// spoil notes that the session that is being read can't be used.
func (r *reading) spoil(err error) {
	if r.spoiled == nil {
		r.spoiled = map[int]error{}
	}
	if last := len(r.saved.Sessions) - 1; r.spoiled[last] == nil {
		r.spoiled[last] = err
	}
}

// read reads what write has written: all of it, or an error. A stanza that can't be
// read, in a frame that is whole, costs the sessions that have it only.
func read(in io.Reader, size int64) (*storage.Saved, error) {
	frames := frame.NewReader(in, size)
	var r reading
	for n := uint64(0); ; n++ {
		kind, fields, err := frames.Next()
		if err == io.EOF {
			return nil, fmt.Errorf("%w: the end is missing", frame.ErrFrame)
		}
		if err != nil {
			return nil, err
		}
		f := frame.Fields{P: fields}
		if kind == kindEnd {
			return r.end(&f, n, frames)
		}
		if err := r.frame(kind, &f); err != nil {
			return nil, fmt.Errorf("frame %d: %w", n, err)
		}
	}
}

func (r *reading) end(f *frame.Fields, n uint64, frames *frame.Reader) (*storage.Saved, error) {
	want := f.Uint()
	_, _, behind := frames.Next()
	if f.Err != nil || want != n || behind != io.EOF || !r.head || r.follows != nil {
		return nil, fmt.Errorf("%w: not what was written", frame.ErrFrame)
	}
	all := r.saved.Sessions
	r.saved.Sessions = all[:0]
	for i, s := range all {
		if err := r.spoiled[i]; err != nil {
			r.saved.Ended = append(r.saved.Ended, storage.SpoolSession{ID: s.ID, User: s.JID.Bare(), Handled: s.Told()})
			r.saved.Spoiled = append(r.saved.Spoiled, fmt.Errorf("session of %s: %w", s.JID, err))
			continue
		}
		if s.Written > len(s.Queue) || s.Gap > len(s.Queue) || s.Gap >= 0 && s.Gap < s.Written {
			return nil, fmt.Errorf("%w: a queue that is none", frame.ErrFrame)
		}
		r.saved.Sessions = append(r.saved.Sessions, s)
	}
	return &r.saved, nil
}

func (r *reading) frame(kind byte, f *frame.Fields) error {
	if r.head != (kind != kindHead) || r.follows != nil && kind != kindStanza {
		return fmt.Errorf("%w: kind %d in a wrong place", frame.ErrFrame, kind)
	}
	switch kind {
	case kindHead:
		r.head = true
		if f.Text() != magic {
			return frame.ErrFrame
		}
		if f.Uint() > version && f.Err == nil {
			return errNewer
		}
		r.saved.At = readTime(f)
	case kindCaps:
		c := &storage.SavedCaps{XML: f.Text()}
		for range f.Count() {
			c.Features = append(c.Features, f.Text())
		}
		r.caps = append(r.caps, c)
	case kindSession:
		return r.session(f)
	case kindTicket:
		return r.ticket(f)
	case kindFork:
		return r.fork(f)
	case kindStanza:
		return r.stanza(f)
	case kindEnded:
		r.saved.Ended = append(r.saved.Ended, storage.SpoolSession{ID: f.Text(), User: f.JID(), Handled: uint32(f.Uint())})
	default:
		return fmt.Errorf("%w: kind %d", frame.ErrFrame, kind)
	}
	return f.Err
}

func (r *reading) session(f *frame.Fields) error {
	var s storage.SavedSession
	s.JID, s.ID = f.JID(), f.Text()
	s.Max = time.Duration(f.Int()) * time.Millisecond
	s.Until = time.UnixMilli(f.Int()).UTC()
	s.Handled, s.Acked = uint32(f.Uint()), uint32(f.Uint())
	flags := f.Byte()
	s.Interested, s.Fetches = flags&sessionInterested != 0, flags&sessionFetches != 0
	s.Priority = int8(f.Byte())
	for range f.Count() {
		s.Directed = append(s.Directed, f.JID())
	}
	for range f.Count() {
		s.Marks = append(s.Marks, f.Text())
	}
	if n := f.Uint(); n > uint64(len(r.caps)) {
		return frame.ErrFrame
	} else if n > 0 {
		s.Caps = r.caps[n-1]
	}
	written, gap := f.Uint(), f.Int()
	s.Written, s.Gap = int(min(written, maxQueue)), int(min(max(gap, -1), maxQueue))
	if f.Err != nil {
		return f.Err
	}
	if flags&sessionAvailable != 0 {
		s.Presence = f.Stanza()
	}
	r.saved.Sessions = append(r.saved.Sessions, s)
	if f.Err != nil {
		r.spoil(f.Err)
	}
	return nil
}

// ticket reads one of the session that is being read.
func (r *reading) ticket(f *frame.Fields) error {
	n, size := f.Uint(), f.Uint()
	if f.Err != nil || len(r.saved.Sessions) == 0 || n > math.MaxUint32 || size > maxQueue {
		return frame.ErrFrame
	}
	s := &r.saved.Sessions[len(r.saved.Sessions)-1]
	if last := len(s.Tickets) - 1; last >= 0 && int32(uint32(n)-s.Tickets[last].N) <= 0 || int32(s.Handled-uint32(n)) < 0 {
		return frame.ErrFrame
	}
	s.Tickets = append(s.Tickets, storage.SavedTicket{N: uint32(n), Size: int(size)})
	return nil
}

// maxQueue is more stanzas than a queue can have.
const maxQueue = 1<<31 - 1

// fork reads one; nil stands for one whose message can't be read.
func (r *reading) fork(f *frame.Fields) error {
	flags := f.Byte()
	fork := &storage.SavedFork{Taken: flags&forkTaken != 0, Record: f.Uint(), At: readTime(f)}
	switch {
	case f.Err != nil:
		return f.Err
	case flags&forkFollows != 0:
		r.follows = fork
	case flags&forkHas != 0:
		if fork.Message = f.Stanza(); f.Err != nil {
			fork = nil
		}
	}
	r.forks = append(r.forks, fork)
	return nil
}

func (r *reading) stanza(f *frame.Fields) error {
	fork := f.Uint()
	q := storage.SavedStanza{Stored: f.Uint(), At: readTime(f), To: f.AnyJID()}
	if f.Err != nil {
		return f.Err
	}
	if fork > uint64(len(r.forks)) || len(r.saved.Sessions) == 0 {
		return frame.ErrFrame
	}
	if fork > 0 {
		q.Fork = r.forks[fork-1]
	}
	if r.follows != nil && q.Fork != r.follows {
		return frame.ErrFrame
	}
	q.Stanza = f.Stanza()
	switch {
	case f.Err != nil:
		r.spoil(f.Err)
		if r.follows != nil {
			r.forks[fork-1], r.follows = nil, nil
		}
		return nil
	case fork > 0 && q.Fork == nil:
		r.spoil(fmt.Errorf("%w: a copy of a message that can't be read", frame.ErrFrame))
		return nil
	case r.follows != nil:
		r.follows.Message, r.follows = q.Stanza, nil
	}
	s := &r.saved.Sessions[len(r.saved.Sessions)-1]
	s.Queue = append(s.Queue, q)
	return nil
}
