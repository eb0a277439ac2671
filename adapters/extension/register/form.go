package register

import (
	"errors"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

const nsForm = "jabber:x:data" // XEP-0004

// Values of FORM_TYPE (section 13.4). The one for removal is not known here:
// removal asks for no form.
const (
	formCreate = NS
	formChange = NS + ":changepassword"
)

// data is what a client filled in.
type data struct {
	username, password, oldPassword string
}

var (
	errTwice = errors.New("a field comes twice")
	errForm  = errors.New("the form is not submitted, or is not one for this")
)

// read returns the fields of a query: of the data form if there is one, which
// takes precedence (section 4), else the plain ones. Other fields are ignored.
// formTypes are the ones that may be submitted; none means that it is not said.
func read(query *stanza.Element, formTypes ...string) (data, error) {
	values := map[string]string{}
	add := func(name, value string) error {
		if _, twice := values[name]; twice {
			return errTwice
		}
		values[name] = value
		return nil
	}
	var err error
	if form := query.Child(nsForm, "x"); form != nil {
		err = readForm(form, formTypes, add)
	} else {
		for _, e := range query.Elements() {
			if e.Space == NS && (e.Local == "username" || e.Local == "password") {
				err = errors.Join(err, add(e.Local, e.Text()))
			}
		}
	}
	return data{values["username"], values["password"], values["old_password"]}, err
}

func readForm(form *stanza.Element, formTypes []string, add func(name, value string) error) error {
	if form.Attr("type") != "submit" {
		return errForm
	}
	for _, f := range form.Elements() {
		if f.Space != nsForm || f.Local != "field" {
			continue
		}
		value := ""
		if v := f.Child(nsForm, "value"); v != nil {
			value = v.Text()
		}
		switch name := f.Attr("var"); name {
		case "FORM_TYPE":
			known := false
			for _, t := range formTypes {
				known = known || value == t
			}
			if !known {
				return errForm
			}
		case "username", "password", "old_password":
			if err := add(name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

const instructions = "Choose a username and a password for use with this server."

// emptyForm is the data form for a new account. It asks for the same as the
// plain fields (section 4).
func emptyForm() *stanza.Element {
	field := func(name, typ, label string) *stanza.Element {
		return stanza.El(nsForm, "field", stanza.At("var", name), stanza.At("type", typ), stanza.At("label", label)).
			Add(stanza.El(nsForm, "required"))
	}
	return stanza.El(nsForm, "x", stanza.At("type", "form")).Add(
		stanza.El(nsForm, "title").WithText("New account"),
		stanza.El(nsForm, "instructions").WithText(instructions),
		stanza.El(nsForm, "field", stanza.At("var", "FORM_TYPE"), stanza.At("type", "hidden")).
			Add(stanza.El(nsForm, "value").WithText(formCreate)),
		field("username", "text-single", "Username"),
		field("password", "text-private", "Password"),
	)
}
