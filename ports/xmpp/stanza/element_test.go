package stanza_test

import (
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func TestElementLookup(t *testing.T) {
	e := stanza.El("urn:a", "a", stanza.Attr{Space: "urn:z", Local: "k", Value: "other"}, stanza.At("k", "v")).
		WithText("one ").
		Add(stanza.El("urn:a", "b"), nil, stanza.El("urn:b", "b"), stanza.El("", "c")).
		WithText("").WithText("two")
	if got := e.Attr("k"); got != "v" {
		t.Errorf("Attr: %q", got)
	}
	if got := e.Attr("none"); got != "" {
		t.Errorf("Attr: %q", got)
	}
	if got := e.Text(); got != "one two" {
		t.Errorf("Text: %q", got)
	}
	if got := e.Elements(); len(got) != 3 || got[2].Local != "c" {
		t.Errorf("Elements: %v", got)
	}
	if got := e.Child("", "b"); got == nil || got.Space != "urn:a" {
		t.Errorf("own namespace: %+v", got)
	}
	if got := e.Child("urn:b", ""); got == nil || got.Local != "b" {
		t.Errorf("any name: %+v", got)
	}
	if got := e.Child("urn:b", "c"); got != nil {
		t.Errorf("wrong name: %+v", got)
	}
	if got := stanza.El("", "a").Add(stanza.El("", "b")).Text(); got != "" {
		t.Errorf("text of an element with a child: %q", got)
	}
}

func TestElementAppend(t *testing.T) {
	client := stanza.El(xmpp.NSClient, "message").Add(stanza.El("", "body"), stanza.El(xmpp.NSClient, "thread"))
	x, y := stanza.Attr{Space: "urn:x", Local: "q", Value: "1"}, stanza.Attr{Space: "urn:y", Local: "q", Value: "2"}
	tests := []struct {
		name  string
		e     *stanza.Element
		scope string
		want  string
	}{
		{"content namespace is inherited", stanza.El("", "body").Add(stanza.El("", "x")), "", "<body><x/></body>"},
		{"content namespace by name", client, "", "<message><body/><thread/></message>"},
		{"jabber:server is the content namespace too", stanza.El(xmpp.NSServer, "a"), "", "<a/>"},
		{"foreign namespace declares once", stanza.El("urn:a", "a").Add(stanza.El("urn:a", "b")), "", "<a xmlns='urn:a'><b/></a>"},
		{"no need to declare in its own scope", stanza.El("urn:a", "a"), "urn:a", "<a/>"},
		{"namespace changes and comes back",
			stanza.El("urn:a", "a").Add(stanza.El("urn:b", "b").Add(stanza.El("urn:a", "c")), stanza.El("urn:a", "d")), "",
			"<a xmlns='urn:a'><b xmlns='urn:b'><c xmlns='urn:a'/></b><d/></a>"},
		{"content namespace inside a foreign one (XEP-0297)", stanza.El("urn:xmpp:forward:0", "forwarded").Add(client), "",
			"<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body/><thread/></message></forwarded>"},
		{"jabber:server inside a foreign one stays", stanza.El(xmpp.NSServer, "a"), "urn:a", "<a xmlns='jabber:server'/>"},
		{"jabber:server inside jabber:client", stanza.El(xmpp.NSServer, "a"), xmpp.NSClient, "<a xmlns='jabber:server'/>"},
		{"no namespace", stanza.El(stanza.NoSpace, "a").Add(stanza.El(stanza.NoSpace, "b"), stanza.El("", "c")), "",
			"<a xmlns=''><b/><c xmlns='jabber:client'/></a>"},
		{"namespace is escaped", stanza.El("u'&", "a"), "", "<a xmlns='u&apos;&amp;'/>"},
		{"xml:lang", stanza.El("", "a", stanza.Attr{Space: xmpp.NSXML, Local: "lang", Value: "de"}), "", "<a xml:lang='de'/>"},
		{"attributes in namespaces", stanza.El("", "a", stanza.At("p", "1"), stanza.Attr{Space: "urn:x", Local: "q", Value: "2"},
			stanza.Attr{Space: "urn:y", Local: "q", Value: "3"}, stanza.Attr{Space: "urn:x", Local: "r", Value: "4"}), "",
			"<a p='1' xmlns:n0='urn:x' n0:q='2' xmlns:n1='urn:y' n1:q='3' n0:r='4'/>"},
		{"a prefix is declared once for all inside, and again beside", stanza.El("", "a").Add(
			stanza.El("", "b", x).Add(stanza.El("", "c", x, y).Add(stanza.El("", "d", y, x)), stanza.El("", "e", y)), stanza.El("", "f", y)), "",
			"<a><b xmlns:n0='urn:x' n0:q='1'><c n0:q='1' xmlns:n1='urn:y' n1:q='2'><d n1:q='2' n0:q='1'/></c><e xmlns:n1='urn:y' n1:q='2'/></b><f xmlns:n0='urn:y' n0:q='2'/></a>"},
		{"text and children in order", stanza.El("", "a").WithText("<1>").Add(stanza.El("", "b")).WithText("&2"), "", "<a>&lt;1&gt;<b/>&amp;2</a>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := string(tt.e.Append(nil, tt.scope))
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			roundTrip(t, tt.e, tt.scope)
		})
	}
}

func TestEscapes(t *testing.T) {
	tests := []struct{ name, in, text, attr string }{
		{"nothing to do", "plain text ü \U0001F600", "plain text ü \U0001F600", "plain text ü \U0001F600"},
		{"empty", "", "", ""},
		{"markup", `<a b="c">&'`, `&lt;a b="c"&gt;&amp;'`, `&lt;a b=&quot;c&quot;&gt;&amp;&apos;`},
		{"XML 1.0 2.4 end of CDATA", "]]>", "]]&gt;", "]]&gt;"},
		{"XML 1.0 2.11, 3.3.3 white space", "a\tb\nc\rd", "a\tb\nc&#xD;d", "a&#x9;b&#xA;c&#xD;d"},
		{"XML 1.0 2.2 control characters", "\x00a\x1f\x7f", "\uFFFDa\uFFFD\x7f", "\uFFFDa\uFFFD\x7f"},
		{"XML 1.0 2.2 noncharacters", "\uFFFEa\uFFFF", "\uFFFDa\uFFFD", "\uFFFDa\uFFFD"},
		{"U+FFFD itself", "\uFFFD", "\uFFFD", "\uFFFD"},
		{"RFC 6120 11.6 not UTF-8", "a\xffb\xc3", "a\uFFFDb\uFFFD", "a\uFFFDb\uFFFD"},
		{"surrogate", "\xed\xa0\x80", strings.Repeat("\uFFFD", 3), strings.Repeat("\uFFFD", 3)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(stanza.AppendText([]byte("x"), tt.in)); got != "x"+tt.text {
				t.Errorf("text %q, want %q", got, tt.text)
			}
			if got := string(stanza.AppendAttr([]byte("x"), tt.in)); got != "x"+tt.attr {
				t.Errorf("attribute %q, want %q", got, tt.attr)
			}
		})
	}
}

func TestParseElement(t *testing.T) {
	el, at := stanza.El, stanza.At
	tests := []struct {
		name, in, scope string
		want            *stanza.Element
	}{
		{"empty element", "<a/>", "", el("", "a")},
		{"white space around and in tags", " \n<a  b = 'c'\t></a >\r\n", "", el("", "a", at("b", "c"))},
		{"content namespace is inherited", "<body>x<b/></body>", "", el("", "body").WithText("x").Add(el("", "b"))},
		{"scope is inherited", "<a><b/></a>", "urn:s", el("urn:s", "a").Add(el("urn:s", "b"))},
		{"explicit jabber:client (XEP-0297)", "<f xmlns='urn:f'><message xmlns='jabber:client'><body/></message></f>", "",
			el("urn:f", "f").Add(el(xmpp.NSClient, "message").Add(el(xmpp.NSClient, "body")))},
		{"explicit jabber:client at content level", "<a xmlns='jabber:client'/>", "", el(xmpp.NSClient, "a")},
		{"no namespace", "<a xmlns='urn:a'><b xmlns=''><c/></b></a>", "",
			el("urn:a", "a").Add(el(stanza.NoSpace, "b").Add(el(stanza.NoSpace, "c")))},
		{"prefixes", "<p:a xmlns:p='urn:p' p:x='1' x='2'><b/><p:c xmlns:p='urn:q'><p:d/></p:c><p:e/></p:a>", "",
			el("urn:p", "a", stanza.Attr{Space: "urn:p", Local: "x", Value: "1"}, at("x", "2")).
				Add(el("", "b"), el("urn:q", "c").Add(el("urn:q", "d")), el("urn:p", "e"))},
		{"declared after its use in the same tag", "<a p:x='1' xmlns:p='urn:p'/>", "", el("", "a", stanza.Attr{Space: "urn:p", Local: "x", Value: "1"})},
		{"xml:lang without declaration", "<a xml:lang='de'/>", "", el("", "a", stanza.Attr{Space: xmpp.NSXML, Local: "lang", Value: "de"})},
		{"xml declared as it is", "<a xmlns:xml='" + xmpp.NSXML + "' xml:lang='de'/>", "", el("", "a", stanza.Attr{Space: xmpp.NSXML, Local: "lang", Value: "de"})},
		{"RFC 6120 11.1 predefined entities", `<a b="&lt;&quot;&apos;">&amp;&gt;</a>`, "", el("", "a", at("b", `<"'`)).WithText("&>")},
		{"XML 1.0 4.1 character references", "<a b='&#xA;&#10;&#9;'>&#x1F600;&#000065;</a>", "", el("", "a", at("b", "\n\n\t")).WithText("\U0001F600A")},
		{"XML 1.0 2.7 CDATA", "<a>x<![CDATA[<&]]y>]]>z<![CDATA[]]></a>", "", el("", "a").WithText("x<&]]y>z")},
		{"XML 1.0 2.11 line ends", "<a>1\r\n2\r3\n4<![CDATA[\r\n]]></a>", "", el("", "a").WithText("1\n2\n3\n4\n")},
		{"XML 1.0 3.3.3 attribute values", "<a b='1\r\n2\r3\n4\t5 6'/>", "", el("", "a", at("b", "1 2 3 4 5 6"))},
		{"other quotes", `<a b="it's" c='"'/>`, "", el("", "a", at("b", "it's"), at("c", `"`))},
		{"names beyond ASCII", "<äé·1 ñ.-_:ö='1' xmlns:ñ.-_='u'/>", "", el("", "äé·1", stanza.Attr{Space: "u", Local: "ö", Value: "1"})},
		{"text beyond ASCII", "<a>ü\r€&#x20AC;</a>", "", el("", "a").WithText("ü\n€€")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := stanza.ParseElement(tt.in, tt.scope)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got.Append(nil, tt.scope), tt.want.Append(nil, tt.scope))
			}
			roundTrip(t, got, tt.scope)
		})
	}
}

func TestParseElementRefuses(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("<a>", n) + strings.Repeat("</a>", n) }
	if _, err := stanza.ParseElement(deep(512), ""); err != nil {
		t.Errorf("512 levels: %v", err)
	}
	attrs := func(n int, name string) (s string) {
		for i := range n {
			s += " " + name + strconv.Itoa(i) + "='u'"
		}
		return s
	}
	if _, err := stanza.ParseElement("<a"+attrs(256, "a")+"/>", ""); err != nil {
		t.Errorf("256 attributes: %v", err)
	}
	tests := []struct{ name, in string }{
		{"nothing", ""},
		{"white space alone", " \n"},
		{"text alone", "a"},
		{"text before", "x<a/>"},
		{"text behind", "<a/>x"},
		{"two elements", "<a/><b/>"},
		{"no end", "<a>"},
		{"no end of the tag", "<a"},
		{"half an end tag", "<a></a"},
		{"another end tag", "<a></b>"},
		{"an end tag that goes on", "<a></ab>"},
		{"another prefix, same namespace", "<p:a xmlns:p='u' xmlns:q='u'></q:a>"},
		{"no name", "< a/>"},
		{"a name that starts with a digit", "<1a/>"},
		{"a name that starts with a colon", "<:a/>"},
		{"a name that ends with a colon", "<a:/>"},
		{"a name with two colons", "<a:b:c xmlns:a='u'/>"},
		{"a name that is no name beyond ASCII", "<\u00D7/>"},
		{"attribute without value", "<a b/>"},
		{"attribute without quotes", "<a b=c/>"},
		{"attribute without end", "<a b='c/>"},
		{"attribute at the end of the input", "<a b="},
		{"attributes without space between", "<a b='1'c='2'/>"},
		{"attribute twice", "<a b='1' b='2'/>"},
		{"attribute twice by namespace", "<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>"},
		{"< in an attribute", "<a b='<'/>"},
		{"prefix not declared", "<p:a/>"},
		{"prefix of an attribute not declared", "<a p:b='1'/>"},
		{"prefix of a sibling", "<a><b xmlns:p='u'/><p:c/></a>"},
		{"prefix without namespace", "<a xmlns:p=''/>"},
		{"prefix xmlns", "<a xmlns:xmlns='u'/>"},
		{"xml bound to something else", "<a xmlns:xml='u'/>"},
		{"something else bound to xml", "<a xmlns:p='" + xmpp.NSXML + "'/>"},
		{"RFC 6120 11.1 comment", "<a><!-- x --></a>"},
		{"RFC 6120 11.1 processing instruction", "<a><?x y?></a>"},
		{"RFC 6120 11.1 DTD", "<!DOCTYPE a><a/>"},
		{"RFC 6120 11.1 entity of a DTD", "<a>&x;</a>"},
		{"reference without end", "<a>&amp</a>"},
		{"empty reference", "<a>&;</a>"},
		{"reference without digits", "<a>&#;</a>"},
		{"reference to NUL", "<a>&#0;</a>"},
		{"reference to a surrogate", "<a>&#xD800;</a>"},
		{"reference beyond Unicode", "<a>&#x110000;</a>"},
		{"reference with sign", "<a>&#+65;</a>"},
		{"very long reference", "<a>&#" + strings.Repeat("0", 1000) + "65;</a>"},
		{"control character", "<a>\x01</a>"},
		{"control character in CDATA", "<a><![CDATA[\x01]]></a>"},
		{"CDATA without end", "<a><![CDATA[x</a>"},
		{"noncharacter", "<a b='\uFFFF'/>"},
		{"not UTF-8", "<a>\xff</a>"},
		{"513 levels", deep(513)},
		{"a hundred thousand levels", strings.Repeat("<a>", 100_000)},
		{"257 attributes", "<a" + attrs(257, "a") + "/>"},
		{"600 prefixes", "<a" + attrs(200, "xmlns:a") + "><b" + attrs(200, "xmlns:b") + "><c" + attrs(200, "xmlns:c") + "/></b></a>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := stanza.ParseElement(tt.in, "")
			if !errors.Is(err, stanza.ErrSyntax) || e != nil {
				t.Errorf("%.60q: %+v, %v", tt.in, e, err)
			}
		})
	}
}

// What ParseElement takes at its bounds, it takes again when Append has written
// it: prefixes in force are used again, not declared anew at each level.
func TestRoundTripAtTheBounds(t *testing.T) {
	declare := func(from, to int) (s string) {
		for i := from; i < to; i++ {
			s += " xmlns:p" + strconv.Itoa(i) + "='urn:" + strconv.Itoa(i) + "'"
		}
		return s
	}
	use := func(from, to int) (s string) {
		for i := from; i < to; i++ {
			s += " p" + strconv.Itoa(i) + ":a=''"
		}
		return s
	}
	tests := []struct{ name, in string }{
		{"512 prefixes, 256 attributes with each its own", "<a" + declare(0, 512) + "><b" + use(0, 256) + "/><c" + use(256, 512) + "><d" + use(0, 256) + "/></c></a>"},
		{"30 prefixes used at each of 512 levels", "<a" + declare(0, 30) + ">" + strings.Repeat("<a"+use(0, 30)+">", 511) + strings.Repeat("</a>", 512)},
		{"prefixes declared at each of 512 levels", strings.Repeat("<a xmlns:p0='urn:0' p0:a=''>", 512) + strings.Repeat("</a>", 512)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := stanza.ParseElement(tt.in, "")
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, e, "")
			if n := len(e.Append(nil, "")); n > 2*len(tt.in) {
				t.Errorf("%d bytes became %d", len(tt.in), n)
			}
		})
	}
}

// roundTrip checks that e written and read again is e, and that encoding/xml
// reads the same names and text.
func roundTrip(t *testing.T, e *stanza.Element, scope string) {
	t.Helper()
	b := string(e.Append(nil, scope))
	got, err := stanza.ParseElement(b, scope)
	if err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	if want := readBack(e, scope); !reflect.DeepEqual(got, want) {
		t.Fatalf("round trip of %s:\n%#v\nwant\n%#v", b, got, want)
	}
	d := xml.NewDecoder(strings.NewReader(b))
	var text strings.Builder
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("encoding/xml refuses %s: %v", b, err)
		}
		if c, ok := token.(xml.CharData); ok {
			text.Write(c)
		}
	}
	if want := allText(e); text.String() != want {
		t.Fatalf("encoding/xml reads %q, want %q", &text, want)
	}
}

func allText(e *stanza.Element) string {
	var b strings.Builder
	for _, n := range e.Nodes {
		b.WriteString(n.Text)
		if n.Element != nil {
			b.WriteString(allText(n.Element))
		}
	}
	return b.String()
}

// readBack is e as the documentation of Element says that it comes back: with
// the name of the content namespace that fits its place.
func readBack(e *stanza.Element, scope string) *stanza.Element {
	content := func(s string) bool { return s == "" || s == xmpp.NSClient || s == xmpp.NSServer }
	out := &stanza.Element{Space: e.Space, Local: e.Local, Attrs: e.Attrs}
	switch {
	case scope == "" && content(e.Space):
		out.Space = ""
	case e.Space == "" && scope == xmpp.NSServer:
		out.Space = xmpp.NSServer
	case e.Space == "":
		out.Space = xmpp.NSClient
	}
	for _, n := range e.Nodes {
		if n.Element != nil {
			n.Element = readBack(n.Element, out.Space)
		}
		out.Nodes = append(out.Nodes, n)
	}
	return out
}

func FuzzParseElement(f *testing.F) {
	for _, s := range []string{
		"<a/>", "<a b='c'>d<e xmlns='f'/></a>", "<p:a xmlns:p='u' p:b='&#xA;'><![CDATA[x]]>&amp;</p:a>", "<a xmlns=''/>",
		"<a xmlns='jabber:client'><b xmlns='urn:x'><c xmlns='jabber:server'/></b></a>", "<a\r\n>\r\r\n</a>", "<a><!-- --></a>",
		"<\u00e9:\u00e9 xmlns:\u00e9='\u00e9'>\U0001F600</\u00e9:\u00e9>", "<a xml:lang='en' b=\"'\">]]&gt;</a>",
		strings.Repeat("<a>", 300), "<a xmlns:p='u' xmlns:q='v'><b p:c='' q:c=''><d q:c=''/></b><e q:c='' p:c=''/></a>", "<a>&#x10FFFF;&#55296;</a>", "<a xmlns:n0='u' n0:a='1' b='2'/>",
	} {
		f.Add(s, "")
		f.Add(s, "urn:scope")
	}
	f.Fuzz(func(t *testing.T, s, scope string) {
		e, err := stanza.ParseElement(s, scope)
		if err != nil {
			if !errors.Is(err, stanza.ErrSyntax) || e != nil {
				t.Fatalf("%+v, %v", e, err)
			}
			return
		}
		b := string(e.Append(nil, scope))
		if !utf8.ValidString(b) {
			t.Fatalf("%q became %q", s, b)
		}
		got, err := stanza.ParseElement(b, scope)
		if err != nil {
			t.Fatalf("%q became %q: %v", s, b, err)
		}
		if want := readBack(e, scope); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q became %q: %#v, want %#v", s, b, got, want)
		}
	})
}

// FuzzTree builds trees out of bytes and checks the round trip.
func FuzzTree(f *testing.F) {
	for _, s := range []string{"", "0123456789", "\x00\x01\x02\x03\x04\x05\x06\x07", "eEtaTxAbBcC\xff\xfe", "\x07\x07\x07\x06\x06\x05\x05\x04\x04\x03"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		next := func(n int) int {
			if len(data) == 0 {
				return 0
			}
			c := int(data[0])
			data = data[1:]
			return c % n
		}
		spaces := []string{"", xmpp.NSClient, xmpp.NSServer, stanza.NoSpace, "urn:a", "urn:b", "u'\"&<>\t"}
		texts := []string{"a", "<&>'\"", "\r\n\t", "\u00fc\U0001F600", "]]>", "&amp;"}
		var build func(depth int) *stanza.Element
		build = func(depth int) *stanza.Element {
			e := stanza.El(spaces[next(len(spaces))], []string{"a", "b", "\u00e9-1"}[next(3)])
			for i := range next(4) {
				space := []string{"", xmpp.NSXML, "urn:a", "urn:c"}[next(4)]
				e.Attrs = append(e.Attrs, stanza.Attr{Space: space, Local: "k" + strconv.Itoa(i), Value: texts[next(len(texts))]})
			}
			text := false
			for range next(4) {
				if next(2) == 0 && depth < 6 {
					e.Add(build(depth + 1))
					text = false
				} else if !text {
					e.WithText(texts[next(len(texts))])
					text = true
				}
			}
			return e
		}
		e := build(0)
		roundTrip(t, e, spaces[next(len(spaces))])
		s := stanza.New(stanza.Header{Kind: stanza.Message}, e, build(0))
		again := stanza.Raw(s.Header, "", s.Content(), nil)
		if !reflect.DeepEqual(s.Children(), again.Children()) {
			t.Fatalf("%s: New says %+v, a scan %+v", s.Content(), s.Children(), again.Children())
		}
	})
}

// FuzzScan compares the scan for children with the parser.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		"<a/>t<b xmlns='u'>x</b>", "<p:a xmlns:p='u' b='>'/><![CDATA[<]]><c/>", "<a><b/></a", "<!-- --><a/>", "<a></b></a>", "<a xmlns=''/>", "&amp;<a/>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, content string) {
		s := stanza.Raw(stanza.Header{Kind: stanza.Message}, "", content, nil)
		end := uint32(0)
		for _, c := range s.Children() {
			if c.Start < end || c.End <= c.Start || int(c.End) > len(content) {
				t.Fatalf("%q: %+v", content, s.Children())
			}
			end = c.End
			if e := s.Element(c); e.Space != c.Space || e.Local != c.Local {
				t.Fatalf("%q: %+v is %+v", content, c, e)
			}
		}
		all, err := stanza.ParseElement("<x>"+content+"</x>", "")
		if err != nil {
			return
		}
		list := all.Elements()
		if len(list) != len(s.Children()) {
			t.Fatalf("%q: %d children, the parser sees %d", content, len(s.Children()), len(list))
		}
		for i, c := range s.Children() {
			if !reflect.DeepEqual(s.Element(c), list[i]) {
				t.Fatalf("%q: child %d differs", content, i)
			}
		}
		for i := range list {
			p := s.Patch(func(c stanza.Child) bool { return c == s.Children()[i] })
			if len(p.Children()) != len(list)-1 {
				t.Fatalf("%q without child %d is %q", content, i, p.Content())
			}
		}
	})
}

func BenchmarkParseElement(b *testing.B) {
	in := string(benchStanza().Append(nil, juliet, ""))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := stanza.ParseElement(in, ""); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkElementAppend(b *testing.B) {
	roster := stanza.El("jabber:iq:roster", "query", stanza.At("ver", "14"))
	for i := range 40 {
		roster.Add(stanza.El("jabber:iq:roster", "item", stanza.At("jid", "contact-"+strconv.Itoa(i)+"@example.org"), stanza.At("subscription", "both")).
			Add(stanza.El("jabber:iq:roster", "group").WithText("Friends")))
	}
	prefixed := stanza.El("urn:a", "a")
	for range 10 {
		prefixed.Add(stanza.El("urn:a", "b", stanza.Attr{Space: "urn:x", Local: "c", Value: "1"}, stanza.Attr{Space: "urn:y", Local: "d", Value: "2"}))
	}
	for name, e := range map[string]*stanza.Element{
		"ping": stanza.El("urn:xmpp:ping", "ping"), "roster": roster, "attributes in namespaces": prefixed,
	} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 0, 16<<10)
			b.ReportAllocs()
			for b.Loop() {
				buf = e.Append(buf[:0], "")
			}
			b.ReportMetric(float64(len(buf)), "bytes")
		})
	}
}
