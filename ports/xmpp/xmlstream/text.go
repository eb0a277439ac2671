package xmlstream

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"

	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// Eight bytes are looked at together: each expression below sets the high bit
// of a byte that matches. A match may spill over into later bytes, never into
// earlier ones, so that the first one found is right.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// skipText returns the index of the first byte of b, from i on, that is not
// plain character data: '<', '>', '&', a byte that no text may contain, or a
// character that is cut off at the end of b.
func skipText(b []byte, i int) int {
	for {
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			angle := (w | 0x02*ones) ^ '>'*ones // '<' and '>' differ in one bit
			amp := w ^ '&'*ones
			if m := (w | (w - ' '*ones) | (angle - ones) | (amp - ones)) & highs; m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		for i < len(b) && b[i] < utf8.RuneSelf {
			c := b[i]
			if c == '<' || c == '>' || c == '&' || c < ' ' && class[c]&space == 0 {
				return i
			}
			i++
			if c < ' ' {
				break // a line ends: back to eight at a time
			}
		}
		if i < len(b) && b[i] >= utf8.RuneSelf {
			j := skipMultibyte(b, i)
			if j == i {
				return i
			}
			i = j
		}
		if i == len(b) {
			return i
		}
	}
}

// skipValue is skipText for an attribute value: it stops at quote, '<', '&'
// and all white space but the space character.
func skipValue(b []byte, i int, quote byte) int {
	q := uint64(quote) * ones
	for {
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			lt := w ^ '<'*ones
			amp := w ^ '&'*ones
			end := w ^ q
			if m := (w | (w - ' '*ones) | (lt - ones) | (amp - ones) | (end - ones)) & highs; m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		for i < len(b) && b[i] < utf8.RuneSelf {
			if c := b[i]; c == quote || c == '<' || c == '&' || c < ' ' {
				return i
			}
			i++
		}
		if i == len(b) {
			return i
		}
		j := skipMultibyte(b, i)
		if j == i || j == len(b) {
			return j
		}
		i = j
	}
}

// skipMultibyte skips non-ASCII characters that are whole, well-formed UTF-8
// (RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF) and a
// Char of XML 1.0 (no U+FFFE, no U+FFFF).
func skipMultibyte(b []byte, i int) int {
	for i < len(b) {
		switch c := b[i]; {
		case c < 0xC2: // ASCII, a continuation byte, or an overlong form
			return i
		case c < 0xE0:
			if i+1 >= len(b) || !continues(b[i+1]) {
				return i
			}
			i += 2
		case c < 0xF0:
			if i+2 >= len(b) || !continues(b[i+1]) || !continues(b[i+2]) {
				return i
			}
			switch second := b[i+1]; {
			case c == 0xE0 && second < 0xA0, c == 0xED && second >= 0xA0,
				c == 0xEF && second == 0xBF && b[i+2] >= 0xBE:
				return i
			}
			i += 3
		default:
			if r, n := utf8.DecodeRune(b[i:]); r == utf8.RuneError && n <= 1 {
				return i
			}
			i += 4
		}
	}
	return i
}

func continues(c byte) bool { return c&0xC0 == 0x80 }

// badChar tells why the character at the start of b, which skipText or
// skipValue stopped at, is none. It returns nil if b ends inside it and what
// is there may still become one.
func badChar(b []byte) *stream.Error {
	switch {
	case b[0] < utf8.RuneSelf:
		return fail(stream.NotWellFormed, "control character")
	case !utf8.FullRune(b):
		return nil
	}
	if r, n := utf8.DecodeRune(b); r == utf8.RuneError && n <= 1 {
		return fail(stream.UnsupportedEncoding, "not UTF-8") // RFC 6120 4.9.3.22
	}
	return fail(stream.NotWellFormed, "character that XML forbids")
}
