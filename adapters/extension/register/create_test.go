package register_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/register"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

var errDown = errors.New("the database is down")

// form makes a submitted data form of name and value pairs.
func form(pairs ...string) string {
	var b strings.Builder
	b.WriteString(`<x xmlns='jabber:x:data' type='submit'>`)
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString(`<field var='` + pairs[i] + `'><value>` + pairs[i+1] + `</value></field>`)
	}
	return b.String() + `</x>`
}

func TestFields(t *testing.T) {
	const get = `<iq type='get' id='reg1' to='shakespeare.lit'><query xmlns='jabber:iq:register'/></iq>`
	const fields = `<iq type='result' id='reg1' from='shakespeare.lit'><query xmlns='jabber:iq:register'>
		<instructions>Choose a username and a password for use with this server.</instructions><username/><password/>
		<x xmlns='jabber:x:data' type='form'><title>New account</title>
		<instructions>Choose a username and a password for use with this server.</instructions>
		<field var='FORM_TYPE' type='hidden'><value>jabber:iq:register</value></field>
		<field var='username' type='text-single' label='Username'><required/></field>
		<field var='password' type='text-private' label='Password'><required/></field></x></query></iq>`
	clear := stream
	clear.Secure = false
	tests := []struct {
		name string
		o    register.Options
		from extension.Origin
		in   string
		want string
	}{
		{"XEP-0077 3.1 example 1, 2", register.Options{Open: true}, stream, get, fields},
		{"XEP-0077 3.1 without to", register.Options{Open: true}, stream, strings.Replace(get, " to='shakespeare.lit'", "", 1),
			strings.Replace(fields, " from='shakespeare.lit'", "", 1)},
		{"XEP-0077 3.1 not supported", register.Options{}, stream, get, failure("from='shakespeare.lit' id='reg1'", "cancel", "service-unavailable")},
		{"XEP-0077 11 not encrypted", register.Options{Open: true}, clear, get, failure("from='shakespeare.lit' id='reg1'", "auth", "not-authorized")},
		{"XEP-0077 11 clear is allowed", register.Options{Open: true, AllowClear: true}, clear, get, fields},
		{"another domain than the stream's", register.Options{Open: true}, extensiontest.Stream("capulet.com"), get, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			extensiontest.Expect(t, harness(t, tt.o).IQ(tt.from, extensiontest.Parse(t, tt.in)), tt.want)
		})
	}
}

// Each row is one attempt at a new account where bill has one already.
func TestCreate(t *testing.T) {
	const juliet = "juliet@shakespeare.lit"
	open := register.Options{Open: true}
	clear := stream
	clear.Secure = false
	type options = register.Options
	tests := []struct {
		name      string
		o         register.Options
		from      extension.Origin
		query     string
		condition stanza.Condition // "" for a result
		created   string           // the account that must be there then, with the password R0m30
	}{
		{"XEP-0077 3.1 example 4, 5", open, stream, "<username>juliet</username><password>R0m30</password><email>j@capulet.com</email>", "", juliet},
		{"XEP-0077 4 the form", open, stream, form("FORM_TYPE", "jabber:iq:register", "username", "juliet", "password", "R0m30"), "", juliet},
		{"XEP-0068 a form that says not what it is", open, stream, form("username", "juliet", "password", "R0m30"), "", juliet},
		{"XEP-0077 4 the form goes before the fields", open, stream,
			"<username>romeo</username><password>other</password>" + form("username", "juliet", "password", "R0m30"), "", juliet},
		{"RFC 7622 3.3 the name is prepared", open, stream, "<username>JULIET</username><password>R0m30</password>", "", juliet},
		{"RFC 8265 4.2 the password is not trimmed", open, stream, "<username>juliet</username><password> R0m30</password>", "", ""},
		{"XEP-0077 7 a key is ignored", open, stream, "<key>x</key><username>juliet</username><password>R0m30</password>", "", juliet},

		{"XEP-0077 3.1 example 6 taken", open, stream, "<username>bill</username><password>m1cro$oft</password>", stanza.Conflict, ""},
		{"XEP-0077 3.1 taken in another spelling", open, stream, "<username>Bill</username><password>m1cro$oft</password>", stanza.Conflict, ""},
		{"reserved looks taken", options{Open: true, Reserved: []jid.JID{jid.MustParse(juliet)}}, stream,
			"<username>Juliet</username><password>R0m30</password>", stanza.Conflict, ""},
		{"XEP-0077 3.1 example 7 no password", open, stream, "<username>juliet</username>", stanza.NotAcceptable, ""},
		{"XEP-0077 3.1 note 1 empty password", open, stream, "<username>juliet</username><password/>", stanza.NotAcceptable, ""},
		{"XEP-0077 3.1 note 1 no character data", open, stream, "<username>juliet</username><password></password>", stanza.NotAcceptable, ""},
		{"XEP-0077 3.1 no username", open, stream, "<password>R0m30</password>", stanza.NotAcceptable, ""},
		{"XEP-0077 3.1 nothing", open, stream, "", stanza.NotAcceptable, ""},
		{"XEP-0077 3.1 no value in the form", open, stream, `<x xmlns='jabber:x:data' type='submit'><field var='username'/></x>`, stanza.NotAcceptable, ""},
		{"fields of another namespace", open, stream, "<username xmlns='urn:x'>juliet</username><password>R0m30</password>", stanza.NotAcceptable, ""},
		{"RFC 7622 3.3.1 a bare JID is no username", open, stream, "<username>juliet@shakespeare.lit</username><password>R0m30</password>", stanza.NotAcceptable, ""},
		{"RFC 7622 3.3.1 a full JID is no username", open, stream, "<username>juliet@shakespeare.lit/x</username><password>R0m30</password>", stanza.NotAcceptable, ""},
		{"RFC 7622 3.3.1 a resource", open, stream, "<username>juliet/x</username><password>R0m30</password>", stanza.NotAcceptable, ""},
		{"RFC 7622 3.3 a space", open, stream, "<username>jul iet</username><password>R0m30</password>", stanza.NotAcceptable, ""},
		{"RFC 7622 3.3 1,024 bytes", open, stream, "<username>" + strings.Repeat("j", 1024) + "</username><password>R0m30</password>", stanza.NotAcceptable, ""},
		{"RFC 8265 4.2 a control in the password", open, stream, "<username>juliet</username><password>R0\tm30</password>", stanza.NotAcceptable, ""},
		{"a short password", options{Open: true, MinPassword: 6}, stream, "<username>juliet</username><password>R0m30</password>", stanza.NotAcceptable, ""},
		{"characters count, not bytes", options{Open: true, MinPassword: 6}, stream, "<username>juliet</username><password>ü€ü€ü</password>", stanza.NotAcceptable, ""},
		{"a long enough password", options{Open: true, MinPassword: 5}, stream, "<username>juliet</username><password>R0m30</password>", "", juliet},

		{"twice the same field", open, stream, "<username>juliet</username><username>romeo</username><password>R0m30</password>", stanza.BadRequest, ""},
		{"twice in a form", open, stream, form("username", "juliet", "username", "romeo", "password", "R0m30"), stanza.BadRequest, ""},
		{"XEP-0077 13.4 a form for something else", open, stream,
			form("FORM_TYPE", "jabber:iq:register:cancel", "username", "juliet", "password", "R0m30"), stanza.BadRequest, ""},
		{"XEP-0004 3.1 a form that is not submitted", open, stream,
			strings.Replace(form("username", "juliet", "password", "R0m30"), "submit", "cancel", 1), stanza.BadRequest, ""},

		{"XEP-0077 3.2 remove before login", open, stream, "<remove/>", stanza.UnexpectedRequest, ""},
		{"XEP-0077 3.2 remove before login, closed", register.Options{}, stream, "<remove/>", stanza.UnexpectedRequest, ""},
		{"XEP-0077 3.1 closed", register.Options{}, stream, "<username>juliet</username><password>R0m30</password>", stanza.ServiceUnavailable, ""},
		{"XEP-0077 11 not encrypted", open, clear, "<username>juliet</username><password>R0m30</password>", stanza.NotAuthorized, ""},
		{"XEP-0077 11 clear is allowed", options{Open: true, AllowClear: true}, clear, "<username>juliet</username><password>R0m30</password>", "", juliet},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := harness(t, tt.o)
			h.Accounts.Add("bill@shakespeare.lit", "Calliope")
			got := h.IQ(tt.from, extensiontest.Parse(t, set("id='reg2'", tt.query)))
			if tt.condition == "" {
				extensiontest.Expect(t, got, `<iq type='result' id='reg2'/>`)
			} else {
				extensiontest.Expect(t, got, failure("id='reg2'", string(tt.condition.DefaultType()), string(tt.condition)))
			}
			if tt.created != "" {
				verify(t, h, tt.created, "R0m30", true)
			}
			verify(t, h, "bill@shakespeare.lit", "Calliope", true)
			want := 1
			if tt.condition == "" {
				want = 2
			}
			if all, err := h.Accounts.List(t.Context(), domain, "", 10); err != nil || len(all) != want {
				t.Errorf("accounts %v, %v", all, err)
			}
		})
	}
}

// Accounts are made in the domain of the stream.
func TestCreateInDomain(t *testing.T) {
	h := harness(t, register.Options{Open: true})
	in := extensiontest.Parse(t, set("id='1' to='capulet.com'", "<username>juliet</username><password>R0m30</password>"))
	extensiontest.Expect(t, h.IQ(extensiontest.Stream("capulet.com"), in), `<iq type='result' id='1' from='capulet.com'/>`)
	verify(t, h, "juliet@capulet.com", "R0m30", true)
}

// XEP-0077 3.1.1: too many attempts. What costs nothing is not counted, but
// names that are taken are.
func TestLimit(t *testing.T) {
	limit := &bucket{left: 2}
	h := harness(t, register.Options{Open: true, Limiter: limit})
	h.Accounts.Add("bill@shakespeare.lit", "Calliope")
	wait := failure("id='1'", "wait", "resource-constraint")
	steps := []struct{ username, want string }{
		{"a@b", failure("id='1'", "modify", "not-acceptable")},
		{"bill", failure("id='1'", "cancel", "conflict")},
		{"juliet", `<iq type='result' id='1'/>`},
		{"romeo", wait},
		{"bill", wait}, // says nothing of the name any more
	}
	for _, step := range steps {
		in := set("id='1'", "<username>"+step.username+"</username><password>R0m30</password>")
		extensiontest.Expect(t, h.IQ(stream, extensiontest.Parse(t, in)), step.want)
	}
	if len(limit.asked) != 4 || limit.asked[0] != stream.Addr {
		t.Errorf("asked for %v", limit.asked)
	}
	if _, err := h.Accounts.Get(t.Context(), jid.MustParse("romeo@shakespeare.lit")); err == nil {
		t.Error("an account over the limit was made")
	}
}
