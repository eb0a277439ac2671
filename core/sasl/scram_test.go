package sasl

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/auth"
)

// The exchanges of the two RFCs are of servers that add nothing to their first
// message; the one of the XEP has its attribute.
func TestVectors(t *testing.T) {
	none := Params{Offered: Offer(false, nil)}
	tests := []struct {
		name, mechanism, salt           string
		params                          Params
		first, server, challenge, final string
		success                         string
	}{
		{
			name: "RFC 5802 5", mechanism: "SCRAM-SHA-1", salt: "QSXCR+Q6sek8bf92", params: none,
			first:     "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
			server:    "3rfcNHYJY1ZVvWVs7j",
			challenge: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			final:     "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
			success:   "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		},
		{
			name: "RFC 7677 3", mechanism: "SCRAM-SHA-256", salt: "W22ZaJ0SNY7soEsUEjb6gQ==", params: none,
			first:     "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			server:    "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
			challenge: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			final:     "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			success:   "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		},
		{
			name: "XEP-0474 6.3", mechanism: "SCRAM-SHA-1-PLUS", salt: "QSXCR+Q6sek8bf92",
			params: Params{
				Offered: []string{"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"},
				Bindings: []Binding{{Type: "tls-server-end-point"}, {Type: "tls-exporter", Data: func() ([]byte, error) {
					return []byte("THIS IS FAKE CB DATA"), nil
				}}},
			},
			first:     "p=tls-exporter,,n=user,r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6",
			server:    "a09117a6-ac50-4f2f-93f1-93799c2bddf6",
			challenge: "r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,s=QSXCR+Q6sek8bf92,i=4096,h=G6k/rBLDqgOhRRaCuuatSDFkJ08=",
			final: "c=cD10bHMtZXhwb3J0ZXIsLFRISVMgSVMgRkFLRSBDQiBEQVRB,r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6," +
				"x=19C6532F-1CF4-4A27-A18D-DC9CEA41BBB3,p=M/SIDjT+dfcxUh89jZEypRvFxB4=",
			success: "v=MQrMPvv7yv4x4Cq4W4Ih25EqS2c=",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			salt, err := base64.StdEncoding.DecodeString(tt.salt)
			if err != nil {
				t.Fatal(err)
			}
			tt.params.Nonce = func() string { return tt.server }
			x, err := New(tt.mechanism, tt.params)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(tt.name, "RFC") {
				x.extensions = ""
			}
			r := x.Start([]byte(tt.first), true)
			if r.Status != NeedKeys || r.User != "user" || r.Authzid != "" || scramName(r.Hash) != strings.TrimSuffix(tt.mechanism, plusSuffix) {
				t.Fatalf("first: %v", r)
			}
			r = x.Keys(keysFor(hashFor(tt.mechanism), "pencil", salt, 4096))
			if r.Status != Challenge || string(r.Data) != tt.challenge {
				t.Fatalf("challenge %q", r.Data)
			}
			r = x.Step([]byte(tt.final))
			if r.Status != Success || string(r.Data) != tt.success || r.User != "user" {
				t.Fatalf("final: %v %q", r, r.Data)
			}
		})
	}
}

// Every mechanism and binding, driven from both sides.
func TestSCRAM(t *testing.T) {
	for _, mechanism := range Offer(false, both) {
		flags := map[string]string{"n": ""}
		if strings.HasSuffix(mechanism, "-PLUS") {
			flags = map[string]string{}
			for _, b := range both {
				data, _ := b.Data()
				flags["p="+b.Type] = string(data)
			}
		}
		h := hashFor(mechanism)
		keys := keysFor(h, "pencil", testSalt, 64)
		for flag, cb := range flags {
			t.Run(mechanism+" "+flag, func(t *testing.T) {
				good := client{new: h, flag: flag, user: "a,b=c,=2C\u00e9\u2603", authzid: "x=y,z@example.test", password: "pencil",
					nonce: "fyko+d2lbbFgONRv9qkxdawL", cbData: cb, firstExt: ",x=1,Z==,y=a=b", finalExt: ",q=\u00fc"}

				c := good
				r := login(t, begin(t, mechanism, both), &c, keys)
				wantStatus(t, r, Success)
				if r.User != good.user || r.Authzid != good.authzid || string(r.Data) != "v="+c.serverSignature {
					t.Fatalf("%v, data %q, want signature %q", r, r.Data, c.serverSignature)
				}

				c = good
				c.password = "Pencil"
				r = login(t, begin(t, mechanism, both), &c, keys)
				wantFailure(t, r, NotAuthorized)
				if r.Text != "" {
					t.Fatalf("a wrong password is explained: %q", r.Text)
				}

				c = good
				c.cbData += "!"
				wantFailure(t, login(t, begin(t, mechanism, both), &c, keys), NotAuthorized)
				if c.cbData = "another connection"; cb != "" {
					wantFailure(t, login(t, begin(t, mechanism, both), &c, keys), NotAuthorized)
					c.cbData = ""
					wantFailure(t, login(t, begin(t, mechanism, both), &c, keys), NotAuthorized)
				}
			})
		}
	}
}

// Data of one binding under the name of the other must not do.
func TestBindingsAreNotMixedUp(t *testing.T) {
	data, _ := endPoint.Data()
	h := hashFor("SCRAM-SHA-256")
	c := client{new: h, flag: "p=tls-exporter", user: "u", password: "pencil", nonce: "n", cbData: string(data)}
	r := login(t, begin(t, "SCRAM-SHA-256-PLUS", both), &c, keysFor(h, "pencil", testSalt, 16))
	wantFailure(t, r, NotAuthorized)
	if r.Text != faultMismatch.text {
		t.Errorf("text %q", r.Text)
	}
}

// RFC 5802 6: c= holds the header of the first message, which an attacker in
// the middle may have changed there.
func TestHeaderIsProtected(t *testing.T) {
	h := hashFor("SCRAM-SHA-256")
	keys := keysFor(h, "pencil", testSalt, 16)
	for sent, meant := range map[string]client{
		"n,,":                  {flag: "y"},
		"n,a=romeo@x.test,":    {flag: "n"},
		"n,a=other@x.test,":    {flag: "n", authzid: "romeo@x.test"},
		"p=tls-server-x,,":     {flag: "p=tls-exporter"},
		"p=tls-exporter,a=r,":  {flag: "p=tls-exporter"},
		"p=tls-exporter,a=r,,": {flag: "p=tls-exporter", authzid: "r"},
	} {
		t.Run(sent, func(t *testing.T) {
			mechanism, data := "SCRAM-SHA-256", ""
			var bindings []Binding
			if sent[0] == 'p' {
				b, _ := exporter.Data()
				mechanism, bindings, data = "SCRAM-SHA-256-PLUS", both, string(b)
			}
			meant.new, meant.user, meant.password, meant.nonce, meant.cbData = h, "u", "pencil", "n", data
			x := begin(t, mechanism, bindings)
			r := x.Start([]byte(sent+meant.bare()), true)
			if r.Status == NeedKeys {
				r = x.Keys(keys)
				r = x.Step([]byte(meant.final(t, string(r.Data))))
			}
			wantStatus(t, r, Failure)
		})
	}
}

// RFC 5802 5.1: the nonce must be ours, even if the proof is made for another.
func TestNonceIsCompared(t *testing.T) {
	h := hashFor("SCRAM-SHA-256")
	keys := keysFor(h, "pencil", testSalt, 16)
	for _, nonce := range []string{"abc", "abc" + fuzzNonce + "x", "ABC" + fuzzNonce, "x"} {
		x, err := New("SCRAM-SHA-256", Params{Offered: Offer(false, nil), Nonce: func() string { return fuzzNonce }})
		if err != nil {
			t.Fatal(err)
		}
		c := client{new: h, flag: "n", user: "u", password: "pencil", nonce: "abc", finalNonce: nonce}
		wantFailure(t, login(t, x, &c, keys), NotAuthorized)
	}
}

// The signature covers extensions, so changing one in flight must fail.
func TestExtensionsAreSigned(t *testing.T) {
	h := hashFor("SCRAM-SHA-256")
	c := client{new: h, flag: "n", user: "u", password: "pencil", nonce: "n", finalExt: ",x=1"}
	x := begin(t, "SCRAM-SHA-256", nil)
	x.Start([]byte(c.first()), true)
	r := x.Keys(keysFor(h, "pencil", testSalt, 16))
	wantFailure(t, x.Step([]byte(strings.Replace(c.final(t, string(r.Data)), "x=1", "x=2", 1))), NotAuthorized)
}

func TestFirstMessage(t *testing.T) {
	const (
		non  = "SCRAM-SHA-256"
		plus = "SCRAM-SHA-256-PLUS"
	)
	tests := []struct {
		rule, mechanism string
		bindings        []Binding
		msg             string
		want            Condition // "": accepted
	}{
		{"plain n", non, nil, "n,,n=u,r=abc", ""},
		{"RFC 5802 6: y without -PLUS on offer", non, nil, "y,,n=u,r=abc", ""},
		{"RFC 5802 6: y with -PLUS on offer", non, both, "y,,n=u,r=abc", NotAuthorized},
		{"RFC 5802 6: n with -PLUS on offer", non, both, "n,,n=u,r=abc", ""},
		{"p on a mechanism without binding", non, both, "p=tls-exporter,,n=u,r=abc", MalformedRequest},
		{"n on -PLUS", plus, both, "n,,n=u,r=abc", MalformedRequest},
		{"y on -PLUS", plus, both, "y,,n=u,r=abc", MalformedRequest},
		{"p on -PLUS", plus, both, "p=tls-exporter,,n=u,r=abc", ""},
		{"p on -PLUS, other binding", plus, both, "p=tls-server-end-point,,n=u,r=abc", ""},
		{"RFC 5802 6: unknown type", plus, both, "p=tls-unique,,n=u,r=abc", NotAuthorized},
		{"type that this connection lacks", plus, both[1:], "p=tls-exporter,,n=u,r=abc", NotAuthorized},
		{"type in other case", plus, both, "p=TLS-EXPORTER,,n=u,r=abc", NotAuthorized},
		{"cb-name is empty", plus, both, "p=,,n=u,r=abc", MalformedRequest},
		{"cb-name has a space", plus, both, "p=tls exporter,,n=u,r=abc", MalformedRequest},
		{"p without =", plus, both, "p,,n=u,r=abc", MalformedRequest},
		{"flag in upper case", non, nil, "N,,n=u,r=abc", MalformedRequest},
		{"flag is empty", non, nil, ",,n=u,r=abc", MalformedRequest},
		{"flag with a value", non, nil, "n=1,,n=u,r=abc", MalformedRequest},
		{"RFC 5801 4: F flag", non, nil, "F,n,,n=u,r=abc", MalformedRequest},
		{"empty message", non, nil, "", MalformedRequest},
		{"flag alone", non, nil, "n", MalformedRequest},
		{"header cut", non, nil, "n,", MalformedRequest},
		{"header alone", non, nil, "n,,", MalformedRequest},
		{"authzid", non, nil, "n,a=r=3Do=2C@x,n=u,r=abc", ""},
		{"authzid is empty", non, nil, "n,a=,n=u,r=abc", MalformedRequest},
		{"authzid without a=", non, nil, "n,romeo,n=u,r=abc", MalformedRequest},
		{"authzid with bare =", non, nil, "n,a=r=o,n=u,r=abc", MalformedRequest},
		{"m before n", non, nil, "n,,m=x,n=u,r=abc", NotAuthorized},
		{"m after r", non, nil, "n,,n=u,r=abc,m=x", NotAuthorized},
		{"m between n and r", non, nil, "n,,n=u,m=x,r=abc", MalformedRequest},
		{"name is empty", non, nil, "n,,n=,r=abc", MalformedRequest},
		{"name is missing", non, nil, "n,,r=abc", MalformedRequest},
		{"order", non, nil, "n,,r=abc,n=u", MalformedRequest},
		{"RFC 5802 5.1: = alone", non, nil, "n,,n=a=b,r=abc", MalformedRequest},
		{"RFC 5802 5.1: = at the end", non, nil, "n,,n=a=,r=abc", MalformedRequest},
		{"RFC 5802 5.1: =2 cut", non, nil, "n,,n=a=2,r=abc", MalformedRequest},
		{"RFC 5802 5.1: =2c", non, nil, "n,,n=a=2c,r=abc", MalformedRequest},
		{"RFC 5802 5.1: =41", non, nil, "n,,n==41,r=abc", MalformedRequest},
		{"RFC 5802 5.1: =2C=3D", non, nil, "n,,n==2C=3D,r=abc", ""},
		{"N is not n", non, nil, "n,,N=u,r=abc", MalformedRequest},
		{"NUL in the name", non, nil, "n,,n=a\x00b,r=abc", MalformedRequest},
		{"NUL in an extension", non, nil, "n,,n=a,r=abc,x=\x00", MalformedRequest},
		{"not UTF-8", non, nil, "n,,n=\xff,r=abc", MalformedRequest},
		{"surrogate", non, nil, "n,,n=\xed\xa0\x80,r=abc", MalformedRequest},
		{"nonce is missing", non, nil, "n,,n=u", MalformedRequest},
		{"nonce is missing behind a comma", non, nil, "n,,n=u,", MalformedRequest},
		{"nonce is empty", non, nil, "n,,n=u,r=", MalformedRequest},
		{"nonce with space", non, nil, "n,,n=u,r=a c", MalformedRequest},
		{"nonce with DEL", non, nil, "n,,n=u,r=a\x7f", MalformedRequest},
		{"nonce not ASCII", non, nil, "n,,n=u,r=\u00e9", MalformedRequest},
		{"nonce with =", non, nil, "n,,n=u,r==a=!~", ""},
		{"extension", non, nil, "n,,n=u,r=abc,x=y,Y=\u00e9", ""},
		{"extension is empty", non, nil, "n,,n=u,r=abc,x=", MalformedRequest},
		{"extension without value", non, nil, "n,,n=u,r=abc,x", MalformedRequest},
		{"extension with a long name", non, nil, "n,,n=u,r=abc,xy=1", MalformedRequest},
		{"extension with a digit as name", non, nil, "n,,n=u,r=abc,1=1", MalformedRequest},
		{"comma at the end", non, nil, "n,,n=u,r=abc,", MalformedRequest},
		{"two commas", non, nil, "n,,n=u,r=abc,,x=1", MalformedRequest},
		{"second name", non, nil, "n,,n=u,r=abc,n=v", MalformedRequest},
		{"second nonce", non, nil, "n,,n=u,r=abc,r=d", MalformedRequest},
		{"proof in the first message", non, nil, "n,,n=u,r=abc,p=AAAA", MalformedRequest},
		{"PLAIN's message", non, nil, "\x00u\x00secret", MalformedRequest},
		{"longest", non, nil, "n,,n=u,r=" + strings.Repeat("x", MaxMessage-9), ""},
		{"too long", non, nil, "n,,n=u,r=" + strings.Repeat("x", MaxMessage-8), MalformedRequest},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			x := begin(t, tt.mechanism, tt.bindings)
			r := x.Start([]byte(tt.msg), true)
			if tt.want == "" {
				wantStatus(t, r, NeedKeys)
				return
			}
			wantFailure(t, r, tt.want)
			if r.Text == "" {
				t.Error("a client's developer is told nothing")
			}
			// What failed stays so, also with keys at hand.
			wantStatus(t, x.Keys(keysFor(hashFor(tt.mechanism), "pencil", testSalt, 1)), Failure)
			wantStatus(t, x.Step([]byte("n,,n=u,r=abc")), Failure)
		})
	}
}

func TestFinalMessage(t *testing.T) {
	h := hashFor("SCRAM-SHA-256")
	keys := keysFor(h, "pencil", testSalt, 16)
	replace := func(old, new string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				panic(old)
			}
			return strings.Replace(s, old, new, 1)
		}
	}
	proofOf := func(s string) string { return s[strings.LastIndex(s, ",p="):] }
	tests := []struct {
		rule   string
		change func(string) string
		want   Condition
	}{
		{"untouched", func(s string) string { return s }, ""},
		{"empty", func(string) string { return "" }, MalformedRequest},
		{"c alone", func(string) string { return "c=biws" }, MalformedRequest},
		{"c is missing", replace("c=biws,", ""), MalformedRequest},
		{"c is empty", replace("c=biws", "c="), MalformedRequest},
		{"c is not base64", replace("biws", "b*ws"), MalformedRequest},
		{"c without its end", replace("biws", "biw"), MalformedRequest},
		{"c with a line end", replace("biws", "bi\nws"), MalformedRequest},
		{"c of another header", replace("biws", "eSws"), NotAuthorized}, // y,,
		{"c of a longer header", replace("biws", "biwsLA=="), NotAuthorized},
		{"order", replace("c=biws,r=", "r=c=biws,c="), MalformedRequest},
		{"r is missing", func(s string) string { return "c=biws" + proofOf(s) }, MalformedRequest},
		{"r is empty", func(s string) string { return "c=biws,r=" + proofOf(s) }, MalformedRequest},
		{"RFC 5802 5.1: other nonce", replace("r=abc", "r=abd"), NotAuthorized},
		{"RFC 5802 5.1: client's nonce alone", func(s string) string { return "c=biws,r=abc" + proofOf(s) }, NotAuthorized},
		{"RFC 5802 5.1: longer nonce", replace(",p=", "x,p="), NotAuthorized},
		{"RFC 5802 5.1: m", replace(",p=", ",m=x,p="), NotAuthorized},
		{"extension that was not signed", replace(",p=", ",x=x,p="), NotAuthorized},
		{"known attribute as extension", replace(",p=", ",n=u,p="), MalformedRequest},
		{"two proofs", replace(",p=", ",p=AAAA,p="), MalformedRequest},
		{"empty extension", replace(",p=", ",,p="), MalformedRequest},
		{"no proof", func(s string) string { return strings.TrimSuffix(s, proofOf(s)) }, MalformedRequest},
		{"no proof, but an extension", func(s string) string { return strings.TrimSuffix(s, proofOf(s)) + ",x=1" }, MalformedRequest},
		{"proof is empty", func(s string) string { return strings.TrimSuffix(s, proofOf(s)) + ",p=" }, MalformedRequest},
		{"proof is not base64", replace(",p=", ",p=!"), MalformedRequest},
		{"proof is too short", func(s string) string { return strings.TrimSuffix(s, proofOf(s)) + ",p=AAAA" }, NotAuthorized},
		{"proof is too long", replace(",p=", ",p=AAAA"), NotAuthorized},
		{"proof with an octet more", func(s string) string {
			proof, err := base64.StdEncoding.DecodeString(proofOf(s)[3:])
			if err != nil {
				panic(err)
			}
			return strings.TrimSuffix(s, proofOf(s)) + ",p=" + base64.StdEncoding.EncodeToString(append(proof, 0))
		}, NotAuthorized},
		{"proof of zeros", func(s string) string {
			return strings.TrimSuffix(s, proofOf(s)) + ",p=" + base64.StdEncoding.EncodeToString(make([]byte, 32))
		}, NotAuthorized},
		{"something behind the proof", func(s string) string { return s + ",x=1" }, MalformedRequest},
		{"comma behind the proof", func(s string) string { return s + "," }, MalformedRequest},
		{"space behind the proof", func(s string) string { return s + " " }, MalformedRequest},
		{"NUL", func(s string) string { return s + "\x00" }, MalformedRequest},
		{"not UTF-8", replace(",p=", ",x=\xff,p="), MalformedRequest},
		{"too long", func(s string) string { return s + strings.Repeat("=", MaxMessage) }, MalformedRequest},
		{"the first message again", func(string) string { return "n,,n=u,r=abc" }, MalformedRequest},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			c := client{new: h, flag: "n", user: "u", password: "pencil", nonce: "abc"}
			x := begin(t, "SCRAM-SHA-256", nil)
			x.Start([]byte(c.first()), true)
			r := x.Keys(keys)
			wantStatus(t, r, Challenge)
			final := c.final(t, string(r.Data))
			r = x.Step([]byte(tt.change(final)))
			if tt.want == "" {
				wantStatus(t, r, Success)
			} else {
				wantFailure(t, r, tt.want)
			}
			// Neither after a success nor after a failure is there a second try.
			wantFailure(t, x.Step([]byte(final)), MalformedRequest)
		})
	}
}

// RFC 5802 7: what it defines itself is no extension; its order is fixed.
func TestKnownAttributesAreNoExtensions(t *testing.T) {
	for c := byte('a'); c <= 'z'; c++ {
		r := begin(t, "SCRAM-SHA-1", nil).Start([]byte("n,,n=u,r=abc,"+string(c)+"=AAAA"), true)
		switch {
		case c == 'm':
			wantFailure(t, r, NotAuthorized)
		case strings.IndexByte("aceinprsv", c) >= 0:
			wantFailure(t, r, MalformedRequest)
		default:
			wantStatus(t, r, NeedKeys)
		}
	}
}

// Padding bits must be zero, or one proof would have several forms.
func TestProofPaddingBits(t *testing.T) {
	h := hashFor("SCRAM-SHA-256")
	c := client{new: h, flag: "n", user: "u", password: "pencil", nonce: "abc"}
	x := begin(t, "SCRAM-SHA-256", nil)
	x.Start([]byte(c.first()), true)
	r := x.Keys(keysFor(h, "pencil", testSalt, 16))
	final := []byte(c.final(t, string(r.Data)))
	final[len(final)-2]++ // the last digit before "=" has two unused bits
	wantFailure(t, x.Step(final), MalformedRequest)
}

// RFC 5802 5.1: nonces differ, and ours has at least 18 random bytes.
func TestNonce(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		n := randomNonce()
		if seen[n] || len(n) != 24 || !printable(n) {
			t.Fatalf("nonce %q", n)
		}
		seen[n] = true
	}
}

// A proof with the keys of another hash, or of a source that gives rubbish,
// never verifies; the client is told to try later.
func TestUnusableKeys(t *testing.T) {
	good := keysFor(hashFor("SCRAM-SHA-256"), "pencil", testSalt, 16)
	for name, change := range map[string]func(*auth.Keys){
		"none":          func(k *auth.Keys) { *k = auth.Keys{} },
		"other hash":    func(k *auth.Keys) { *k = keysFor(hashFor("SCRAM-SHA-1"), "pencil", testSalt, 16) },
		"no salt":       func(k *auth.Keys) { k.Salt = nil },
		"no iterations": func(k *auth.Keys) { k.Iterations = 0 },
		"no stored key": func(k *auth.Keys) { k.StoredKey = nil },
		"no server key": func(k *auth.Keys) { k.ServerKey = nil },
	} {
		t.Run(name, func(t *testing.T) {
			k := good
			change(&k)
			x := begin(t, "SCRAM-SHA-256", nil)
			wantStatus(t, x.Start([]byte("n,,n=u,r=abc"), true), NeedKeys)
			wantFailure(t, x.Keys(k), TemporaryAuthFailure)
		})
	}
}

func TestBindingFails(t *testing.T) {
	h := hashFor("SCRAM-SHA-1")
	for name, data := range map[string]func() ([]byte, error){
		"error": func() ([]byte, error) { return nil, errors.New("no exporter") },
		"empty": func() ([]byte, error) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			c := client{new: h, flag: "p=tls-exporter", user: "u", password: "pencil", nonce: "abc"}
			x := begin(t, "SCRAM-SHA-1-PLUS", []Binding{{"tls-exporter", data}})
			wantFailure(t, login(t, x, &c, keysFor(h, "pencil", testSalt, 16)), TemporaryAuthFailure)
		})
	}
}

// RFC 6120 6.5.10: an unknown account looks like a wrong password.
func TestDecoyLooksTheSame(t *testing.T) {
	h := hashFor("SCRAM-SHA-256")
	real := keysFor(h, "pencil", testSalt, 64)
	decoy := keysFor(h, "a secret that nobody knows", testSalt, 64)
	answers := func(k auth.Keys) []string {
		x, err := New("SCRAM-SHA-256", Params{Offered: Offer(false, nil), Nonce: func() string { return "ours" }})
		if err != nil {
			t.Fatal(err)
		}
		c := client{new: h, flag: "n", user: "u", password: "guess", nonce: "abc"}
		first := x.Start([]byte(c.first()), true)
		challenge := x.Keys(k)
		last := x.Step([]byte(c.final(t, string(challenge.Data))))
		wantFailure(t, last, NotAuthorized)
		return []string{fmt.Sprintf("%#v", first), fmt.Sprintf("%#v", challenge.Status), string(challenge.Data), fmt.Sprintf("%#v", last)}
	}
	if a, b := answers(real), answers(decoy); !slices.Equal(a, b) {
		t.Errorf("answers differ:\n%q\n%q", a, b)
	}
}
