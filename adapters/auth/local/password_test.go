package local

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hexmpp/hexmpp/ports/auth"
)

// Whatever a client sends as password: it is refused as ErrPassword, or its
// prepared form is bounded, UTF-8, without controls, and prepares to itself,
// so that what was stored and what is compared are the same.
func FuzzPrepare(f *testing.F) {
	for _, s := range []string{"", "pencil", "e\u0301", "\u1680", "a\xff", "a\x00", "\u00bd", "Ａ", "\u0130", "\u2126",
		strings.Repeat("x", maxPassword+1), strings.Repeat("\u0344", maxPassword/2), "\u1f80", "\U0001d15e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := prepare(s)
		if err != nil {
			if !errors.Is(err, auth.ErrPassword) || p != "" {
				t.Fatalf("got %q, %v", p, err)
			}
			return
		}
		if p == "" || len(p) > maxPassword || !utf8.ValidString(p) {
			t.Fatalf("%q becomes %q", s, p)
		}
		if strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Fatalf("%q becomes %q, with a control character", s, p)
		}
		if again, err := prepare(p); err != nil || again != p {
			t.Fatalf("%q becomes %q, and that %q, %v", s, p, again, err)
		}
	})
}
