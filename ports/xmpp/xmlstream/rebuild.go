package xmlstream

import (
	"strings"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// Rare forms go through a tree: whatever leans on declarations of the stream
// header or of the stanza's start tag, and the content namespace declared
// where it is to be inherited.

// tree returns the element b as a tree.
func (s *scanner) tree(b []byte) (*stanza.Element, *stream.Error) {
	text := string(b)
	if s.outside {
		text = s.scope.wrap(text)
	}
	e, err := stanza.ParseElement(text, "")
	if err != nil {
		return nil, fail(stream.InternalServerError, "")
	}
	if s.outside {
		e = e.Elements()[0]
	}
	if e.Space == s.scope.content {
		e.Space = ""
	}
	if e.Space == "" {
		s.scope.inheritContent(e)
	}
	return e, nil
}

// wrap puts an element into one that declares what the stream header declared.
func (sc *scope) wrap(element string) string {
	w := []byte("<x")
	declare := func(name, space string) {
		w = append(w, " xmlns"...)
		w = append(w, name...)
		w = append(w, "='"...)
		w = stanza.AppendAttr(w, space)
		w = append(w, '\'')
	}
	declare("", sc.deflt)
	for _, p := range sc.prefixes {
		declare(":"+p.prefix, p.space)
	}
	w = append(w, '>')
	return string(w) + element + "</x>"
}

// inheritContent makes the descendants of e inherit the content namespace, as
// far as there is no other namespace between.
func (sc *scope) inheritContent(e *stanza.Element) {
	for _, n := range e.Nodes {
		if c := n.Element; c != nil && (c.Space == "" || sc.isContent([]byte(c.Space))) {
			c.Space = ""
			sc.inheritContent(c)
		}
	}
}

// rebuild returns the content of the stanza b written anew, in canonical form.
// The names in the tree are parts of b as it came: whoever wants those of the
// children looks into what is returned.
func (s *scanner) rebuild(b []byte) (string, *stream.Error) {
	e, err := s.tree(b)
	if err != nil {
		return "", err
	}
	var out []byte
	for _, n := range e.Nodes {
		if n.Element == nil {
			out = stanza.AppendText(out, n.Text)
			continue
		}
		out = n.Element.Append(out, "")
	}
	if len(out) > s.limits.StanzaBytes {
		return "", fail(stream.PolicyViolation, "element is too big in canonical form")
	}
	return string(out), nil
}

// extraAttributes writes the further attributes of a stanza's start tag, and
// in front of them the declarations of their prefixes.
func (s *scanner) extraAttributes(b []byte) (string, *stream.Error) {
	if len(s.root.extra) == 0 {
		return "", nil
	}
	var declared, out []byte
	prefixes := ""
	for i := range s.root.extra {
		a := &s.root.extra[i]
		if s.foreign(b, a) {
			p := string(a.name.prefix(b))
			if !strings.Contains(prefixes, ":"+p+":") {
				prefixes += ":" + p + ":"
				declared = append(append(append(declared, " xmlns:"...), p...), "='"...)
				declared = stanza.AppendAttr(declared, string(s.name(b, s.lookup(b, a.name.prefix(b)))))
				declared = append(declared, '\'')
			}
		}
		// As sent, with its quotes.
		out = append(append(out, ' '), b[a.name.from:a.name.to]...)
		out = append(append(out, '='), b[a.value.from-1:a.value.to+1]...)
	}
	if len(declared)+len(out) > s.limits.StanzaBytes {
		return "", fail(stream.PolicyViolation, "too many attributes")
	}
	return string(declared) + string(out), nil
}
