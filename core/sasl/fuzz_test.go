package sasl

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/auth"
)

const fuzzNonce = "3rfcNHYJY1ZVvWVs7jxxxxxx"

// Each SCRAM mechanism, with whatever a client may send as first and last
// message. The server's nonce is known, so that mutations of a good exchange
// get as far as the proof.
func fuzzSCRAM(f *testing.F, mechanism string) {
	h := hashFor(mechanism)
	keys := keysFor(h, "pencil", testSalt, 1)
	params := Params{Bindings: both, Offered: Offer(true, both), Nonce: func() string { return fuzzNonce }}
	shown := shownHash(h, "PLAIN\x1eSCRAM-SHA-1\x1eSCRAM-SHA-1-PLUS\x1eSCRAM-SHA-256\x1eSCRAM-SHA-256-PLUS\x1eSCRAM-SHA-512\x1eSCRAM-SHA-512-PLUS"+
		"\x1ftls-exporter\x1etls-server-end-point")
	start := func(t testing.TB) *Exchange {
		x, err := New(mechanism, params)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for _, c := range []client{
		{flag: "n", user: "user", password: "pencil", nonce: "abc"},
		{flag: "n", user: "us,er=", password: "pencil", nonce: "abc", authzid: "a=b@c", firstExt: ",x=1", finalExt: ",y=2,z=3"},
		{flag: "p=tls-exporter", user: "user", password: "pencil", nonce: "abc"},
		{flag: "p=tls-server-end-point", user: "user", password: "wrong", nonce: "abc"},
		{flag: "y", user: "user", password: "pencil", nonce: "abc"},
	} {
		c.new = h
		if name, ok := strings.CutPrefix(c.flag, "p="); ok {
			for _, b := range both {
				if b.Type == name {
					data, _ := b.Data()
					c.cbData = string(data)
				}
			}
		}
		final := "c=biws,r=abc" + fuzzNonce + ",p=AAAA"
		x := start(f)
		if x.Start([]byte(c.first()), true).Status == NeedKeys {
			final = c.final(f, string(x.Keys(keys).Data))
		}
		f.Add([]byte(c.first()), []byte(final), true)
		f.Add([]byte(c.first()), []byte(final), false)
	}
	f.Add([]byte("n,,m=x,n=u,r=a"), []byte("c=,r=,p="), true)
	f.Add([]byte{}, []byte{0xff, 0}, true)

	f.Fuzz(func(t *testing.T, first, final []byte, initial bool) {
		x := start(t)
		var r Result
		if initial {
			r = x.Start(first, true)
		} else {
			wantStatus(t, x.Start(nil, false), Challenge)
			r = x.Step(first)
		}
		if r.Status == Failure {
			checkFailure(t, x, r)
			return
		}
		wantStatus(t, r, NeedKeys)
		if r.User == "" || strings.ContainsRune(r.User+r.Authzid, 0) {
			t.Fatalf("user %q authzid %q", r.User, r.Authzid)
		}
		challenge := x.Keys(keys)
		wantStatus(t, challenge, Challenge)
		if bytes.Count(challenge.Data, []byte(",")) != 3 || !bytes.HasSuffix(challenge.Data, []byte(shown)) {
			t.Fatalf("challenge %q, want %q at its end", challenge.Data, shown)
		}
		r = x.Step(final)
		if r.Status == Failure {
			checkFailure(t, x, r)
			return
		}
		wantStatus(t, r, Success)
		// No success without the right proof, computed here from the password.
		without, proof, _ := strings.Cut(string(final), ",p=")
		bare := string(first[bytes.IndexByte(first, ',')+1:])
		bare = bare[strings.IndexByte(bare, ',')+1:]
		want, signature := prove(h, "pencil", testSalt, 1, bare+","+string(challenge.Data)+","+without)
		if proof != want || string(r.Data) != "v="+signature {
			t.Fatalf("success with proof %q, want %q", proof, want)
		}
	})
}

func checkFailure(t *testing.T, x *Exchange, r Result) {
	t.Helper()
	switch r.Failure {
	case MalformedRequest, NotAuthorized:
	default:
		t.Fatalf("condition %q", r.Failure)
	}
	if x.Keys(auth.Keys{}).Status != Failure || x.Verdict(nil).Status != Failure {
		t.Fatal("a failed exchange goes on")
	}
}

func FuzzSHA1(f *testing.F)       { fuzzSCRAM(f, "SCRAM-SHA-1") }
func FuzzSHA1Plus(f *testing.F)   { fuzzSCRAM(f, "SCRAM-SHA-1-PLUS") }
func FuzzSHA256(f *testing.F)     { fuzzSCRAM(f, "SCRAM-SHA-256") }
func FuzzSHA256Plus(f *testing.F) { fuzzSCRAM(f, "SCRAM-SHA-256-PLUS") }
func FuzzSHA512(f *testing.F)     { fuzzSCRAM(f, "SCRAM-SHA-512") }
func FuzzSHA512Plus(f *testing.F) { fuzzSCRAM(f, "SCRAM-SHA-512-PLUS") }

func FuzzPlain(f *testing.F) {
	for _, s := range []string{"", "\x00u\x00p", "a\x00u\x00p", "\x00\x00\x00", "a\x00\x00", "\x00u\x00\xff"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, msg []byte, initial bool) {
		x := begin(t, Plain, nil)
		r := x.Start(msg, initial)
		if !initial {
			wantStatus(t, r, Challenge)
			r = x.Step(msg)
		}
		if r.Status == Failure {
			checkFailure(t, x, r)
			return
		}
		wantStatus(t, r, NeedVerify)
		if r.User == "" || r.Password == "" || r.Authzid+"\x00"+r.User+"\x00"+r.Password != string(msg) {
			t.Fatalf("%q gives %#v", msg, r)
		}
		if string(msg) == "\x00u\x00p" {
			wantStatus(t, x.Verdict(nil), Success)
		} else {
			wantFailure(t, x.Verdict(auth.ErrDenied), NotAuthorized)
		}
	})
}

func FuzzBase64(f *testing.F) {
	for _, s := range []string{"", "=", "QQ==", "QUI=", "QUJD", "QR==", "Q\nQ==", "=AAA", "BBBB=CCC"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		data, err := DecodeBase64(text)
		if err == nil && EncodeBase64(data) != text {
			t.Fatalf("%q decodes, but is not what its data encodes to", text)
		}
		initial, present, initialErr := DecodeInitial(text)
		if text != "=" && (!bytes.Equal(initial, data) || (initialErr == nil) != (err == nil) || present != (err == nil && text != "")) {
			t.Fatalf("%q: %q %v %v", text, initial, present, initialErr)
		}
	})
}
