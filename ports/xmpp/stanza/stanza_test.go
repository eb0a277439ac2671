package stanza_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

var (
	romeo  = jid.MustParse("romeo@example.net/orchard")
	juliet = jid.MustParse("juliet@example.com/balcony")
)

func TestAppend(t *testing.T) {
	body := stanza.El("", "body").WithText("a < b & 'c'")
	tests := []struct {
		name  string
		s     *stanza.Stanza
		to    jid.JID
		xmlns string
		want  string
	}{
		{"RFC 6120 8.1 all attributes, in order",
			stanza.New(stanza.Header{Kind: stanza.Message, Type: "chat", ID: "1", Lang: "de", To: juliet, From: romeo}, body),
			jid.JID{}, "",
			`<message from='romeo@example.net/orchard' to='juliet@example.com/balcony' id='1' type='chat' xml:lang='de'><body>a &lt; b &amp; 'c'</body></message>`},
		{"absent attributes and content",
			stanza.New(stanza.Header{Kind: stanza.Presence}), jid.JID{}, "", `<presence/>`},
		{"to of the recipient, RFC 7395 3.3.3 xmlns",
			stanza.New(stanza.Header{Kind: stanza.IQ, ID: "x", To: juliet.Bare()}), juliet, xmpp.NSClient,
			`<iq xmlns='jabber:client' to='juliet@example.com/balcony' id='x'/>`},
		{"values are escaped, also of a resourcepart",
			stanza.New(stanza.Header{Kind: stanza.Message, ID: "a'\"<&>\n", From: jid.MustParse("room@muc.example.com/O'Neil & <co>")}),
			jid.JID{}, "",
			`<message from='room@muc.example.com/O&apos;Neil &amp; &lt;co&gt;' id='a&apos;&quot;&lt;&amp;&gt;&#xA;'/>`},
		{"further attributes as they are",
			stanza.Raw(stanza.Header{Kind: stanza.Message}, " xmlns:x='urn:x' x:a='1'", "<body/>", nil), jid.JID{}, "",
			`<message xmlns:x='urn:x' x:a='1'><body/></message>`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := string(tt.s.Append([]byte("before"), tt.to, tt.xmlns))
			if got != "before"+tt.want {
				t.Errorf("got  %s\nwant before%s", got, tt.want)
			}
			if xml := tt.s.XML(tt.xmlns); xml != string(tt.s.Append(nil, jid.JID{}, tt.xmlns)) {
				t.Errorf("as XML %s", xml)
			}
		})
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	s := benchStanza()
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { buf = s.Append(buf[:0], juliet, "") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestString(t *testing.T) {
	s := stanza.New(stanza.Header{Kind: stanza.Message, To: juliet}, stanza.El("urn:x", "y"))
	want := `<message xmlns='jabber:client' to='juliet@example.com/balcony'><y xmlns='urn:x'/></message>`
	if s.String() != want {
		t.Errorf("got %s, want %s", s, want)
	}
	for k, want := range map[stanza.Kind]string{stanza.Message: "message", stanza.Presence: "presence", stanza.IQ: "iq", 0: "unknown"} {
		if k.String() != want {
			t.Errorf("Kind %d is %q, want %q", k, k, want)
		}
	}
}

// childrenOf lists children as namespace|name|bytes.
func childrenOf(s *stanza.Stanza) string {
	var list []string
	for _, c := range s.Children() {
		list = append(list, c.Space+"|"+c.Local+"|"+s.Content()[c.Start:c.End])
	}
	return strings.Join(list, "\n")
}

func TestRawFindsChildren(t *testing.T) {
	tests := []struct {
		name, content string
		want          []string
	}{
		{"nothing", "", nil},
		{"text only", "hello &amp; more", nil},
		{"content child", "<body>hi</body>", []string{"|body|<body>hi</body>"}},
		{"empty elements and white space", " <a/>\n<b xmlns='urn:b' />\t", []string{"|a|<a/>", "urn:b|b|<b xmlns='urn:b' />"}},
		{"prefixed child", `<p:c xmlns:p="urn:p" p:a='/>'>x</p:c>`, []string{`urn:p|c|<p:c xmlns:p="urn:p" p:a='/>'>x</p:c>`}},
		{"nested, same name, > in values", `<a><a b='>'/><a c="</a>">t</a></a><d/>`,
			[]string{`|a|<a><a b='>'/><a c="</a>">t</a></a>`, "|d|<d/>"}},
		{"CDATA inside and between", "<![CDATA[<x>]]><a><![CDATA[</a>]]></a><![CDATA[]]>", []string{"|a|<a><![CDATA[</a>]]></a>"}},
		{"no namespace", "<a xmlns=''/>", []string{stanza.NoSpace + "|a|<a xmlns=''/>"}},
		{"escaped namespace", "<a xmlns='u&amp;v'/>", []string{"u&v|a|<a xmlns='u&amp;v'/>"}},
		{"not canonical: it ends there", "<a/><b", []string{"|a|<a/>"}},
		{"not canonical: never closed", "<a/><b><c/>", []string{"|a|<a/>"}},
		{"not canonical: stray end tag", "<a/></a><b/>", []string{"|a|<a/>"}},
		{"not canonical: comment", "<a/><!-- x --><b/>", []string{"|a|<a/>"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := stanza.Raw(stanza.Header{Kind: stanza.Message}, "", tt.content, nil)
			if got, want := childrenOf(s), strings.Join(tt.want, "\n"); got != want {
				t.Errorf("got\n%q\nwant\n%q", got, want)
			}
		})
	}
}

func TestChildAttr(t *testing.T) {
	tests := []struct {
		name, content, want string
		ok                  bool
	}{
		{"plain", "<a b='1'/>", "1", true},
		{"among others, spaced", "<a xmlns='urn:a' c='2'\n b = \"1\" d='3'>text</a>", "1", true},
		{"unescaped", "<a b='&lt;&#49;&apos;\n&#xA;'/>", "<1' \n", true},
		{"empty", "<a b=''/>", "", true},
		{"of a prefixed child", "<p:a xmlns:p='urn:a' b='1'/>", "1", true},
		{"absent", "<a/>", "", false},
		{"prefixed is another", "<a xmlns:p='urn:p' p:b='1'/>", "", false},
		{"a declaration is none", "<a xmlns:b='1'/>", "", false},
		{"of a child's child is another", "<a><c b='1'/></a>", "", false},
		{"behind what can't be read", "<a b='1' c=d/>", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := stanza.Raw(stanza.Header{Kind: stanza.Message}, "", tt.content, []stanza.Child{{Local: "a", End: uint32(len(tt.content))}})
			if got, ok := s.ChildAttr(s.Children()[0], "b"); got != tt.want || ok != tt.ok {
				t.Errorf("got %q, %v", got, ok)
			}
		})
	}
	s := stanza.Raw(stanza.Header{}, "", "x<", nil)
	for _, c := range []stanza.Child{{}, {Start: 2, End: 1}, {Start: 1, End: 9}, {End: 1}, {Start: 1, End: 2}} {
		if got, ok := s.ChildAttr(c, "b"); got != "" || ok {
			t.Errorf("%v: got %q", c, got)
		}
	}
}

func TestRawCopiesChildren(t *testing.T) {
	for n := range 7 {
		content := strings.Repeat("<a/>", n)
		var list []stanza.Child
		for i := range n {
			list = append(list, stanza.Child{Local: "a", Start: uint32(4 * i), End: uint32(4*i + 4)})
		}
		s := stanza.Raw(stanza.Header{Kind: stanza.IQ}, "", content, list)
		clear(list)
		if len(s.Children()) != n || cap(s.Children()) != n {
			t.Fatalf("%d children: len %d, cap %d", n, len(s.Children()), cap(s.Children()))
		}
		for i, c := range s.Children() {
			if c.Local != "a" || c.End != uint32(4*i+4) {
				t.Errorf("%d children: child %d is %+v", n, i, c)
			}
		}
	}
}

func TestNewAndLookup(t *testing.T) {
	s := stanza.New(stanza.Header{Kind: stanza.Message},
		stanza.El("", "subject"), nil,
		stanza.El(xmpp.NSClient, "body").WithText("x").Add(stanza.El("", "inner")),
		stanza.El(xmpp.NSServer, "thread"),
		stanza.El("urn:x", "x").Add(stanza.El("", "y")))
	want := "<subject/><body>x<inner/></body><thread/><x xmlns='urn:x'><y xmlns='jabber:client'/></x>"
	if s.Content() != want {
		t.Fatalf("content %s\nwant    %s", s.Content(), want)
	}
	if again := stanza.Raw(s.Header, "", s.Content(), nil); childrenOf(again) != childrenOf(s) {
		t.Errorf("New says\n%s\na scan says\n%s", childrenOf(s), childrenOf(again))
	}
	for _, space := range []string{"", xmpp.NSClient, xmpp.NSServer} {
		if c, ok := s.Child(space, "body"); !ok || c.Space != "" {
			t.Errorf("body in %q: %+v, %v", space, c, ok)
		}
	}
	if c, ok := s.Child("urn:x", ""); !ok || c.Local != "x" {
		t.Errorf("any in urn:x: %+v, %v", c, ok)
	}
	if _, ok := s.Child("", "x"); ok {
		t.Error("x is not in the content namespace")
	}
	if e := s.Find("", "body"); e == nil || e.Text() != "x" || e.Child("", "inner") == nil {
		t.Errorf("body is %+v", e)
	}
	if e := s.Find("urn:x", "nothing"); e != nil {
		t.Errorf("found %+v", e)
	}
}

func TestElementIsNeverNil(t *testing.T) {
	s := stanza.Raw(stanza.Header{Kind: stanza.IQ}, "", "<a><b></a>", []stanza.Child{{Local: "a", End: 10}})
	for _, c := range []stanza.Child{s.Children()[0], {Local: "q", Start: 9, End: 3}, {Local: "q", End: 99}} {
		if e := s.Element(c); e == nil || e.Local != c.Local {
			t.Errorf("%+v: %+v", c, e)
		}
		if e, err := s.ParseChild(c); e != nil || !errors.Is(err, stanza.ErrSyntax) {
			t.Errorf("ParseChild of %+v: %+v, %v", c, e, err)
		}
	}
}

func TestPatch(t *testing.T) {
	named := func(names ...string) func(stanza.Child) bool {
		return func(c stanza.Child) bool { return strings.Contains(strings.Join(names, " "), c.Local) }
	}
	s := stanza.Raw(stanza.Header{Kind: stanza.Message, ID: "1"}, " a='b'", "<a/>t<b xmlns='urn:b'/><c/>", nil)
	tests := []struct {
		name   string
		remove func(stanza.Child) bool
		add    []*stanza.Element
		want   string
	}{
		{"add", nil, []*stanza.Element{stanza.El("urn:d", "d"), nil, stanza.El("", "e")}, "<a/>t<b xmlns='urn:b'/><c/><d xmlns='urn:d'/><e/>"},
		{"remove the first", named("a"), nil, "t<b xmlns='urn:b'/><c/>"},
		{"remove in the middle", named("b"), nil, "<a/>t<c/>"},
		{"remove the last", named("c"), nil, "<a/>t<b xmlns='urn:b'/>"},
		{"remove all, add one", named("a", "b", "c"), []*stanza.Element{stanza.El("", "z")}, "t<z/>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := s.Patch(tt.remove, tt.add...)
			if p.Content() != tt.want {
				t.Errorf("got %s, want %s", p.Content(), tt.want)
			}
			if p.Header != s.Header || p.Attrs() != s.Attrs() {
				t.Error("the start tag changed")
			}
			if again := stanza.Raw(p.Header, "", p.Content(), nil); childrenOf(again) != childrenOf(p) {
				t.Errorf("children\n%s\nwant\n%s", childrenOf(p), childrenOf(again))
			}
		})
	}
	if s.Patch(nil) != s || s.Patch(named("zzz"), nil) != s {
		t.Error("an unchanged stanza was copied")
	}
}

func TestReply(t *testing.T) {
	h := stanza.Header{Kind: stanza.IQ, Type: stanza.Get, ID: "7", Lang: "en", To: juliet, From: romeo}
	want := stanza.Header{Kind: stanza.IQ, Type: stanza.Result, ID: "7", To: romeo, From: juliet}
	if got := h.Reply(stanza.Result); got != want {
		t.Errorf("RFC 6120 8.2.3: got %+v, want %+v", got, want)
	}
	// RFC 6120 8.1.5: the text says in which language it is; the request's is another.
	h.Lang = "de"
	answer := stanza.New(h).ErrorReply(stanza.Err(stanza.ItemNotFound, "no such node")).String()
	if strings.Contains(answer, "xml:lang='de'") || !strings.Contains(answer, "xml:lang='en'>no such node<") {
		t.Errorf("RFC 6120 8.1.5: %s", answer)
	}
}

func TestWithShares(t *testing.T) {
	s := stanza.New(stanza.Header{Kind: stanza.Message, ID: "1"}, stanza.El("", "body"))
	w := s.With(stanza.Header{Kind: stanza.Message, ID: "2"})
	if s.ID != "1" || w.ID != "2" || w.Content() != s.Content() || len(w.Children()) != 1 {
		t.Errorf("s %v, w %v", s, w)
	}
}

func TestSizeCountsEverything(t *testing.T) {
	small := stanza.New(stanza.Header{Kind: stanza.Message})
	big := stanza.Raw(stanza.Header{Kind: stanza.Message, Type: "chat", ID: "12", Lang: "en", To: juliet, From: romeo}, " a='b'", "<body/>", nil)
	strs := len("chat") + 2 + 2 + len(juliet.String()) + len(romeo.String()) + len(" a='b'") + len("<body/>")
	if big.Size()-small.Size() < strs || small.Size() <= 0 {
		t.Errorf("sizes %d and %d, strings of %d bytes", small.Size(), big.Size(), strs)
	}
}

func benchStanza() *stanza.Stanza {
	return stanza.New(stanza.Header{Kind: stanza.Message, Type: "chat", ID: "b5ff47a0-8d32-4a7d", From: romeo},
		stanza.El("", "body").WithText(strings.Repeat("x", 130)),
		stanza.El("http://jabber.org/protocol/chatstates", "active"))
}

func BenchmarkAppend(b *testing.B) {
	s := benchStanza()
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = s.Append(buf[:0], juliet, "")
	}
	b.ReportMetric(float64(len(buf)), "bytes")
}

func BenchmarkRaw(b *testing.B) {
	s := benchStanza()
	b.Run("children given", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			stanza.Raw(s.Header, "", s.Content(), s.Children())
		}
	})
	b.Run("scan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			stanza.Raw(s.Header, "", s.Content(), nil)
		}
	})
}
