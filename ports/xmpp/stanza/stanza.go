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
//
// Left out are the checks of bytes from outside, which are xmlstream's, and the
// meaning of types and payloads (RFC 6121 and extensions).
package stanza

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Kind tells the three stanzas apart.
type Kind uint8

const (
	Message Kind = iota + 1
	Presence
	IQ
)

// String returns the element name: message, presence or iq.
func (k Kind) String() string {
	switch k {
	case Message:
		return "message"
	case Presence:
		return "presence"
	case IQ:
		return "iq"
	}
	return "unknown"
}

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
	Space, Local string // Space is "" for the content namespace; mostly parts of the content
	Start, End   uint32 // the child is Content()[Start:End]
}

// Size returns how many bytes the child is long. To make a tree of it takes up to
// 40 ns a byte, and 50 bytes of memory: who may not wait looks at that first.
func (c Child) Size() int { return int(c.End - c.Start) }

// Raw makes a Stanza of parts that are canonical already; xmlstream calls it
// after its checks, storage with what it stored. children may be nil: then
// they are found by a scan of content. They are copied, so that the caller may
// use the slice again; attrs and content are shared. content is below 4 GiB.
func Raw(h Header, attrs, content string, children []Child) *Stanza {
	if children == nil {
		var few [4]Child
		children = scanChildren(few[:0], content)
	}
	s := alloc(children)
	s.Header, s.attrs, s.content = h, attrs, content
	return s
}

// alloc returns a Stanza with a copy of children; the usual few are in the same
// piece of memory.
func alloc(children []Child) *Stanza {
	switch n := len(children); {
	case n == 0:
		return new(Stanza)
	case n <= 2:
		var m struct {
			Stanza
			list [2]Child
		}
		m.children = m.list[:copy(m.list[:], children):n]
		return &m.Stanza
	case n <= 4:
		var m struct {
			Stanza
			list [4]Child
		}
		m.children = m.list[:copy(m.list[:], children):n]
		return &m.Stanza
	}
	return &Stanza{children: slices.Clone(children)}
}

// New builds a stanza from elements. A child Element whose Space is "" or a
// content namespace becomes a content child; nil is skipped.
func New(h Header, children ...*Element) *Stanza {
	var content []byte
	var list []Child
	for _, e := range children {
		if e == nil {
			continue
		}
		c := Child{Space: e.Space, Local: e.Local, Start: uint32(len(content))}
		if contentSpace(c.Space) {
			c.Space = ""
		}
		content = e.Append(content, "")
		c.End = uint32(len(content))
		list = append(list, c)
	}
	s := alloc(list)
	s.Header, s.content = h, string(content)
	for i := range s.children {
		s.children[i].ownNames(s.content)
	}
	return s
}

// ownNames replaces the names of a child that Element.Append wrote by parts of
// the content: names of an Element may be parts of a whole stanza that was read,
// which an answer must not hold.
func (c *Child) ownNames(content string) {
	rest := content[c.Start+1 : c.End]
	c.Local, rest = rest[:len(c.Local)], rest[len(c.Local):]
	if c.Space == "" || c.Space == NoSpace {
		return
	}
	rest = rest[len(" xmlns='"):]
	if strings.HasPrefix(rest, c.Space) {
		c.Space = rest[:len(c.Space)]
	} else { // it is written with references
		c.Space = strings.Clone(c.Space)
	}
}

// ManagesSubscription says whether s is presence that asks for, grants, ends or
// cancels a subscription (RFC 6121 section 3).
func (h *Header) ManagesSubscription() bool {
	switch h.Type {
	case Subscribe, Subscribed, Unsubscribe, Unsubscribed:
		return h.Kind == Presence
	}
	return false
}

// With returns a stanza with the header h and the content of s.
func (s *Stanza) With(h Header) *Stanza { c := *s; c.Header = h; return &c }

// Content returns the canonical content.
func (s *Stanza) Content() string { return s.content }

// Attrs returns further attributes as they are written in the start tag.
func (s *Stanza) Attrs() string { return s.attrs }

// Children returns the child elements; the slice must not be changed.
func (s *Stanza) Children() []Child { return s.children }

// Child returns the first child with this name ("" as local for any in the
// namespace), and false if there is none. The content namespace goes by all of
// its names.
func (s *Stanza) Child(space, local string) (Child, bool) {
	if contentSpace(space) {
		space = ""
	}
	for i := range s.children {
		c := &s.children[i]
		if c.Space == space && (local == "" || c.Local == local) {
			return *c, true
		}
	}
	return Child{}, false
}

// Element parses one child of s into a tree. It costs allocations: most code
// needs no more than Children. It is never nil: of a child that is not
// canonical there is nothing but the name. No stream lets such a child in, but
// whoever takes an empty payload for an order to delete should ask ParseChild.
func (s *Stanza) Element(c Child) *Element {
	if e, err := s.ParseChild(c); err == nil {
		return e
	}
	return El(c.Space, c.Local)
}

// ParseChild is Element that fails for a child that is not canonical. The error
// wraps ErrSyntax.
func (s *Stanza) ParseChild(c Child) (*Element, error) {
	if c.Start > c.End || uint64(c.End) > uint64(len(s.content)) {
		return nil, fmt.Errorf("%w: no child from %d to %d", ErrSyntax, c.Start, c.End)
	}
	return ParseElement(s.content[c.Start:c.End], "")
}

// ChildAttr returns the value of an unprefixed attribute of a child, unescaped;
// ok is false if it is absent, or the child not canonical. It reads the child's
// start tag alone, however much is in the child.
func (s *Stanza) ChildAttr(c Child, local string) (value string, ok bool) {
	if c.Start > c.End || uint64(c.End) > uint64(len(s.content)) {
		return "", false
	}
	p := parser{s: s.content[c.Start:c.End]}
	if !p.accept("<") {
		return "", false
	}
	if _, _, err := p.name(); err != nil {
		return "", false
	}
	if _, _, err := p.startTag(""); err != nil {
		return "", false
	}
	for i := range p.raw {
		if a := &p.raw[i]; a.prefix == "" && a.local == local {
			return a.value, true
		}
	}
	return "", false
}

// Find returns the first child with this name as a tree, nil if there is none.
func (s *Stanza) Find(space, local string) *Element {
	c, ok := s.Child(space, local)
	if !ok {
		return nil
	}
	return s.Element(c)
}

// Bytes that a Stanza and a Child take beside their strings.
const (
	stanzaBytes = 160
	childBytes  = 40
)

// Size returns how many bytes the stanza holds, its bookkeeping included, for
// bounds on queues. Of a stanza that xmlstream read, or that New made with the
// Reply of its Header, no more is in memory than that and what the allocator adds
// (256 bytes of other values of the start tag, at most). Names of namespaces are
// counted though most are parts of the content: those with references are not.
func (s *Stanza) Size() int {
	n := stanzaBytes + childBytes*len(s.children) + len(s.content) + len(s.attrs) + s.Header.size()
	if k := len(s.children); k < 4 && k%2 == 1 {
		n += childBytes // alloc makes lists of two and of four
	}
	for i := range s.children {
		n += len(s.children[i].Space)
	}
	return n
}

// size returns the length of the strings of h.
func (h *Header) size() int {
	return len(h.Type) + len(h.ID) + len(h.Lang) + len(h.To.String()) + len(h.From.String())
}

// Append appends the stanza as it is written to a stream whose default
// namespace is the content namespace. to overrides the to attribute unless it
// is zero. xmlns, if not empty, is declared in the start tag: WebSocket
// (RFC 7395), forwarding and storage want it explicit.
// The attributes stand in this order: xmlns, from, to, id, type, xml:lang, Attrs.
// Nothing is allocated unless dst must grow.
func (s *Stanza) Append(dst []byte, to jid.JID, xmlns string) []byte {
	if to.IsZero() {
		to = s.To
	}
	dst = s.appendStart(slices.Grow(dst, s.tags(to, xmlns)+len(s.content)), to, xmlns)
	if s.content == "" {
		return dst
	}
	dst = append(dst, s.content...)
	dst = append(dst, "</"...)
	dst = append(dst, s.Kind.String()...)
	return append(dst, '>')
}

// XML returns the stanza as Append writes it, for storage: its content is copied once.
func (s *Stanza) XML(xmlns string) string {
	start := s.appendStart(make([]byte, 0, s.tags(s.To, xmlns)), s.To, xmlns)
	if s.content == "" {
		return string(start)
	}
	name := s.Kind.String()
	return string(start) + s.content + "</" + name + ">"
}

// tags returns how long start and end tag are, unless something is escaped.
func (s *Stanza) tags(to jid.JID, xmlns string) int {
	const fixed = len("<presence xmlns='' from='' to='' id='' type='' xml:lang=''></presence>")
	return fixed + len(xmlns) + len(to.String()) + s.Header.size() + len(s.attrs)
}

// appendStart appends the start tag, which is all there is if there is no content.
func (s *Stanza) appendStart(dst []byte, to jid.JID, xmlns string) []byte {
	name := s.Kind.String()
	dst = append(dst, '<')
	dst = append(dst, name...)
	if xmlns != "" {
		dst = appendPair(dst, " xmlns='", xmlns)
	}
	if !s.From.IsZero() {
		dst = appendJID(dst, " from='", s.From)
	}
	if !to.IsZero() {
		dst = appendJID(dst, " to='", to)
	}
	if s.ID != "" {
		dst = appendPair(dst, " id='", s.ID)
	}
	if s.Type != "" {
		dst = appendPair(dst, " type='", s.Type)
	}
	if s.Lang != "" {
		dst = appendPair(dst, " xml:lang='", s.Lang)
	}
	dst = append(dst, s.attrs...)
	if s.content == "" {
		return append(dst, "/>"...)
	}
	return append(dst, '>')
}

func appendPair(dst []byte, start, value string) []byte {
	dst = append(dst, start...)
	dst = AppendAttr(dst, value)
	return append(dst, '\'')
}

// appendJID is appendPair for a JID: only its resourcepart can need an escape
// (RFC 7622 3.2, 3.3.1).
func appendJID(dst []byte, start string, j jid.JID) []byte {
	dst = append(dst, start...)
	dst = append(dst, j.Bare().String()...)
	if r := j.Resource(); r != "" {
		dst = append(dst, '/')
		dst = AppendAttr(dst, r)
	}
	return append(dst, '\'')
}

// String returns the stanza with xmlns='jabber:client', for tests and logs.
func (s *Stanza) String() string { return string(s.Append(nil, jid.JID{}, xmpp.NSClient)) }

// Patch returns a stanza without the children for which remove returns true
// (nil removes none) and with the elements of add after the last child.
// If nothing changes it is s itself.
func (s *Stanza) Patch(remove func(Child) bool, add ...*Element) *Stanza {
	var more []byte
	for _, e := range add {
		if e != nil {
			more = e.Append(more, "")
		}
	}
	var content strings.Builder
	kept := uint32(0) // what is before is in content, or removed
	removed := false
	if remove != nil {
		for _, c := range s.children {
			if remove(c) {
				content.WriteString(s.content[kept:c.Start])
				kept = c.End
				removed = true
			}
		}
	}
	if !removed && len(more) == 0 {
		return s
	}
	content.Grow(len(s.content) - int(kept) + len(more))
	content.WriteString(s.content[kept:])
	content.Write(more)
	return Raw(s.Header, s.attrs, content.String(), nil)
}

// Reply returns the header of an answer to h: to and from swapped, same id and
// kind, with the given type (RFC 6120 8.1.3, 8.2.3). It names no language:
// xml:lang tells the language of the text that a stanza contains (8.1.5), and
// that of the request says nothing about the text of the answer. Who answers in
// another language than the server's (4.7.4) sets Lang, or xml:lang on the text.
func (h Header) Reply(typ string) Header {
	return Header{Kind: h.Kind, Type: typ, ID: h.ID, To: h.From, From: h.To}
}
