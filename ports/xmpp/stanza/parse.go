package stanza

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hexmpp/hexmpp/ports/xmpp"
)

// ErrSyntax is returned by ParseElement.
var ErrSyntax = errors.New("stanza: not a well-formed element")

// Bounds of ParseElement. xmlstream's own limits are narrower, and Append keeps
// within them: it writes the attributes that there are, and has no more prefixes
// in force than those that the tree was read with.
const (
	maxDepth    = 512 // nesting of elements; leaves levels to wrap what came on a stream
	maxAttrs    = 256 // attributes of one element, without declarations
	maxBindings = 512 // prefixes in force at a time; bounds the time to look one up
)

// ParseElement parses one element out of bytes that xmlstream has checked, or
// that this package wrote. scope is as in Append. White space around the
// element is skipped. Errors wrap ErrSyntax. It never panics on other
// input but may accept what a stream would not. The tree shares the memory of b.
func ParseElement(b string, scope string) (*Element, error) {
	p := parser{s: b}
	p.skipSpace()
	e, err := p.element(scope, 1)
	if err != nil {
		return nil, err
	}
	p.skipSpace()
	if p.i < len(p.s) {
		return nil, p.fail("something follows the element")
	}
	return e, nil
}

// parser is a recursive-descent parser over s.
type parser struct {
	s        string
	i        int
	bindings []binding // prefixes in force, inner ones last
	raw      []rawAttr // of the start tag that is being read
	// namesOnly leaves raw empty: only names of elements are asked for.
	namesOnly bool
}

type binding struct{ prefix, space string }

// rawAttr is an attribute before its prefix is resolved.
type rawAttr struct{ prefix, local, value string }

func (p *parser) fail(what string) error {
	return fmt.Errorf("%w: at byte %d: %s", ErrSyntax, p.i, what)
}

func (p *parser) skipSpace() {
	for p.i < len(p.s) && isSpace(p.s[p.i]) {
		p.i++
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// accept skips t if it comes next.
func (p *parser) accept(t string) bool {
	if strings.HasPrefix(p.s[p.i:], t) {
		p.i += len(t)
		return true
	}
	return false
}

// name reads a QName.
func (p *parser) name() (prefix, local string, err error) {
	end, colon := nameEnd(p.s, p.i)
	if end == p.i {
		return "", "", p.fail("a name is missing")
	}
	local = p.s[p.i:end]
	if colon >= 0 {
		prefix, local = p.s[p.i:colon], p.s[colon+1:end]
	}
	p.i = end
	return prefix, local, nil
}

// element reads one element; scope is the default namespace in force.
func (p *parser) element(scope string, depth int) (*Element, error) {
	if depth > maxDepth {
		return nil, p.fail("too deep")
	}
	if !p.accept("<") {
		return nil, p.fail("no start tag")
	}
	start := p.i
	prefix, local, err := p.name()
	if err != nil {
		return nil, err
	}
	qname := p.s[start:p.i]
	outer := len(p.bindings)
	scope, empty, err := p.startTag(scope)
	if err != nil {
		return nil, err
	}
	e := &Element{Space: scope, Local: local}
	if prefix != "" {
		if e.Space, err = p.resolve(prefix); err != nil {
			return nil, err
		}
	}
	if e.Attrs, err = p.attributes(); err != nil {
		return nil, err
	}
	if !empty {
		if e.Nodes, err = p.content(scope, depth); err != nil {
			return nil, err
		}
		if !p.accept(qname) {
			return nil, p.fail("the end tag has another name")
		}
		p.skipSpace()
		if !p.accept(">") {
			return nil, p.fail("the end tag is not closed")
		}
	}
	p.bindings = p.bindings[:outer]
	return e, nil
}

// startTag reads what follows the name in a start tag. It notes declarations
// in p.bindings and other attributes in p.raw.
func (p *parser) startTag(scope string) (newScope string, empty bool, err error) {
	p.raw = p.raw[:0]
	for {
		before := p.i
		p.skipSpace()
		switch {
		case p.accept("/>"):
			return scope, true, nil
		case p.accept(">"):
			return scope, false, nil
		case before == p.i:
			return "", false, p.fail("no space before an attribute")
		}
		a, err := p.attribute()
		if err != nil {
			return "", false, err
		}
		switch {
		case a.prefix == "" && a.local == "xmlns":
			scope = a.value
			if scope == "" {
				scope = NoSpace
			}
		case a.prefix == "xmlns":
			if err := p.bind(a.local, a.value); err != nil {
				return "", false, err
			}
		case len(p.raw) == maxAttrs:
			return "", false, p.fail("too many attributes")
		case !p.namesOnly:
			p.raw = append(p.raw, a)
		}
	}
}

func (p *parser) attribute() (a rawAttr, err error) {
	if a.prefix, a.local, err = p.name(); err != nil {
		return a, err
	}
	p.skipSpace()
	if !p.accept("=") {
		return a, p.fail("an attribute without value")
	}
	p.skipSpace()
	if p.i == len(p.s) || p.s[p.i] != '\'' && p.s[p.i] != '"' {
		return a, p.fail("an attribute value without quotes")
	}
	n := strings.IndexByte(p.s[p.i+1:], p.s[p.i])
	if n < 0 {
		return a, p.fail("an attribute value without end")
	}
	raw := p.s[p.i+1 : p.i+1+n]
	if a.value, err = p.unescape(raw, true); err != nil {
		return a, err
	}
	p.i += n + 2
	return a, nil
}

// bind notes a prefix (Namespaces in XML 1.0, section 3).
func (p *parser) bind(prefix, space string) error {
	switch {
	case prefix == "xml" && space == xmpp.NSXML:
		return nil
	case prefix == "xml", prefix == "xmlns", space == xmpp.NSXML, space == xmpp.NSXMLNS, space == "":
		return p.fail("a namespace declaration that is not allowed")
	case len(p.bindings) == maxBindings:
		return p.fail("too many prefixes")
	}
	p.bindings = append(p.bindings, binding{prefix, space})
	return nil
}

func (p *parser) resolve(prefix string) (string, error) {
	if prefix == "xml" {
		return xmpp.NSXML, nil
	}
	for i := len(p.bindings) - 1; i >= 0; i-- {
		if p.bindings[i].prefix == prefix {
			return p.bindings[i].space, nil
		}
	}
	return "", p.fail("a prefix that is not declared")
}

// attributes resolves p.raw.
func (p *parser) attributes() ([]Attr, error) {
	if len(p.raw) == 0 {
		return nil, nil
	}
	attrs := make([]Attr, 0, len(p.raw))
	for _, r := range p.raw {
		a := Attr{Local: r.local, Value: r.value}
		if r.prefix != "" {
			space, err := p.resolve(r.prefix)
			if err != nil {
				return nil, err
			}
			a.Space = space
		}
		for _, b := range attrs {
			if a.Local == b.Local && a.Space == b.Space {
				return nil, p.fail("an attribute twice")
			}
		}
		attrs = append(attrs, a)
	}
	return attrs, nil
}

// content reads up to and including the "</" of the end tag.
func (p *parser) content(scope string, depth int) ([]Node, error) {
	var nodes []Node
	var texts []string // character data that is not a node yet
	flush := func() {
		if len(texts) > 0 {
			nodes = append(nodes, Node{Text: strings.Join(texts, "")})
			texts = texts[:0]
		}
	}
	for {
		n := strings.IndexByte(p.s[p.i:], '<')
		if n < 0 {
			return nil, p.fail("an element without end")
		}
		if n > 0 {
			t, err := p.unescape(p.s[p.i:p.i+n], false)
			if err != nil {
				return nil, err
			}
			texts = append(texts, t)
			p.i += n
		}
		switch {
		case p.accept("</"):
			flush()
			return nodes, nil
		case p.accept("<![CDATA["):
			t, err := p.cdata()
			if err != nil {
				return nil, err
			}
			if t != "" {
				texts = append(texts, t)
			}
		default:
			flush()
			e, err := p.element(scope, depth+1)
			if err != nil {
				return nil, err
			}
			nodes = append(nodes, Node{Element: e})
		}
	}
}

// cdata reads a CDATA section up to its end.
func (p *parser) cdata() (string, error) {
	n := strings.Index(p.s[p.i:], "]]>")
	if n < 0 {
		return "", p.fail("a CDATA section without end")
	}
	raw := p.s[p.i : p.i+n]
	if !plainCDATA.holds(raw) {
		var b strings.Builder
		for i := 0; i < len(raw); {
			m, err := p.character(&b, raw[i:], false)
			if err != nil {
				return "", err
			}
			i += m
		}
		raw = b.String()
	}
	p.i += n + len("]]>")
	return raw, nil
}
