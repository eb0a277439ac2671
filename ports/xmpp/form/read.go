package form

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Errors of Read besides ErrForm.
var (
	// ErrUnknown: a field that the form does not have.
	ErrUnknown = errors.New("form: unknown field")
	// ErrValue: a value that its field can't have, or that is missing.
	ErrValue = errors.New("form: bad value")
)

// Values are the answers of a submitted form, by the names of fields. What was left
// empty is not among them, but for empty lines of a field of type text-multi that has
// others.
type Values map[string][]string

// Get returns the first value of a field, "" if there is none.
func (v Values) Get(name string) string {
	if list := v[name]; len(list) > 0 {
		return list[0]
	}
	return ""
}

// Bool returns the value of a field of type boolean; given is false if it was left
// empty.
func (v Values) Bool(name string) (value, given bool) {
	s := v.Get(name)
	return s == "true" || s == "1", s != ""
}

// Read reads a submitted form and checks it against the one that was, or might have
// been, asked to be filled in: of the same purpose, with no other fields, and
// values that the types of those fields have (3.3). What type a submitted field
// claims to be of does not count.
func Read(x *stanza.Element, asked *Form) (Values, error) {
	f, err := Parse(x)
	switch {
	case err != nil:
		return nil, err
	case f.Type != Submit:
		return nil, fmt.Errorf("%w: it is not submitted", ErrForm)
	case f.Purpose != asked.Purpose:
		return nil, fmt.Errorf("%w: it is not for this purpose", ErrForm)
	}
	values := Values{}
	for i := range f.Fields {
		got := &f.Fields[i]
		if got.Var == "" {
			continue // fixed
		}
		n := slices.IndexFunc(asked.Fields, func(a Field) bool { return a.Var == got.Var })
		if n < 0 {
			return nil, fmt.Errorf("%w: %q", ErrUnknown, short(got.Var))
		}
		empty := func(s string) bool { return s == "" }
		given := slices.DeleteFunc(slices.Clone(got.Values), empty)
		if len(given) == 0 {
			continue
		}
		if asked.Fields[n].Type == TextMulti {
			given = got.Values
		}
		if err := asked.Fields[n].check(given); err != nil {
			return nil, fmt.Errorf("%w of %q: %w", ErrValue, got.Var, err)
		}
		values[got.Var] = given
	}
	for i := range asked.Fields {
		if a := &asked.Fields[i]; a.Required && values[a.Var] == nil {
			return nil, fmt.Errorf("%w of %q: it is required", ErrValue, a.Var)
		}
	}
	return values, nil
}

// check says what is wrong with the values of a field.
func (f *Field) check(values []string) error {
	switch f.Type {
	case JIDMulti, ListMulti, TextMulti, Hidden:
	default:
		if len(values) > 1 {
			return errors.New("more than one")
		}
	}
	for _, v := range values {
		switch f.Type {
		case Boolean:
			if v != "true" && v != "false" && v != "1" && v != "0" {
				return errors.New("neither true nor false")
			}
		case JIDSingle, JIDMulti:
			if _, err := jid.Parse(v); err != nil {
				return errors.New("no address")
			}
		case ListSingle, ListMulti:
			if !f.Open && !slices.ContainsFunc(f.Options, func(o Option) bool { return o.Value == v }) {
				return errors.New("not in the list")
			}
		}
	}
	return nil
}

// short cuts what an error tells of a name.
func short(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
