// Package form is data forms (XEP-0004): a form is written for the one who fills
// it in, and what was filled in is read and checked against it. read.go has the
// checks. FORM_TYPE (XEP-0068) says what a form is for; lists may be open to values
// that they don't name (XEP-0122 3.2.1).
//
// Left out are tables of items (3.4), and media (XEP-0221).
package form

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace of forms, and the feature that stands for them (section 5).
const NS = "jabber:x:data"

const nsValidate = "http://jabber.org/protocol/xdata-validate" // XEP-0122

// Types of forms (3.1).
const (
	Ask    = "form"   // to be filled in
	Submit = "submit" // filled in
	Cancel = "cancel"
	Result = "result"
)

// Types of fields (3.3).
const (
	Boolean     = "boolean"
	Fixed       = "fixed"
	Hidden      = "hidden"
	JIDMulti    = "jid-multi"
	JIDSingle   = "jid-single"
	ListMulti   = "list-multi"
	ListSingle  = "list-single"
	TextMulti   = "text-multi"
	TextPrivate = "text-private"
	TextSingle  = "text-single" // what a field without a type is
)

// formType is the field that names the purpose of a form (XEP-0068 3).
const formType = "FORM_TYPE"

// Form is a form of any type.
type Form struct {
	Type         string // of the form: Ask, ...
	Purpose      string // FORM_TYPE; "" for none
	Title        string
	Instructions []string
	Fields       []Field // without FORM_TYPE
}

// Field is a question, with its answer.
type Field struct {
	Var      string
	Type     string // "" if it is not said: text-single
	Label    string
	Desc     string
	Required bool
	Values   []string
	Options  []Option // of lists
	Open     bool     // of a list: other values may be given (XEP-0122)
	// Integer says that the value is a number from Least to Most (XEP-0122). Clients are told; Read
	// does not look at it.
	Integer     bool
	Least, Most int
}

// Option is a value that a list names.
type Option struct{ Label, Value string }

// ErrForm is what is no form.
var ErrForm = errors.New("form: malformed")

// Parse reads a form. Errors wrap ErrForm: an unknown type, a field that is there
// twice or, but for fixed ones, has no name.
func Parse(x *stanza.Element) (*Form, error) {
	if x == nil || x.Space != NS || x.Local != "x" {
		return nil, fmt.Errorf("%w: there is none", ErrForm)
	}
	f := &Form{Type: x.Attr("type")}
	switch f.Type {
	case Ask, Submit, Cancel, Result:
	default:
		return nil, fmt.Errorf("%w: it is of no known type", ErrForm)
	}
	seen := map[string]bool{}
	for _, e := range x.Elements() {
		if e.Space != NS {
			continue
		}
		switch e.Local {
		case "title":
			f.Title = e.Text()
		case "instructions":
			f.Instructions = append(f.Instructions, e.Text())
		case "field":
			field := parseField(e)
			switch {
			case field.Var == "" && field.Type != Fixed:
				return nil, fmt.Errorf("%w: a field has no name", ErrForm)
			case field.Var != "" && seen[field.Var]:
				return nil, fmt.Errorf("%w: a field is there twice", ErrForm)
			case field.Var == formType && len(field.Values) > 1:
				return nil, fmt.Errorf("%w: it is for more than one purpose", ErrForm)
			}
			seen[field.Var] = true
			switch {
			case field.Var != formType:
				f.Fields = append(f.Fields, field)
			case len(field.Values) == 1:
				f.Purpose = field.Values[0]
			}
		}
	}
	return f, nil
}

func parseField(e *stanza.Element) Field {
	f := Field{Var: e.Attr("var"), Type: e.Attr("type"), Label: e.Attr("label")}
	for _, c := range e.Elements() {
		switch {
		case c.Space == nsValidate && c.Local == "validate":
			f.Open = c.Child("", "open") != nil
		case c.Space != NS:
		case c.Local == "value":
			f.Values = append(f.Values, c.Text())
		case c.Local == "desc":
			f.Desc = c.Text()
		case c.Local == "required":
			f.Required = true
		case c.Local == "option":
			o := Option{Label: c.Attr("label")}
			if v := c.Child("", "value"); v != nil {
				o.Value = v.Text()
			}
			f.Options = append(f.Options, o)
		}
	}
	return f
}

// Element writes a form.
func (f *Form) Element() *stanza.Element {
	x := stanza.El(NS, "x", stanza.At("type", f.Type))
	if f.Title != "" {
		x.Add(stanza.El(NS, "title").WithText(f.Title))
	}
	for _, s := range f.Instructions {
		x.Add(stanza.El(NS, "instructions").WithText(s))
	}
	if f.Purpose != "" {
		x.Add((&Field{Var: formType, Type: Hidden, Values: []string{f.Purpose}}).element())
	}
	for i := range f.Fields {
		x.Add(f.Fields[i].element())
	}
	return x
}

func (f *Field) element() *stanza.Element {
	e := stanza.El(NS, "field")
	for _, a := range []stanza.Attr{stanza.At("var", f.Var), stanza.At("type", f.Type), stanza.At("label", f.Label)} {
		if a.Value != "" {
			e.Attrs = append(e.Attrs, a)
		}
	}
	if f.Desc != "" {
		e.Add(stanza.El(NS, "desc").WithText(f.Desc))
	}
	if f.Required {
		e.Add(stanza.El(NS, "required"))
	}
	for _, v := range f.Values {
		e.Add(stanza.El(NS, "value").WithText(v))
	}
	for _, o := range f.Options {
		option := stanza.El(NS, "option").Add(stanza.El(NS, "value").WithText(o.Value))
		if o.Label != "" {
			option.Attrs = append(option.Attrs, stanza.At("label", o.Label))
		}
		e.Add(option)
	}
	if f.Integer {
		e.Add(stanza.El(nsValidate, "validate", stanza.At("datatype", "xs:integer")).Add(
			stanza.El(nsValidate, "range", stanza.At("min", strconv.Itoa(f.Least)), stanza.At("max", strconv.Itoa(f.Most)))))
	}
	if f.Open {
		e.Add(stanza.El(nsValidate, "validate", stanza.At("datatype", "xs:string")).Add(stanza.El(nsValidate, "open")))
	}
	return e
}
