package xmlstream

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// checkRoundTrip checks that each child of an accepted stanza is read as a
// tree, and that the tree written again is read as the same.
func checkRoundTrip(t interface{ Fatalf(string, ...any) }, s *stanza.Stanza) {
	for _, c := range s.Children() {
		e, err := s.ParseChild(c)
		if err != nil {
			t.Fatalf("child of an accepted stanza: %v in %q", err, s.Content())
		}
		if e.Space != c.Space || e.Local != c.Local {
			t.Fatalf("child {%s}%s is {%s}%s in %q", c.Space, c.Local, e.Space, e.Local, s.Content())
		}
		written := string(e.Append(nil, ""))
		if again, err := stanza.ParseElement(written, ""); err != nil || !reflect.DeepEqual(again, e) {
			t.Fatalf("child of %q\nwritten as %q\nis read as %v, %v", s.Content(), written, again, err)
		}
	}
}

// use returns attributes with the prefixes p<from> to p<to-1>.
func use(from, to int) string { return numbered(` p%d:a=""`, from, to) }

// declare returns the declarations of the prefixes.
func declare(from, to int) string { return numbered(` xmlns:p%[1]d="urn:%[1]d"`, from, to) }

func numbered(format string, from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// At all limits at once, the default ones and the highest, a payload is whole.
func TestPayloadAtTheLimits(t *testing.T) {
	nest := func(levels int, attrs string) string {
		return strings.Repeat("<a"+attrs+">", levels) + strings.Repeat("</a>", levels)
	}
	highest := Limits{StanzaBytes: maxStanzaBytes, Depth: maxDepth, Attributes: maxAttributes}
	for _, c := range []struct {
		name, header, in string
		limits           Limits
	}{
		{"30 prefixes used at each level", plainHeader, "<message><x xmlns='u'" + declare(0, 30) + ">" + nest(62, use(0, 30)) + "</x></message>", Limits{}},
		{"of the stanza's start tag", plainHeader, "<message" + declare(0, 30) + "><x xmlns='u'>" + nest(62, use(0, 30)) + "</x></message>", Limits{}},
		{"of the stream header", strings.Replace(plainHeader, ">", declare(0, 30)+">", 1), "<message><x xmlns='u'>" + nest(62, use(0, 30)) + "</x></message>", Limits{}},
		{"all declarations that may be in force", plainHeader, "<message><x" + declare(0, 30) + "><x" + declare(30, 60) + "><x" + declare(60, 90) + "><x" + declare(90, 120) + ">" +
			"<a" + use(0, 30) + "><a" + use(30, 60) + "><a" + use(60, 90) + "><a" + use(90, 120) + "/></a></a></a></x></x></x></x></message>", Limits{}},
		{"the highest limits", strings.Replace(plainHeader, ">", declare(0, 126)+">", 1),
			"<message" + declare(126, 253) + "><x" + use(0, 253) + ">" + nest(253, use(100, 130)) + "</x></message>", highest},
		{"the highest limits, declared in the payload", plainHeader, "<message><x xmlns='u'" + declare(0, 127) + ">" + nest(253, use(97, 127)) + "</x></message>", highest},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := opened(t, c.header, c.limits)
			r.Feed([]byte(c.in))
			tok, ok, err := r.Next()
			if !ok || err != nil {
				t.Fatal(ok, err)
			}
			checkRoundTrip(t, tok.Stanza)
			e := tok.Stanza.Element(tok.Stanza.Children()[0])
			if again := len(e.Append(nil, "")); again > 2*(len(c.header)+len(c.in)) {
				t.Errorf("%d bytes became %d", len(c.in), again)
			}
		})
	}
}

// Whoever writes a payload again writes a bounded number of bytes: that of the
// stanza and of the names that it borrows, times the longest escape.
func TestWhatAPayloadBecomesIsBounded(t *testing.T) {
	const limit = 50_000
	const longest = len("&quot;")
	quotes := strings.Repeat(`"`, 1000)
	for name, c := range map[string]struct{ start, use, end string }{
		"elements":             {"<message><x xmlns='v' xmlns:p='" + quotes + "'>", "<p:a/>", "</x></message>"},
		"attributes":           {"<message><x xmlns='v' xmlns:p='" + quotes + "'>", "<a p:b=''/>", "</x></message>"},
		"short namespaces":     {"<message><p:x xmlns:p='v' xmlns='u'>", "<a><p:a/></a>", "</p:x></message>"},
		"prefixes":             {"<message><x xmlns:p='v'>", "<a p:b=''/>", "</x></message>"},
		"one prefix, declared": {"<message><x>", "<a xmlns:p='v' p:b=''/>", "</x></message>"},
		"text":                 {"<message><x>", "<![CDATA[<<<<<<<<<<<<<<<<<<<<<]]>", "</x></message>"},
		"values":               {"<message><x>", "<a b='" + quotes + "'/>", "</x></message>"},
		"quotes all over":      {"<message><x xmlns:p='" + quotes + "'>", "<a p:b='" + quotes + "'/>", "</x></message>"},
	} {
		t.Run(name, func(t *testing.T) {
			// The most uses that are let in, by bisection.
			accepted := func(n int) *stanza.Stanza {
				s, err := ParseStanza([]byte(c.start+strings.Repeat(c.use, n)+c.end), xmpp.NSClient, Limits{StanzaBytes: limit})
				if err != nil {
					return nil
				}
				return s
			}
			low, high := 0, limit
			for high-low > 1 {
				if n := (low + high) / 2; accepted(n) != nil {
					low = n
				} else {
					high = n
				}
			}
			s := accepted(low)
			n := len(s.Element(s.Children()[0]).Append(nil, ""))
			t.Logf("%d uses in %d bytes became %d", low, len(s.Content()), n)
			if n > 2*longest*limit {
				t.Errorf("%d bytes", n)
			}
		})
	}
}

// drawElement draws an element, as deep as depth at most, out of a few prefixes
// and namespaces; declared are the prefixes that are in force.
func drawElement(t *rapid.T, depth int, declared map[string]bool) string {
	inner := map[string]bool{}
	for p := range declared {
		inner[p] = true
	}
	var tag strings.Builder
	prefixes := []string{"p", "q", "n0", "n1", "n2"}
	spaces := []string{"u", "v", "w", "a&amp;b", xmpp.NSClient, xmpp.NSServer, xmpp.NSStream}
	if rapid.IntRange(0, 3).Draw(t, "default") == 0 {
		fmt.Fprintf(&tag, " xmlns='%s'", rapid.SampledFrom(append(spaces, "")).Draw(t, "space"))
	}
	for _, p := range prefixes {
		if rapid.IntRange(0, 3).Draw(t, "declare") == 0 {
			fmt.Fprintf(&tag, " xmlns:%s='%s'", p, rapid.SampledFrom(spaces).Draw(t, "space"))
			inner[p] = true
		}
	}
	name := "e"
	for i, p := range prefixes {
		if !inner[p] {
			continue
		}
		if rapid.IntRange(0, 4).Draw(t, "prefix") == 0 {
			name = p + ":e"
		}
		if rapid.IntRange(0, 2).Draw(t, "attribute") == 0 {
			fmt.Fprintf(&tag, " %s:a%d='&#x9;%d'", p, i, i)
		}
	}
	out := "<" + name + tag.String() + ">" + rapid.SampledFrom([]string{"", "t", "<![CDATA[<]]>&amp;\r\n"}).Draw(t, "text")
	if depth > 1 {
		for range rapid.IntRange(0, 3).Draw(t, "children") {
			out += drawElement(t, depth-1, inner)
		}
	}
	return out + "</" + name + ">"
}

// Any stanza that is accepted has whole payloads.
func TestPayloadsAreWhole(t *testing.T) {
	rapid.Check(t, payloadsAreWhole)
}

func FuzzPayloadsAreWhole(f *testing.F) {
	for n := range 4 { // bits that rapid draws from
		f.Add([]byte(strings.Repeat("\x00\x01\x02\x03\x07\x00\x00\x00"[n:], 200)))
	}
	f.Fuzz(rapid.MakeFuzz(payloadsAreWhole))
}

func payloadsAreWhole(t *rapid.T) {
	header, declared := plainHeader, map[string]bool{"stream": true}
	if rapid.Bool().Draw(t, "header") {
		header, declared["p"], declared["n0"] = strings.Replace(header, ">", " xmlns:p='v' xmlns:n0='jabber:client'>", 1), true, true
	}
	in := "<message xmlns:q='u'>"
	declared["q"] = true
	for range rapid.IntRange(1, 3).Draw(t, "children") {
		in += drawElement(t, 5, declared)
	}
	r := NewReader(Limits{})
	r.Feed([]byte(header + in + "</message>"))
	for {
		tok, ok, err := r.Next()
		if err != nil {
			t.Fatalf("%v in %q", err, in)
		}
		if !ok {
			return
		}
		if tok.Kind == Stanza {
			checkRoundTrip(t, tok.Stanza)
		}
	}
}
