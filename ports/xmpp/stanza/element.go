package stanza

import "errors"

// Element is a tree, for code that reads or builds payloads. Names are
// resolved: Space is the namespace, prefixes are gone. The zero value of Space
// means "the content namespace", so a body is {Local: "body"}.
type Element struct {
	Space, Local string
	Attrs        []Attr
	Nodes        []Node
}

// Attr is an attribute. Space is "" for the usual unprefixed one and
// xmpp.NSXML for xml:lang. Value is unescaped.
type Attr struct{ Space, Local, Value string }

// Node is a child of an element: exactly one of the two is set.
type Node struct {
	Element *Element
	Text    string // unescaped
}

// El makes an element: stanza.El("urn:xmpp:ping", "ping").
func El(space, local string, attrs ...Attr) *Element { panic("helper A") }

// At makes an unprefixed attribute.
func At(local, value string) Attr { return Attr{"", local, value} }

// Add appends child elements (nil is skipped) and returns e.
func (e *Element) Add(children ...*Element) *Element { panic("helper A") }

// WithText appends text and returns e.
func (e *Element) WithText(s string) *Element { panic("helper A") }

// Attr returns the value of an unprefixed attribute, "" if it is absent.
func (e *Element) Attr(local string) string { panic("helper A") }

// Text returns the text directly inside e, joined.
func (e *Element) Text() string { panic("helper A") }

// Child returns the first child element with this name, nil if there is none.
// An empty space matches the namespace of e itself; an empty local matches any.
func (e *Element) Child(space, local string) *Element { panic("helper A") }

// Elements returns the child elements.
func (e *Element) Elements() []*Element { panic("helper A") }

// Append appends e as XML. scope is the default namespace in force where it is
// written ("" for the content namespace); e declares its own if it differs.
func (e *Element) Append(dst []byte, scope string) []byte { panic("helper A") }

// ErrSyntax is returned by ParseElement.
var ErrSyntax = errors.New("stanza: not a well-formed element")

// ParseElement parses one element out of bytes that xmlstream has checked, or
// that this package wrote. scope is as in Append. It never panics on other
// input but may accept what a stream would not.
func ParseElement(b string, scope string) (*Element, error) { panic("helper A") }

// AppendText appends s escaped as character data, AppendAttr as an attribute
// value for single or double quotes. Characters that XML 1.0 forbids become U+FFFD.
func AppendText(dst []byte, s string) []byte { panic("helper A") }
func AppendAttr(dst []byte, s string) []byte { panic("helper A") }
