package register_test

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/register"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func TestRegistered(t *testing.T) {
	const known = `<registered/><instructions>You are registered.</instructions><username>bill</username>`
	tests := []struct {
		name, attrs string
		o           register.Options
		from        extension.Origin
		want        string
	}{
		{"XEP-0077 3.1 example 3", "to='shakespeare.lit'", register.Options{}, bill,
			`<iq type='result' id='reg1' from='shakespeare.lit' to='bill@shakespeare.lit/globe'>
			<query xmlns='jabber:iq:register'>` + known + `<password/></query></iq>`},
		{"XEP-0077 3.1 no address", "", register.Options{Open: true}, bill,
			`<iq type='result' id='reg1' to='bill@shakespeare.lit/globe'><query xmlns='jabber:iq:register'>` + known + `<password/></query></iq>`},
		{"the password can't be changed", "", register.Options{NoPasswordChange: true}, bill,
			`<iq type='result' id='reg1' to='bill@shakespeare.lit/globe'><query xmlns='jabber:iq:register'>` + known + `</query></iq>`},
		{"XEP-0077 3.1 another host", "to='capulet.com'", register.Options{Open: true}, bill,
			failure("id='reg1' from='capulet.com' to='bill@shakespeare.lit/globe'", "cancel", "service-unavailable")},
		{"XEP-0077 3.1 a stranger", "from='nurse@far.example' to='shakespeare.lit'", register.Options{Open: true}, extensiontest.Far(),
			failure("id='reg1' from='shakespeare.lit' to='nurse@far.example'", "cancel", "service-unavailable")},
		{"what an extension asks as the account", "from='bill@shakespeare.lit'", register.Options{Open: true}, extensiontest.Far(),
			failure("id='reg1' to='bill@shakespeare.lit'", "cancel", "service-unavailable")},
		{"another account", "to='juliet@shakespeare.lit'", register.Options{Open: true}, bill,
			failure("id='reg1' from='juliet@shakespeare.lit' to='bill@shakespeare.lit/globe'", "cancel", "service-unavailable")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := `<iq type='get' id='reg1' ` + tt.attrs + `><query xmlns='jabber:iq:register'/></iq>`
			extensiontest.Expect(t, withBill(t, tt.o).IQ(tt.from, extensiontest.Parse(t, in)), tt.want)
		})
	}
}

func TestRemove(t *testing.T) {
	owner := jid.MustParse("bill@shakespeare.lit")
	for name, to := range map[string]string{
		"XEP-0077 3.2 example 11, 12":     "",
		"XEP-0077 13.3.2 to the server":   "shakespeare.lit",
		"RFC 6120 10.3.3 the own account": "bill@shakespeare.lit",
	} {
		t.Run(name, func(t *testing.T) {
			h := withBill(t, register.Options{})
			h.Put(owner, "anything", []byte("of bill"))
			attrs, from := "id='unreg1'", ""
			if to != "" {
				attrs, from = attrs+" to='"+to+"'", "from='"+to+"'"
			}
			h.IQ(bill, extensiontest.Parse(t, set(attrs, "<remove/>")))
			fx := h.Effects()
			if len(fx) != 2 || fx[0].Kind != extensiontest.Answered || fx[1].Kind != extensiontest.Ended {
				t.Fatalf("the result must come before the end: %v", fx)
			}
			extensiontest.Expect(t, fx[0].Stanza, `<iq type='result' id='unreg1' to='bill@shakespeare.lit/globe' `+from+`/>`)
			if fx[1].Account != owner || fx[1].Condition != "not-authorized" {
				t.Errorf("ended %+v", fx[1])
			}
			if _, err := h.Accounts.Get(t.Context(), owner); err != auth.ErrNotFound {
				t.Errorf("the account: %v", err)
			}
			if _, ok := h.Entry(owner, "anything"); ok {
				t.Error("its data is left")
			}
			// XEP-0077 3.2: the second session was on its way.
			again := h.IQ(bill, extensiontest.Parse(t, set(attrs, "<remove/>")))
			extensiontest.Expect(t, again, failure("id='unreg1' to='bill@shakespeare.lit/globe' "+from, "auth", "registration-required"))
		})
	}
}

// The table of section 3.2: nothing is removed.
func TestRemoveRefused(t *testing.T) {
	tests := []struct {
		name, attrs, query string
		o                  register.Options
		from               extension.Origin
		condition          stanza.Condition
	}{
		{"XEP-0077 3.2 bad-request", "", "<remove/><username>bill</username>", register.Options{}, bill, stanza.BadRequest},
		{"XEP-0077 3.2 bad-request, remove is last", "", "<password>x</password><remove/>", register.Options{}, bill, stanza.BadRequest},
		{"XEP-0077 3.2 bad-request, twice", "", "<remove/><remove/>", register.Options{}, bill, stanza.BadRequest},
		{"XEP-0077 3.2 not-allowed", "", "<remove/>", register.Options{NoRemoval: true, Open: true}, bill, stanza.NotAllowed},
		{"XEP-0077 3.2 registration-required at another host", "to='capulet.com'", "<remove/>", register.Options{}, bill, stanza.RegistrationRequired},
		{"XEP-0077 3.2 registration-required of strangers", "to='shakespeare.lit' from='bill@far.example/globe'", "<remove/>",
			register.Options{}, extensiontest.Far(), stanza.RegistrationRequired},
		{"what an extension sends is no wish of the user", "to='shakespeare.lit' from='bill@shakespeare.lit'", "<remove/>",
			register.Options{}, extensiontest.Far(), stanza.RegistrationRequired},
		{"XEP-0077 3.2 unexpected-request", "", "<remove/>", register.Options{}, stream, stanza.UnexpectedRequest},
		{"another account", "to='juliet@shakespeare.lit'", "<remove/>", register.Options{}, bill, stanza.ServiceUnavailable},
		{"remove of another namespace", "", "<remove xmlns='urn:x'/>", register.Options{}, bill, stanza.BadRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := withBill(t, tt.o)
			h.Accounts.Add("juliet@shakespeare.lit", "R0m30")
			got := h.IQ(tt.from, extensiontest.Parse(t, set("id='unreg1' "+tt.attrs, tt.query)))
			if e := stanza.ParseError(got); got.Type != stanza.TypeError || e.Condition != tt.condition || e.Type != tt.condition.DefaultType() {
				t.Errorf("answer %v", got)
			}
			if fx := h.Effects(); len(fx) != 1 {
				t.Errorf("effects %v", fx)
			}
			verify(t, h, "bill@shakespeare.lit", "Calliope", true)
			verify(t, h, "juliet@shakespeare.lit", "R0m30", true)
		})
	}
}

// Section 3.3; condition is "" where the password must be newpass afterwards,
// and otherwise must be the old one.
func TestChangePassword(t *testing.T) {
	clear := bill
	clear.Secure = false
	change := "jabber:iq:register:changepassword"
	plain := "<username>bill</username><password>newpass</password>"
	type options = register.Options
	tests := []struct {
		name, attrs, query string
		o                  register.Options
		from               extension.Origin
		condition          stanza.Condition
	}{
		{"XEP-0077 3.3 example 18, 19", "to='shakespeare.lit'", plain, options{}, bill, ""},
		{"XEP-0077 3.3 no address", "", plain, options{}, bill, ""},
		{"XEP-0077 3.3 to the own account", "to='bill@shakespeare.lit'", plain, options{Open: true}, bill, ""},
		{"XEP-0077 3.3 example 24, whole JID and old password", "",
			form("FORM_TYPE", change, "username", "bill@shakespeare.lit", "old_password", "Calliope", "password", "newpass"), options{}, bill, ""},
		{"a form of registration", "", form("FORM_TYPE", "jabber:iq:register", "username", "bill", "password", "newpass"), options{}, bill, ""},
		{"RFC 7622 3.3 the name is prepared", "", "<username>BILL</username><password>newpass</password>", options{}, bill, ""},
		{"XEP-0077 3.3 clear is allowed", "", plain, options{AllowClear: true}, clear, ""},

		{"XEP-0077 3.3 bad-request without username", "", "<password>newpass</password>", options{}, bill, stanza.BadRequest},
		{"XEP-0077 3.3 bad-request without password", "", "<username>bill</username>", options{}, bill, stanza.BadRequest},
		{"XEP-0077 3.3 an empty password changes nothing", "", "<username>bill</username><password/>", options{}, bill, stanza.BadRequest},
		{"XEP-0077 3.3 no character data changes nothing", "", "<username>bill</username><password></password>", options{}, bill, stanza.BadRequest},
		{"XEP-0077 3.3 nothing", "", "", options{}, bill, stanza.BadRequest},
		{"XEP-0077 3.3 not-authorized", "", plain, options{}, clear, stanza.NotAuthorized},
		{"XEP-0077 3.3 not-allowed", "", plain, options{NoPasswordChange: true}, bill, stanza.NotAllowed},
		{"XEP-0077 3.3 unexpected-request at another host", "to='capulet.com'", plain, options{}, bill, stanza.UnexpectedRequest},
		{"XEP-0077 3.3 unexpected-request of strangers", "from='bill@far.example/x' to='shakespeare.lit'", plain, options{Open: true},
			extensiontest.Far(), stanza.UnexpectedRequest},
		{"somebody else's password", "", "<username>juliet</username><password>newpass</password>", options{Open: true}, bill, stanza.NotAllowed},
		{"nobody's password", "", "<username>nobody</username><password>newpass</password>", options{Open: true}, bill, stanza.NotAllowed},
		{"the same name elsewhere", "", "<username>bill@capulet.com</username><password>newpass</password>", options{}, bill, stanza.NotAllowed},
		{"no name at all", "", "<username>@</username><password>newpass</password>", options{}, bill, stanza.NotAllowed},
		{"to somebody else", "to='juliet@shakespeare.lit'", plain, options{}, bill, stanza.ServiceUnavailable},
		{"a wrong old password", "", form("FORM_TYPE", change, "username", "bill", "old_password", "no", "password", "newpass"), options{}, bill, stanza.NotAuthorized},
		{"XEP-0077 13.4.2 a form of removal changes no password", "",
			form("FORM_TYPE", "jabber:iq:register:cancel", "username", "bill", "password", "newpass"), options{}, bill, stanza.BadRequest},
		{"RFC 8265 4.2 a control in the password", "", strings.Replace(plain, "newpass", "new\tpass", 1), options{}, bill, stanza.NotAcceptable},
		{"a short password", "", plain, options{MinPassword: 8}, bill, stanza.NotAcceptable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := withBill(t, tt.o)
			h.Accounts.Add("juliet@shakespeare.lit", "R0m30")
			h.Accounts.Add("bill@capulet.com", "R0m30")
			in := extensiontest.Parse(t, set("id='change1' "+tt.attrs, tt.query))
			got := h.IQ(tt.from, in)
			password := "newpass"
			if tt.condition == "" {
				extensiontest.Expect(t, got, stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Result, ID: "change1",
					From: in.To, To: bill.Session}).String())
			} else {
				password = "Calliope"
				if e := stanza.ParseError(got); got.Type != stanza.TypeError || e.Condition != tt.condition || e.Type != tt.condition.DefaultType() {
					t.Errorf("answer %v", got)
				}
				// Section 3.3: what was sent is not returned.
				if strings.Contains(got.String(), "newpass") {
					t.Errorf("the answer has the password: %v", got)
				}
			}
			verify(t, h, "bill@shakespeare.lit", password, true)
			verify(t, h, "juliet@shakespeare.lit", "R0m30", true)
			verify(t, h, "bill@capulet.com", "R0m30", true)
			if fx := h.Effects(); len(fx) != 1 {
				t.Errorf("no session ends: %v", fx)
			}
		})
	}
}

// XEP-0077 3.3: the account went away while its session still asks.
func TestChangePasswordOfNobody(t *testing.T) {
	h := harness(t, register.Options{})
	got := h.IQ(bill, extensiontest.Parse(t, set("id='1'", "<username>bill</username><password>newpass</password>")))
	extensiontest.Expect(t, got, failure("id='1' to='bill@shakespeare.lit/globe'", "wait", "unexpected-request"))
}
