package contact_test

import (
	"context"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/contact"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// shakespeare is what example 2 tells.
var shakespeare = contact.Options{
	Abuse:    []string{"mailto:abuse@shakespeare.example", "xmpp:abuse@shakespeare.example"},
	Admin:    []string{"mailto:xmpp@shakespeare.example", "xmpp:admins@shakespeare.example"},
	Feedback: []string{"http://shakespeare.example/feedback.php", "mailto:feedback@shakespeare.example", "xmpp:feedback@shakespeare.example"},
	Sales:    []string{"xmpp:bard@shakespeare.example"},
	Security: []string{"xmpp:security@shakespeare.example"},
	Status:   []string{"https://status.shakespeare.example"},
	Support:  []string{"http://shakespeare.example/support.php", "xmpp:support@shakespeare.example"},
}

func TestSuite(t *testing.T) {
	extensiontest.Run(t, func() extension.Registration { return contact.New(shakespeare) })
}

func TestForm(t *testing.T) {
	const formType = `<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/network/serverinfo</value></field>`
	tests := []struct {
		name    string
		options contact.Options
		want    string // in the form; "" for no form
	}{
		{"XEP-0157 3 example 2", shakespeare, formType + `
			<field var='abuse-addresses'><value>mailto:abuse@shakespeare.example</value><value>xmpp:abuse@shakespeare.example</value></field>
			<field var='admin-addresses'><value>mailto:xmpp@shakespeare.example</value><value>xmpp:admins@shakespeare.example</value></field>
			<field var='feedback-addresses'><value>http://shakespeare.example/feedback.php</value><value>mailto:feedback@shakespeare.example</value><value>xmpp:feedback@shakespeare.example</value></field>
			<field var='sales-addresses'><value>xmpp:bard@shakespeare.example</value></field>
			<field var='security-addresses'><value>xmpp:security@shakespeare.example</value></field>
			<field var='status-addresses'><value>https://status.shakespeare.example</value></field>
			<field var='support-addresses'><value>http://shakespeare.example/support.php</value><value>xmpp:support@shakespeare.example</value></field>`},
		{"XEP-0157 3 only what is known", contact.Options{Security: []string{"mailto:security@example.org"}},
			formType + `<field var='security-addresses'><value>mailto:security@example.org</value></field>`},
		{"XEP-0157 3 nothing is known", contact.Options{Abuse: []string{}}, ""},
		{"a URI is escaped as text", contact.Options{Support: []string{"https://example.org/?a=1&b='2'"}},
			formType + `<field var='support-addresses'><value>https://example.org/?a=1&amp;b='2'</value></field>`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := contact.New(tt.options)
			if err := extensiontest.Check(r); err != nil {
				t.Fatal(err)
			}
			if tt.want != "" {
				tt.want = `<x xmlns='jabber:x:data' type='result'>` + tt.want + `</x>`
			}
			head := stanza.Header{Kind: stanza.IQ, Type: stanza.Result, ID: "disco1"}
			extensiontest.Expect(t, stanza.New(head, r.Server.Forms...), `<iq type='result' id='disco1'>`+tt.want+`</iq>`)
			if len(r.Account.Forms) != 0 || len(r.IQ) != 0 {
				t.Error("XEP-0157 3: the form is of the server's bare domain alone")
			}
		})
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		address string
		fault   string // "" for none
	}{
		{"mailto:admin@example.org", ""},
		{"mailto:a@example.org,b@example.org?subject=Hello%20there", ""},
		{"mailto:gorby%25kremvax@example.com", ""},
		{"mailto:", "no address of mail"},
		{"mailto:admin", "no address of mail"},
		{"mailto:a@example.org,", "no address of mail"},
		{"mailto:Admin%20%3Ca@example.org%3E", "no address of mail"},
		{"xmpp:admins@example.org", ""},
		{"xmpp:admins@example.org?message", ""},
		{"xmpp:example.org", ""},
		{"xmpp:caf%C3%A9@example.org", ""},
		{"xmpp:café@example.org", ""},
		{"xmpp://guest@example.com/support@example.org?message", ""},
		{"xmpp:", "no address of XMPP"},
		{"xmpp:a@b@example.org@", "no address of XMPP"},
		{"xmpp:%ff@example.org", "no address of XMPP"},
		{"xmpp:?message", "no address of XMPP"},
		{"https://example.org/contact#form", ""},
		{"https://[2001:db8::1]:8080/", ""},
		{"HTTPS://example.org", ""},
		{"https:", "no host"},
		{"https:///path", "no host"},
		{"https://example.org/a b", "space"},
		{"https://example.org/\n", "space"},
		{"https://example.org/\x00", "control"},
		{"https://example.org/\xff", "control"},
		{"https://example.org:port/", "no URI"},
		{"tel:+1-201-555-0123", ""},
		{"irc://irc.example.org/help", ""},
		{"tel:", "nothing behind the scheme"},
		{"", "no scheme"},
		{"admin@example.org", "no scheme"},
		{"//example.org", "no scheme"},
		{"https://example.org/" + strings.Repeat("x", 1024), "longer"},
	}
	for _, tt := range tests {
		t.Run(tt.address, func(t *testing.T) {
			err := contact.Options{Admin: []string{tt.address}}.Validate()
			switch {
			case tt.fault == "" && err != nil:
				t.Error(err)
			case tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault) || !strings.Contains(err.Error(), "admin-addresses")):
				t.Errorf("error %v, want one with %q and the list", err, tt.fault)
			}
		})
	}
}

func TestValidateLists(t *testing.T) {
	many := make([]string, 33)
	for i := range many {
		many[i] = "tel:" + strings.Repeat("1", i+1)
	}
	err := contact.Options{Abuse: []string{"mailto:a@example.org", "mailto:a@example.org"}, Status: []string{"nowhere"}, Sales: many}.Validate()
	for _, want := range []string{"abuse-addresses", "twice", "status-addresses", "no scheme", "sales-addresses", "33 addresses"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	if err := (contact.Options{Sales: many[:32]}).Validate(); err != nil {
		t.Error(err)
	}
}

// The server does not start with addresses that are none.
func TestStart(t *testing.T) {
	for address, ok := range map[string]bool{"mailto:a@example.org": true, "a@example.org": false} {
		err := contact.New(contact.Options{Support: []string{address}}).Start(context.Background(), nil)
		if (err == nil) != ok {
			t.Errorf("%s: Start gives %v", address, err)
		}
	}
}

// What the configuration holds must not make the check panic, and what passes
// is text that XML can hold.
func FuzzValidate(f *testing.F) {
	for _, s := range []string{"mailto:a@example.org", "xmpp:a@example.org?message", "xmpp://a@b/c", "https://[::1]/", "%", "tel:1", "mailto:%", "xmpp:%00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o := contact.Options{Admin: []string{s}}
		if o.Validate() != nil {
			return
		}
		form := contact.New(o).Server.Forms[0]
		back, err := stanza.ParseElement(string(form.Append(nil, "")), "")
		if err != nil {
			t.Fatal(err)
		}
		if got := back.Elements()[1].Child("", "value").Text(); got != s {
			t.Errorf("%q became %q", s, got)
		}
	})
}
