package s2s

import (
	"encoding/binary"
	"errors"
)

// note is what a process leaves for the next one of what it has begun to write to a peer.
type note struct {
	managed   bool // the stream has XEP-0198,
	resumable bool // and can be resumed
	inbound   bool // by the peer, who opened it
	id        string
	locals    []string // whose stanzas are in it
	entries   []entry
}

// entry is an event that is begun and unanswered.
type entry struct {
	id    uint64
	first uint32 // of its stanzas on the stream (XEP-0198)
	n     uint32 // how many stanzas it is
	state state
}

// state is what is known of an event that a process of before has begun.
type state uint8

const (
	begun     state = iota // a resumption says whether the peer has it
	delivered              // the peer has it
	unsure                 // nobody knows, of a peer that acknowledges
	counted                // nobody knows, of a peer that does not
	partly                 // the peer has as many of its stanzas as first says
)

var errNote = errors.New("s2s: the note can't be read")

const noteVersion = 1

func (n *note) append(b []byte) []byte {
	flags := byte(0)
	for i, f := range []bool{n.managed, n.resumable, n.inbound} {
		if f {
			flags |= 1 << i
		}
	}
	b = append(b, noteVersion, flags)
	b = appendString(b, n.id)
	b = binary.AppendUvarint(b, uint64(len(n.locals)))
	for _, l := range n.locals {
		b = appendString(b, l)
	}
	b = binary.AppendUvarint(b, uint64(len(n.entries)))
	for _, e := range n.entries {
		b = binary.AppendUvarint(b, e.id)
		b = binary.AppendUvarint(b, uint64(e.first))
		b = binary.AppendUvarint(b, uint64(e.n))
		b = append(b, byte(e.state))
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// noteReader reads what append wrote; after an error everything is zero.
type noteReader struct {
	b   []byte
	err error
}

func (r *noteReader) number() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.err = nil, errNote
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *noteReader) byte() byte {
	if len(r.b) == 0 {
		r.err = errNote
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *noteReader) string() string {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.b, r.err = nil, errNote
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// length reads how many things of at least one byte follow.
func (r *noteReader) length() int {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.b, r.err = nil, errNote
		return 0
	}
	return int(n)
}

func readNote(b []byte) (*note, error) {
	r := &noteReader{b: b}
	if r.byte() != noteVersion {
		return nil, errNote
	}
	f := r.byte()
	n := &note{managed: f&1 != 0, resumable: f&2 != 0, inbound: f&4 != 0, id: r.string()}
	for range r.length() {
		n.locals = append(n.locals, r.string())
	}
	for range r.length() {
		e := entry{id: r.number(), first: uint32(r.number()), n: uint32(r.number()), state: state(r.byte())}
		if e.state > partly || e.n == 0 {
			r.err = errNote
		}
		if r.err != nil {
			break
		}
		n.entries = append(n.entries, e)
	}
	if r.err != nil || len(r.b) > 0 {
		return nil, errNote
	}
	return n, nil
}

// record is what is kept of the incoming direction of a stream with XEP-0198, under its SM-ID.
type record struct {
	h          uint32
	far, local string
}

func (c *record) append(b []byte) []byte {
	b = binary.AppendUvarint(append(b, noteVersion), uint64(c.h))
	return appendString(appendString(b, c.far), c.local)
}

func readRecord(b []byte) (*record, error) {
	r := &noteReader{b: b}
	if r.byte() != noteVersion {
		return nil, errNote
	}
	c := &record{h: uint32(r.number()), far: r.string(), local: r.string()}
	if r.err != nil || len(r.b) > 0 {
		return nil, errNote
	}
	return c, nil
}
