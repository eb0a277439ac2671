package jid

import (
	"testing"
	"testing/quick"
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
