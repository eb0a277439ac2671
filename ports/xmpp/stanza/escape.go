package stanza

import (
	"strings"
	"unicode/utf8"
)

// AppendText appends s escaped as character data. CR is written as a character
// reference, since a parser would turn it into a newline (XML 1.0 2.11).
// Characters that XML 1.0 forbids, and bytes that are no UTF-8, become U+FFFD.
func AppendText(dst []byte, s string) []byte { return appendEscaped(dst, s, textEscapes) }

// AppendAttr appends s escaped as an attribute value, for single or double
// quotes. Tab, newline and CR are written as character references, since a
// parser would turn them into spaces (XML 1.0 3.3.3). Characters that XML 1.0
// forbids, and bytes that are no UTF-8, become U+FFFD.
func AppendAttr(dst []byte, s string) []byte { return appendEscaped(dst, s, attrEscapes) }

// replacement stands for what XML cannot hold.
const replacement = "\uFFFD"

// escapes says what becomes of each byte. Most strings have no special byte:
// the scan for one reads a table of 256 bytes only.
type escapes struct {
	special [256]bool
	text    [256]string // for the special ones
}

var textEscapes = newEscapes(map[byte]string{
	'&': "&amp;", '<': "&lt;", '>': "&gt;", '\r': "&#xD;",
}, "\t\n")

var attrEscapes = newEscapes(map[byte]string{
	'&': "&amp;", '<': "&lt;", '>': "&gt;", '\'': "&apos;", '"': "&quot;",
	'\t': "&#x9;", '\n': "&#xA;", '\r': "&#xD;",
}, "")

// newEscapes makes a table of named escapes; plain are the control characters
// that stay. Bytes above ASCII are special, since only a look at the whole
// rune tells.
func newEscapes(named map[byte]string, plain string) *escapes {
	t := new(escapes)
	for c := range 256 {
		if c < ' ' && strings.IndexByte(plain, byte(c)) < 0 || c >= utf8.RuneSelf {
			t.special[c], t.text[c] = true, replacement
		}
	}
	for c, e := range named {
		t.special[c], t.text[c] = true, e
	}
	return t
}

func appendEscaped(dst []byte, s string, table *escapes) []byte {
	for i := range len(s) {
		if table.special[s[i]] {
			return table.appendSlow(dst, s)
		}
	}
	return append(dst, s...)
}

func (table *escapes) appendSlow(dst []byte, s string) []byte {
	start := 0 // s[start:i] needs no escape and is not written yet
	for i := 0; i < len(s); {
		c := s[i]
		if !table.special[c] {
			i++
			continue
		}
		n := 1
		if c >= utf8.RuneSelf {
			var r rune
			r, n = utf8.DecodeRuneInString(s[i:])
			if n > 1 && xmlChar(r) {
				i += n
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		dst = append(dst, table.text[c]...)
		i += n
		start = i
	}
	return append(dst, s[start:]...)
}

// xmlChar reports whether XML 1.0 allows r (production 2, Char).
func xmlChar(r rune) bool {
	switch {
	case r < ' ':
		return r == '\t' || r == '\n' || r == '\r'
	case r < 0xD800:
		return true
	default:
		return 0xE000 <= r && r <= 0xFFFD || 0x10000 <= r && r <= utf8.MaxRune
	}
}
