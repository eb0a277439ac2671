package xmlstream

import (
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// element makes a token of the element b, which has just been scanned.
func (r *Reader) element(b []byte) (Token, *stream.Error) {
	s := &r.work.scanner
	root := &s.root
	if root.kind == 0 {
		e, err := s.tree(b)
		return Token{Kind: Element, Element: e}, err
	}
	// The end tag says nothing that is not known. This is the one copy: all
	// strings of the stanza are parts of it, unless they need normalising.
	text := string(b[:root.content.to])
	t := Token{Kind: Stanza}
	h := stanza.Header{Kind: root.kind, Type: root.typ.in(text), ID: root.id.in(text), Lang: r.lang}
	if root.lang.from != 0 {
		h.Lang = root.lang.in(text)
	}
	var err error
	if root.from.from != 0 {
		if h.From, err = jid.Parse(root.from.in(text)); err != nil {
			h.From, t.Malformed = jid.JID{}, "from"
		}
	}
	if root.to.from != 0 {
		if h.To, err = r.parseTo(root.to.in(text)); err != nil {
			h.To, t.Malformed = jid.JID{}, "to"
		}
	}
	attrs, e := s.extraAttributes(b)
	if e != nil {
		return Token{}, e
	}
	var few [8]stanza.Child // Raw copies them
	content, children := text[root.content.from:root.content.to], few[:0]
	if s.outside || s.rewrite {
		content, children, e = s.rebuild(b, children)
	} else {
		children = root.list(text, children)
	}
	if e != nil {
		return Token{}, e
	}
	t.Stanza = stanza.Raw(h, attrs, content, children)
	return t, nil
}

// list appends the children of a stanza that is canonical as it stands.
func (r *root) list(text string, to []stanza.Child) []stanza.Child {
	for i := range r.children {
		c := &r.children[i]
		space := ""
		if !c.content {
			if space = c.space.in(text); space == "" {
				space = stanza.NoSpace
			}
		}
		to = append(to, stanza.Child{
			Space: space,
			Local: text[c.local.from:c.local.to],
			Start: c.whole.from - r.content.from,
			End:   c.whole.to - r.content.from,
		})
	}
	return to
}
