package caps

import (
	"crypto"
	"errors"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

const (
	simple = `<identity category='client' name='Exodus 0.9.1' type='pc'/>
		<feature var='http://jabber.org/protocol/caps'/>
		<feature var='http://jabber.org/protocol/disco#info'/>
		<feature var='http://jabber.org/protocol/disco#items'/>
		<feature var='http://jabber.org/protocol/muc'/>`
	simpleVer = "QgayPKawpkPSDYmwT/WM94uAlu0="

	languages = `<identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>
		<identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>`
	features = `<feature var='http://jabber.org/protocol/caps'/>
		<feature var='http://jabber.org/protocol/disco#info'/>
		<feature var='http://jabber.org/protocol/disco#items'/>
		<feature var='http://jabber.org/protocol/muc'/>`
	software = `<x xmlns='jabber:x:data' type='result'>
		<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
		<field var='ip_version' type='text-multi'><value>ipv4</value><value>ipv6</value></field>
		<field var='os'><value>Mac</value></field>
		<field var='os_version'><value>10.5.1</value></field>
		<field var='software'><value>Psi</value></field>
		<field var='software_version'><value>0.11</value></field>
	</x>`
	complexVer = "q07IKJEyjvHSyhy//CH0CxmKi8w="
)

func query(t testing.TB, content string) *stanza.Element {
	t.Helper()
	st, err := xmlstream.ParseStanza([]byte("<iq type='result' id='1'><query xmlns='http://jabber.org/protocol/disco#info'>"+content+"</query></iq>"), xmpp.NSClient, xmlstream.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return st.Find(nsInfo, "query")
}

func parse(t testing.TB, content string) *Answer {
	t.Helper()
	a, err := Parse(query(t, content))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func fieldXML(name string, values ...string) string {
	typ := ""
	if name == "FORM_TYPE" {
		typ = " type='hidden'"
	}
	return "<field var='" + name + "'" + typ + "><value>" + strings.Join(values, "</value><value>") + "</value></field>"
}

func formXML(fields ...string) string {
	return "<x xmlns='jabber:x:data' type='result'>" + strings.Join(fields, "") + "</x>"
}

func TestVectors(t *testing.T) {
	for _, row := range []struct{ rule, content, want string }{
		{"XEP-0115 5.2", simple, simpleVer},
		{"XEP-0115 5.3", languages + features + software, complexVer},
		{"XEP-0115 5.3, the other way round", software + features + languages, complexVer},
	} {
		if got := parse(t, row.content).Ver(crypto.SHA1); got != row.want {
			t.Errorf("%s: %s, want %s", row.rule, got, row.want)
		}
	}
}

// The string of 5.1 before it is hashed.
func TestString(t *testing.T) {
	const id = "<identity category='c' type='t'/>"
	for _, row := range []struct{ rule, content, want string }{
		{"XEP-0115 5.1 step 3: each slash is there", id, "c/t//<"},
		{"XEP-0115 5.1 step 2: by category, type, language", `<identity category='b' type='a'/><identity category='a-' type='a'/><identity category='a' type='b'/>
			<identity category='a' type='a' xml:lang='en'/><identity category='a' type='a'/><identity category='a' type='a' xml:lang='de' name='/'/>`,
			"a/a//<a/a/de//<a/a/en/<a/b//<a-/a//<b/a//<"},
		{"XEP-0115 5.1: i;octet", id + "<feature var='b'/><feature var='B'/><feature var='ä'/><feature var='a'/><feature var='a#'/><feature var='\uff5e'/><feature var='\U0001F339'/>",
			"c/t//<B<a<a#<b<ä<\uff5e<\U0001F339<"},
		{"XEP-0115 5.1 step 6: forms by FORM_TYPE", id + formXML(fieldXML("FORM_TYPE", "z")) + formXML(fieldXML("x", "1"), fieldXML("FORM_TYPE", "y")), "c/t//<y<x<1<z<"},
		{"XEP-0115 5.1 step 7: fields by var, values sorted", id + formXML(fieldXML("b", "2", "1"), fieldXML("a"), fieldXML("FORM_TYPE", "f"), fieldXML("b", "0")), "c/t//<f<a<<b<1<2<b<0<"},
		{"XEP-0115 5.1 step 7: a field without values", id + formXML("<field var='b'/>", fieldXML("FORM_TYPE", "f")), "c/t//<f<b<"},
		{"XEP-0115 9.2: a '<' stays &lt;", "<identity category='c' type='t' name='SomeClient&lt;http://jabber.org/protocol/muc'/>", "c/t//SomeClient&lt;http://jabber.org/protocol/muc<"},
		{"XEP-0115 9.2: in features and forms, too", id + "<feature var='a&lt;b&amp;lt;c'/>" + formXML(fieldXML("FORM_TYPE", "&lt;"), fieldXML("&lt;&lt;", "x&lt;")), "c/t//<a&lt;b&lt;c<&lt;<&lt;&lt;<x&lt;<"},
		{"XEP-0115 5.4 step 3.6: a form without a hidden FORM_TYPE is ignored", id + formXML(fieldXML("x", "1")) + formXML("<field var='FORM_TYPE'><value>f</value></field>") +
			formXML("<field var='FORM_TYPE' type='hidden'/>") + formXML(), "c/t//<"},
		{"XEP-0115 5.4 step 3.5: the same type twice in one field is one", id + formXML(fieldXML("FORM_TYPE", "f", "f")), "c/t//<f<"},
		{"other payloads are nobody's affair", id + "<feature xmlns='urn:x' var='f'/><x xmlns='urn:x'/>text", "c/t//<"},
	} {
		if got := string(parse(t, row.content).appendTo(nil)); got != row.want {
			t.Errorf("%s:\ngot  %s\nwant %s", row.rule, got, row.want)
		}
	}
}

func TestIllFormed(t *testing.T) {
	const id, feature = "<identity category='c' type='t' name='n'/>", "<feature var='f'/>"
	for _, row := range []struct {
		rule, content string
		want          error
	}{
		{"XEP-0115 5.4 step 3.3", id + id, errIdentities},
		{"XEP-0115 5.4 step 3.3", id + "<identity category='a' type='t'/><identity category='x' type='t'/>" + id, errIdentities},
		{"XEP-0115 5.4 step 3.4", id + feature + "<feature var='g'/>" + feature, errFeatures},
		{"XEP-0115 5.4 step 3.5", id + formXML(fieldXML("FORM_TYPE", "f")) + formXML(fieldXML("FORM_TYPE", "f"), fieldXML("x", "1")), errForms},
		{"XEP-0115 5.4 step 3.5", id + formXML(fieldXML("FORM_TYPE", "f", "g")), errForms},
		{"XEP-0115 5.4 step 3.5", id + formXML(fieldXML("FORM_TYPE", "f"), fieldXML("FORM_TYPE", "g")), errForms},
		{"XEP-0030 3.1", "<identity category='c'/>", errIncomplete},
		{"XEP-0030 3.1", "<identity category='http:' type='' name='x'/>", errIncomplete},
		{"XEP-0030 3.1", id + "<feature/>", errIncomplete},
	} {
		if _, err := Parse(query(t, row.content)); !errors.Is(err, row.want) {
			t.Errorf("%s: %s: %v, want %v", row.rule, row.content, err, row.want)
		}
	}
	for _, e := range []*stanza.Element{nil, stanza.El("", "query"), stanza.El(nsInfo, "x")} {
		if _, err := Parse(e); !errors.Is(err, errNone) {
			t.Errorf("%v: %v", e, err)
		}
	}
	different := parse(t, id+"<identity category='c' type='t' xml:lang='en' name='n'/><identity category='c' type='t' name='m'/>")
	if len(different.identities) != 3 {
		t.Errorf("identities that differ are all there: %v", different.identities)
	}
}

// XEP-0115 9.3: the last features of an honest answer make a form, and the
// string is the same. Such an answer is never shared.
func TestAmbiguous(t *testing.T) {
	honest := parse(t, simple)
	for _, content := range []string{
		strings.Replace(simple, "<feature var='http://jabber.org/protocol/muc'/>", formXML(fieldXML("FORM_TYPE", "http://jabber.org/protocol/muc")), 1),
		simple[:strings.Index(simple, "<feature")] + formXML(fieldXML("FORM_TYPE", "http://jabber.org/protocol/caps"),
			fieldXML("http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items", "http://jabber.org/protocol/muc")),
	} {
		liar := parse(t, content)
		if liar.Ver(crypto.SHA1) != honest.Ver(crypto.SHA1) {
			t.Fatalf("the test is wrong: %s", liar.appendTo(nil))
		}
		if !liar.ambiguous() {
			t.Errorf("shared: %s", content)
		}
	}
	if honest.ambiguous() || parse(t, simple+"<feature var='urn:xmpp:time'/>"+software).ambiguous() {
		t.Error("an answer with one reading is shared")
	}
}

func TestC(t *testing.T) {
	const long = "01234567890123456789012345678901234567890123456789"
	for _, row := range []struct {
		rule, c string
		want    C
		ok      bool
	}{
		{"XEP-0115 4", "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://code.google.com/p/exodus' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>",
			C{"sha-1", "http://code.google.com/p/exodus", simpleVer}, true},
		{"XEP-0115 5.4 step 2: a hash that is not known here", "<c xmlns='http://jabber.org/protocol/caps' hash='md5' node='n' ver='v'/>", C{"md5", "n", "v"}, true},
		{"XEP-0115 13: the format of before", "<c xmlns='http://jabber.org/protocol/caps' node='n' ver='0.9' ext='a b'/>", C{}, false},
		{"XEP-0115 4: node is required", "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>", C{}, false},
		{"XEP-0115 4: ver is required", "<c xmlns='http://jabber.org/protocol/caps' hash='md5' node='n'/>", C{}, false},
		{"no hash has this length", "<c xmlns='http://jabber.org/protocol/caps' hash='sha-256' node='n' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>", C{}, false},
		{"bounds", "<c xmlns='http://jabber.org/protocol/caps' hash='" + long + "' node='n' ver='v'/>", C{}, false},
		{"bounds", "<c xmlns='http://jabber.org/protocol/caps' hash='x' node='n' ver='" + strings.Repeat(long, 6) + "'/>", C{}, false},
		{"bounds", "<c xmlns='http://jabber.org/protocol/caps' hash='x' node='" + strings.Repeat(long, 21) + "' ver='v'/>", C{}, false},
		{"another element", "<c xmlns='urn:x' hash='sha-1' node='n' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>", C{}, false},
		{"none", "", C{}, false},
	} {
		st, err := xmlstream.ParseStanza([]byte("<presence>"+row.c+"</presence>"), xmpp.NSClient, xmlstream.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		got, ok := read(Of(st))
		if ok != row.ok || ok && got != row.want {
			t.Errorf("%s: %s: %v, %v", row.rule, row.c, got, ok)
		}
	}
	c := C{"sha-1", "http://psi-im.org", complexVer}
	if c.Query() != "http://psi-im.org#q07IKJEyjvHSyhy//CH0CxmKi8w=" { // 6.2
		t.Error(c.Query())
	}
}
