package caps

import (
	"cmp"
	"crypto"
	"encoding/base64"
	"strings"
)

// compare is the collation "i;octet": by bytes (5.1).
func compare(a, b string) int { return strings.Compare(a, b) }

func compareIdentities(a, b identity) int {
	return cmp.Or(compare(a.category, b.category), compare(a.typ, b.typ), compare(a.lang, b.lang), compare(a.name, b.name))
}

// Ver returns the verification string of an answer (5.1).
func (a *Answer) Ver(hash crypto.Hash) string {
	h := hash.New()
	h.Write(a.appendTo(nil))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// appendTo appends S, the string that is hashed.
func (a *Answer) appendTo(s []byte) []byte {
	for i := range a.identities {
		id := &a.identities[i]
		s = append(appendFactor(s, id.category), '/')
		s = append(appendFactor(s, id.typ), '/')
		s = append(appendFactor(s, id.lang), '/')
		s = append(appendFactor(s, id.name), '<')
	}
	for _, f := range a.features {
		s = append(appendFactor(s, f), '<')
	}
	for i := range a.forms {
		s = append(appendFactor(s, a.forms[i].typ), '<')
		for _, f := range a.forms[i].fields {
			s = append(appendFactor(s, f.name), '<')
			for _, v := range f.values {
				s = append(appendFactor(s, v), '<')
			}
		}
	}
	return s
}

// appendFactor appends what the string is made of. It has the character "<" as
// XML has it, as "&lt;", or else one factor could pass for two (9.2).
func appendFactor(s []byte, factor string) []byte {
	for {
		plain, rest, found := strings.Cut(factor, "<")
		s = append(s, plain...)
		if !found {
			return s
		}
		s, factor = append(s, "&lt;"...), rest
	}
}

// ambiguous says that the hash stands for other answers, too: where the first
// form's type sorts behind the last feature, S might list it, and what follows
// it, as further features. Whoever shared such an answer would let one client
// hide features of all others that advertise the same string (9.3).
func (a *Answer) ambiguous() bool {
	if len(a.forms) == 0 {
		return false
	}
	return len(a.features) == 0 || a.forms[0].typ > a.features[len(a.features)-1]
}
