package xmlstream

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// The canonical form of package stanza.
func TestCanonical(t *testing.T) {
	const free = `<stream xmlns='http://etherx.jabber.org/streams'>`
	const prefixed = `<stream:stream xmlns='jabber:client' xmlns:x='urn:x' xmlns:c='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`
	const bare = `<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns:c='jabber:client'>`
	const component = `<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'>`
	for _, c := range []struct {
		name, header, in, want string
	}{
		{"content is not touched", plainHeader,
			"<message>\n <body  xml:lang = \"de\">a&#65;<![CDATA[<]]></body >\t<x:y xmlns:x='u'/></message>",
			"<message>\n <body  xml:lang = \"de\">a&#65;<![CDATA[<]]></body >\t<x:y xmlns:x='u'/></message>"},
		{"RFC 6120 4.8.2 the stanza declares its namespace, its children inherit it", free,
			`<message xmlns='jabber:client'><body>a</body></message>`, `<message><body>a</body></message>`},
		{"RFC 6120 4.8.2 the same on a usual stream", plainHeader,
			`<message xmlns='jabber:client'><body>a</body></message>`, `<message><body>a</body></message>`},
		{"a child declares the content namespace", plainHeader,
			`<message><body xmlns='jabber:client'>a</body></message>`, `<message><body>a</body></message>`},
		{"a child declares the other content namespace", plainHeader,
			`<message><body xmlns='jabber:server'>a</body></message>`, `<message><body>a</body></message>`},
		{"a grandchild declares the content namespace", plainHeader,
			`<message><error type='cancel'><a xmlns='jabber:client'/><b xmlns='u'/></error></message>`,
			`<message><error type='cancel'><a/><b xmlns='u'/></error></message>`},
		{"RFC 6120 4.8.5 prefixed stanza and children", plainHeader,
			`<foo:message xmlns:foo='jabber:client'><foo:body>foo</foo:body></foo:message>`, `<message><body>foo</body></message>`},
		{"RFC 6120 4.8.5 only the stanza is prefixed", plainHeader,
			`<foo:message xmlns:foo='jabber:client'><body>foo</body></foo:message>`, `<message><body>foo</body></message>`},
		{"RFC 6120 4.8.5 prefix of the stream header for the content namespace", prefixed,
			`<c:message><c:body>a</c:body><body/></c:message>`, `<message><body>a</body><body/></message>`},
		{"RFC 6120 4.8.5 extension namespace declared in the stream header", prefixed,
			`<message><body>a &gt; b</body><x:a x:b='c' d="'"><x:e/></x:a></message>`,
			`<message><body>a &gt; b</body><a xmlns='urn:x' xmlns:n0='urn:x' n0:b='c' d='&apos;'><e/></a></message>`},
		{"extension attribute by a prefix of the stream header", prefixed,
			`<message><a xmlns='u' x:b='c'/></message>`, `<message><a xmlns='u' xmlns:n0='urn:x' n0:b='c'/></message>`},
		{"a prefix of the stream header that the child declares itself", prefixed,
			`<message><x:a xmlns:x='own'/></message>`, `<message><x:a xmlns:x='own'/></message>`},
		{"a prefix of the stream header on the stanza's attribute", prefixed,
			`<message x:b='c'><body/></message>`, `<message xmlns:x='urn:x' x:b='c'><body/></message>`},
		{"a prefix declared on the stanza", plainHeader,
			`<message xmlns:x='u'><x:a><x:b/></x:a></message>`, `<message><a xmlns='u'><b/></a></message>`},
		{"a prefix declared on the stanza, for an attribute", plainHeader,
			`<message xmlns:x='u'><body x:a='b'>t</body></message>`, `<message><body xmlns:n0='u' n0:a='b'>t</body></message>`},
		{"a prefix declared on the stanza and not used", plainHeader,
			`<message xmlns:x='u'><body>t</body></message>`, `<message><body>t</body></message>`},
		{"the stanza rebinds the default namespace", plainHeader,
			`<c:message xmlns:c='jabber:client' xmlns='u'><a/><c:body>b</c:body></c:message>`, `<message><a xmlns='u'/><body>b</body></message>`},
		{"the content namespace deep in another stays as it is", plainHeader,
			`<message><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>x</body></message></forwarded></message>`,
			`<message><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>x</body></message></forwarded></message>`},
		{"the same by a prefix", plainHeader,
			`<message><f:forwarded xmlns:f='u' xmlns:c='jabber:client'><c:message/></f:forwarded></message>`,
			`<message><f:forwarded xmlns:f='u' xmlns:c='jabber:client'><c:message/></f:forwarded></message>`},
		{"the content namespace inherited below another", plainHeader,
			`<message><f:forwarded xmlns:f='u'><message/></f:forwarded></message>`,
			`<message><forwarded xmlns='u'><message xmlns='jabber:client'/></forwarded></message>`},
		{"the content namespace inherited below the other one, below another", plainHeader,
			`<message><a xmlns:q='u'><q:b><s:c xmlns:s='jabber:server'><d/></s:c></q:b></a></message>`,
			`<message><a><b xmlns='u'><c xmlns='jabber:server'><d xmlns='jabber:client'/></c></b></a></message>`},
		{"no default namespace in the stream header", bare,
			`<c:message><c:body>a</c:body><b xmlns='u'/></c:message>`, `<message><body>a</body><b xmlns='u'/></message>`},
		{"a child in no namespace", plainHeader,
			`<message><body xmlns=''>a</body></message>`, `<message><body xmlns=''>a</body></message>`},
		{"a child in no namespace, because there is no default", bare,
			`<c:message><body>a</body></c:message>`, `<message><body xmlns=''>a</body></message>`},
		{"a child in the stream namespace, by its prefix", plainHeader,
			`<message><stream:error/></message>`, `<message><error xmlns='http://etherx.jabber.org/streams'/></message>`},
		{"a component's content namespace", component,
			`<message to='a'><body>b</body><body xmlns='jabber:component:accept'>c</body><x xmlns='u'/></message>`,
			`<message to='a'><body>b</body><body>c</body><x xmlns='u'/></message>`},
		{"a namespace written with references", plainHeader,
			`<message><body xmlns='jabber&#58;client'>a</body><x xmlns='a&amp;b'/></message>`,
			`<message><body>a</body><x xmlns='a&amp;b'/></message>`},
		{"text is escaped again", plainHeader,
			"<message xmlns:x='u'>a<x:b/>\r\n<![CDATA[<&>]]>&#13;</message>", "<message>a<b xmlns='u'/>\n&lt;&amp;&gt;&#xD;</message>"},
		{"attributes keep their quotes", plainHeader,
			`<message a="'" b='"' xml:base='u' c="&#10;"/>`, `<message a="'" b='"' xml:base='u' c="&#10;"/>`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := read(t, NewReader(Limits{}), c.header+c.in)
			if len(got) != 2 || got[1] != c.want {
				t.Fatalf("read %s\n got %q\nwant %q", c.in, got, c.want)
			}
			checkSplits(t, c.header+c.in, Limits{}, got)
			// What is canonical is read as it is.
			if again := read(t, opened(t, plainHeader, Limits{}), got[1]); !slices.Equal(again, got[1:]) {
				t.Errorf("read again: %q", again)
			}
		})
	}
}

func TestNamesOfChildren(t *testing.T) {
	r := opened(t, plainHeader, Limits{})
	r.Feed([]byte(`<message><body>a</body> <x xmlns='a&amp;b'><y/></x><p:q xmlns:p='r'/><n xmlns=''/></message>`))
	tok, _, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	content := tok.Stanza.Content()
	want := []string{"<body>a</body>", "<x xmlns='a&amp;b'><y/></x>", "<p:q xmlns:p='r'/>", "<n xmlns=''/>"}
	names := [][2]string{{"", "body"}, {"a&b", "x"}, {"r", "q"}, {stanza.NoSpace, "n"}}
	for i, c := range tok.Stanza.Children() {
		if c.Space != names[i][0] || c.Local != names[i][1] || content[c.Start:c.End] != want[i] {
			t.Errorf("child %d: %q %q %s", i, c.Space, c.Local, content[c.Start:c.End])
		}
	}
}

// RFC 6120 8.1.5: the stanza's own language, else the stream's.
func TestEffectiveLanguage(t *testing.T) {
	got := read(t, opened(t, header, Limits{}), `<message/><message xml:lang='cs'/>`)
	if !slices.Equal(got, []string{`<message xml:lang='en'/>`, `<message xml:lang='cs'/>`}) {
		t.Errorf("got %q", got)
	}
}

func TestParseStanza(t *testing.T) {
	for _, c := range []struct {
		in, space, want string // want is the stanza or the stream error's condition
	}{
		{"<iq id='1'/>", xmpp.NSClient, "<iq id='1'/>"},
		{"<iq id='1'/>", xmpp.NSServer, "<iq id='1'/>"},
		{" \n<iq id='1' xmlns='jabber:server'><a xmlns='u'/></iq>\n", xmpp.NSServer, "<iq id='1'><a xmlns='u'/></iq>"},
		{"<iq id='1' xmlns='jabber:server'/>", xmpp.NSClient, "unsupported-stanza-type"},
		{"<iq id='1' xmlns='jabber:server'/>", "jabber:component:accept", "unsupported-stanza-type"},
		{"<foo/>", xmpp.NSClient, "unsupported-stanza-type"},
		{"", xmpp.NSClient, "not-well-formed"},
		{" ", xmpp.NSClient, "not-well-formed"},
		{"<iq", xmpp.NSClient, "not-well-formed"},
		{"<iq/><iq/>", xmpp.NSClient, "not-well-formed"},
		{"<iq/>x", xmpp.NSClient, "not-well-formed"},
		{"<iq/>\x00", xmpp.NSClient, "not-well-formed"},
		{"</>", xmpp.NSClient, "not-well-formed"},
		{"</iq>", xmpp.NSClient, "not-well-formed"},
		{"<stream:features/>", xmpp.NSClient, "not-well-formed"},
		{"<?xml version='1.0'?><iq/>", xmpp.NSClient, "restricted-xml"},
		{"iq", xmpp.NSClient, "bad-format"},
		{"<iq>" + strings.Repeat(" ", 100) + "</iq>", xmpp.NSClient, "policy-violation"},
	} {
		s, err := ParseStanza([]byte(c.in), c.space, Limits{StanzaBytes: 64})
		got := ""
		var se *stream.Error
		if errors.As(err, &se) {
			got = string(se.Condition)
		} else if err == nil {
			got = string(s.Append(nil, jid.JID{}, ""))
		}
		if got != c.want {
			t.Errorf("ParseStanza(%q, %s): %q, %v, want %q", c.in, c.space, got, err, c.want)
		}
	}
	if _, err := ParseStanza([]byte("<iq from='@'/>"), xmpp.NSClient, Limits{}); !errors.Is(err, jid.ErrMalformed) {
		t.Errorf("address that is none: %v", err)
	}
}

func TestParseFrame(t *testing.T) { // RFC 7395 3.3
	for in, want := range map[string]string{
		`<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org'/>`:                "{urn:ietf:params:xml:ns:xmpp-framing}<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org'/>",
		`<message xmlns='jabber:client'><body>x</body></message>`:                             "<message xml:lang='de'><body>x</body></message>",
		`<stream:error xmlns:stream='http://etherx.jabber.org/streams'><a/></stream:error>`:   "{http://etherx.jabber.org/streams}<error xmlns='http://etherx.jabber.org/streams'><a xmlns='jabber:client'/></error>",
		`<error xmlns='http://etherx.jabber.org/streams'><reset xmlns='urn:ietf:p'/></error>`: "{http://etherx.jabber.org/streams}<error xmlns='http://etherx.jabber.org/streams'><reset xmlns='urn:ietf:p'/></error>",
	} {
		tok, err := ParseFrame([]byte(in), xmpp.NSClient, "de", Limits{})
		if err != nil {
			t.Errorf("%s: %v", in, err)
		} else if got := describe(t, tok); got != want {
			t.Errorf("%s:\n got %s\nwant %s", in, got, want)
		}
	}
}
