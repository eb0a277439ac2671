package xmlstream

import (
	"bytes"
	"hash/maphash"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// scope is the namespace context that a stream header makes for what follows
// (Namespaces in XML 1.0 section 6). It is immutable.
type scope struct {
	root     string // qualified name of the header's element
	deflt    string // the default namespace, "" if there is none
	content  string // the content namespace (RFC 6120 4.8.2)
	inherits bool   // the default namespace is the content namespace
	prefixes []binding
}

// binding is a prefix that the stream header declares.
type binding struct{ prefix, space string }

// The scopes that nearly all streams share.
var (
	beforeHeader = &scope{}
	clientScope  = &scope{
		root: "stream:stream", deflt: xmpp.NSClient, content: xmpp.NSClient, inherits: true,
		prefixes: []binding{{"stream", xmpp.NSStream}},
	}
	frameScope = &scope{deflt: xmpp.NSClient, content: xmpp.NSClient, inherits: true} // RFC 7395 3.3.3
)

// namespace says where a namespace was declared: an index of scanner.decls, or
// one of the constants, or, below undeclared, a binding of the scope.
type namespace int16

const (
	streamDefault namespace = -1 - iota // the default namespace of the stream header
	namespaceXML                        // of the prefix xml
	undeclared
)

// declaration is a namespace declaration inside the item.
type declaration struct {
	prefix  span // empty for the default namespace
	value   value
	depth   int16  // of the element that carries it: 1 for the item itself
	content bool   // it declares a content namespace
	hash    uint64 // of the namespace, if prefix is not empty
}

var seed = maphash.MakeSeed()

// declare takes in a namespace declaration (Namespaces in XML 1.0 section 3).
func (s *scanner) declare(b []byte, a *attribute) *stream.Error {
	if len(s.decls) >= s.limits.declarations() {
		return fail(stream.PolicyViolation, "too many namespace declarations")
	}
	name := a.value.of(b)
	if len(name) > s.limits.namespace() {
		return fail(stream.PolicyViolation, "the name of a namespace is too long")
	}
	if !a.value.plain {
		name = expand(nil, name)
	}
	d := declaration{value: a.value, depth: int16(len(s.stack) + 1), content: s.scope.isContent(name)}
	prefix := ""
	if a.name.colon != 0 {
		d.prefix = span{a.name.colon + 1, a.name.to}
		d.hash = maphash.Bytes(seed, name)
		if len(name) == 0 {
			return fail(stream.NotWellFormed, "prefix declared for no namespace")
		}
		if n := d.prefix.to - d.prefix.from; n == 3 || n == 5 { // xml or xmlns, perhaps
			prefix = string(d.prefix.of(b))
		}
	}
	switch {
	case prefix == "xmlns", string(name) == xmpp.NSXMLNS:
		return fail(stream.NotWellFormed, "the prefix xmlns can't be declared")
	case (prefix == "xml") != (string(name) == xmpp.NSXML):
		return fail(stream.NotWellFormed, "the prefix xml and its namespace belong together")
	case prefix == "xml":
		return nil // it is always declared
	case a.name.colon == 0:
		s.deflt = namespace(len(s.decls))
	}
	s.decls = append(s.decls, d)
	return nil
}

// borrow counts what it would take to declare ns anew in the tag at hand, which
// stands depth deep: Limits.StanzaBytes bounds the sum.
func (s *scanner) borrow(ns namespace, depth int) *stream.Error {
	n := len(" xmlns:n000=''")
	switch {
	case ns >= 0:
		d := &s.decls[ns]
		if int(d.depth) == depth { // the tag declares it itself
			return nil
		}
		n += int(d.value.to - d.value.from)
	case ns < undeclared:
		n += len(s.scope.binding(ns).space)
	case ns == streamDefault:
		n += len(s.scope.deflt)
	}
	if s.borrowed += n; s.borrowed > s.limits.StanzaBytes {
		return fail(stream.PolicyViolation, "element is too big with its namespaces declared")
	}
	return nil
}

// lookup resolves a prefix that an element or attribute has.
func (s *scanner) lookup(b, prefix []byte) namespace {
	for i := len(s.decls) - 1; i >= 0; i-- {
		if d := &s.decls[i]; d.prefix.to != 0 && bytes.Equal(prefix, d.prefix.of(b)) {
			return namespace(i)
		}
	}
	if string(prefix) == "xml" {
		return namespaceXML
	}
	for i := range s.scope.prefixes {
		if string(prefix) == s.scope.prefixes[i].prefix {
			return undeclared - 1 - namespace(i)
		}
	}
	return undeclared
}

// isContent reports whether a stanza's content is in the namespace with this
// name. On a client's stream jabber:server counts as well: what one stream
// calls by the one name, the next calls by the other (RFC 6120 4.8.3).
func (sc *scope) isContent(name []byte) bool {
	return string(name) == xmpp.NSClient || string(name) == xmpp.NSServer ||
		string(name) == sc.content && len(name) > 0
}

// isContent reports whether ns is a content namespace.
func (s *scanner) isContent(ns namespace) bool {
	switch {
	case ns >= 0:
		return s.decls[ns].content
	case ns < undeclared:
		return s.scope.isContent([]byte(s.scope.binding(ns).space))
	case ns == streamDefault:
		return s.scope.inherits
	}
	return false
}

// binding returns the declaration that a namespace below undeclared means.
func (sc *scope) binding(ns namespace) binding { return sc.prefixes[undeclared-1-ns] }

// name returns the namespace name of ns. It is for rare forms: it may allocate.
func (s *scanner) name(b []byte, ns namespace) []byte {
	switch {
	case ns >= 0 && s.decls[ns].value.plain:
		return s.decls[ns].value.of(b)
	case ns >= 0:
		return expand(nil, s.decls[ns].value.of(b))
	case ns < undeclared:
		return []byte(s.scope.binding(ns).space)
	case ns == namespaceXML:
		return []byte(xmpp.NSXML)
	}
	return []byte(s.scope.deflt)
}

// sameNamespace compares namespaces of prefixes. The hashes spare comparisons
// of long names, which a peer could ask for by the thousand.
func (s *scanner) sameNamespace(b []byte, x, y namespace) bool {
	if x >= 0 && y >= 0 && s.decls[x].hash != s.decls[y].hash {
		return false
	}
	return x == y || bytes.Equal(s.name(b, x), s.name(b, y))
}
