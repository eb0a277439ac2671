package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

func TestOrder(t *testing.T) {
	s := server(t)
	romeo, juliet := romeoAndJuliet(t, s)

	t.Run("RFC 6120 10.1 stanzas of all kinds stay in order", func(t *testing.T) {
		const many = 300
		var b strings.Builder
		for i := range many {
			switch i % 3 {
			case 0:
				fmt.Fprintf(&b, "<message to='%s' id='n%d'><body>%d</body></message>", juliet.JID, i, i)
			case 1:
				fmt.Fprintf(&b, "<presence to='%s' id='n%d'/>", juliet.JID, i)
			case 2:
				fmt.Fprintf(&b, "<iq to='%s' id='n%d' type='get'><q xmlns='urn:example:n'/></iq>", juliet.JID, i)
			}
		}
		romeo.Send(b.String())
		for i := range many {
			if e := juliet.Next(); e.Attr("id") != fmt.Sprintf("n%d", i) {
				t.Fatalf("stanza %d is %s", i, e.Raw)
			}
		}
	})

	t.Run("RFC 6120 10.1 order holds when the bare and the full JID alternate", func(t *testing.T) {
		const many = 100
		for i := range many {
			to := juliet.JID
			if i%2 == 1 {
				to = juliet.Bare()
			}
			romeo.Sendf("<message to='%s' type='chat'><body>%d</body></message>", to, i)
		}
		for i := range many {
			juliet.Message(fmt.Sprint(i))
		}
	})
}

func TestContent(t *testing.T) {
	s := server(t)
	romeo, juliet := romeoAndJuliet(t, s)
	pass := func(inner string) *xmppc.Element {
		romeo.Sendf("<message to='%s' type='chat' id='x'>%s</message>", juliet.JID, inner)
		return juliet.Expect(xmppc.NSClient, "message")
	}

	t.Run("RFC 6120 8.4 unknown elements pass with namespaces, prefixes and attributes", func(t *testing.T) {
		const inner = `<p:a xmlns:p='urn:example:p' xmlns:q='urn:example:q' q:attr='1' plain="2"><b xmlns='urn:example:b'><q:c/></b><p:d xml:lang='fr' xml:space='preserve'>  eh bien </p:d></p:a>`
		m := pass(inner)
		a := m.Child("urn:example:p", "a")
		if a.AttrNS("urn:example:q", "attr") != "1" || a.Attr("plain") != "2" {
			t.Errorf("attributes: %s", m.Raw)
		}
		if a.Child("urn:example:b", "b").Child("urn:example:q", "c") == nil {
			t.Errorf("nested namespaces: %s", m.Raw)
		}
		if d := a.Child("urn:example:p", "d"); d.Lang() != "fr" || d.Text != "  eh bien " {
			t.Errorf("xml:lang or space: %s", m.Raw)
		}
		if !strings.Contains(m.Raw, "<p:a ") || !strings.Contains(m.Raw, "<q:c") {
			t.Errorf("prefixes: %s", m.Raw)
		}
	})

	t.Run("RFC 6120 8.1.5 xml:lang of the stanza, else of the stream", func(t *testing.T) {
		romeo.Sendf("<message to='%s' xml:lang='it'><body>ciao</body></message>", juliet.JID)
		if m := juliet.Message("ciao"); m.Lang() != "it" {
			t.Errorf("got %s", m.Raw)
		}
		c := direct(t, s, domain)
		c.SendOpening(opening("to='" + domain + "' version='1.0' xml:lang='nl'"))
		c.ExpectHeader()
		c.ExpectFeatures()
		local, _, _ := strings.Cut(romeo.Bare(), "@")
		if e := c.TryPlain("", local, secret); !e.Is(xmppc.NSSASL, "success") {
			t.Fatalf("PLAIN: %s", e.Raw)
		}
		c.SendOpening(opening("to='" + domain + "' version='1.0' xml:lang='nl'"))
		c.ExpectHeader()
		c.ExpectFeatures()
		c.Bind("")
		c.Sendf("<message to='%s'><body>dag</body></message>", juliet.JID)
		if m := juliet.Message("dag"); m.Lang() != "nl" {
			t.Errorf("got %s", m.Raw)
		}
	})

	t.Run("RFC 6120 8.1.5 the language of a body is kept beside another", func(t *testing.T) {
		m := pass("<body>hello</body><body xml:lang='cs'>ahoj</body>")
		bodies := m.All(xmppc.NSClient, "body")
		if len(bodies) != 2 || bodies[1].Lang() != "cs" || bodies[1].Text != "ahoj" {
			t.Errorf("got %s", m.Raw)
		}
	})

	t.Run("RFC 6120 4.8.5 a prefix of the stream header is declared where it is used", func(t *testing.T) {
		local, _, _ := strings.Cut(romeo.Bare(), "@")
		c := direct(t, s, domain)
		header := opening("xmlns:ex='urn:example:header' to='" + domain + "' version='1.0'")
		c.SendOpening(header)
		c.ExpectHeader()
		c.ExpectFeatures()
		if e := c.TryPlain("", local, secret); !e.Is(xmppc.NSSASL, "success") {
			t.Fatalf("PLAIN: %s", e.Raw)
		}
		c.SendOpening(header)
		c.ExpectHeader()
		c.ExpectFeatures()
		c.Bind("")
		c.Sendf("<message to='%s'><body>x</body><ex:note ex:kind='k'/></message>", juliet.JID)
		m := juliet.Message("x")
		if note := m.Child("urn:example:header", "note"); note.AttrNS("urn:example:header", "kind") != "k" {
			t.Errorf("got %s", m.Raw)
		}
	})

	t.Run("RFC 6120 4.8.5 a prefixed stanza is delivered without the prefix", func(t *testing.T) {
		romeo.Sendf("<c:message xmlns:c='jabber:client' to='%s'><c:body>plain</c:body></c:message>", juliet.JID)
		m := juliet.Message("plain")
		if !strings.HasPrefix(m.Raw, "<message") || !strings.Contains(m.Raw, "<body") {
			t.Errorf("got %s", m.Raw)
		}
	})

	bodies := []struct{ rule, sent, want string }{
		{"RFC 6120 11.6 outside the BMP", "\U0001F339 \U00020BB7 \U0010FFFD", "\U0001F339 \U00020BB7 \U0010FFFD"},
		{"XML 4.1 numeric references", "&#x1F339;&#38;&#60;&#233;", "\U0001F339&<\u00e9"},
		{"XML 4.6 predefined entities", "&lt;&gt;&amp;&apos;&quot;", `<>&'"`},
		{"XML 2.7 CDATA", "<![CDATA[a < b && c]]> d", "a < b && c d"},
		{"XML 2.7 CDATA with brackets", "<![CDATA[]]]]><![CDATA[>]]>", "]]>"},
		{"XML 2.4 tabs and line feeds", "one\ttwo\nthree\n", "one\ttwo\nthree\n"},
		{"XML 2.11 a carriage return by reference", "a&#13;b", "a\rb"},
		{"RFC 6120 11.6 a BOM inside is a character", "a\ufeffb", "a\ufeffb"},
		{"combining characters stay as they are", "e\u0301 \u00e9", "e\u0301 \u00e9"},
	}
	for _, tt := range bodies {
		t.Run(tt.rule, func(t *testing.T) {
			if m := pass("<body>" + tt.sent + "</body>"); m.Body() != tt.want {
				t.Errorf("got %q, want %q\n%s", m.Body(), tt.want, m.Raw)
			}
		})
	}

	t.Run("XML 3.3.3 white space in attributes: newlines by reference survive", func(t *testing.T) {
		m := pass("<x xmlns='urn:example:x' a='1&#10;2&#9;3&#13;4' b='&quot;&apos;&lt;'/>")
		x := m.Child("urn:example:x", "x")
		if x.Attr("a") != "1\n2\t3\r4" || x.Attr("b") != `"'<` {
			t.Errorf("got %q and %q\n%s", x.Attr("a"), x.Attr("b"), m.Raw)
		}
		// encoding/xml does not normalise, so what isn't a reference would show in the raw bytes.
		if strings.ContainsAny(m.Raw, "\n\t\r") {
			t.Errorf("unescaped white space: %q", m.Raw)
		}
	})

	t.Run("an id with anything in it comes back", func(t *testing.T) {
		id := "<'\"&> \u2665\U0001F339"
		romeo.Sendf("<iq type='get' to='%s' id='%s'>%s</iq>", domain, xmppc.Escape(id), ping)
		romeo.Answer(id)
	})
}
