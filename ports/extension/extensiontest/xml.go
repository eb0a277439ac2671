package extensiontest

import (
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Parse reads a stanza as a test writes it down. White space between its
// children is dropped.
func Parse(t testing.TB, text string) *stanza.Stanza {
	t.Helper()
	e, err := stanza.ParseElement(text, "")
	if err != nil {
		t.Fatalf("extensiontest: %v in %s", err, text)
	}
	kinds := map[string]stanza.Kind{"message": stanza.Message, "presence": stanza.Presence, "iq": stanza.IQ}
	head := stanza.Header{Kind: kinds[e.Local], Type: e.Attr("type"), ID: e.Attr("id")}
	if head.Kind == 0 {
		t.Fatalf("extensiontest: <%s/> is no stanza", e.Local)
	}
	for _, a := range e.Attrs {
		switch {
		case a.Local == "to":
			head.To = jid.MustParse(a.Value)
		case a.Local == "from":
			head.From = jid.MustParse(a.Value)
		case a.Space == xmpp.NSXML && a.Local == "lang":
			head.Lang = a.Value
		}
	}
	return stanza.New(head, e.Elements()...)
}

// Expect compares a stanza with what the test wrote down, as trees: neither
// the order of attributes nor white space between elements counts, nor the
// text of an error where want has none. An empty want is no stanza at all.
func Expect(t testing.TB, got *stanza.Stanza, want string) {
	t.Helper()
	if got == nil || want == "" {
		if got != nil || want != "" {
			t.Errorf("got  %v\nwant %s", got, want)
		}
		return
	}
	w := Parse(t, want)
	g, wanted := tree(t, got), tree(t, w)
	if got.Type == stanza.TypeError && stanza.ParseError(w).Text == "" {
		if x := g.Child("", "error"); x != nil {
			x.Nodes = slices.DeleteFunc(x.Nodes, func(n stanza.Node) bool {
				return n.Element != nil && n.Element.Space == xmpp.NSStanzas && n.Element.Local == "text"
			})
		}
	}
	if gs, ws := canonical(g), canonical(wanted); gs != ws {
		t.Errorf("got  %s\nwant %s", gs, ws)
	}
}

func tree(t testing.TB, s *stanza.Stanza) *stanza.Element {
	t.Helper()
	e, err := stanza.ParseElement(string(s.Append(nil, jid.JID{}, "")), "")
	if err != nil {
		t.Fatalf("extensiontest: a stanza that is no XML: %v", err)
	}
	return e
}

// canonical writes a tree with attributes in order and without white space
// around elements. The content namespace goes by one name.
func canonical(e *stanza.Element) string {
	var tidy func(*stanza.Element) *stanza.Element
	tidy = func(e *stanza.Element) *stanza.Element {
		c := stanza.El(e.Space, e.Local, slices.Clone(e.Attrs)...)
		slices.SortFunc(c.Attrs, func(a, b stanza.Attr) int {
			return strings.Compare(a.Space+" "+a.Local, b.Space+" "+b.Local)
		})
		mixed := len(e.Elements()) > 0
		for _, n := range e.Nodes {
			switch {
			case n.Element != nil:
				c.Add(tidy(n.Element))
			case !mixed || strings.TrimSpace(n.Text) != "":
				c.WithText(n.Text)
			}
		}
		return c
	}
	return string(tidy(e).Append(nil, ""))
}
