package jid_test

import (
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// RFC 8266 3, table 1 and 2
func TestNick(t *testing.T) {
	for _, tt := range []struct{ in, shown, key string }{
		{"Foo", "Foo", "foo"},
		{"foo", "foo", "foo"},
		{"Foo Bar", "Foo Bar", "foo bar"},
		{"  foo   bar  ", "foo bar", "foo bar"},
		{"Σ", "Σ", "σ"},
		{"σ", "σ", "σ"},
		{"ς", "ς", "ς"},
		{"♚", "♚", "♚"},
		{"Richard Ⅳ", "Richard IV", "richard iv"},
		{"", "", ""},
		{" ", "", ""},
		{"a\u0000", "", ""},
	} {
		shown, err := jid.PrepareNick(tt.in)
		if shown != tt.shown || (err != nil) != (tt.shown == "") {
			t.Errorf("%q is shown as %q: %v", tt.in, shown, err)
		}
		key, err := jid.NickKey(tt.in)
		if key != tt.key || (err != nil) != (tt.key == "") {
			t.Errorf("%q has the key %q: %v", tt.in, key, err)
		}
	}
}
