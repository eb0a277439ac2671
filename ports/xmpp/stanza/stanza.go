// Package stanza holds the three stanzas of XMPP (RFC 6120 section 8) in
// canonical form, the element tree that extensions read and build, and stanza
// errors (RFC 6120 8.3).
//
// # Canonical form
//
// A stanza is read once, checked once, and then moved as bytes. Its start tag
// is data (Header), written anew for every stream that it leaves on; its
// content is one immutable string that is never copied, only appended to
// output. In the content
//   - children in the content namespace (jabber:client, jabber:server) are
//     unprefixed and do not declare it: it is inherited from whatever the
//     stanza is written into;
//   - each other child declares its namespace itself, and prefixes are declared
//     where they are used: nothing depends on the stream that it came from.
package stanza

import "github.com/hexmpp/hexmpp/ports/xmpp/jid"

// Kind tells the three stanzas apart.
type Kind uint8

const (
	Message Kind = iota + 1
	Presence
	IQ
)

// String returns the element name: message, presence or iq.
func (k Kind) String() string { panic("helper A") }

// Values of the type attribute.
const (
	// message (RFC 6121 5.2.2); absent and unknown mean Normal
	Normal    = "normal"
	Chat      = "chat"
	GroupChat = "groupchat"
	Headline  = "headline"
	// presence (RFC 6121 4.7.1); absent means available
	Unavailable  = "unavailable"
	Subscribe    = "subscribe"
	Subscribed   = "subscribed"
	Unsubscribe  = "unsubscribe"
	Unsubscribed = "unsubscribed"
	Probe        = "probe"
	// iq (RFC 6120 8.2.3)
	Get    = "get"
	Set    = "set"
	Result = "result"
	// all
	TypeError = "error"
)

// Header is what a stanza's start tag says. A zero To or From and an empty
// string mean that the attribute is absent.
type Header struct {
	Kind Kind
	Type string // as sent, unescaped; "" if absent
	ID   string
	Lang string // effective xml:lang: the stanza's own, else its stream's
	To   jid.JID
	From jid.JID
}

// Stanza is a canonical stanza. It is immutable and shared between sessions,
// queues and storage: never assign to the fields of a Stanza that others may
// hold; make another one by With, which shares the content.
type Stanza struct {
	Header
	attrs    string  // further attributes of the start tag, escaped, each with a leading space
	content  string  // what stands between start tag and end tag
	children []Child // of content, in order
}

// Child is one child element of a stanza, by name and place. Text between
// children is not listed.
type Child struct {
	Space, Local string // Space is "" for the content namespace
	Start, End   uint32 // the child is Content()[Start:End]
}

// Raw makes a Stanza of parts that are canonical already; xmlstream calls it
// after its checks, storage with what it stored. children may be nil: then
// they are found by a scan of content.
func Raw(h Header, attrs, content string, children []Child) *Stanza { panic("helper A") }

// New builds a stanza from elements. A child Element whose Space is "" or a
// content namespace becomes a content child.
func New(h Header, children ...*Element) *Stanza { panic("helper A") }

// With returns a stanza with the header h and the content of s.
func (s *Stanza) With(h Header) *Stanza { c := *s; c.Header = h; return &c }

// Content returns the canonical content.
func (s *Stanza) Content() string { return s.content }

// Attrs returns further attributes as they are written in the start tag.
func (s *Stanza) Attrs() string { return s.attrs }

// Children returns the child elements; the slice must not be changed.
func (s *Stanza) Children() []Child { return s.children }

// Child returns the first child with this name ("" as local for any in the
// namespace), and false if there is none.
func (s *Stanza) Child(space, local string) (Child, bool) { panic("helper A") }

// Element parses one child into a tree. It costs allocations: most code needs
// no more than Children.
func (s *Stanza) Element(c Child) *Element { panic("helper A") }

// Find returns the first child with this name as a tree, nil if there is none.
func (s *Stanza) Find(space, local string) *Element { panic("helper A") }

// Size returns how many bytes the stanza holds, for bounds on queues.
func (s *Stanza) Size() int { panic("helper A") }

// Append appends the stanza as it is written to a stream whose default
// namespace is the content namespace. to overrides the to attribute unless it
// is zero. xmlns, if not empty, is declared in the start tag: WebSocket
// (RFC 7395), forwarding and storage want it explicit.
func (s *Stanza) Append(dst []byte, to jid.JID, xmlns string) []byte { panic("helper A") }

// String returns the stanza with xmlns='jabber:client', for tests and logs.
func (s *Stanza) String() string { panic("helper A") }

// Patch returns a stanza without the children for which remove returns true
// (nil removes none) and with the elements of add after the last child.
func (s *Stanza) Patch(remove func(Child) bool, add ...*Element) *Stanza { panic("helper A") }

// Reply returns the header of an answer to h: to and from swapped, same id,
// kind and lang, with the given type (RFC 6120 8.1.3, 8.2.3).
func (h Header) Reply(typ string) Header { panic("helper A") }
