package federation

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/netlab"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// What is in a message arrives as it was sent.
var contents = map[string]string{
	"namespaces":  `<x xmlns='urn:example:a' xmlns:b='urn:example:b' b:p='1' q='2'><b:y><z/>in the middle<z xmlns=''/></b:y></x>`,
	"forwarded":   `<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='a@b.example/c' type='chat'><body>said before</body></message></forwarded>`,
	"a server's":  `<x xmlns='urn:example:a'><message xmlns='jabber:server'><body>not this one</body></message></x>`,
	"characters":  `<x xmlns='urn:example:a' p='&lt;&amp;"&apos;&gt;'>&lt;&amp;]]&gt; é 😀 &#x10FFFD; &quot;</x>`,
	"white space": "<x xmlns='urn:example:a'>  two\n\tlines  </x>",
	"languages":   `<x xmlns='urn:example:a'><t xml:lang='de'>eins</t><t xml:lang='la'>unum</t></x>`,
	"a lot":       "<x xmlns='urn:example:a'>" + strings.Repeat("much ", 20_000) + "</x>",
	"deep":        "<x xmlns='urn:example:a'>" + strings.Repeat("<y>", 30) + strings.Repeat("</y>", 30) + "</x>",
}

func TestContent(t *testing.T) {
	l := netlab.New(t)
	s := starts(t, l,
		// the domain is one that the DNS writes in another way
		&server{kind: "hexmpp", domain: "bücher.example"},
		&server{kind: "hexmpp", domain: "other.example"},
		&server{kind: "prosody", domain: "prosody.example"},
		&server{kind: "ejabberd", domain: "ejabberd.example"})
	for _, far := range s[1:] {
		t.Run(far.domain, func(t *testing.T) {
			romeo, juliet := s[0].client(t, "rømeo"), far.client(t, "jülia")
			for name, content := range contents {
				t.Run(name, func(t *testing.T) {
					for _, way := range [][2]*client{{romeo, juliet}, {juliet, romeo}} {
						from, to := way[0], way[1]
						from.Sendf("<message to='%s' type='headline' id='content'><body>%s</body>%s</message>", to.JID, name, content)
						e := to.await(name, func(e *xmppc.Element) bool {
							return e.Local == "message" && e.Attr("from") == from.JID && e.Body() == name
						})
						want := sent(t, content)
						got := tree(e.Child(want.Space, want.Local))
						if got != tree(want) {
							t.Errorf("%s to %s: %.2000s, want %.2000s", from.s.kind, to.s.kind, got, tree(want))
						}
					}
				})
			}
			if far.kind != "hexmpp" { // which does not say who is not there
				romeo.Sendf("<message to='nobody@%s' type='chat' id='nobody'><body>hello</body></message>", far.domain)
				romeo.refused("message", "nobody", "service-unavailable")
			}
		})
	}
}

// sent reads what is sent.
func sent(t *testing.T, content string) *xmppc.Element {
	t.Helper()
	e, err := xmppc.Parse(content)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// tree writes an element without what may differ: prefixes, and the order of attributes.
func tree(e *xmppc.Element) string {
	if e == nil {
		return "nothing"
	}
	var attrs []string
	for _, a := range e.Attrs {
		if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
			attrs = append(attrs, fmt.Sprintf("{%s}%s=%q", a.Name.Space, a.Name.Local, a.Value))
		}
	}
	sort.Strings(attrs)
	var b strings.Builder
	fmt.Fprintf(&b, "<%s %s %q", e.Name(), attrs, e.Text)
	for _, c := range e.Children {
		b.WriteString(tree(c))
	}
	return b.String() + ">"
}
