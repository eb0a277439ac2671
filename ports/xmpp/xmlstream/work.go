package xmlstream

import (
	"sync"

	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// work is what it takes to scan an item.
type work struct {
	scanner
	buf []byte // the beginning of the item, if it came in pieces
	cut bool   // it did: an item is at hand
}

var works = sync.Pool{New: func() any {
	return &work{scanner: scanner{
		attrs: make([]attribute, 0, 24),
		decls: make([]declaration, 0, 16),
		stack: make([]openElement, 0, 24),
	}}
}}

const (
	chunk = 4096 // bytes that are copied and scanned at a time when an item came in pieces

	// What a pooled work may keep.
	keepBuffer = 8 << 10
	keepItems  = 128
)

// scan scans the item at hand as far as the input goes. When it is done, the
// item is b and no longer part of the input.
func (r *Reader) scan() (b []byte, done bool, err *stream.Error) {
	w := r.work
	if !w.cut {
		for len(b) < min(len(r.in), w.bound()) {
			b = r.in[:min(len(r.in), w.bound())]
			if done, err = w.scan(b); done {
				r.in = r.in[w.pos:]
				return b[:w.pos], true, nil
			}
			if err != nil {
				return nil, false, err
			}
		}
		if len(b) == w.bound() {
			return nil, false, errTooBig()
		}
		w.cut = true
		w.keep(b)
		r.in = r.in[len(b):]
	}
	for len(w.buf) < w.bound() {
		if len(r.in) == 0 {
			r.idle()
			return nil, false, nil
		}
		n := min(len(r.in), chunk, w.bound()-len(w.buf))
		before := len(w.buf)
		w.keep(r.in[:n])
		if done, err = w.scan(w.buf); done {
			w.buf = w.buf[:w.pos]
			r.in = r.in[w.pos-before:]
			return w.buf, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		r.in = r.in[n:]
	}
	return nil, false, errTooBig()
}

// errTooBig: bound was reached.
func errTooBig() *stream.Error { return fail(stream.PolicyViolation, "element is too big") }

// keep appends to the beginning of the item. The buffer grows no further than
// the item may.
func (w *work) keep(p []byte) {
	if need := len(w.buf) + len(p); need > cap(w.buf) {
		size := min(max(2*cap(w.buf), need, 256), max(w.limits.StanzaBytes, need))
		w.buf = append(make([]byte, 0, size), w.buf...)
	}
	w.buf = append(w.buf, p...)
}

// idle gives back what is not needed while no input is at hand.
func (r *Reader) idle() {
	r.in, r.own = nil, false
	if r.work != nil && !r.work.cut {
		r.release()
	}
}

// release gives the work back to the pool, whatever its state.
func (r *Reader) release() {
	w := r.work
	if w == nil {
		return
	}
	r.work = nil
	w.cut, w.buf, w.scope = false, w.buf[:0], nil
	if cap(w.buf) > keepBuffer {
		w.buf = nil
	}
	if cap(w.attrs)+cap(w.decls)+cap(w.stack)+cap(w.root.children)+cap(w.root.extra) > 5*keepItems {
		return // it grew for one odd element
	}
	works.Put(w)
}
