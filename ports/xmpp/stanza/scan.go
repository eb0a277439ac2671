package stanza

import "strings"

// scanChildren appends the top-level children of canonical content to list. It
// stops at the first thing that canonical content does not have.
func scanChildren(list []Child, content string) []Child {
	p := parser{s: content, namesOnly: true}
	for p.skipText() {
		start := p.i
		child, empty, err := p.childTag()
		if err != nil || !empty && !p.skipContent() {
			break
		}
		child.Start, child.End = uint32(start), uint32(p.i)
		list = append(list, child)
	}
	return list
}

// skipText moves on to the start of the next tag and reports whether there is one.
func (p *parser) skipText() bool {
	for {
		n := strings.IndexByte(p.s[p.i:], '<')
		if n < 0 {
			return false
		}
		p.i += n
		if !p.accept("<![CDATA[") {
			return true
		}
		if n = strings.Index(p.s[p.i:], "]]>"); n < 0 {
			return false
		}
		p.i += n + len("]]>")
	}
}

// childTag reads the start tag of a child in the content namespace's scope.
func (p *parser) childTag() (c Child, empty bool, err error) {
	p.i++
	prefix, local, err := p.name()
	if err != nil {
		return c, false, err
	}
	p.bindings = p.bindings[:0]
	c.Local = local
	if c.Space, empty, err = p.startTag(""); err == nil && prefix != "" {
		c.Space, err = p.resolve(prefix)
	}
	return c, empty, err
}

// skipContent moves behind the end tag of the element whose start tag was read.
// It looks at no names: the content was checked before.
func (p *parser) skipContent() bool {
	for depth := 1; depth > 0; {
		if !p.skipText() {
			return false
		}
		switch {
		case p.accept("</"):
			n := strings.IndexByte(p.s[p.i:], '>')
			if n < 0 {
				return false
			}
			p.i += n + 1
			depth--
		default:
			empty, ok := p.skipTag()
			if !ok {
				return false
			}
			if !empty {
				depth++
			}
		}
	}
	return true
}

// skipTag moves behind a start tag, past any > in attribute values.
func (p *parser) skipTag() (empty, ok bool) {
	for {
		n := strings.IndexAny(p.s[p.i:], `>'"`)
		if n < 0 {
			return false, false
		}
		p.i += n + 1
		quote := p.s[p.i-1]
		if quote == '>' {
			return p.s[p.i-2] == '/', true
		}
		if n = strings.IndexByte(p.s[p.i:], quote); n < 0 {
			return false, false
		}
		p.i += n + 1
	}
}
