package xmlstream

import (
	"bytes"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// openElement is a start tag whose end tag has not come.
type openElement struct {
	name     span
	outer    int16     // how many declarations are in force outside of it
	space    namespace // its own
	deflt    namespace // the default namespace inside it
	content  bool      // it is in a content namespace, and so is all that it is in
	inherits bool      // deflt is a content namespace
}

// root is what canonical.go needs of the element that is the item.
type root struct {
	known
	extra    []attribute // attributes that are not in known, without namespace declarations
	children []child     // direct child elements of a stanza
}

// known is the part of root of fixed size. Values of absent attributes start at 0.
type known struct {
	kind                    stanza.Kind // 0 if it is no stanza
	to, from, id, typ, lang value
	content                 span
}

// child is a direct child element of a stanza.
type child struct {
	whole   span
	local   span
	space   value // its namespace, unless content
	content bool  // it is in the content namespace
}

// duplicate reports whether the last attribute has the name of an earlier one
// (XML 1.0 3.1). A Bloom filter of 64 bits spares most comparisons.
func (s *scanner) duplicate(b []byte) bool {
	last := len(s.attrs) - 1
	name := s.attrs[last].name.of(b)
	bit := uint64(1) << ((uint(name[0])*5 + uint(name[len(name)-1])*3 + uint(len(name))*11) & 63)
	if s.seen&bit == 0 {
		s.seen |= bit
		return false
	}
	for i := range s.attrs[:last] {
		if bytes.Equal(name, s.attrs[i].name.of(b)) {
			return true
		}
	}
	return false
}

func errDuplicate() *stream.Error { return fail(stream.NotWellFormed, "attribute given twice") }

// attributeEnd looks at an attribute that is complete.
func (s *scanner) attributeEnd(b []byte, a *attribute) *stream.Error {
	if a.name.colon == 0 {
		if b[a.name.from] == 'x' && string(a.name.of(b)) == "xmlns" {
			return s.declare(b, a)
		}
		return nil
	}
	switch string(a.name.prefix(b)) {
	case "xmlns":
		return s.declare(b, a)
	case "xml":
	default:
		s.prefixed++
	}
	return nil
}

// startTag is called at the end of a start tag, empty if it has no content. i
// is the offset of what follows. It reports whether the item is complete.
func (s *scanner) startTag(b []byte, i int, empty bool) (done bool, err *stream.Error) {
	depth := len(s.stack) + 1
	e := openElement{name: s.tag.span, outer: s.outer, deflt: streamDefault, inherits: s.scope.inherits}
	parentInContent := true
	if depth > 1 {
		parent := &s.stack[depth-2]
		e.deflt, e.inherits, parentInContent = parent.deflt, parent.inherits, parent.content
	}
	if s.deflt != streamDefault {
		e.deflt, e.inherits = s.deflt, s.decls[s.deflt].content
	}

	ns := e.deflt
	e.content = e.inherits
	if s.tag.colon != 0 {
		switch ns = s.lookup(b, s.tag.prefix(b)); ns {
		case undeclared:
			return false, fail(stream.NotWellFormed, "prefix without a declaration") // RFC 6120 4.9.3.13
		case namespaceXML: // it can't be written without the prefix, and defines no element
			return false, fail(stream.BadNamespacePrefix, "element with the prefix xml")
		}
		e.content = s.isContent(ns)
	}
	e.content = e.content && parentInContent
	e.space = ns
	if depth > 1 && ns != s.stack[depth-2].space {
		if err = s.borrow(ns, depth); err != nil {
			return false, err
		}
	}
	if s.prefixed > 0 {
		if err = s.checkPrefixed(b, depth); err != nil {
			return false, err
		}
	}

	if depth == 1 {
		if s.place == atStart {
			s.item = aHeader
			if empty {
				s.item = anEmptyHeader
			}
			return true, nil
		}
		s.rootTag(b, &e, ns, i)
	} else {
		s.lean(ns, depth, e.content)
		if e.content && (s.tag.colon != 0 || s.deflt != streamDefault) {
			s.rewrite = true // the content namespace is declared where it is to be inherited
		}
		if depth == 2 && s.root.kind != 0 {
			s.addChild(&e, ns)
		}
	}
	s.stack = append(s.stack, e)
	if empty {
		return s.pop(uint32(i), uint32(i)), nil
	}
	return false, nil
}

// checkPrefixed resolves the prefixes of the tag's attributes; no two may have
// the same expanded name (XML Names 1.0 6.3).
func (s *scanner) checkPrefixed(b []byte, depth int) *stream.Error {
	for i := range s.attrs {
		a := &s.attrs[i]
		if !s.foreign(b, a) {
			continue
		}
		ns := s.lookup(b, a.name.prefix(b))
		if ns == undeclared {
			return fail(stream.NotWellFormed, "prefix without a declaration")
		}
		if err := s.borrow(ns, depth); err != nil {
			return err
		}
		s.lean(ns, depth, false)
		a.space = ns
		if s.prefixed == 1 {
			return nil
		}
		for j := range s.attrs[:i] {
			other := &s.attrs[j]
			if s.foreign(b, other) && bytes.Equal(a.name.local(b), other.name.local(b)) &&
				s.sameNamespace(b, ns, other.space) {
				return fail(stream.NotWellFormed, "attribute given twice in one namespace")
			}
		}
	}
	return nil
}

// foreign reports whether a has a prefix that must be declared.
func (s *scanner) foreign(b []byte, a *attribute) bool {
	if a.name.colon == 0 {
		return false
	}
	p := string(a.name.prefix(b))
	return p != "xml" && p != "xmlns"
}

// lean notes it if a name leans on a declaration outside of its child of the
// stanza. Only the content namespace may be inherited, by unprefixed elements
// whose parents inherit it too.
func (s *scanner) lean(ns namespace, depth int, inherits bool) {
	switch {
	case ns == streamDefault:
		s.outside = s.outside || !inherits
	case ns < 0:
		s.outside = true
	case depth > 1 && s.decls[ns].depth == 1:
		prefixed := s.decls[ns].prefix != span{}
		s.rewrite = s.rewrite || prefixed || !inherits
	}
}

// rootTag notes what the start tag of an element says.
func (s *scanner) rootTag(b []byte, e *openElement, ns namespace, i int) {
	r := &s.root
	r.content.from = uint32(i)
	if e.content && (ns == streamDefault || string(s.name(b, ns)) == s.scope.content) {
		switch string(s.tag.local(b)) {
		case "message":
			r.kind = stanza.Message
		case "presence":
			r.kind = stanza.Presence
		case "iq":
			r.kind = stanza.IQ
		}
	}
	if r.kind == 0 {
		s.lean(ns, 1, e.content) // a stanza's start tag is written anew
		return
	}
	for k := range s.attrs {
		a := &s.attrs[k]
		switch string(a.name.of(b)) {
		case "to":
			r.to = a.value
		case "from":
			r.from = a.value
		case "id":
			r.id = a.value
		case "type":
			r.typ = a.value
		case "xml:lang":
			r.lang = a.value
		case "xmlns":
		default:
			if string(a.name.prefix(b)) != "xmlns" {
				r.extra = append(r.extra, *a)
			}
		}
	}
}

// addChild notes a direct child of a stanza whose start tag is at hand.
func (s *scanner) addChild(e *openElement, ns namespace) {
	c := child{content: e.content}
	c.whole.from = s.tag.from - 1
	c.local = s.tag.span
	if s.tag.colon != 0 {
		c.local.from = s.tag.colon + 1
	}
	if !e.content && ns >= 0 {
		c.space = s.decls[ns].value
	}
	s.root.children = append(s.root.children, c)
}

// endTag is called at the end of an end tag. It reports whether the item is complete.
func (s *scanner) endTag(i int) (done bool) {
	if len(s.stack) == 0 {
		s.item = anEnd
		return true
	}
	return s.pop(uint32(s.mark)-2, uint32(i))
}

// pop closes the innermost element, whose content ended at content and which
// ended at end.
func (s *scanner) pop(content, end uint32) (done bool) {
	top := &s.stack[len(s.stack)-1]
	s.stack = s.stack[:len(s.stack)-1]
	switch len(s.stack) {
	case 0: // its declarations stay: canonical.go looks prefixes up
		s.root.content.to = content
		return true
	case 1:
		if n := len(s.root.children); n > 0 {
			s.root.children[n-1].whole.to = end
		}
	}
	s.decls = s.decls[:top.outer]
	return false
}
