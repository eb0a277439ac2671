package xmlstream

import (
	"unicode/utf8"

	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// Classes of ASCII bytes. A byte from 0x80 on has none.
const (
	nameStart uint8 = 1 << iota // NameStartChar without the colon (XML 1.0 production 4)
	nameChar                    // NameChar without the colon (production 4a)
	space                       // S (production 3)
)

// class holds the classes of each byte.
var class = func() (t [256]uint8) {
	for c := 'a'; c <= 'z'; c++ {
		t[c] = nameStart | nameChar
		t[c-'a'+'A'] = nameStart | nameChar
	}
	for c := '0'; c <= '9'; c++ {
		t[c] = nameChar
	}
	t['_'] = nameStart | nameChar
	t['-'], t['.'] = nameChar, nameChar
	t[' '], t['\t'], t['\r'], t['\n'] = space, space, space, space
	return t
}()

// runeRange is a range of characters, both ends included.
type runeRange struct{ first, last rune }

// Non-ASCII characters that may start a name (production 4), in order.
var nameStartRanges = [...]runeRange{
	{0xC0, 0xD6}, {0xD8, 0xF6}, {0xF8, 0x2FF}, {0x370, 0x37D}, {0x37F, 0x1FFF},
	{0x200C, 0x200D}, {0x2070, 0x218F}, {0x2C00, 0x2FEF}, {0x3001, 0xD7FF},
	{0xF900, 0xFDCF}, {0xFDF0, 0xFFFD}, {0x10000, 0xEFFFF},
}

// Non-ASCII characters that may only stand inside a name (production 4a).
var nameCharRanges = [...]runeRange{{0xB7, 0xB7}, {0x300, 0x36F}, {0x203F, 0x2040}}

func inRanges(r rune, ranges []runeRange) bool {
	for _, x := range ranges {
		if r <= x.last {
			return r >= x.first
		}
	}
	return false
}

// isNameRune reports whether the non-ASCII character r may stand in a name,
// or at its start.
func isNameRune(r rune, start bool) bool {
	return inRanges(r, nameStartRanges[:]) || !start && inRanges(r, nameCharRanges[:])
}

// scanName goes on with the qualified name q. ended is false if b ends before
// a byte that is no part of the name.
func scanName(b []byte, i int, q *qname) (next int, ended bool, err *stream.Error) {
	for {
		// A part of the name: before the colon, after it, or all of it.
		part := int(q.from)
		if q.colon != 0 {
			part = int(q.colon) + 1
		}
		if i == part && i < len(b) && b[i] < 0x80 && class[b[i]]&nameStart == 0 {
			return i, false, fail(stream.NotWellFormed, "a name can't start with this character")
		}
		for i < len(b) && class[b[i]]&nameChar != 0 {
			i++
		}
		switch {
		case i == len(b):
			return i, false, nil
		case b[i] == ':':
			if q.colon != 0 {
				return i, false, fail(stream.NotWellFormed, "two colons in a name") // XML Names 1.0 production 7
			}
			q.colon = uint32(i)
			i++
		case b[i] < 0x80:
			return i, true, nil
		default:
			n, err := nameRune(b[i:], i == part)
			if n == 0 {
				return i, false, err
			}
			i += n
		}
	}
}

// plainName returns the end of a name that starts at i, if it is ASCII, has no
// colon and ends before b does; otherwise 0: scanName finds out more.
func plainName(b []byte, i int) int {
	if class[b[i]]&nameStart == 0 {
		return 0
	}
	for i++; i < len(b); i++ {
		if c := b[i]; class[c]&nameChar == 0 {
			if c >= 0x80 || c == ':' {
				return 0
			}
			return i
		}
	}
	return 0
}

// nameRune reads the non-ASCII character that b begins with, as a part of a
// name. It returns 0 and no error if b ends inside the character.
func nameRune(b []byte, start bool) (n int, err *stream.Error) {
	r, n := utf8.DecodeRune(b)
	switch {
	case r == utf8.RuneError && n <= 1:
		return 0, badChar(b)
	case !isNameRune(r, start):
		return 0, fail(stream.NotWellFormed, "character that is not allowed in a name")
	}
	return n, nil
}

// isName reports whether b is a Name (production 5). Colons are allowed: it
// serves for entity names, which no namespace rule touches.
func isName(b []byte) bool {
	for i := 0; i < len(b); {
		c := b[i]
		if c < utf8.RuneSelf {
			if c != ':' && class[c]&nameChar == 0 || i == 0 && c != ':' && class[c]&nameStart == 0 {
				return false
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if !isNameRune(r, i == 0) {
			return false
		}
		i += n
	}
	return len(b) > 0
}

// allSpace reports whether b is nothing but white space.
func allSpace(b []byte) bool {
	for _, c := range b {
		if class[c]&space == 0 {
			return false
		}
	}
	return true
}
