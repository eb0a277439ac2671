package jid

import (
	"errors"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

var (
	errLabel   = errors.New("has a label that is no NR-LDH label and no U-label")
	errLiteral = errors.New("is no IPv6 literal")
	errDNSSize = errors.New("is longer than DNS allows")
)

// Bounds of RFC 1034 3.1 on the form with A-labels; RFC 7622 3.2 keeps them.
const (
	maxLabel = 63
	maxName  = 253
)

// lookup maps case and width and normalises by RFC 5895, turns A-labels into
// U-labels and checks labels by RFC 5891 section 5.4 and RFC 5893.
var lookup = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false))

// prepareDomain returns the canonical domainpart (RFC 7622 3.2): an IPv6
// literal in brackets, or labels (an IPv4 address has the form of labels).
func prepareDomain(s string) (string, error) {
	if canonicalASCIIDomain(s) {
		return s, nil
	}
	return enforceDomain(s)
}

// enforceDomain is prepareDomain without the short cut.
func enforceDomain(s string) (string, error) {
	// RFC 7622 3.2: one final dot is stripped before anything else.
	s = strings.TrimSuffix(s, ".")
	if err := checkLength(s, 4*maxPart); err != nil {
		return "", err
	}
	if !utf8.ValidString(s) {
		return "", errUTF8
	}
	if s[0] == '[' {
		return prepareLiteral(s)
	}
	p, err := stable(s, lookup.ToUnicode)
	if err != nil {
		return "", errLabel // idna's error repeats the label, however long
	}
	if err := checkLength(p, maxPart); err != nil {
		return "", err
	}
	return p, checkLabels(p)
}

// checkLabels checks what the mapping does not: empty labels, ASCII characters
// that mapping may have made, and the lengths of DNS.
func checkLabels(s string) error {
	total := 0
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return errLabel
		}
		for i := range len(label) {
			if c := label[i]; c < utf8.RuneSelf && !ldh(c) {
				return errLabel
			}
		}
		a, err := lookup.ToASCII(label)
		if err != nil {
			return errLabel
		}
		if len(a) > maxLabel {
			return errDNSSize
		}
		total += len(a) + 1
	}
	if total-1 > maxName {
		return errDNSSize
	}
	return nil
}

// prepareLiteral handles the IP-literal of RFC 3986 3.2.2 with the zone of
// RFC 6874. IPvFuture is refused: no such version exists. The address is
// written as RFC 5952 wants it, so that equal addresses are equal strings.
func prepareLiteral(s string) (string, error) {
	inner, ok := strings.CutSuffix(s[1:], "]")
	if !ok {
		return "", errLiteral
	}
	text, zone, hasZone := strings.Cut(inner, "%25")
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return "", errLiteral
	}
	if !hasZone {
		return "[" + addr.String() + "]", nil
	}
	if zone == "" || len(zone) > maxLabel {
		return "", errLiteral
	}
	for i := range len(zone) {
		// unreserved of RFC 3986; interface names need no percent-encoding
		if c := zone[i] | 0x20; !ldh(c) && strings.IndexByte("._~-", zone[i]) < 0 {
			return "", errLiteral
		}
	}
	return "[" + addr.String() + "%25" + zone + "]", nil
}

// canonicalASCIIDomain reports whether s consists of lower-case NR-LDH labels
// (RFC 5890 2.3.1) and is what prepareDomain returns for it. Labels with "--"
// in the third and fourth place are reserved; A-labels are among them.
func canonicalASCIIDomain(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			if !ldh(s[i]) {
				return false
			}
			continue
		}
		label := s[start:i]
		if len(label) == 0 || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if len(label) >= 4 && label[2] == '-' && label[3] == '-' {
			return false
		}
		start = i + 1
	}
	return true
}

// ldh reports whether c is a lower-case letter, a digit or a hyphen.
func ldh(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-'
}

// DomainToASCII returns a domainpart, canonical or not, as the DNS and certificates have it: with A-labels (RFC 5890).
// The error says that it is no domain name; an IPv6 literal is none.
func DomainToASCII(domain string) (string, error) {
	d, err := prepareDomain(domain)
	if err != nil {
		return "", err
	}
	if d[0] == '[' {
		return "", errLabel
	}
	a, err := lookup.ToASCII(d)
	if err != nil {
		return "", errLabel
	}
	return a, nil
}
