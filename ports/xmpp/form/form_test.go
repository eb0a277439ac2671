package form_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/form"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func parse(t testing.TB, xml string) *stanza.Element {
	t.Helper()
	e, err := stanza.ParseElement(xml, "")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func x(typ, content string) string {
	return "<x xmlns='jabber:x:data' type='" + typ + "'>" + content + "</x>"
}

func field(name string, values ...string) string {
	s := "<field var='" + name + "'>"
	for _, v := range values {
		s += "<value>" + v + "</value>"
	}
	return s + "</field>"
}

var bot = form.Form{
	Type: form.Ask, Purpose: "jabber:bot", Title: "Bot Configuration", Instructions: []string{"Fill out this form!", "All of it."},
	Fields: []form.Field{
		{Type: form.Fixed, Values: []string{"Section 1: Bot Info"}},
		{Var: "botname", Type: form.TextSingle, Label: "The name of your bot", Required: true},
		{Var: "public", Type: form.Boolean, Label: "Public bot?"},
		{Var: "features", Type: form.ListMulti, Options: []form.Option{{"Contests", "contests"}, {"", "news"}}, Values: []string{"news"}},
		{Var: "maxsubs", Type: form.ListSingle, Desc: "How many?", Options: []form.Option{{"10", "10"}}, Open: true},
		{Var: "invitelist", Type: form.JIDMulti},
		{Var: "owner", Type: form.JIDSingle},
		{Var: "description", Type: form.TextMulti},
		{Var: "untyped"},
	},
}

func TestElement(t *testing.T) {
	const want = "<x xmlns='jabber:x:data' type='form'><title>Bot Configuration</title><instructions>Fill out this form!</instructions><instructions>All of it.</instructions>" +
		"<field var='FORM_TYPE' type='hidden'><value>jabber:bot</value></field>" +
		"<field type='fixed'><value>Section 1: Bot Info</value></field>" +
		"<field var='botname' type='text-single' label='The name of your bot'><required/></field>" +
		"<field var='public' type='boolean' label='Public bot?'/>" +
		"<field var='features' type='list-multi'><value>news</value><option label='Contests'><value>contests</value></option><option><value>news</value></option></field>" +
		"<field var='maxsubs' type='list-single'><desc>How many?</desc><option label='10'><value>10</value></option><validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:string'><open/></validate></field>" +
		"<field var='invitelist' type='jid-multi'/><field var='owner' type='jid-single'/><field var='description' type='text-multi'/><field var='untyped'/></x>"
	got := string(bot.Element().Append(nil, ""))
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	again, err := form.Parse(parse(t, got))
	if err != nil || !reflect.DeepEqual(*again, bot) {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestParseErrors(t *testing.T) {
	for name, xml := range map[string]string{
		"XEP-0004 3.1 no type":               "<x xmlns='jabber:x:data'/>",
		"XEP-0004 3.1 an unknown type":       x("order", ""),
		"XEP-0004 3.2 a field without name":  x("submit", "<field><value>1</value></field>"),
		"XEP-0004 3.2 a field twice":         x("submit", field("a", "1")+field("a", "2")),
		"XEP-0068 3 more than one FORM_TYPE": x("submit", field("FORM_TYPE", "a", "b")),
		"another element":                    "<y xmlns='jabber:x:data' type='submit'/>",
		"another namespace":                  "<x xmlns='jabber:x:event' type='submit'/>",
	} {
		if f, err := form.Parse(parse(t, xml)); !errors.Is(err, form.ErrForm) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	if _, err := form.Parse(nil); !errors.Is(err, form.ErrForm) {
		t.Error(err)
	}
}

func TestRead(t *testing.T) {
	purpose := field("FORM_TYPE", "jabber:bot")
	name := purpose + field("botname", "b")
	for _, c := range []struct {
		name, xml string
		want      form.Values
		err       error
	}{
		{"what is required", x("submit", name), form.Values{"botname": {"b"}}, nil},
		{"XEP-0004 3.3 a value of each type", x("submit", name+field("public", "1")+field("features", "contests", "news")+field("maxsubs", "77")+
			field("invitelist", "a@b.example", "c.example")+field("owner", "d@e.example/f")+field("description", "1", "2")+field("untyped", "&lt;")),
			form.Values{"botname": {"b"}, "public": {"1"}, "features": {"contests", "news"}, "maxsubs": {"77"}, "invitelist": {"a@b.example", "c.example"},
				"owner": {"d@e.example/f"}, "description": {"1", "2"}, "untyped": {"<"}}, nil},
		{"what is left empty is not given", x("submit", name+field("public")+field("owner", "")+field("invitelist", "", "a.example", "")+field("description", "", "")), form.Values{"botname": {"b"}, "invitelist": {"a.example"}}, nil},
		{"XEP-0004 3.3 lines of a text may be empty", x("submit", name+field("description", "1", "", "2")), form.Values{"botname": {"b"}, "description": {"1", "", "2"}}, nil},
		{"what a field claims to be of does not count", x("submit", name+"<field var='public' type='text-single'><value>maybe</value></field>"), nil, form.ErrValue},
		{"fixed fields, and what is not of forms", x("submit", name+"<field type='fixed'><value>x</value></field><y/><field xmlns='urn:x' var='botname'/>"), form.Values{"botname": {"b"}}, nil},
		{"XEP-0004 3.1 not submitted", x("form", name), nil, form.ErrForm},
		{"XEP-0004 3.1 cancelled", x("cancel", ""), nil, form.ErrForm},
		{"XEP-0068 3.1 another purpose", x("submit", field("FORM_TYPE", "jabber:cow")+field("botname", "b")), nil, form.ErrForm},
		{"XEP-0068 3.1 no purpose", x("submit", field("botname", "b")), nil, form.ErrForm},
		{"an unknown field", x("submit", name+field("cow", "1")), nil, form.ErrUnknown},
		{"an unknown field of a long name", x("submit", name+field(strings.Repeat("cow", 1000))), nil, form.ErrUnknown},
		{"XEP-0004 3.3 more than one value", x("submit", purpose+field("botname", "a", "b")), nil, form.ErrValue},
		{"XEP-0004 3.3 no boolean", x("submit", name+field("public", "yes")), nil, form.ErrValue},
		{"XEP-0004 3.3 no address", x("submit", name+field("owner", "@")), nil, form.ErrValue},
		{"XEP-0004 3.3 one that is none among addresses", x("submit", name+field("invitelist", "a.example", "a@b@c")), nil, form.ErrValue},
		{"XEP-0004 3.3 not in the list", x("submit", name+field("features", "news", "weather")), nil, form.ErrValue},
		{"XEP-0004 3.2 what is required is missing", x("submit", purpose), nil, form.ErrValue},
	} {
		got, err := form.Read(parse(t, c.xml), &bot)
		if !errors.Is(err, c.err) || c.err == nil && err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("%s: an error of %d bytes", c.name, len(err.Error()))
		}
	}
}

func TestValues(t *testing.T) {
	v := form.Values{"a": {"1", "2"}, "t": {"true"}, "f": {"0"}}
	if v.Get("a") != "1" || v.Get("b") != "" {
		t.Error(v.Get("a"), v.Get("b"))
	}
	for name, want := range map[string][2]bool{"a": {true, true}, "t": {true, true}, "f": {false, true}, "b": {false, false}} {
		if value, given := v.Bool(name); [2]bool{value, given} != want {
			t.Errorf("%s: %v, %v", name, value, given)
		}
	}
}

// What is parsed is written so that it is parsed as the same, and reading never
// panics.
func FuzzParse(f *testing.F) {
	f.Add(string(bot.Element().Append(nil, "")))
	f.Add(x("submit", field("FORM_TYPE", "jabber:bot")+field("botname", "b")+field("features", "news", "")))
	f.Add(x("result", "<reported/><item>"+field("a", "b")+"</item><field type='fixed'/>"))
	f.Add(x("form", "<field var='v'><option/><validate xmlns='http://jabber.org/protocol/xdata-validate'><open/></validate></field>"))
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := stanza.ParseElement(xml, "")
		if err != nil {
			return
		}
		got, err := form.Parse(e)
		if err != nil {
			if !errors.Is(err, form.ErrForm) {
				t.Error(err)
			}
			return
		}
		again, err := form.Parse(parse(t, string(got.Element().Append(nil, ""))))
		if err != nil || !reflect.DeepEqual(got, again) {
			t.Errorf("%+v became %+v, %v", got, again, err)
		}
		values, err := form.Read(e, &bot)
		if (err == nil) != (values != nil) {
			t.Errorf("%v, %v", values, err)
		}
	})
}
