package xmlstream

import (
	"sync"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// Reader reads one stream. It is a small value that holds next to nothing
// while no element is incomplete: scanner state and buffers are pooled. Its
// methods must not be called by two goroutines at once.
type Reader struct {
	in     []byte // fed and not yet read
	own    bool   // in is a copy of ours
	phase  phase
	work   *work  // of the item at hand, nil if there is none
	scope  *scope // what the stream header said, beforeHeader if none came
	lang   string // xml:lang of the stream header
	space  string // content namespace of a header that declares none
	limits Limits
	err    *stream.Error
}

// phase says what may come next.
type phase uint8

const (
	fresh     phase = iota // U+FEFF, the XML declaration, the stream header
	marked                 // the same without U+FEFF
	restarted              // the same, after white space that still belongs to the stream before
	declared               // the stream header
	open                   // elements, the end of the stream
	emptied                // <stream:stream/> was read: its end is to be told
	closed                 // nothing that matters
	failed                 // Reader.err is set
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

// NewReader returns a Reader that expects a stream header first.
func NewReader(l Limits) *Reader {
	return &Reader{scope: beforeHeader, space: xmpp.NSClient, limits: l.withDefaults()}
}

// SetLimits changes the limits from the next element on (they grow with
// authentication).
func (r *Reader) SetLimits(l Limits) { r.limits = l.withDefaults() }

// SetContent names the content namespace of a stream whose header declares
// none but leaves it to each element (RFC 6120 4.8.2, the second style). It is
// jabber:client unless a server-to-server stream sets jabber:server.
func (r *Reader) SetContent(space string) { r.space = space }

// Reset makes the Reader expect a new stream header: after SASL and STARTTLS
// (RFC 6120 4.3.3). Input that was fed and not yet read stays.
func (r *Reader) Reset() {
	if r.work != nil && r.work.cut { // an incomplete item is input that was not yet read
		r.in, r.own = append(append([]byte(nil), r.work.buf...), r.in...), true
	}
	r.release()
	r.phase, r.scope, r.lang, r.err = restarted, beforeHeader, "", nil
}

// Discard drops input that was fed and not yet read (RFC 6120 5.4.3.3).
func (r *Reader) Discard() {
	r.in, r.own = nil, false
	r.release()
}

// Feed hands over input. p is borrowed until Next has returned ok == false or
// an error, or Hold was called; then what is left of it has been copied.
func (r *Reader) Feed(p []byte) {
	switch {
	case len(p) == 0:
	case len(r.in) == 0:
		r.in, r.own = p, false
	default: // some is left: go on with a copy of both
		r.Hold()
		r.in = append(r.in, p...)
	}
}

// Hold copies what is left of the fed input: the caller stops for now.
func (r *Reader) Hold() {
	if len(r.in) > 0 && !r.own {
		r.in, r.own = append([]byte(nil), r.in...), true
	}
	if r.work != nil && !r.work.cut {
		r.release()
	}
}

// Buffered returns how many bytes of input are held.
func (r *Reader) Buffered() int {
	n := len(r.in)
	if r.work != nil {
		n += len(r.work.buf)
	}
	return n
}

// Next returns the next token. ok is false when all input is used up. An
// error is always a *stream.Error and final.
func (r *Reader) Next() (t Token, ok bool, err error) {
	for {
		switch r.phase {
		case failed:
			return Token{}, false, r.err
		case emptied:
			r.phase = closed
			return Token{Kind: Close}, true, nil
		case closed:
			r.Discard()
			return Token{}, false, nil
		}
		if r.work == nil || !r.work.cut {
			at, e := r.between()
			if e != nil {
				return r.fail(e)
			}
			if !at {
				return Token{}, false, nil
			}
		}
		b, done, e := r.scan()
		if e != nil {
			return r.fail(e)
		}
		if !done {
			return Token{}, false, nil
		}
		if t, ok, e = r.token(b); e != nil {
			return r.fail(e)
		}
		if w := r.work; w.cut {
			w.cut, w.buf = false, w.buf[:0]
		}
		if len(r.in) == 0 {
			r.idle()
		}
		if ok {
			return t, true, nil
		}
	}
}

// between goes to the beginning of the next item. at is false if the input
// ends first.
func (r *Reader) between() (at bool, err *stream.Error) {
	if r.phase == fresh && len(r.in) > 0 && r.in[0] == 0xEF {
		// The character U+FEFF: no byte order mark but no harm either (RFC 6120 11.6).
		const feff = "\xEF\xBB\xBF"
		n := min(len(r.in), len(feff))
		if string(r.in[:n]) != feff[:n] {
			return false, r.stray(r.in[0])
		}
		if n < len(feff) {
			r.Hold()
			return false, nil
		}
		r.in, r.phase = r.in[n:], marked
	}
	i := 0
	for i < len(r.in) && class[r.in[i]]&space != 0 {
		i++
	}
	if i > 0 && r.phase <= marked {
		r.phase = declared // an XML declaration stands at the very start (XML 1.0 2.8)
	}
	if r.in = r.in[i:]; len(r.in) == 0 {
		r.idle()
		return false, nil
	}
	if c := r.in[0]; c != '<' {
		return false, r.stray(c)
	}
	if r.work == nil {
		r.work = works.Get().(*work)
	}
	where := inside
	if r.phase < open {
		where = atStart
	}
	r.work.begin(r.scope, r.limits, where, r.phase < declared)
	return true, nil
}

// stray returns the error for the first byte of something that is neither
// white space nor markup.
func (r *Reader) stray(c byte) *stream.Error {
	switch {
	case c >= 0xF5 || c >= 0x80 && c < 0xC2, c == 0 && r.phase < open: // FE FF, FF FE, 00 3C: UTF-16
		return fail(stream.UnsupportedEncoding, "not UTF-8")
	case r.phase < open:
		return fail(stream.NotWellFormed, "stream header expected")
	case c < ' ':
		return fail(stream.NotWellFormed, "control character")
	}
	return fail(stream.BadFormat, "text between stanzas")
}

// scan scans the item at hand as far as the input goes. When it is done, the
// item is b and no longer part of the input.
func (r *Reader) scan() (b []byte, done bool, err *stream.Error) {
	w, limit := r.work, r.work.limits.StanzaBytes
	if !w.cut {
		b = r.in[:min(len(r.in), limit)]
		if done, err = w.scan(b); done {
			r.in = r.in[w.pos:]
			return b[:w.pos], true, nil
		}
		if err != nil {
			return nil, false, err
		}
		w.cut = true
		w.keep(b)
		r.in = r.in[len(b):]
	}
	for len(w.buf) < limit {
		if len(r.in) == 0 {
			r.idle()
			return nil, false, nil
		}
		n := min(len(r.in), chunk, limit-len(w.buf))
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
	return nil, false, fail(stream.PolicyViolation, "element is too big")
}

// keep appends to the beginning of the item. The buffer grows no further than
// the item may.
func (w *work) keep(p []byte) {
	if need := len(w.buf) + len(p); need > cap(w.buf) {
		size := min(max(2*cap(w.buf), need, 256), max(w.limits.StanzaBytes, need))
		w.buf = append(make([]byte, 0, size), w.buf...)
	}
	w.buf = append(w.buf, p...)
}

// token makes a token of the item b. ok is false for the XML declaration.
func (r *Reader) token(b []byte) (t Token, ok bool, err *stream.Error) {
	s := &r.work.scanner
	switch s.item {
	case aDeclaration:
		r.phase = declared
		return Token{}, false, checkDeclaration(b)
	case aHeader, anEmptyHeader:
		h, sc, err := s.header(b, r.space)
		if err != nil {
			return Token{}, false, err
		}
		r.scope, r.lang, r.phase = sc, h.Lang, open
		if s.item == anEmptyHeader {
			r.phase = emptied
		}
		return Token{Kind: Open, Header: h}, true, nil
	case anEnd:
		r.phase = closed
		return Token{Kind: Close}, true, nil
	}
	t, err = s.token(b, r.lang)
	return t, err == nil, err
}

// fail ends the stream.
func (r *Reader) fail(e *stream.Error) (Token, bool, error) {
	r.Discard()
	r.phase, r.err = failed, e
	return Token{}, false, e
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
