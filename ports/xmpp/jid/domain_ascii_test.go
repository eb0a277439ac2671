package jid

import "testing"

func TestDomainToASCII(t *testing.T) {
	for in, want := range map[string]string{
		"example.org": "example.org", "Example.ORG.": "example.org", "bücher.example": "xn--bcher-kva.example",
		"xn--bcher-kva.example": "xn--bcher-kva.example", "192.0.2.1": "192.0.2.1",
		"[2001:db8::1]": "", "": "", "a..b": "", "a b": "",
	} {
		if got, err := DomainToASCII(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
}
