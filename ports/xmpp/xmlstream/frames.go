package xmlstream

import (
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// EndOfMessage ends each message of a framed stream, in what is fed to its Reader
// and in what is written: a byte that XML can't contain.
const EndOfMessage = 0

// nsFraming qualifies <open/> and <close/> (RFC 7395 3.3.2).
const nsFraming = "urn:ietf:params:xml:ns:xmpp-framing"

// frames is where a Reader of a framed stream is (RFC 7395 3.3): zero for streams
// that are one document.
type frames uint8

const (
	framed frames = 1 << iota
	headed        // <open/> came
	begun         // something of the message at hand came
	whole         // its element came
)

// NewFrameReader returns a Reader for a framed stream (RFC 7395 3.3): what it is
// fed are messages, each ended by EndOfMessage, cut anywhere. Each holds one
// element, a document by itself; the first is <open/>, which is told as Open, as
// <close/> is as Close.
func NewFrameReader(l Limits) *Reader {
	return &Reader{scope: frameScope, phase: open, limits: l.withDefaults(), frames: framed}
}

// betweenFrames goes to the beginning of the next item, over the ends of messages.
// at is false if the input ends first.
func (r *Reader) betweenFrames() (at bool, err *stream.Error) {
	for len(r.in) > 0 {
		c := r.in[0]
		switch {
		case c == EndOfMessage && r.frames&whole == 0:
			return false, fail(stream.BadFormat, "a message without an element")
		case c == EndOfMessage:
			r.frames &^= begun | whole
		case class[c]&space != 0 && r.frames&begun != 0:
		case class[c]&space != 0:
			return false, fail(stream.BadFormat, "a message begins with '<'") // RFC 7395 3.3.3
		case c != '<':
			return false, r.stray(c)
		case r.frames&whole != 0:
			return false, fail(stream.BadFormat, "two elements in a message")
		default:
			if r.work == nil {
				r.work = works.Get().(*work)
			}
			r.work.begin(r.scope, r.limits, inside, r.frames&begun == 0)
			r.frames |= begun
			return true, nil
		}
		r.in = r.in[1:]
	}
	r.idle()
	return false, nil
}

// framed makes Open and Close of the elements that mean them; size is how long t
// was.
func (r *Reader) framed(t Token, size int) (Token, *stream.Error) {
	r.frames |= whole
	e := t.Element
	header := t.Kind == Element && (e.Local == "open" || e.Local == "close")
	switch {
	case header && e.Space == nsFraming && e.Local == "close" && r.frames&headed != 0:
		r.phase = closed
		return Token{Kind: Close}, nil
	case header && e.Space == nsFraming && e.Local == "open" && r.frames&headed == 0:
		if size > maxHeader {
			return Token{}, errTooBig()
		}
		h := openHeader(e)
		if err := checkLang([]byte(h.Lang), maxLang); err != nil {
			return Token{}, err
		}
		r.lang = h.Lang
		r.frames |= headed
		return Token{Kind: Open, Header: h}, nil
	case header && r.frames&headed == 0 && e.Space != nsFraming:
		return Token{}, fail(stream.InvalidNamespace, "the namespace of <open/> is "+nsFraming) // RFC 7395 3.3.2
	case r.frames&headed == 0:
		return Token{}, fail(stream.BadFormat, "<open/> expected") // RFC 7395 3.4
	}
	return t, nil
}

func openHeader(e *stanza.Element) *stream.Header {
	h := &stream.Header{ContentSpace: xmpp.NSClient}
	for _, a := range e.Attrs {
		switch {
		case a.Space == xmpp.NSXML && a.Local == "lang":
			h.Lang = a.Value
		case a.Space != "":
		case a.Local == "to":
			h.To = a.Value
		case a.Local == "from":
			h.From = a.Value
		case a.Local == "id":
			h.ID = a.Value
		case a.Local == "version":
			h.Version = a.Value
		}
	}
	return h
}
