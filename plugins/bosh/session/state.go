package session

import (
	"encoding/binary"
	"errors"
	"time"
)

// errState is that of Decode.
var errState = errors.New("bosh: the state of a session can't be read")

const stateVersion = 1

// Append appends the state.
func (s *Session) Append(b []byte) []byte {
	w := writer{append(b, stateVersion)}
	for _, v := range []string{s.sid, s.domain, s.from, s.lang, s.version, s.content, s.key, s.streamID} {
		w.bytes([]byte(v))
	}
	w.number(uint64(s.ver.Major), uint64(s.ver.Minor), uint64(s.wait), uint64(s.hold), uint64(s.requests), uint64(s.inactivity), uint64(s.pause))
	w.flags(s.acks, s.secure, s.lastEmpty, s.lastPayload, s.ended, s.unsaid != nil)
	w.number(s.last, uint64(s.repeats), s.report, s.pushed, s.confirmed)
	w.time(s.lastAt)
	w.time(s.endedAt)
	w.bytes(s.unsaid)
	w.number(uint64(len(s.open)))
	for _, x := range s.open {
		w.number(x.rid)
		w.bytes([]byte(x.key))
		w.time(x.since)
		w.flags(x.created)
	}
	w.number(uint64(len(s.done)))
	for _, d := range s.done {
		w.number(d.rid, d.upTo)
		w.bytes([]byte(d.key))
		w.time(d.at)
		w.bytes(d.body)
	}
	w.number(uint64(len(s.queue)))
	for _, e := range s.queue {
		w.bytes(e)
	}
	return w.b
}

// Decode reads what Append wrote. No connection is there; now is when the client is waited for from. b is kept.
func Decode(b []byte, o Options, now time.Time) (*Session, error) {
	r := reader{b: b}
	s := &Session{o: o}
	if len(b) == 0 || b[0] != stateVersion {
		return nil, errState
	}
	r.b = b[1:]
	for _, v := range []*string{&s.sid, &s.domain, &s.from, &s.lang, &s.version, &s.content, &s.key, &s.streamID} {
		*v = string(r.bytes())
	}
	s.ver = Version{r.small(), r.small()}
	s.wait, s.hold, s.requests = r.duration(), r.small(), r.small()
	s.inactivity, s.pause = r.duration(), r.duration()
	said := true
	r.flags(&s.acks, &s.secure, &s.lastEmpty, &s.lastPayload, &s.ended, &said)
	s.last, s.repeats, s.report, s.pushed, s.confirmed = r.number(), r.small(), r.number(), r.number(), r.number()
	s.lastAt, s.endedAt = r.time(), r.time()
	if unsaid := r.bytes(); said {
		s.unsaid = unsaid
	}
	for n := r.count(); n > 0; n-- {
		x := exchange{rid: r.number(), key: string(r.bytes()), since: r.time()}
		r.flags(&x.created)
		s.open = append(s.open, x)
	}
	for n := r.count(); n > 0; n-- {
		s.done = append(s.done, answered{rid: r.number(), upTo: r.number(), key: string(r.bytes()), at: r.time(), body: r.bytes()})
	}
	for n := r.count(); n > 0; n-- {
		e := r.bytes()
		s.queue = append(s.queue, e)
		s.queued += len(e)
	}
	if r.bad || len(r.b) > 0 || s.requests < 1 || s.last > MaxRID || s.pushed < uint64(len(s.queue)) {
		return nil, errState
	}
	if !s.ended {
		s.idle = now
	}
	return s, nil
}

type writer struct{ b []byte }

func (w *writer) number(values ...uint64) {
	for _, v := range values {
		w.b = binary.AppendUvarint(w.b, v)
	}
}

func (w *writer) bytes(v []byte) {
	w.number(uint64(len(v)))
	w.b = append(w.b, v...)
}

// time writes milliseconds; the zero time is 0.
func (w *writer) time(t time.Time) {
	if t.IsZero() {
		w.number(0)
		return
	}
	w.number(uint64(t.UnixMilli()))
}

func (w *writer) flags(values ...bool) {
	n := uint64(0)
	for i, v := range values {
		if v {
			n |= 1 << i
		}
	}
	w.number(n)
}

// reader reads; once it is bad everything is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || r.bad {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) small() int { return int(r.most(1 << 31)) }

func (r *reader) duration() time.Duration { return time.Duration(r.most(1 << 62)) }

func (r *reader) most(n uint64) uint64 {
	v := r.number()
	if v >= n {
		r.b, r.bad = nil, true
		return 0
	}
	return v
}

// count reads how many of something follow: each takes a byte at least.
func (r *reader) count() uint64 { return r.most(uint64(len(r.b)) + 1) }

func (r *reader) bytes() []byte {
	n := r.count()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) time() time.Time {
	v := r.most(1 << 50)
	if v == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(v))
}

func (r *reader) flags(values ...*bool) {
	n := r.number()
	for i, v := range values {
		*v = n&(1<<i) != 0
	}
}
