package xmlstream

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// FuzzDifferential compares with encoding/xml: what this package accepts, it
// accepts too, and it finds the same tree.
func FuzzDifferential(f *testing.F) {
	seeds(func(in string) { f.Add(in, uint8(0)) })
	f.Fuzz(func(t *testing.T, in string, head uint8) {
		checkAgainstEncodingXML(t, headers[int(head)%len(headers)]+in)
	})
}

// tree is an element as encoding/xml sees it: attributes sorted, without
// declarations, text joined.
type tree struct {
	space, local string
	attrs        []string
	nodes        []any // *tree or string
}

// checkAgainstEncodingXML reports whether anything after the header was accepted.
func checkAgainstEncodingXML(t testing.TB, in string) (accepted bool) {
	t.Helper()
	r := NewReader(Limits{})
	r.Feed([]byte(in))
	d := xml.NewDecoder(strings.NewReader(in))
	for {
		tok, ok, err := r.Next()
		if err != nil || !ok || tok.Kind == Close {
			return accepted
		}
		if tok.Kind == Open {
			if _, err := nextStart(d); err != nil {
				t.Fatalf("header of %q: encoding/xml: %v", in, err)
			}
			continue
		}
		want, err := decode(d)
		if err != nil {
			if otherNames(in, err) {
				return accepted
			}
			t.Fatalf("read %q: encoding/xml: %v", in, err)
		}
		accepted = true
		var got *tree
		if tok.Kind == Element {
			got = fromElement(tok.Element)
			if want.space == xmpp.NSClient {
				want.inheritContent()
			}
		} else {
			written := tok.Stanza.String()
			if got, err = decode(xml.NewDecoder(strings.NewReader(written))); err != nil {
				t.Fatalf("read %q: encoding/xml about %q: %v", in, written, err)
			}
			want.inheritContent()
			want.attrs = expectedAttributes(want.attrs, tok)
			slices.Sort(got.attrs)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("read %q\n got %s\nwant %s", in, got, want)
		}
	}
}

// otherNames reports whether encoding/xml refuses a name that the fifth
// edition of XML 1.0 allows: it goes by the fourth.
func otherNames(in string, err error) bool {
	var syntax *xml.SyntaxError
	return errors.As(err, &syntax) && strings.Contains(syntax.Msg, "name") &&
		strings.IndexFunc(in, func(r rune) bool { return r >= 0x80 }) >= 0
}

func nextStart(d *xml.Decoder) (xml.StartElement, error) {
	for {
		tok, err := d.Token()
		if err != nil {
			return xml.StartElement{}, err
		}
		if s, ok := tok.(xml.StartElement); ok {
			return s, nil
		}
	}
}

// decode reads the next element.
func decode(d *xml.Decoder) (*tree, error) {
	s, err := nextStart(d)
	if err != nil {
		return nil, err
	}
	return decodeFrom(d, s)
}

func decodeFrom(d *xml.Decoder, s xml.StartElement) (*tree, error) {
	e := &tree{space: spaces.Replace(s.Name.Space), local: s.Name.Local}
	for _, a := range s.Attr {
		if a.Name.Space != "xmlns" && a.Name != (xml.Name{Local: "xmlns"}) {
			e.attribute(a.Name.Space, a.Name.Local, a.Value)
		}
	}
	slices.Sort(e.attrs)
	for {
		tok, err := d.Token()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			c, err := decodeFrom(d, tok)
			if err != nil {
				return nil, err
			}
			e.nodes = append(e.nodes, c)
		case xml.EndElement:
			return e, nil
		case xml.CharData:
			e.text(string(tok))
		default:
			return nil, fmt.Errorf("token %T", tok)
		}
	}
}

func (e *tree) attribute(space, local, value string) {
	e.attrs = append(e.attrs, "{"+spaces.Replace(space)+"}"+local+"="+spaces.Replace(value))
}

// spaces is for attributes, declarations included: encoding/xml does not
// normalise white space in them.
var spaces = strings.NewReplacer("\t", " ", "\n", " ", "\r", " ")

func (e *tree) text(s string) {
	if s == "" {
		return
	}
	if n := len(e.nodes); n > 0 {
		if before, ok := e.nodes[n-1].(string); ok {
			e.nodes[n-1] = before + s
			return
		}
	}
	e.nodes = append(e.nodes, s)
}

// inheritContent calls both content namespaces by one name, as far as they are
// inherited from the stanza.
func (e *tree) inheritContent() {
	e.space = xmpp.NSClient
	for _, n := range e.nodes {
		if c, ok := n.(*tree); ok && (c.space == xmpp.NSClient || c.space == xmpp.NSServer) {
			c.inheritContent()
		}
	}
}

// expectedAttributes returns what becomes of the attributes of a stanza that
// are addresses, empty, or the language.
func expectedAttributes(attrs []string, tok Token) (want []string) {
	const lang = "{" + xmpp.NSXML + "}lang="
	hasLang := false
	for _, a := range attrs {
		name, value, _ := strings.Cut(a, "=")
		switch name {
		case "{}to", "{}from":
			j, err := jid.Parse(value)
			if err != nil {
				if tok.Malformed == "" {
					want = append(want, a+" should be malformed")
				}
				continue
			}
			a = name + "=" + j.String()
		case "{}id", "{}type":
			if value == "" {
				continue
			}
		case strings.TrimSuffix(lang, "="):
			hasLang = true
			if value == "" {
				continue
			}
		}
		want = append(want, a)
	}
	if !hasLang && tok.Stanza.Lang != "" {
		want = append(want, lang+tok.Stanza.Lang)
	}
	slices.Sort(want)
	return want
}

// fromElement makes a tree of an Element.
func fromElement(e *stanza.Element) *tree {
	out := &tree{space: spaces.Replace(e.Space), local: e.Local}
	switch e.Space {
	case "":
		out.space = xmpp.NSClient
	case stanza.NoSpace:
		out.space = ""
	}
	for _, a := range e.Attrs {
		out.attribute(a.Space, a.Local, a.Value)
	}
	slices.Sort(out.attrs)
	for _, n := range e.Nodes {
		if n.Element != nil {
			out.nodes = append(out.nodes, fromElement(n.Element))
		} else {
			out.text(n.Text)
		}
	}
	return out
}

func (e *tree) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "<{%s}%s %q>", e.space, e.local, e.attrs)
	for _, n := range e.nodes {
		fmt.Fprintf(&b, "%v", n)
	}
	return b.String() + "</>"
}
