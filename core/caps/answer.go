package caps

import (
	"errors"
	"slices"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

const (
	nsInfo  = "http://jabber.org/protocol/disco#info"
	nsForms = "jabber:x:data"
)

// Answer is what an answer to disco#info says, in the order of 5.1.
type Answer struct {
	identities []identity
	features   []string
	forms      []form
}

type identity struct{ category, typ, lang, name string }

// form is extended information (XEP-0128).
type form struct {
	typ    string // FORM_TYPE
	fields []field
}

type field struct {
	name   string
	values []string
}

// Why an answer is ill-formed (5.4).
var (
	errNone       = errors.New("caps: no disco#info")
	errIncomplete = errors.New("caps: an identity without category or type, or a feature without a name")
	errIdentities = errors.New("caps: an identity comes twice")
	errFeatures   = errors.New("caps: a feature comes twice")
	errForms      = errors.New("caps: a form comes twice, or has two types")
)

// Parse reads <query/>. The error says why it is ill-formed by 5.4, steps 3.3 to
// 3.5, or incomplete by XEP-0030 3.1. What it returns shares the memory of query.
func Parse(query *stanza.Element) (*Answer, error) {
	if query == nil || query.Space != nsInfo || query.Local != "query" {
		return nil, errNone
	}
	a := &Answer{}
	for _, e := range query.Elements() {
		var err error
		switch {
		case e.Space == nsInfo && e.Local == "identity":
			err = a.addIdentity(e)
		case e.Space == nsInfo && e.Local == "feature":
			err = a.addFeature(e)
		case e.Space == nsForms && e.Local == "x":
			err = a.addForm(e)
		}
		if err != nil {
			return nil, err
		}
	}
	return a, a.sort()
}

// addIdentity adds an identity. Category and type are required (XEP-0030 3.1):
// without them "http://example.org/x" could be an identity as well as a feature.
func (a *Answer) addIdentity(e *stanza.Element) error {
	id := identity{category: e.Attr("category"), typ: e.Attr("type"), name: e.Attr("name")}
	for _, at := range e.Attrs {
		if at.Space == xmpp.NSXML && at.Local == "lang" {
			id.lang = at.Value
		}
	}
	if id.category == "" || id.typ == "" {
		return errIncomplete
	}
	a.identities = append(a.identities, id)
	return nil
}

func (a *Answer) addFeature(e *stanza.Element) error {
	name := e.Attr("var")
	if name == "" {
		return errIncomplete
	}
	a.features = append(a.features, name)
	return nil
}

// addForm adds a form; one without a hidden FORM_TYPE is ignored (5.4, 3.6).
func (a *Answer) addForm(e *stanza.Element) error {
	var f form
	typed := false
	for _, x := range e.Elements() {
		if x.Space != nsForms || x.Local != "field" {
			continue
		}
		fd := field{name: x.Attr("var")}
		for _, v := range x.Elements() {
			if v.Space == nsForms && v.Local == "value" {
				fd.values = append(fd.values, v.Text())
			}
		}
		slices.Sort(fd.values)
		if fd.name != "FORM_TYPE" {
			f.fields = append(f.fields, fd)
			continue
		}
		types := slices.Compact(fd.values)
		if len(types) > 1 || typed {
			return errForms
		}
		if x.Attr("type") != "hidden" || len(types) == 0 {
			return nil
		}
		f.typ, typed = types[0], true
	}
	if typed {
		a.forms = append(a.forms, f)
	}
	return nil
}

// sort puts everything in the order of 5.1, and finds what comes twice.
func (a *Answer) sort() error {
	slices.SortFunc(a.identities, compareIdentities)
	slices.Sort(a.features)
	slices.SortStableFunc(a.forms, func(x, y form) int { return compare(x.typ, y.typ) })
	for i := range a.forms {
		slices.SortStableFunc(a.forms[i].fields, func(x, y field) int { return compare(x.name, y.name) })
	}
	for i := 1; i < len(a.identities); i++ {
		if a.identities[i-1] == a.identities[i] {
			return errIdentities
		}
	}
	for i := 1; i < len(a.features); i++ {
		if a.features[i-1] == a.features[i] {
			return errFeatures
		}
	}
	for i := 1; i < len(a.forms); i++ {
		if a.forms[i-1].typ == a.forms[i].typ {
			return errForms
		}
	}
	return nil
}
