package xmlstream

// span is a part of the item.
type span struct{ from, to uint32 }

func (p span) of(b []byte) []byte { return b[p.from:p.to] }

// qname is a qualified name; colon is the place of its colon, or 0.
type qname struct {
	span
	colon uint32
}

// local returns the name without its prefix.
func (q qname) local(b []byte) []byte {
	if q.colon != 0 {
		return b[q.colon+1 : q.to]
	}
	return b[q.from:q.to]
}

// prefix returns what stands before the colon, empty if there is none.
func (q qname) prefix(b []byte) []byte {
	if q.colon != 0 {
		return b[q.from:q.colon]
	}
	return nil
}

// value is an attribute value. A plain one means what it says: it has no
// references, and no white space that must be normalised.
type value struct {
	span
	plain bool
}

type attribute struct {
	name  qname
	value value
	space namespace // of its prefix, once checkPrefixed has looked it up
}

// in returns what the value means: a part of text if it can be. text is what
// stands in the item from base on.
func (v value) in(text string, base uint32) string {
	raw := text[v.from-base : v.to-base]
	if v.plain {
		return raw
	}
	return string(expand(nil, []byte(raw)))
}

// bytes returns what the value means: a part of b if it can be.
func (v value) bytes(b []byte) []byte {
	if v.plain {
		return v.of(b)
	}
	return expand(nil, v.of(b))
}

// string returns what the value means.
func (v value) string(b []byte) string { return string(v.bytes(b)) }
