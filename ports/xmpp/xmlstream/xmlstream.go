// Package xmlstream reads the XML of a stream (RFC 6120 sections 4 and 11):
// incrementally, with every check on, without building a tree.
package xmlstream

import (
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// Limits bound what a peer can make the reader hold. A zero field means its default.
type Limits struct {
	StanzaBytes int // a top-level element, in bytes (default 262,144; RFC 6120 13.12 wants 10,000 at least)
	Depth       int // nesting below the stream element (default 64)
	Attributes  int // attributes of one element, namespace declarations included (default 32)
}

// Kind of a Token.
type Kind uint8

const (
	Open    Kind = iota + 1 // the stream header; Token.Header
	Stanza                  // message, presence or iq in the content namespace; Token.Stanza
	Element                 // any other top-level element; Token.Element
	Close                   // </stream:stream>
)

// Token is one thing that came on a stream.
type Token struct {
	Kind    Kind
	Header  *stream.Header
	Stanza  *stanza.Stanza
	Element *stanza.Element

	// Malformed names the address attribute of a Stanza that is no JID ("to" or
	// "from"): the Header has a zero JID there. The stream goes on: the answer is
	// the stanza error jid-malformed or the stream error invalid-from. "" if all is well.
	Malformed string
}

// Reader reads one stream. It is a small value that holds next to nothing
// while no element is incomplete: scanner state and buffers are pooled. Its
// methods must not be called by two goroutines at once.
type Reader struct{ _ int }

// NewReader returns a Reader that expects a stream header first.
func NewReader(l Limits) *Reader { panic("helper B") }

// SetLimits changes the limits from the next element on (they grow with
// authentication).
func (r *Reader) SetLimits(l Limits) { panic("helper B") }

// Reset makes the Reader expect a new stream header: after SASL and STARTTLS
// (RFC 6120 4.3.3). Input that was fed and not yet read stays.
func (r *Reader) Reset() { panic("helper B") }

// Discard drops input that was fed and not yet read (RFC 6120 5.4.3.3).
func (r *Reader) Discard() { panic("helper B") }

// Feed hands over input. p is borrowed until Next has returned ok == false or
// an error, or Hold was called; then what is left of it has been copied.
func (r *Reader) Feed(p []byte) { panic("helper B") }

// Next returns the next token. ok is false when all input is used up. An
// error is always a *stream.Error and final.
func (r *Reader) Next() (t Token, ok bool, err error) { panic("helper B") }

// Hold copies what is left of the fed input: the caller stops for now.
func (r *Reader) Hold() { panic("helper B") }

// Buffered returns how many bytes of input are held.
func (r *Reader) Buffered() int { panic("helper B") }

// ParseStanza reads exactly one stanza from bytes that did not come from a
// stream of ours: plugins, storage, HTTP. space is the content namespace that
// is in force around it.
func ParseStanza(b []byte, space string, l Limits) (*stanza.Stanza, error) { panic("helper B") }
