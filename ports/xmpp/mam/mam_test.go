package mam_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/mam"
	"github.com/hexmpp/hexmpp/ports/xmpp/rsm"
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

const formType = "<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>"

func query(attrs, fields, rest string) string {
	x := ""
	if fields != "" {
		x = "<x xmlns='jabber:x:data' type='submit'>" + fields + "</x>"
	}
	return "<query xmlns='urn:xmpp:mam:2'" + attrs + ">" + x + rest + "</query>"
}

func field(name string, values ...string) string {
	return "<field var='" + name + "'><value>" + strings.Join(values, "</value><value>") + "</value></field>"
}

func set(content string) string {
	return "<set xmlns='http://jabber.org/protocol/rsm'>" + content + "</set>"
}

func TestParseQuery(t *testing.T) {
	none := rsm.Request{Max: rsm.None, Index: rsm.None}
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		name, xml string
		want      mam.Query
	}{
		{"XEP-0313 4 example 2: everything", query(" queryid='f27'", "", ""), mam.Query{ID: "f27", Set: none}},
		{"XEP-0313 4.1 a form without fields", query("", formType, ""), mam.Query{Set: none}},
		{"XEP-0313 4.1.1 example 6: with", query("", formType+field("with", "JULIET@capulet.lit"), ""), mam.Query{With: jid.MustParse("juliet@capulet.lit"), Set: none}},
		{"XEP-0313 4.1.2 example 7: start and end", query("", formType+field("start", "2010-06-07T00:00:00Z")+field("end", "2010-07-07T13:23:54.5+01:00"), ""),
			mam.Query{Start: at("2010-06-07T00:00:00Z"), End: at("2010-07-07T12:23:54.5Z"), Set: none}},
		{"XEP-0313 4.1.2 the first moment of all is a bound, too", query("", formType+field("end", "0001-01-01T00:00:00Z"), ""), mam.Query{End: at("0001-01-01T00:00:00.000001Z"), Set: none}},
		{"XEP-0313 4.1.3 example 10: between two", query("", formType+field("after-id", "28482-98726-73623")+field("before-id", "09af3-cc343-b409f"), ""),
			mam.Query{AfterID: "28482-98726-73623", BeforeID: "09af3-cc343-b409f", Set: none}},
		{"XEP-0313 4.1.3 example 11: ids, each once", query("", formType+field("ids", "a", "b", "a"), ""), mam.Query{IDs: []string{"a", "b"}, Set: none}},
		{"XEP-0313 4.1.4 example 12: include-groupchat", query("", formType+field("include-groupchat", "true"), ""), mam.Query{Groupchat: true, GroupchatGiven: true, Set: none}},
		{"XEP-0313 4.1.4 example 13: without groupchat", query("", formType+field("include-groupchat", "0"), ""), mam.Query{GroupchatGiven: true, Set: none}},
		{"XEP-0313 4.3.1 example 18: a page", query("", "", set("<max>10</max>")), mam.Query{Set: rsm.Request{Max: 10, Index: rsm.None}}},
		{"XEP-0313 4.3.4 example 24: flipped", query("", "", set("<after>a</after>")+"<flip-page/>"), mam.Query{Flip: true, Set: rsm.Request{Max: rsm.None, Index: rsm.None, After: "a", HasAfter: true}}},
		{"XEP-0313 6.1.3 a node", query(" node='n'", "", ""), mam.Query{Node: "n", Set: none}},
		{"fields that are left empty", query("", formType+field("with", "")+field("start", "")+field("ids", ""), "<x xmlns='urn:x'/>"), mam.Query{Set: none}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := mam.ParseQuery(parse(t, c.xml))
			if err != nil {
				t.Fatal(err)
			}
			if !got.Start.Equal(c.want.Start) || !got.End.Equal(c.want.End) {
				t.Errorf("%v to %v", got.Start, got.End)
			}
			got.Start, got.End = c.want.Start, c.want.End
			if !reflect.DeepEqual(*got, c.want) {
				t.Errorf("got %+v, want %+v", *got, c.want)
			}
		})
	}
}

func TestParseQueryErrors(t *testing.T) {
	var many []string
	for i := range mam.MaxIDs + 1 {
		many = append(many, fmt.Sprint(i))
	}
	for _, c := range []struct {
		name, xml string
		want      stanza.Condition
	}{
		{"XEP-0313 4.1.5 an unknown field", query("", formType+field("{http://example.com/}free-text-search", "x"), ""), stanza.FeatureNotImplemented},
		{"XEP-0313 4.1.1 no address", query("", formType+field("with", "a@b@c"), ""), stanza.BadRequest},
		{"XEP-0313 4.1.1 two addresses", query("", formType+field("with", "a", "b"), ""), stanza.BadRequest},
		{"XEP-0313 4.1.2 no time", query("", formType+field("start", "yesterday"), ""), stanza.BadRequest},
		{"XEP-0313 4.1.2 a date without time", query("", formType+field("end", "2010-06-07"), ""), stanza.BadRequest},
		{"XEP-0082 3.2 a time without zone", query("", formType+field("end", "2010-06-07T00:00:00"), ""), stanza.BadRequest},
		{"XEP-0082 3.2 a comma", query("", formType+field("end", "2010-06-07T00:00:00,5Z"), ""), stanza.BadRequest},
		{"XEP-0313 4.1.4 neither true nor false", query("", formType+field("include-groupchat", "maybe"), ""), stanza.BadRequest},
		{"XEP-0313 4.1 no FORM_TYPE", query("", field("with", "a.example"), ""), stanza.BadRequest},
		{"XEP-0313 4.1 another FORM_TYPE", query("", field("FORM_TYPE", "urn:xmpp:mam:1"), ""), stanza.BadRequest},
		{"XEP-0313 4.1 a form that is not submitted", strings.Replace(query("", formType, ""), "submit", "form", 1), stanza.BadRequest},
		{"XEP-0059 2.1 a bad max", query("", "", set("<max>many</max>")), stanza.BadRequest},
		{"a long queryid", query(" queryid='"+strings.Repeat("q", mam.MaxID+1)+"'", "", ""), stanza.PolicyViolation},
		{"too many ids", query("", formType+field("ids", many...), ""), stanza.PolicyViolation},
	} {
		got, err := mam.ParseQuery(parse(t, c.xml))
		if got != nil || err == nil || err.Condition != c.want {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	if q, err := mam.ParseQuery(parse(t, query("", formType+field("ids", many[1:]...), ""))); err != nil || len(q.IDs) != mam.MaxIDs {
		t.Error(q, err)
	}
}

func TestForm(t *testing.T) {
	const want = "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='form'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>" +
		"<field var='with' type='jid-single'/><field var='start' type='text-single'/><field var='end' type='text-single'/>" +
		"<field var='before-id' type='text-single'/><field var='after-id' type='text-single'/>" +
		"<field var='ids' type='list-multi'><validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:string'><open/></validate></field>" +
		"<field var='include-groupchat' type='boolean'/></x></query>"
	if got := mam.Form(); !reflect.DeepEqual(got, parse(t, want)) {
		t.Errorf("%s", got.Append(nil, ""))
	}
}

func TestAnswers(t *testing.T) {
	at := time.Date(2010, 7, 10, 23, 8, 25, 123_456_000, time.UTC)
	result := mam.Result(stanza.Header{Kind: stanza.Message, To: jid.MustParse("juliet@capulet.lit/chamber")}, "f'27", "28482", "<message xmlns='jabber:client' from='witch@shakespeare.lit'><body>Hail</body></message>", at)
	const want = "<message xmlns='jabber:client' to='juliet@capulet.lit/chamber'><result xmlns='urn:xmpp:mam:2' id='28482' queryid='f&apos;27'><forwarded xmlns='urn:xmpp:forward:0'>" +
		"<delay xmlns='urn:xmpp:delay' stamp='2010-07-10T23:08:25.123Z'/><message xmlns='jabber:client' from='witch@shakespeare.lit'><body>Hail</body></message></forwarded></result></message>"
	if result.String() != want {
		t.Errorf("got\n%s\nwant\n%s", result, want)
	}
	if c, ok := result.Child(mam.NS, "result"); !ok || result.Element(c).Attr("id") != "28482" {
		t.Error("the result is no child")
	}
	for want, got := range map[string]*stanza.Element{
		"<fin xmlns='urn:xmpp:mam:2'>" + set("<first index='0'>a</first><last>b</last><count>20</count>") + "</fin>":                                         (&mam.Fin{Page: rsm.Page{First: "a", Last: "b", Count: 20}}).Element(),
		"<fin xmlns='urn:xmpp:mam:2' complete='true'>" + set("") + "</fin>":                                                                                  (&mam.Fin{Complete: true, Page: rsm.Page{Index: rsm.None, Count: rsm.None}}).Element(),
		"<metadata xmlns='urn:xmpp:mam:2'><start id='a' timestamp='2010-07-10T23:08:25.123Z'/><end id='b' timestamp='2010-07-10T23:08:25.123Z'/></metadata>": mam.Metadata(&mam.Entry{"a", at}, &mam.Entry{"b", at}),
		"<metadata xmlns='urn:xmpp:mam:2'/>":                          mam.Metadata(nil, nil),
		"<stanza-id xmlns='urn:xmpp:sid:0' by='a@b.example' id='x'/>": mam.StanzaID("a@b.example", "x"),
	} {
		if !reflect.DeepEqual(got, parse(t, want)) {
			t.Errorf("got %s, want %s", got.Append(nil, ""), want)
		}
	}
}

func TestIDs(t *testing.T) {
	secret := bytes.Repeat([]byte("s"), 32)
	ids, err := mam.NewIDs(secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mam.NewIDs(secret[1:]); err == nil {
		t.Error("a secret of 31 bytes")
	}
	other, err := mam.NewIDs(bytes.Repeat([]byte("o"), 32))
	if err != nil {
		t.Fatal(err)
	}
	if ids.Write(1)[:8] == ids.Write(2)[:8] {
		t.Error("IDs of messages that follow one another are alike")
	}
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.Uint64().Draw(t, "id")
		text := ids.Write(id)
		if back, ok := ids.Read(text); !ok || back != id || len(text) != 22 {
			t.Fatalf("%d is %q is %d, %v", id, text, back, ok)
		}
		if _, ok := other.Read(text); ok {
			t.Fatal("another secret reads it")
		}
		i := rapid.IntRange(0, 21).Draw(t, "place")
		if c := rapid.Byte().Draw(t, "byte"); c != text[i] {
			if _, ok := ids.Read(text[:i] + string(c) + text[i+1:]); ok {
				t.Fatal("it can be changed")
			}
		}
	})
	for _, text := range []string{"", "a", strings.Repeat("a", 22), strings.Repeat("a", 23), strings.Repeat("=", 22), strings.Repeat("\n", 22), ids.Write(1) + "\n"} {
		if id, ok := ids.Read(text); ok {
			t.Errorf("%q is %d", text, id)
		}
	}
}

func FuzzParseQuery(f *testing.F) {
	f.Add(query(" queryid='1' node='n'", formType+field("with", "a@b.example/c")+field("start", "2010-06-07T00:00:00Z"), set("<before/><max>0</max>")+"<flip-page/>"))
	f.Add(query("", formType+field("ids", "1", "2")+field("before-id", "3")+field("after-id", "4")+field("include-groupchat", "1")+field("end", "2010-06-07T00:00:00.123456789-23:59"), ""))
	f.Add(string(mam.Form().Append(nil, "")))
	ids, err := mam.NewIDs(make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := stanza.ParseElement(xml, "")
		if err != nil {
			return
		}
		q, wrong := mam.ParseQuery(e)
		if wrong != nil {
			switch wrong.Condition {
			case stanza.BadRequest, stanza.FeatureNotImplemented, stanza.PolicyViolation:
			default:
				t.Error(wrong)
			}
			if _, err := stanza.ParseElement(string(wrong.Element().Append(nil, "")), ""); err != nil {
				t.Error(err)
			}
			return
		}
		if len(q.IDs) > mam.MaxIDs {
			t.Errorf("%d IDs", len(q.IDs))
		}
		for _, id := range append(q.IDs, q.AfterID, q.BeforeID) {
			if n, ok := ids.Read(id); ok && ids.Write(n) != id {
				t.Errorf("%q is %d is %q", id, n, ids.Write(n))
			}
		}
	})
}
