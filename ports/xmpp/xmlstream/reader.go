package xmlstream

import (
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// Reader reads one stream. It is a small value that holds next to nothing
// while no element is incomplete: scanner state and buffers are pooled. Its
// methods must not be called by two goroutines at once.
type Reader struct {
	in     []byte // fed and not yet read
	own    bool   // in is a copy of ours
	phase  phase
	work   *work    // of the item at hand, nil if there is none
	scope  *scope   // what the stream header said, beforeHeader if none came
	lang   string   // xml:lang of the stream header
	last   *address // the last `to`, if it was costly to parse
	limits Limits
	err    *stream.Error
	frames frames
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

// NewReader returns a Reader that expects a stream header first.
func NewReader(l Limits) *Reader {
	return &Reader{scope: beforeHeader, limits: l.withDefaults()}
}

// SetLimits changes the limits from the next element on (they grow with
// authentication).
func (r *Reader) SetLimits(l Limits) { r.limits = l.withDefaults() }

// Reset makes the Reader expect a new stream header: after SASL and STARTTLS
// (RFC 6120 4.3.3). Input that was fed and not yet read stays.
func (r *Reader) Reset() {
	if r.work != nil && r.work.cut { // an incomplete item is input that was not yet read
		r.in, r.own = append(append([]byte(nil), r.work.buf...), r.in...), true
	}
	r.release()
	if r.frames != 0 {
		r.frames &^= headed
		r.lang, r.err = "", nil
		return
	}
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
			between := r.between
			if r.frames != 0 {
				between = r.betweenFrames
			}
			at, e := between()
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

// token makes a token of the item b. ok is false for the XML declaration.
func (r *Reader) token(b []byte) (t Token, ok bool, err *stream.Error) {
	s := &r.work.scanner
	switch s.item {
	case aDeclaration:
		if r.frames == 0 {
			r.phase = declared
		}
		return Token{}, false, checkDeclaration(b)
	case aHeader, anEmptyHeader:
		h, sc, err := s.header(b)
		if err != nil {
			return Token{}, false, err
		}
		r.scope, r.lang, r.phase = sc, h.Lang, open
		if s.item == anEmptyHeader {
			r.phase = emptied
		}
		return Token{Kind: Open, Header: h}, true, nil
	case anEnd:
		if r.frames != 0 {
			return Token{}, false, fail(stream.NotWellFormed, "an end without a beginning")
		}
		r.phase = closed
		return Token{Kind: Close}, true, nil
	}
	if t, err = r.element(b); err == nil && r.frames != 0 {
		t, err = r.framed(t, len(b))
	}
	return t, err == nil, err
}

// fail ends the stream.
func (r *Reader) fail(e *stream.Error) (Token, bool, error) {
	r.Discard()
	r.phase, r.err = failed, e
	return Token{}, false, e
}
