package sasl

import (
	"encoding/base64"
	"hash"
	"strings"
	"testing"
)

// shownHash is the attribute of XEP-0474 for a text that the test writes out.
func shownHash(h func() hash.Hash, text string) string {
	d := h()
	d.Write([]byte(text))
	return ",h=" + base64.StdEncoding.EncodeToString(d.Sum(nil))
}

func bindingsOf(types ...string) (list []Binding) {
	for _, name := range types {
		list = append(list, Binding{name, func() ([]byte, error) { return []byte(name), nil }})
	}
	return list
}

func TestDowngradeProtection(t *testing.T) {
	for _, tt := range []struct {
		rule, mechanism string
		offered         []string
		bindings        []Binding
		text            string
	}{
		{"XEP-0474 6.1 step 2: one mechanism", "SCRAM-SHA-1", []string{"SCRAM-SHA-1"}, nil, "SCRAM-SHA-1"},
		{"XEP-0474 6.1 step 2: sorted, not as offered", "SCRAM-SHA-256", []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"}, nil,
			"PLAIN\x1eSCRAM-SHA-1\x1eSCRAM-SHA-256"},
		{"XEP-0474 6.1: i;octet, a name before those that go on from it, digits before letters", "SCRAM-SHA-1",
			[]string{"SCRAM-SHA-512-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "SCRAM-SHA3-512", "X_1", "X-1", "X1", "EXTERNAL"}, nil,
			"EXTERNAL\x1eSCRAM-SHA-1\x1eSCRAM-SHA-1-PLUS\x1eSCRAM-SHA-512\x1eSCRAM-SHA-512-PLUS\x1eSCRAM-SHA3-512\x1eX-1\x1eX1\x1eX_1"},
		{"XEP-0474 6.1 step 3: no bindings offered, no second list", "SCRAM-SHA-512", Offer(false, nil), nil,
			"SCRAM-SHA-1\x1eSCRAM-SHA-256\x1eSCRAM-SHA-512"},
		{"XEP-0474 6.1 step 4: one binding", "SCRAM-SHA-1", Offer(false, nil), bindingsOf("tls-exporter"),
			"SCRAM-SHA-1\x1eSCRAM-SHA-256\x1eSCRAM-SHA-512\x1ftls-exporter"},
		{"XEP-0474 6.1 step 4: bindings sorted", "SCRAM-SHA-256-PLUS", []string{"SCRAM-SHA-256-PLUS"},
			bindingsOf("tls-unique", "tls-server-end-point", "TLS-z", "tls-exporter"),
			"SCRAM-SHA-256-PLUS\x1fTLS-z\x1etls-exporter\x1etls-server-end-point\x1etls-unique"},
		{"XEP-0474 6.1: all that there is", "SCRAM-SHA-512-PLUS", Offer(true, both), both,
			"PLAIN\x1eSCRAM-SHA-1\x1eSCRAM-SHA-1-PLUS\x1eSCRAM-SHA-256\x1eSCRAM-SHA-256-PLUS\x1eSCRAM-SHA-512\x1eSCRAM-SHA-512-PLUS\x1ftls-exporter\x1etls-server-end-point"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			offered := strings.Join(tt.offered, " ")
			x, err := New(tt.mechanism, Params{Offered: tt.offered, Bindings: tt.bindings})
			if err != nil {
				t.Fatal(err)
			}
			h := hashFor(tt.mechanism)
			c := client{new: h, flag: "n", user: "u", password: "pencil", nonce: "abc"}
			if strings.HasSuffix(tt.mechanism, plusSuffix) {
				data, _ := tt.bindings[0].Data()
				c.flag, c.cbData = "p="+tt.bindings[0].Type, string(data)
			}
			wantStatus(t, x.Start([]byte(c.first()), true), NeedKeys)
			r := x.Keys(keysFor(h, "pencil", testSalt, 16))
			wantStatus(t, r, Challenge)
			// Step 5: with the hash of the mechanism in use.
			if want := shownHash(h, tt.text); !strings.HasSuffix(string(r.Data), want) || strings.Count(string(r.Data), ",") != 3 {
				t.Errorf("challenge %q, want %q at its end", r.Data, want)
			}
			wantStatus(t, x.Step([]byte(c.final(t, string(r.Data)))), Success)
			if after := strings.Join(tt.offered, " "); after != offered {
				t.Errorf("the caller's list was %q, is %q", offered, after)
			}
		})
	}
}

// XEP-0474 6.2 and 8: who changes the features must change the hash too, and
// then the proof is made for another message than the server's.
func TestDowngradeAttributeIsSigned(t *testing.T) {
	h := hashFor("SCRAM-SHA-256")
	x := begin(t, "SCRAM-SHA-256", both)
	c := client{new: h, flag: "n", user: "u", password: "pencil", nonce: "abc"}
	x.Start([]byte(c.first()), true)
	sent := string(x.Keys(keysFor(h, "pencil", testSalt, 16)).Data)
	message, _, _ := strings.Cut(sent, ",h=")
	changed := message + shownHash(h, "PLAIN\x1eSCRAM-SHA-256")
	if changed == sent {
		t.Fatal("nothing was changed")
	}
	wantFailure(t, x.Step([]byte(c.final(t, changed))), NotAuthorized)
}

// XEP-0474 6.1 gives the attribute to the server; from a client it means
// nothing, as any attribute that nobody knows (RFC 5802 5.1).
func TestDowngradeAttributeOfAClient(t *testing.T) {
	h := hashFor("SCRAM-SHA-256")
	c := client{new: h, flag: "n", user: "u", password: "pencil", nonce: "abc", firstExt: ",h=AAAA", finalExt: ",h=BBBB"}
	wantStatus(t, login(t, begin(t, "SCRAM-SHA-256", both), &c, keysFor(h, "pencil", testSalt, 16)), Success)
}
