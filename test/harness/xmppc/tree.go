package xmppc

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Namespaces that tests name often.
const (
	NSClient   = "jabber:client"
	NSStream   = "http://etherx.jabber.org/streams"
	NSTLS      = "urn:ietf:params:xml:ns:xmpp-tls"
	NSSASL     = "urn:ietf:params:xml:ns:xmpp-sasl"
	NSBindings = "urn:xmpp:sasl-cb:0"
	NSBind     = "urn:ietf:params:xml:ns:xmpp-bind"
	NSSess     = "urn:ietf:params:xml:ns:xmpp-session"
	NSStanza   = "urn:ietf:params:xml:ns:xmpp-stanzas"
	NSErrors   = "urn:ietf:params:xml:ns:xmpp-streams"
	NSPing     = "urn:xmpp:ping"
	NSRoster   = "jabber:iq:roster"
	NSSM       = "urn:xmpp:sm:3"
	NSXML      = "http://www.w3.org/XML/1998/namespace"
)

// Element is one element that the server sent. Methods work on nil, which is
// what Child returns for an absent element.
type Element struct {
	Space, Local string
	Attrs        []xml.Attr // resolved names; declarations of namespaces included
	Children     []*Element
	Text         string // character data directly inside
	Raw          string // the bytes as they came; top-level elements only
}

// Parse reads one element, with namespaces of its own, from text.
func Parse(text string) (*Element, error) {
	dec := xml.NewDecoder(strings.NewReader(text))
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	start, ok := tok.(xml.StartElement)
	if !ok {
		return nil, fmt.Errorf("%T is no element", tok)
	}
	return readElement(dec, start)
}

// Name is "{namespace}local", for messages.
func (e *Element) Name() string {
	if e == nil {
		return "nothing"
	}
	return "{" + e.Space + "}" + e.Local
}

// Is compares the resolved name.
func (e *Element) Is(space, local string) bool {
	return e != nil && e.Space == space && e.Local == local
}

// Attr returns the value of an attribute without a namespace, "" if absent.
func (e *Element) Attr(local string) string { return e.AttrNS("", local) }

// Lang returns xml:lang.
func (e *Element) Lang() string { return e.AttrNS(NSXML, "lang") }

// AttrNS returns the value of an attribute, "" if absent.
func (e *Element) AttrNS(space, local string) string {
	if e == nil {
		return ""
	}
	for _, a := range e.Attrs {
		if a.Name.Space == space && a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

// Has reports whether an attribute without a namespace is there.
func (e *Element) Has(local string) bool {
	if e == nil {
		return false
	}
	for _, a := range e.Attrs {
		if a.Name.Space == "" && a.Name.Local == local {
			return true
		}
	}
	return false
}

// Child returns the first child of that name, or nil.
func (e *Element) Child(space, local string) *Element {
	if e == nil {
		return nil
	}
	for _, c := range e.Children {
		if c.Is(space, local) {
			return c
		}
	}
	return nil
}

// All returns the children of that name.
func (e *Element) All(space, local string) (found []*Element) {
	if e == nil {
		return nil
	}
	for _, c := range e.Children {
		if c.Is(space, local) {
			found = append(found, c)
		}
	}
	return found
}

// Body is the text of a message's body.
func (e *Element) Body() string {
	if b := e.Child(NSClient, "body"); b != nil {
		return b.Text
	}
	return ""
}

// Condition is the name of the defined condition inside a stanza error, a
// stream error or a SASL failure, "" if there is none.
func (e *Element) Condition() string {
	if e == nil {
		return ""
	}
	for _, c := range e.Children {
		switch {
		case c.Local == "text":
		case c.Space == NSStanza, c.Space == NSErrors, c.Space == NSSASL:
			return c.Local
		case c.Is(NSClient, "error"):
			return c.Condition()
		}
	}
	return ""
}

// ErrorType is the type attribute of a stanza's error.
func (e *Element) ErrorType() string { return e.Child(NSClient, "error").Attr("type") }

// Names lists the children, for messages.
func (e *Element) Names() string {
	var names []string
	for _, c := range e.Children {
		names = append(names, c.Name())
	}
	return strings.Join(names, " ")
}
