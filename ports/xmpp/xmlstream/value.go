package xmlstream

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// maxReference is how many bytes of a character reference may stand between
// '&' and ';': stanza.ParseElement takes no more.
const maxReference = 16

// resolve returns the character that a reference stands for; name is what is
// between '&' and ';'.
func resolve(name []byte) (rune, *stream.Error) {
	switch string(name) {
	case "amp":
		return '&', nil
	case "lt":
		return '<', nil
	case "gt":
		return '>', nil
	case "quot":
		return '"', nil
	case "apos":
		return '\'', nil
	}
	if len(name) > 1 && name[0] == '#' {
		if r := charReference(name[1:]); isChar(r) {
			return r, nil
		}
		return 0, fail(stream.NotWellFormed, "reference to a character that XML forbids")
	}
	switch {
	case !utf8.Valid(name):
		return 0, fail(stream.UnsupportedEncoding, "not UTF-8")
	case isName(name):
		return 0, fail(stream.RestrictedXML, "reference to an entity that is not predefined") // RFC 6120 11.1
	}
	return 0, fail(stream.NotWellFormed, "malformed reference")
}

// charReference reads a character reference (XML 1.0 4.1) after its "&#", and
// returns -1 if it is malformed or too big.
func charReference(digits []byte) rune {
	base := 10
	if digits[0] == 'x' {
		base, digits = 16, digits[1:]
	}
	n, err := strconv.ParseUint(string(digits), base, 32)
	if err != nil || n > utf8.MaxRune {
		return -1
	}
	return rune(n)
}

// isChar reports whether r matches Char (XML 1.0 production 2).
func isChar(r rune) bool {
	switch {
	case r < ' ':
		return r == '\t' || r == '\n' || r == '\r'
	case r < 0xD800:
		return true
	}
	return r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= utf8.MaxRune
}

// expand appends a checked attribute value normalised by XML 1.0 3.3.3:
// references are replaced, white space becomes spaces.
func expand(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		switch c := raw[i]; c {
		case '&':
			n := bytes.IndexByte(raw[i:], ';')
			if n < 0 {
				return append(dst, raw[i:]...) // not a checked value
			}
			r, _ := resolve(raw[i+1 : i+n])
			dst = utf8.AppendRune(dst, r)
			i += n + 1
		case '\r':
			if i+1 < len(raw) && raw[i+1] == '\n' { // a line end is one character (2.11)
				i++
			}
			fallthrough
		case '\t', '\n':
			dst = append(dst, ' ')
			i++
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}
