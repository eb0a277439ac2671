package stanza

import (
	"slices"
	"strconv"
	"strings"

	"github.com/hexmpp/hexmpp/ports/xmpp"
)

// Element is a tree, for code that reads or builds payloads. Names are
// resolved: Space is the namespace, prefixes are gone. The zero value of Space
// means "the content namespace", so a body is {Local: "body"}.
//
// # The content namespace
//
// At the level of a stanza's content (scope "") an unprefixed element without
// xmlns is in the content namespace, whichever of jabber:client and
// jabber:server the stream has: its Space is "". An element that declares
// xmlns='jabber:client', as the message inside <forwarded/> does, has the Space
// "jabber:client", and so have its unprefixed children.
//
// Append is the reverse. With scope "" an element in the content namespace, by
// any of its three names, declares nothing. Inside an element of another
// namespace it can't be inherited, so that Space "" is written as
// xmlns='jabber:client' there (and would be read back under that name).
//
// Names and namespaces come from code or from ParseElement; Append writes
// names unchecked. What ParseElement returned, Append writes in a form that
// ParseElement takes again, as the same tree.
type Element struct {
	Space, Local string
	Attrs        []Attr
	Nodes        []Node
}

// NoSpace is the Space of an element in no namespace at all: xmlns="". (No XML
// document can hold the character, so that it is nobody's namespace.)
const NoSpace = "\x00"

// Attr is an attribute. Space is "" for the usual unprefixed one and
// xmpp.NSXML for xml:lang. Value is unescaped. Namespace declarations are not
// attributes.
type Attr struct{ Space, Local, Value string }

// Node is a child of an element: exactly one of the two is set.
type Node struct {
	Element *Element
	Text    string // unescaped
}

// El makes an element: stanza.El("urn:xmpp:ping", "ping").
func El(space, local string, attrs ...Attr) *Element {
	return &Element{Space: space, Local: local, Attrs: attrs}
}

// At makes an unprefixed attribute.
func At(local, value string) Attr { return Attr{"", local, value} }

// Add appends child elements (nil is skipped) and returns e.
func (e *Element) Add(children ...*Element) *Element {
	for _, c := range children {
		if c != nil {
			e.Nodes = append(e.Nodes, Node{Element: c})
		}
	}
	return e
}

// WithText appends text (none if s is empty) and returns e.
func (e *Element) WithText(s string) *Element {
	if s != "" {
		e.Nodes = append(e.Nodes, Node{Text: s})
	}
	return e
}

// Attr returns the value of an unprefixed attribute, "" if it is absent.
func (e *Element) Attr(local string) string {
	for i := range e.Attrs {
		if e.Attrs[i].Local == local && e.Attrs[i].Space == "" {
			return e.Attrs[i].Value
		}
	}
	return ""
}

// Text returns the text directly inside e, joined.
func (e *Element) Text() string {
	if len(e.Nodes) == 1 {
		return e.Nodes[0].Text
	}
	var b strings.Builder
	for _, n := range e.Nodes {
		b.WriteString(n.Text)
	}
	return b.String()
}

// Child returns the first child element with this name, nil if there is none.
// An empty space matches the namespace of e itself; an empty local matches any.
func (e *Element) Child(space, local string) *Element {
	if space == "" {
		space = e.Space
	}
	for _, n := range e.Nodes {
		if c := n.Element; c != nil && c.Space == space && (local == "" || c.Local == local) {
			return c
		}
	}
	return nil
}

// Elements returns the child elements.
func (e *Element) Elements() []*Element {
	var list []*Element
	for _, n := range e.Nodes {
		if n.Element != nil {
			list = append(list, n.Element)
		}
	}
	return list
}

// Append appends e as XML. scope is the default namespace in force where it is
// written ("" for the content namespace); e declares its own if it differs.
// Prefixes are made for attributes in a namespace. They are declared on the
// outermost elements that need them, and used by all inside.
//
// A namespace is written again wherever an element needs it and does not inherit
// it. Of a tree that came on a stream that is no danger: xmlstream bounds it.
func (e *Element) Append(dst []byte, scope string) []byte {
	var few [4]string
	return e.append(dst, scope, few[:0])
}

// append is Append where the prefixes n0, n1, ... stand for the namespaces of bound.
func (e *Element) append(dst []byte, scope string, bound []string) []byte {
	dst = append(dst, '<')
	dst = append(dst, e.Local...)
	if !sameSpace(e.Space, scope) {
		scope = e.Space
		dst = append(dst, " xmlns='"...)
		switch scope {
		case "":
			scope = xmpp.NSClient
			dst = append(dst, scope...)
		case NoSpace:
		default:
			dst = AppendAttr(dst, scope)
		}
		dst = append(dst, '\'')
	}
	dst, bound = e.appendAttrs(dst, bound)
	if len(e.Nodes) == 0 {
		return append(dst, "/>"...)
	}
	dst = append(dst, '>')
	for _, n := range e.Nodes {
		if n.Element != nil {
			dst = n.Element.append(dst, scope, bound)
		} else {
			dst = AppendText(dst, n.Text)
		}
	}
	dst = append(dst, "</"...)
	dst = append(dst, e.Local...)
	return append(dst, '>')
}

// sameSpace reports whether an element in space inherits scope.
func sameSpace(space, scope string) bool {
	return space == scope ||
		space == "" && contentSpace(scope) || scope == "" && contentSpace(space)
}

// contentSpace reports whether space is one of RFC 6120 4.8.2, or "".
func contentSpace(space string) bool {
	return space == "" || space == xmpp.NSClient || space == xmpp.NSServer
}

// appendAttrs returns bound with the prefixes that it declared.
func (e *Element) appendAttrs(dst []byte, bound []string) ([]byte, []string) {
	for i := range e.Attrs {
		a := &e.Attrs[i]
		dst = append(dst, ' ')
		switch a.Space {
		case "":
		case xmpp.NSXML:
			dst = append(dst, "xml:"...)
		default:
			n := slices.Index(bound, a.Space)
			if n < 0 {
				n = len(bound)
				bound = append(bound, a.Space)
				dst = appendPrefix(append(dst, "xmlns:"...), n)
				dst = append(dst, "='"...)
				dst = AppendAttr(dst, a.Space)
				dst = append(dst, "' "...)
			}
			dst = appendPrefix(dst, n)
			dst = append(dst, ':')
		}
		dst = append(dst, a.Local...)
		dst = append(dst, "='"...)
		dst = AppendAttr(dst, a.Value)
		dst = append(dst, '\'')
	}
	return dst, bound
}

func appendPrefix(dst []byte, n int) []byte {
	return strconv.AppendInt(append(dst, 'n'), int64(n), 10)
}
