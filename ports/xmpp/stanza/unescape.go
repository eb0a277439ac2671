package stanza

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// unescape returns character data or an attribute value as it is meant:
// references replaced, line ends and in attributes white space normalised
// (XML 1.0 2.11, 3.3.3, 4.1, 4.6).
func (p *parser) unescape(raw string, attr bool) (string, error) {
	whole := plainText
	if attr {
		whole = plainAttr
	}
	if whole.holds(raw) {
		return raw, nil
	}
	var b strings.Builder
	b.Grow(len(raw))
	for i := 0; i < len(raw); {
		var n int
		var err error
		switch {
		case raw[i] == '&':
			n, err = p.reference(&b, raw[i:])
		case raw[i] == '<': // only in an attribute: elsewhere it ends the text
			err = p.fail("a < in an attribute value")
		default:
			n, err = p.character(&b, raw[i:], attr)
		}
		if err != nil {
			return "", err
		}
		i += n
	}
	return b.String(), nil
}

// plain tells which strings stand for themselves: those of ASCII characters
// that XML allows, the given ones excepted, and any allowed ones beyond ASCII.
type plain struct {
	ascii    [256]bool
	excepted string
}

var (
	plainText  = newPlain("&\r")
	plainAttr  = newPlain("&\r\n\t<")
	plainCDATA = newPlain("\r")
)

func newPlain(excepted string) *plain {
	p := &plain{excepted: excepted}
	for c := range byte(utf8.RuneSelf) {
		p.ascii[c] = xmlChar(rune(c)) && strings.IndexByte(excepted, c) < 0
	}
	return p
}

func (p *plain) holds(s string) bool {
	for i := range len(s) {
		if !p.ascii[s[i]] {
			return s[i] >= utf8.RuneSelf && p.holdsUnicode(s)
		}
	}
	return true
}

func (p *plain) holdsUnicode(s string) bool {
	if strings.ContainsAny(s, p.excepted) || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !xmlChar(r) {
			return false
		}
	}
	return true
}

// character writes the character at the start of s and returns its length.
func (p *parser) character(b *strings.Builder, s string, attr bool) (int, error) {
	r, n := utf8.DecodeRuneInString(s)
	switch {
	case r == utf8.RuneError && n == 1, !xmlChar(r):
		return 0, p.fail("a character that XML does not allow")
	case r == '\r':
		r = '\n'
		if strings.HasPrefix(s, "\r\n") {
			n = 2
		}
	}
	if attr && (r == '\n' || r == '\t') {
		r = ' '
	}
	b.WriteRune(r)
	return n, nil
}

// reference writes what the reference at the start of s stands for and returns
// its length.
func (p *parser) reference(b *strings.Builder, s string) (int, error) {
	const longest = len("&#x10FFFF;") + 8 // some leading zeros
	end := strings.IndexByte(s[:min(len(s), longest)], ';')
	if end < 0 {
		return 0, p.fail("a reference without end")
	}
	name := s[1:end]
	switch name {
	case "amp":
		b.WriteByte('&')
	case "lt":
		b.WriteByte('<')
	case "gt":
		b.WriteByte('>')
	case "apos":
		b.WriteByte('\'')
	case "quot":
		b.WriteByte('"')
	default:
		digits, isChar := strings.CutPrefix(name, "#")
		if !isChar {
			return 0, p.fail("an entity that is not predefined")
		}
		base := 10
		if hex, ok := strings.CutPrefix(digits, "x"); ok {
			digits, base = hex, 16
		}
		n, err := strconv.ParseUint(digits, base, 32)
		if err != nil || n > utf8.MaxRune || !xmlChar(rune(n)) {
			return 0, p.fail("a character reference that XML does not allow")
		}
		b.WriteRune(rune(n))
	}
	return end + 1, nil
}
