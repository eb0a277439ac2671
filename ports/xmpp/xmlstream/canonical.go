package xmlstream

import (
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// element makes a token of the element b, which has just been scanned.
func (r *Reader) element(b []byte) (Token, *stream.Error) {
	s := &r.work.scanner
	root := &s.root
	if root.kind == 0 {
		if len(b) > s.limits.ElementBytes { // it came together with its start tag, which had another bound
			return Token{}, errTooBig()
		}
		e, err := s.tree(b)
		return Token{Kind: Element, Element: e}, err
	}
	h, malformed, err := r.stanzaHeader(b)
	if err != nil {
		return Token{}, err
	}
	attrs, err := s.extraAttributes(b)
	if err != nil {
		return Token{}, err
	}
	t := Token{Kind: Stanza, Malformed: malformed}
	if s.outside || s.rewrite {
		content, err := s.rebuild(b)
		if err != nil {
			return Token{}, err
		}
		t.Stanza = stanza.Raw(h, attrs, content, nil)
		return t, nil
	}
	var few [8]stanza.Child // Raw copies them
	content := string(b[root.content.from:root.content.to])
	t.Stanza = stanza.Raw(h, attrs, content, root.list(content, few[:0]))
	return t, nil
}

// list appends the children of a stanza whose content is canonical as it stands.
func (r *root) list(content string, to []stanza.Child) []stanza.Child {
	base := r.content.from
	for i := range r.children {
		c := &r.children[i]
		space := ""
		if !c.content { // then its declaration is in the content: see lean
			if space = c.space.in(content, base); space == "" {
				space = stanza.NoSpace
			}
		}
		to = append(to, stanza.Child{
			Space: space,
			Local: content[c.local.from-base : c.local.to-base],
			Start: c.whole.from - base,
			End:   c.whole.to - base,
		})
	}
	return to
}
