package register_test

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/adapters/extension/register"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

const domain = "shakespeare.lit"

var (
	stream = extensiontest.Stream(domain)
	bill   = extensiontest.Client("bill@shakespeare.lit/globe")
)

func TestSuite(t *testing.T) {
	for name, o := range map[string]register.Options{
		"closed":  {},
		"open":    {Open: true, MinPassword: 8, Limiter: &bucket{left: 1 << 30}},
		"clear":   {Open: true, AllowClear: true},
		"nothing": {NoPasswordChange: true, NoRemoval: true},
	} {
		t.Run(name, func(t *testing.T) {
			extensiontest.Run(t, func() extension.Registration { return register.New(o) })
		})
	}
}

// bucket is a Limiter that lets so many pass, whatever the address.
type bucket struct {
	mu    sync.Mutex
	left  int
	asked []netip.Addr
}

func (b *bucket) Allow(a netip.Addr, _ time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, a)
	b.left--
	return b.left >= 0
}

func harness(t *testing.T, o register.Options) *extensiontest.Harness {
	t.Helper()
	return extensiontest.New(t, register.New(o), extensiontest.Options{Domains: []string{domain, "capulet.com"}})
}

// withBill has the account bill@shakespeare.lit, logged in twice.
func withBill(t *testing.T, o register.Options) *extensiontest.Harness {
	t.Helper()
	h := harness(t, o)
	h.Accounts.Add("bill@shakespeare.lit", "Calliope")
	for _, s := range []string{"bill@shakespeare.lit/globe", "bill@shakespeare.lit/stratford"} {
		h.AddSession(extension.Session{JID: jid.MustParse(s), Available: true})
	}
	return h
}

// verify checks whether an account has a password.
func verify(t *testing.T, h *extensiontest.Harness, user, password string, want bool) {
	t.Helper()
	err := h.Accounts.VerifyPassword(t.Context(), jid.MustParse(user), password)
	if (err == nil) != want {
		t.Errorf("%s with password %q: %v", user, password, err)
	}
}

// set makes an iq set with a query; attrs are of the iq.
func set(attrs, query string) string {
	return `<iq type='set' ` + attrs + `><query xmlns='jabber:iq:register'>` + query + `</query></iq>`
}

// failure makes an error answer.
func failure(attrs, typ, condition string) string {
	return `<iq type='error' ` + attrs + `><error type='` + typ + `'><` + condition +
		` xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`
}

func TestClaims(t *testing.T) {
	tests := []struct {
		name            string
		o               register.Options
		feature, stream bool
	}{
		{"XEP-0077 8, 10 open", register.Options{Open: true}, true, true},
		{"XEP-0077 10 closed, but passwords can be changed", register.Options{}, true, false},
		{"XEP-0077 10 only removal", register.Options{NoPasswordChange: true}, true, false},
		{"XEP-0077 10 nothing works", register.Options{NoPasswordChange: true, NoRemoval: true}, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := register.New(tt.o)
			if got := slices.Contains(r.Server.Features, "jabber:iq:register"); got != tt.feature {
				t.Errorf("disco features %q", r.Server.Features)
			}
			if got := len(r.StreamFeatures) == 1; got != tt.stream {
				t.Errorf("%d stream features", len(r.StreamFeatures))
			}
			for _, f := range r.StreamFeatures {
				e := f.Element(domain)
				if !f.Before || e.Space != "http://jabber.org/features/iq-register" || e.Local != "register" {
					t.Errorf("stream feature %+v %+v", f, e)
				}
			}
			if len(r.Account.Features) != 0 || !slices.Equal(r.Permissions, []extension.Permission{extension.ManageAccounts}) {
				t.Errorf("account %q, permissions %q", r.Account.Features, r.Permissions)
			}
			for _, q := range r.IQ {
				if q.Inline && q.Type == "set" {
					t.Error("a handler that reads accounts is Inline")
				}
			}
		})
	}
}

// A source of accounts that fails says so, and nothing more.
func TestAccountsFail(t *testing.T) {
	for name, tt := range map[string]struct {
		from extension.Origin
		in   string
	}{
		"create":   {stream, set("id='1'", "<username>juliet</username><password>R0m30</password>")},
		"password": {bill, set("id='1'", "<username>bill</username><password>R0m30</password>")},
		"remove":   {bill, set("id='1'", "<remove/>")},
	} {
		t.Run(name, func(t *testing.T) {
			h := withBill(t, register.Options{Open: true})
			h.Accounts.Fail(errDown)
			to := ""
			if !tt.from.Session.IsZero() {
				to = "to='" + tt.from.Session.String() + "' "
			}
			extensiontest.Expect(t, h.IQ(tt.from, extensiontest.Parse(t, tt.in)), failure(to+"id='1'", "cancel", "internal-server-error"))
			if errs := h.Errors(); len(errs) != 1 {
				t.Errorf("errors %v", errs)
			}
			if fx := h.Effects(); len(fx) != 1 {
				t.Errorf("effects %v", fx)
			}
			h.Accounts.Fail(nil)
			verify(t, h, "bill@shakespeare.lit", "Calliope", true)
		})
	}
}
