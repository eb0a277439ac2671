package xmlstream

import (
	"fmt"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// token makes a token of the element b, which has just been scanned. lang is
// the xml:lang of the stream.
func (s *scanner) token(b []byte, lang string) (Token, *stream.Error) {
	if s.root.kind == 0 {
		e, err := s.element(b)
		return Token{Kind: Element, Element: e}, err
	}
	r := &s.root
	// The end tag says nothing that is not known. This is the one copy: all
	// strings of the stanza are parts of it, unless they need normalising.
	text := string(b[:r.content.to])
	t := Token{Kind: Stanza}
	h := stanza.Header{Kind: r.kind, Type: r.typ.in(text), ID: r.id.in(text), Lang: lang}
	if r.lang.from != 0 {
		h.Lang = r.lang.in(text)
	}
	var err error
	if r.from.from != 0 {
		if h.From, err = jid.Parse(r.from.in(text)); err != nil {
			h.From, t.Malformed = jid.JID{}, "from"
		}
	}
	if r.to.from != 0 {
		if h.To, err = jid.Parse(r.to.in(text)); err != nil {
			h.To, t.Malformed = jid.JID{}, "to"
		}
	}
	attrs, e := s.extraAttributes(b)
	if e != nil {
		return Token{}, e
	}
	var few [8]stanza.Child // Raw copies them
	content, children := text[r.content.from:r.content.to], few[:0]
	if s.outside || s.rewrite {
		content, children, e = s.rebuild(b, children)
	} else {
		children = r.list(text, children)
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

// in returns what the value means: a part of text if it can be.
func (v value) in(text string) string {
	raw := text[v.from:v.to]
	if v.plain {
		return raw
	}
	return string(expand(nil, []byte(raw)))
}

// ParseStanza reads exactly one stanza from bytes that did not come from a
// stream of ours: plugins, storage, HTTP. space is the content namespace that
// is in force around it. White space around it is ignored; anything else is
// refused. An error is a *stream.Error, or wraps jid.ErrMalformed for an
// address that is none.
func ParseStanza(b []byte, space string, l Limits) (*stanza.Stanza, error) {
	t, err := ParseFrame(b, space, "", l)
	switch {
	case err != nil:
		return nil, err
	case t.Kind != Stanza:
		return nil, fail(stream.UnsupportedStanzaType, "message, presence or iq expected")
	case t.Malformed != "":
		return nil, fmt.Errorf("xmlstream: attribute %s: %w", t.Malformed, jid.ErrMalformed)
	}
	return t.Stanza, nil
}

// ParseFrame reads exactly one element that is a document of its own (RFC 7395
// 3.3.3): the token is a Stanza or an Element. space is the content namespace,
// in force where the element declares no default namespace; lang holds for a
// stanza without xml:lang. An error is a *stream.Error.
func ParseFrame(b []byte, space, lang string, l Limits) (Token, error) {
	r := Reader{phase: open, lang: lang, limits: l.withDefaults(), in: b, scope: frameScope}
	if space != frameScope.content {
		r.scope = &scope{deflt: space, content: space, inherits: true}
	}
	t, ok, err := r.Next()
	switch {
	case err != nil:
		return Token{}, err
	case !ok || t.Kind == Close:
		r.Discard()
		return Token{}, fail(stream.NotWellFormed, "one whole element expected")
	case !allSpace(r.in):
		r.Discard()
		return Token{}, fail(stream.NotWellFormed, "something follows the element")
	}
	r.Discard()
	return t, nil
}
