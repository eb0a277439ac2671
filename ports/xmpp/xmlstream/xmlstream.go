// Package xmlstream reads the XML of a stream (RFC 6120 sections 4 and 11):
// incrementally, with every check on, without building a tree.
//
// It implements XML 1.0 (fifth edition) and Namespaces in XML 1.0 as far as
// RFC 6120 section 11 lets them onto a stream: no comments, no processing
// instructions, no document type declaration, no entities but the five
// predefined ones, UTF-8 only. Whatever breaks a rule ends the stream with the
// condition that RFC 6120 section 4.9.3 names.
//
// What it leaves out: validation against schemas (11.4), the meaning of
// elements, and the answers to what is read. Which content namespace, version
// or address is acceptable is for the kernel to say.
//
// # From bytes to tokens
//
// reader.go cuts the input into top-level items (frames.go: those of a framed
// stream, RFC 7395), work.go holds what an
// incomplete one takes; scanner.go checks an item byte by byte and can stop and
// go on anywhere, with names.go, text.go, value.go, tag.go and namespaces.go for
// the parts; header.go makes the stream header of its start tag; canonical.go,
// starttag.go and rebuild.go make a stanza of an element (see package stanza for
// the canonical form).
package xmlstream

import (
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// Kind of a Token.
type Kind uint8

const (
	Open    Kind = iota + 1 // the stream header; Token.Header
	Stanza                  // message, presence or iq in the content namespace; Token.Stanza
	Element                 // any other top-level element; Token.Element
	Close                   // </stream:stream>
)

// Token is one thing that came on a stream. Nothing in it refers to the input:
// the caller may keep it. The content of a Stanza is one string, of its exact
// size; the values of its start tag are apart from that. Short ones are parts of
// one string (256 bytes at most), so that whoever keeps an address for long
// should clone it.
type Token struct {
	Kind   Kind
	Header *stream.Header
	Stanza *stanza.Stanza

	// Element has resolved names; "" as Space stands for the content namespace.
	Element *stanza.Element

	// Malformed names the address attribute of a Stanza that is no JID ("to" or
	// "from"): the Header has a zero JID there. The stream goes on: the answer is
	// the stanza error jid-malformed or the stream error invalid-from. "" if all is well.
	Malformed string
}
