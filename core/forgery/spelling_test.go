package forgery_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// seen reads an address as the most lenient of clients would: compatibility
// characters, case, white space, invisible characters, dots and A-labels make no
// difference.
func seen(addr string) (local, domain string, bare bool) {
	addr = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, norm.NFKC.String(strings.ToLower(norm.NFKC.String(addr))))
	addr, _, full := strings.Cut(addr, "/")
	if l, d, ok := strings.Cut(addr, "@"); ok {
		local, addr = l, d
	}
	domain = strings.TrimSuffix(strings.ReplaceAll(addr, "。", "."), ".")
	if u, err := idna.ToUnicode(domain); err == nil {
		domain = u
	}
	return local, domain, !full
}

// left looks for what romeo may not assert in the trees of what is left.
func left(s *stanza.Stanza) string {
	component := func(d string) bool { return guard.Component(d) }
	hosted := func(d string) bool { return slices.Contains(guard.Hosted, d) }
	for _, c := range s.Children() {
		e := s.Element(c)
		switch {
		case e.Space == "urn:xmpp:delegation:1", e.Space == "urn:xmpp:delegation:2", e.Space == "urn:xmpp:privilege:1", e.Space == "urn:xmpp:privilege:2":
			return e.Space
		case s.Kind == stanza.IQ:
		case e.Space == "urn:xmpp:sid:0" && e.Local == "stanza-id":
			if local, domain, bare := seen(e.Attr("by")); bare && (hosted(domain) || local == "" && component(domain)) {
				return "by " + e.Attr("by")
			}
		case e.Space == "urn:xmpp:delay" && e.Local == "delay", e.Space == "jabber:x:delay" && e.Local == "x":
			local, domain, _ := seen(e.Attr("from"))
			if !(local == "romeo" && domain == "example.test") && (hosted(domain) || component(domain)) {
				return "from " + e.Attr("from")
			}
		}
	}
	return ""
}

// checkStrip checks what holds for every stanza of romeo's.
func checkStrip(t interface{ Fatalf(string, ...any) }, s *stanza.Stanza) (got *stanza.Stanza) {
	got = guard.Strip(s)
	if what := left(got); what != "" {
		t.Fatalf("%q is left in %q", what, got.Content())
	}
	if again := guard.Strip(got); again != got {
		t.Fatalf("stripped again, %q becomes %q", got.Content(), again.Content())
	}
	// What stays is as it was, and in its order.
	rest := s.Children()
	for _, c := range got.Children() {
		text := got.Content()[c.Start:c.End]
		n := slices.IndexFunc(rest, func(o stanza.Child) bool {
			return o.Space == c.Space && o.Local == c.Local && s.Content()[o.Start:o.End] == text
		})
		if n < 0 {
			t.Fatalf("%q is new in %q, out of %q", text, got.Content(), s.Content())
		}
		rest = rest[n+1:]
	}
	// It is read again as the same.
	again, err := xmlstream.ParseStanza(got.Append(nil, jid.JID{}, xmpp.NSClient), xmpp.NSClient, xmlstream.Limits{StanzaBytes: 64 << 20})
	if err != nil {
		t.Fatalf("%v: what is left does not parse: %q", err, got.Content())
	}
	if a, b := names(again), names(got); !reflect.DeepEqual(a, b) {
		t.Fatalf("what is left is read as %v, not %v", a, b)
	}
	return got
}

func names(s *stanza.Stanza) (list []string) {
	for _, c := range s.Children() {
		list = append(list, c.Space+" "+c.Local)
	}
	return list
}

func FuzzStrip(f *testing.F) {
	for _, xml := range harmless {
		f.Add(xml)
	}
	for _, in := range []string{
		"<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@EXAMPLE.test.'/><body>a</body><stanza-id xmlns='urn:xmpp:sid:0' by='&#106;uliet@example.test'/>",
		"<s:stanza-id xmlns:s='urn:xmpp:sid:0' by='b&#xfc;cher.example'/><q xmlns='urn:xmpp:sid:0'/>",
		"<stanza-id xmlns='urn:xmpp:sid:0' by='xn--bcher-kva.example'>text<![CDATA[</stanza-id>]]></stanza-id>",
		"<delay xmlns='urn:xmpp:delay' from='exam&#xAD;ple.test'/><x xmlns='jabber:x:delay' from='&#x20;example.test'/>",
		"<delay xmlns='urn:xmpp:delay' from='romeo@example.test/y'/><delay xmlns='urn:xmpp:delay' from='verona@rooms.example.test/n'/>",
		"<privilege xmlns='urn:xmpp:privilege:2'/>t<delegation xmlns='urn:xmpp:delegation:&#50;'/>",
	} {
		for _, kind := range []string{"message", "presence", "iq"} {
			f.Add("<" + kind + " id='1' type='set'>" + in + "</" + kind + ">")
		}
	}
	f.Fuzz(func(t *testing.T, xml string) {
		s, err := xmlstream.ParseStanza([]byte(xml), xmpp.NSClient, xmlstream.Limits{})
		if err != nil {
			return
		}
		s.From = romeo
		checkStrip(t, s)
	})
}

// spell draws another way to write an address.
func spell(t *rapid.T, addr string) string {
	local, domain, has := strings.Cut(addr, "@")
	if !has {
		local, domain = "", addr
	}
	domain, resource, full := strings.Cut(domain, "/")
	mixed := func(s string) string {
		return strings.Map(func(r rune) rune {
			switch rapid.IntRange(0, 3).Draw(t, "case") {
			case 0:
				return unicode.ToUpper(r)
			case 1:
				if 'a' <= r && r <= 'z' {
					return r - 'a' + 'ａ' // of full width
				}
			}
			return r
		}, s)
	}
	switch rapid.IntRange(0, 2).Draw(t, "labels") {
	case 0:
		domain, _ = idna.ToASCII(domain)
		domain = strings.ToUpper(domain)
	case 1:
		domain = mixed(domain)
	}
	if rapid.Bool().Draw(t, "ideographic full stop") {
		domain = strings.Replace(domain, ".", "。", 1)
	}
	if rapid.Bool().Draw(t, "final dot") {
		domain += "."
	}
	if has {
		domain = mixed(local) + "@" + domain
	}
	if full {
		domain += "/" + resource
	}
	return domain
}

// quote draws a way to write an attribute value.
func quote(t *rapid.T, s string) string {
	var b strings.Builder
	for _, r := range s {
		switch rapid.IntRange(0, 5).Draw(t, "reference") {
		case 0:
			fmt.Fprintf(&b, "&#%d;", r)
		case 1:
			fmt.Fprintf(&b, "&#x%x;", r)
		default:
			b.WriteRune(r)
		}
	}
	q := rapid.SampledFrom([]string{"'", `"`}).Draw(t, "quotes")
	return q + b.String() + q
}

// element draws a way to write <local xmlns=space name=value/>.
func element(t *rapid.T, space, local, name, value string) string {
	p := rapid.SampledFrom([]string{"", "p:", "stanza:", "xmpp-1:"}).Draw(t, "prefix")
	declare := " xmlns"
	if p != "" {
		declare += ":" + strings.TrimSuffix(p, ":")
	}
	parts := []string{declare + "=" + quote(t, space), " " + name + rapid.SampledFrom([]string{"=", " =\n"}).Draw(t, "equals") + quote(t, value), " id='1'", " other:by='far.test' xmlns:other='urn:other'"}
	parts = rapid.Permutation(parts).Draw(t, "order")
	end := rapid.SampledFrom([]string{"/>", "\n/>", "></" + p + local + ">", "><a/>text<![CDATA[<]]></" + p + local + "\t>"}).Draw(t, "end")
	return "<" + p + local + strings.Join(parts, "") + end
}

// Whatever the spelling, an assertion is forged or is not.
func TestSpellings(t *testing.T) {
	type assertion struct {
		space, local, name, value string
		forged                    bool
	}
	ids, delays := []assertion{}, []assertion{}
	for addr, forged := range map[string][2]bool{ // as by of an id, as from of a delay
		"juliet@example.test": {true, true}, "romeo@example.test": {true, false}, "example.test": {true, true}, "romeo@bücher.example": {true, true},
		"bücher.example": {true, true}, "rooms.example.test": {true, true}, "verona@rooms.example.test": {false, true}, "verona@rooms.example.test/N": {false, true},
		"romeo@example.test/y": {false, false}, "juliet@example.test/y": {false, true}, "example.test/y": {false, true}, "a.example.test": {false, false},
		"juliet@far.test": {false, false}, "straße.test": {false, false}, `juliet\40example.test@far.test`: {false, false}, `juliet\40far.test@example.test`: {true, true},
	} {
		ids = append(ids, assertion{"urn:xmpp:sid:0", "stanza-id", "by", addr, forged[0]})
		delays = append(delays, assertion{"urn:xmpp:delay", "delay", "from", addr, forged[1]}, assertion{"jabber:x:delay", "x", "from", addr, forged[1]})
	}
	all := append(ids, delays...)
	slices.SortFunc(all, func(a, b assertion) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }) // maps have no order, and rapid repeats what failed
	rapid.Check(t, func(t *rapid.T) {
		var xml strings.Builder
		var want []string
		for range rapid.IntRange(1, 6).Draw(t, "children") {
			a := rapid.SampledFrom(all).Draw(t, "assertion")
			xml.WriteString(element(t, a.space, a.local, a.name, spell(t, a.value)))
			if !a.forged {
				want = append(want, a.space+" "+a.local)
			}
			if rapid.Bool().Draw(t, "body") {
				xml.WriteString("<body>text</body>")
				want = append(want, " body")
			}
		}
		in := "<message to='juliet@example.test' id='a'>" + xml.String() + "</message>"
		s, err := xmlstream.ParseStanza([]byte(in), xmpp.NSClient, xmlstream.Limits{})
		if err != nil {
			t.Fatalf("%v: %s", err, in)
		}
		s.From = romeo
		if got := names(checkStrip(t, s)); !slices.Equal(got, want) {
			t.Fatalf("left of %s\nis   %q\nwant %q", in, got, want)
		}
	})
}
