package jid

import (
	"errors"
	"testing"
	"testing/quick"

	"golang.org/x/text/secure/precis"
)

// pairs are the short cuts and what they must agree with.
var pairs = []struct {
	name      string
	canonical func(string) bool
	enforce   func(string) (string, error)
}{
	{"localpart", canonicalASCIILocal, enforceLocal},
	{"domainpart", canonicalASCIIDomain, enforceDomain},
	{"resourcepart", canonicalASCIIResource, enforceResource},
}

// agree checks that a short cut is taken exactly for the ASCII strings that
// enforcement leaves alone, IPv6 literals aside.
func agree(t *testing.T, s string) {
	t.Helper()
	if s == "" {
		return
	}
	ascii := true
	for i := range len(s) {
		ascii = ascii && s[i] < 0x80
	}
	for _, p := range pairs {
		got, err := p.enforce(s)
		unchanged := ascii && err == nil && got == s
		if p.name == "domainpart" && s[0] == '[' {
			unchanged = false // literals have no short cut
		}
		if short := p.canonical(s); short != unchanged {
			t.Fatalf("%s %q: short cut %v; enforced %q, %v", p.name, s, short, got, err)
		}
	}
}

func TestShortCutsAgree(t *testing.T) {
	for a := range 256 {
		agree(t, string([]byte{byte(a)}))
		agree(t, string([]byte{'a', byte(a)}))
		agree(t, string([]byte{'a', byte(a), 'b'}))
		agree(t, string([]byte{'a', '.', byte(a), 'b'}))
		for b := range 128 {
			agree(t, string([]byte{byte(a), byte(b)}))
		}
	}
	const alphabet = "ab-0.x-n.A"
	err := quick.Check(func(p []byte) bool {
		for i := range p {
			p[i] = alphabet[int(p[i])%len(alphabet)]
		}
		agree(t, string(p))
		return !t.Failed()
	}, &quick.Config{MaxCount: 20000})
	if err != nil {
		t.Error(err)
	}
}

func FuzzShortCutsAgree(f *testing.F) {
	for _, s := range []string{
		"a", "A", "-", "a-", "-a", "ab--c", "xn--a", "xn--bcher-kva", "a.b", "a..b", ".", "a.", "[::1]", " a", "a ",
		"a\"b", "~", "\x7f", "1.2.3.4", "0", "a.1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	} {
		f.Add(s)
	}
	f.Fuzz(agree)
}

// The profiles of precis let invalid UTF-8 pass, and names don't only come out
// of XML, which is checked: SASL has them in base64 (RFC 4616, RFC 5802). So
// every way to make a JID must refuse it, in every part.
func TestInvalidUTF8(t *testing.T) {
	for name, bad := range map[string]string{
		"byte that starts nothing":   "\xff",
		"continuation without start": "\x80",
		"cut off":                    "\xe2\x82",
		"overlong NUL":               "\xc0\x80",
		"overlong slash":             "\xc0\xaf",
		"surrogate":                  "\xed\xa0\x80",
		"behind U+10FFFF":            "\xf4\x90\x80\x80",
		"Latin-1":                    "\xfc",
	} {
		for place, s := range map[string]string{"alone": bad, "first": bad + "a", "last": "a" + bad, "within": "a" + bad + "b", "beside non-ASCII": "\u00fc" + bad} {
			refused := func(how string, j JID, err error) {
				t.Helper()
				if !errors.Is(err, ErrMalformed) || !j.IsZero() {
					t.Errorf("%s, %s, %s: got %q, %v", name, place, how, j, err)
				}
			}
			j, err := New(s, "example.org", "")
			refused("New, localpart", j, err)
			j, err = New("romeo", s, "")
			refused("New, domainpart", j, err)
			j, err = New("romeo", "example.org", s)
			refused("New, resourcepart", j, err)
			j, err = MustParse("romeo@example.org").WithResource(s)
			refused("WithResource", j, err)
			j, err = Parse(s + "@example.org")
			refused("Parse, localpart", j, err)
			j, err = Parse(s)
			refused("Parse, domainpart", j, err)
			j, err = Parse("romeo@example.org/" + s)
			refused("Parse, resourcepart", j, err)
		}
	}
	if p, err := precis.OpaqueString.String("a\xff"); err != nil || p != "a\xff" {
		t.Logf("precis refuses invalid UTF-8 by now: %q, %v", p, err)
	}
}
