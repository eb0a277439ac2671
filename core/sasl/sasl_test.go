package sasl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/auth"
)

func TestOffer(t *testing.T) {
	plus := []string{"SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"}
	bare := []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"}
	plain := []string{"PLAIN"}
	for _, tt := range []struct {
		rule     string
		plain    bool
		bindings []Binding
		want     []string
	}{
		{"RFC 6120 13.8.3: no PLAIN in clear", false, nil, bare},
		{"TLS without binding", true, nil, slices.Concat(bare, plain)},
		{"RFC 5802 6: both variants", true, both, slices.Concat(plus, bare, plain)},
		{"without PLAIN", false, both[:1], slices.Concat(plus, bare)},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got := Offer(tt.plain, tt.bindings)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			for _, m := range got {
				if _, err := New(m, Params{Bindings: tt.bindings, Offered: got}); err != nil {
					t.Errorf("%s is offered, but %v", m, err)
				}
				if len(m) > 20 {
					t.Errorf("RFC 4422 3.1: %s is too long", m)
				}
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	all := Offer(true, both)
	for _, tt := range []struct {
		rule, mechanism string
		p               Params
	}{
		{"RFC 6120 6.5.7: none", "", Params{Bindings: both, Offered: all}},
		{"RFC 6120 6.5.7: unknown", "CRAM-MD5", Params{Bindings: both, Offered: all}},
		{"offered by mistake", "CRAM-MD5", Params{Bindings: both, Offered: []string{"CRAM-MD5"}}},
		{"RFC 4422 3.1: upper case", "plain", Params{Bindings: both, Offered: all}},
		{"RFC 4422 3.1: upper case", "Scram-Sha-1", Params{Bindings: both, Offered: all}},
		{"PLAIN in clear", "PLAIN", Params{Offered: Offer(false, nil)}},
		{"-PLUS without binding", "SCRAM-SHA-1-PLUS", Params{Offered: Offer(true, nil)}},
		{"-PLUS without binding, offered by mistake", "SCRAM-SHA-1-PLUS", Params{Offered: all}},
		{"suffix alone", "-PLUS", Params{Bindings: both, Offered: append(all, "-PLUS")}},
		{"suffix twice", "SCRAM-SHA-1-PLUS-PLUS", Params{Bindings: both, Offered: append(all, "SCRAM-SHA-1-PLUS-PLUS")}},
		{"PLAIN-PLUS", "PLAIN-PLUS", Params{Bindings: both, Offered: append(all, "PLAIN-PLUS")}},
		{"nothing offered", "PLAIN", Params{}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if x, err := New(tt.mechanism, tt.p); !errors.Is(err, ErrMechanism) || x != nil {
				t.Errorf("got %v, %v", x, err)
			}
		})
	}
}

func TestPlain(t *testing.T) {
	long := strings.Repeat("\u00e9", 127) + "x" // 255 octets
	for _, tt := range []struct {
		rule, msg               string
		user, authzid, password string // user "": refused
	}{
		{"RFC 4616 2: no authzid", "\x00juliet\x00r0m30", "juliet", "", "r0m30"},
		{"RFC 4616 2: authzid", "juliet@x.test\x00juliet\x00r0m30", "juliet", "juliet@x.test", "r0m30"},
		{"RFC 4616 2: 255 octets", long + "\x00" + long + "\x00" + long, long, long, long},
		{"no unescaping", "\x00a=2Cb\x00p,=2C", "a=2Cb", "", "p,=2C"},
		{"white space is kept", "\x00a\x00 p\r\n", "a", "", " p\r\n"},
		{"empty", "", "", "", ""},
		{"no separator", "juliet", "", "", ""},
		{"one separator", "juliet\x00r0m30", "", "", ""},
		{"three separators", "\x00juliet\x00r0m30\x00", "", "", ""},
		{"NUL in the password", "\x00juliet\x00r0\x00m30", "", "", ""},
		{"no user", "\x00\x00r0m30", "", "", ""},
		{"authzid, but no user", "juliet\x00\x00r0m30", "", "", ""},
		{"no password", "\x00juliet\x00", "", "", ""},
		{"separators alone", "\x00\x00", "", "", ""},
		{"not UTF-8", "\x00juliet\x00\xff", "", "", ""},
		{"overlong UTF-8", "\x00ju\xc0\x80liet\x00r", "", "", ""},
		{"longest", "\x00u\x00" + strings.Repeat("p", MaxMessage-3), "u", "", strings.Repeat("p", MaxMessage-3)},
		{"too long", "\x00u\x00" + strings.Repeat("p", MaxMessage-2), "", "", ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			x := begin(t, Plain, nil)
			r := x.Start([]byte(tt.msg), true)
			if tt.user == "" {
				wantFailure(t, r, MalformedRequest)
				wantStatus(t, x.Verdict(nil), Failure)
				return
			}
			if r.Status != NeedVerify || r.User != tt.user || r.Authzid != tt.authzid || r.Password != tt.password {
				t.Fatalf("got %#v", r)
			}
			r = x.Verdict(nil)
			if r.Status != Success || r.User != tt.user || r.Authzid != tt.authzid || r.Password != "" || r.Data != nil {
				t.Fatalf("got %#v", r)
			}
			wantStatus(t, x.Verdict(nil), Failure)
		})
	}
}

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Condition
	}{
		{auth.ErrDenied, NotAuthorized},
		{fmt.Errorf("local: verify: %w", auth.ErrDenied), NotAuthorized},
		{auth.ErrPassword, NotAuthorized},
		{auth.ErrNotFound, NotAuthorized},
		{context.DeadlineExceeded, TemporaryAuthFailure},
		{errors.New("disk on fire"), TemporaryAuthFailure},
	} {
		x := begin(t, Plain, nil)
		wantStatus(t, x.Start([]byte("\x00u\x00p"), true), NeedVerify)
		r := x.Verdict(tt.err)
		wantFailure(t, r, tt.want)
		if r.Text != "" {
			t.Errorf("%v: text %q", tt.err, r.Text)
		}

		x = begin(t, "SCRAM-SHA-1", nil)
		wantStatus(t, x.Start([]byte("n,,n=u,r=abc"), true), NeedKeys)
		wantFailure(t, x.Verdict(tt.err), tt.want)
	}
}

// RFC 6120 6.3.10: the initial response may be left out.
func TestWithoutInitialResponse(t *testing.T) {
	x := begin(t, Plain, nil)
	r := x.Start(nil, false)
	if r.Status != Challenge || r.Data != nil {
		t.Fatalf("got %v", r)
	}
	wantStatus(t, x.Step([]byte("\x00u\x00p")), NeedVerify)

	h := hashFor("SCRAM-SHA-256")
	c := client{new: h, flag: "n", user: "u", password: "pencil", nonce: "abc"}
	x = begin(t, "SCRAM-SHA-256", nil)
	wantStatus(t, x.Start(nil, false), Challenge)
	wantStatus(t, x.Step([]byte(c.first())), NeedKeys)
	r = x.Keys(keysFor(h, "pencil", testSalt, 16))
	wantStatus(t, x.Step([]byte(c.final(t, string(r.Data)))), Success)

	for _, m := range Offer(true, both) {
		wantFailure(t, begin(t, m, both).Start(nil, true), MalformedRequest) // "="
	}
}

// No call out of order brings a success, a panic, or a second life.
func TestOutOfOrder(t *testing.T) {
	keys := keysFor(hashFor("SCRAM-SHA-1"), "pencil", testSalt, 16)
	calls := map[string]func(*Exchange) Result{
		"Start":   func(x *Exchange) Result { return x.Start([]byte("\x00u\x00p"), true) },
		"Step":    func(x *Exchange) Result { return x.Step([]byte("n,,n=u,r=abc")) },
		"Keys":    func(x *Exchange) Result { return x.Keys(keys) },
		"Verdict": func(x *Exchange) Result { return x.Verdict(nil) },
	}
	for _, tt := range []struct {
		name, mechanism string
		before          func(*Exchange)
		calls           []string // those that are wrong here
	}{
		{"PLAIN, not begun", Plain, func(*Exchange) {}, []string{"Step", "Keys", "Verdict"}},
		{"PLAIN, first message", Plain, func(x *Exchange) { x.Start(nil, false) }, []string{"Start", "Keys", "Verdict"}},
		{"PLAIN, verdict", Plain, func(x *Exchange) { x.Start([]byte("\x00u\x00p"), true) }, []string{"Start", "Step", "Keys"}},
		{"SCRAM, not begun", "SCRAM-SHA-1", func(*Exchange) {}, []string{"Step", "Keys", "Verdict"}},
		{"SCRAM, first message", "SCRAM-SHA-1", func(x *Exchange) { x.Start(nil, false) }, []string{"Start", "Keys", "Verdict"}},
		{"SCRAM, keys", "SCRAM-SHA-1", func(x *Exchange) { x.Start([]byte("n,,n=u,r=abc"), true) }, []string{"Start", "Step", "Verdict"}},
		{"SCRAM, last message", "SCRAM-SHA-1", func(x *Exchange) { x.Start([]byte("n,,n=u,r=abc"), true); x.Keys(keys) }, []string{"Start", "Keys", "Verdict"}},
		{"aborted", Plain, func(x *Exchange) { x.Abort() }, []string{"Start", "Step", "Keys", "Verdict"}},
	} {
		for _, call := range tt.calls {
			t.Run(tt.name+" "+call, func(t *testing.T) {
				x := begin(t, tt.mechanism, nil)
				tt.before(x)
				wantStatus(t, calls[call](x), Failure)
				for name, again := range calls {
					if r := again(x); r.Status != Failure {
						t.Errorf("%s afterwards: %v", name, r)
					}
				}
			})
		}
	}
}

func TestAbort(t *testing.T) {
	for _, m := range Offer(true, both) {
		wantFailure(t, begin(t, m, both).Abort(), Aborted)
	}
	x := begin(t, Plain, nil)
	x.Start([]byte("\x00u\x00p"), true)
	wantFailure(t, x.Abort(), Aborted)
	wantStatus(t, x.Verdict(nil), Failure)
}

func TestResultHidesSecrets(t *testing.T) {
	r := begin(t, Plain, nil).Start([]byte("\x00juliet\x00hunter2"), true)
	asJSON, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{r.String(), fmt.Sprint(r), fmt.Sprintf("%+v", r), string(asJSON)} {
		if strings.Contains(s, "hunter2") || !strings.Contains(s, "juliet") {
			t.Errorf("%s", s)
		}
	}
}

func TestBase64(t *testing.T) {
	for _, tt := range []struct {
		rule, text, want string
		ok               bool
	}{
		{"none", "", "", true},
		{"RFC 6120 6.4.2", "AGp1bGlldAByMG0zMG15cjBtMzA=", "\x00juliet\x00r0m30myr0m30", true},
		{"two pads", "QQ==", "A", true},
		{"no pad", "QUJD", "ABC", true},
		{"RFC 6120 13.9.1: pad in front", "=AAA", "", false},
		{"RFC 6120 13.9.1: pad within", "BBBB=CCC", "", false},
		{"data behind pads", "QQ==QQ==", "", false},
		{"pad alone", "=", "", false},
		{"pads alone", "====", "", false},
		{"pad missing", "QQ", "", false},
		{"pad missing", "QQ=", "", false},
		{"pad too many", "QUI==", "", false},
		{"RFC 6120 6.3.5: padding bits", "QR==", "", false},
		{"RFC 6120 6.3.5: padding bits", "QUJ=", "", false},
		{"space", "QU JD", "", false},
		{"line end", "QUJD\n", "", false},
		{"line end within", "QU\r\nJD", "", false},
		{"tab", "\tQUJD", "", false},
		{"URL alphabet", "-_-_", "", false},
		{"not ASCII", "QUJ\u00e9", "", false},
		{"NUL", "QUJD\x00", "", false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got, err := DecodeBase64(tt.text)
			if (err == nil) != tt.ok || string(got) != tt.want {
				t.Fatalf("got %q, %v", got, err)
			}
			if err != nil && (!errors.Is(err, ErrEncoding) || got != nil) {
				t.Errorf("got %q, %v", got, err)
			}
			if err == nil && EncodeBase64(got) != tt.text {
				t.Errorf("encodes to %q", EncodeBase64(got))
			}
		})
	}
}

func TestDecodeInitial(t *testing.T) {
	for _, tt := range []struct {
		text, want  string
		present, ok bool
	}{
		{"", "", false, true},
		{"=", "", true, true},
		{"QQ==", "A", true, true},
		{"==", "", false, false},
		{"Q", "", false, false},
	} {
		got, present, err := DecodeInitial(tt.text)
		if string(got) != tt.want || present != tt.present || (err == nil) != tt.ok {
			t.Errorf("%q: got %q, %v, %v", tt.text, got, present, err)
		}
	}
}
