// Package contact tells how to reach the people behind the server (XEP-0157):
// the data form of section 3 in service discovery of each hosted domain, with
// the seven fields of section 7.1. Without an address there is no form.
//
// Left out is section 2: the mailbox "xmpp" of the domain is for the mail server.
package contact

import (
	"context"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// FormType is the FORM_TYPE of the form (section 3).
const FormType = "http://jabber.org/network/serverinfo"

const nsForm = "jabber:x:data" // XEP-0004

// Options are lists of URIs: "mailto:abuse@example.org",
// "xmpp:admin@example.org", "https://example.org/contact". All are optional.
// Everybody can read them, strangers on other servers too (section 5).
type Options struct {
	Abuse    []string // for reports of abusive traffic
	Admin    []string // of the administrators
	Feedback []string // for customer feedback
	Sales    []string // for sales and marketing
	Security []string // for security concerns
	Status   []string // where the state of the service can be seen
	Support  []string // for customer support
}

// field is a field of the form.
type field struct {
	name      string // as registered in section 7.1
	addresses []string
}

// fields are in the order of example 2.
func (o Options) fields() []field {
	return []field{
		{"abuse-addresses", o.Abuse},
		{"admin-addresses", o.Admin},
		{"feedback-addresses", o.Feedback},
		{"sales-addresses", o.Sales},
		{"security-addresses", o.Security},
		{"status-addresses", o.Status},
		{"support-addresses", o.Support},
	}
}

// New returns the extension. Options that are not valid let its Start fail.
func New(o Options) extension.Registration {
	invalid := o.Validate()
	r := extension.Registration{
		Name:       "contact",
		Implements: []extension.XEP{{Number: 157, Version: "1.1.1"}},
		Start:      func(context.Context, *extension.Host) error { return invalid },
	}
	if form := o.form(); form != nil {
		r.Server.Forms = []*stanza.Element{form}
	}
	return r
}

// form is the form of section 3, nil if there is nothing in it.
func (o Options) form() *stanza.Element {
	form := stanza.El(nsForm, "x", stanza.At("type", "result")).Add(
		stanza.El(nsForm, "field", stanza.At("var", "FORM_TYPE"), stanza.At("type", "hidden")).Add(value(FormType)))
	for _, f := range o.fields() {
		if len(f.addresses) == 0 {
			continue
		}
		e := stanza.El(nsForm, "field", stanza.At("var", f.name))
		for _, a := range f.addresses {
			e.Add(value(a))
		}
		form.Add(e)
	}
	if len(form.Nodes) == 1 {
		return nil
	}
	return form
}

func value(text string) *stanza.Element { return stanza.El(nsForm, "value").WithText(text) }
