package stanza

import "unicode/utf8"

// nameEnd returns how many bytes of s from i on belong to a Name of XML 1.0
// (production 5), colon included, and where its only colon is, -1 if there is
// none. It returns a length of 0 if there is no QName (Namespaces in XML 7).
func nameEnd(s string, i int) (end, colon int) {
	colon = -1
	first := true // the next character starts an NCName
	for end = i; end < len(s); {
		c := s[end]
		if c < utf8.RuneSelf {
			switch {
			case asciiNameStart(c):
			case c == ':' && !first && colon < 0:
				colon, first = end, true
				end++
				continue
			case !first && (c == '-' || c == '.' || '0' <= c && c <= '9'):
			default:
				if first {
					return i, -1
				}
				return end, colon
			}
			end++
		} else {
			r, n := utf8.DecodeRuneInString(s[end:])
			if n == 1 || !nameStart(r) && (first || !nameOther(r)) {
				break
			}
			end += n
		}
		first = false
	}
	if first {
		return i, -1
	}
	return end, colon
}

func asciiNameStart(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_'
}

// nameStart is NameStartChar of XML 1.0 above ASCII (production 4).
func nameStart(r rune) bool {
	switch {
	case r < 0xC0 || r == 0xD7 || r == 0xF7:
		return false
	case r <= 0x2FF, 0x370 <= r && r <= 0x37D, 0x37F <= r && r <= 0x1FFF,
		r == 0x200C, r == 0x200D, 0x2070 <= r && r <= 0x218F,
		0x2C00 <= r && r <= 0x2FEF, 0x3001 <= r && r <= 0xD7FF,
		0xF900 <= r && r <= 0xFDCF, 0xFDF0 <= r && r <= 0xFFFD,
		0x10000 <= r && r <= 0xEFFFF:
		return true
	}
	return false
}

// nameOther is what NameChar adds above ASCII (production 4a).
func nameOther(r rune) bool {
	return r == 0xB7 || 0x300 <= r && r <= 0x36F || r == 0x203F || r == 0x2040
}
