package xmlstream

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// one reads one stanza.
func one(t testing.TB, r *Reader, in []byte) *stanza.Stanza {
	t.Helper()
	r.Feed(in)
	tok, ok, err := r.Next()
	if !ok || err != nil || tok.Kind != Stanza {
		t.Fatal(tok.Kind, ok, err)
	}
	if _, ok, err = r.Next(); ok || err != nil {
		t.Fatal(ok, err)
	}
	return tok.Stanza
}

// heap returns the bytes in use.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// A queue is bounded by Stanza.Size: whatever a client sends, a stanza, an answer
// to it and a stanza with one of its addresses hold what they count.
func TestSizeIsWhatIsHeld(t *testing.T) {
	const most = 15_000 // of a start tag
	long := strings.Repeat("x", 250_000)
	withPrefix := strings.Replace(plainHeader, ">", " xmlns:p='urn:p'>", 1)
	kinds := []struct {
		name string
		keep func(s *stanza.Stanza) *stanza.Stanza
	}{
		{"the stanza", func(s *stanza.Stanza) *stanza.Stanza { return s }},
		{"an answer", func(s *stanza.Stanza) *stanza.Stanza { return stanza.New(s.Reply(stanza.Result)) }},
		{"an error", func(s *stanza.Stanza) *stanza.Stanza { return s.ErrorReply(stanza.Err(stanza.ItemNotFound, "")) }},
		{"an answer with the payload's name", func(s *stanza.Stanza) *stanza.Stanza {
			var list []*stanza.Element
			for _, c := range s.Children()[:min(1, len(s.Children()))] {
				list = append(list, stanza.El(c.Space, c.Local))
			}
			return stanza.New(s.Reply(stanza.Result), list...)
		}},
		{"another to the sender", func(s *stanza.Stanza) *stanza.Stanza {
			return stanza.New(stanza.Header{Kind: stanza.Message, To: s.From})
		}},
		{"one child less", func(s *stanza.Stanza) *stanza.Stanza {
			return s.Patch(func(c stanza.Child) bool { return c.Local == "x" })
		}},
		{"the same with another start tag", func(s *stanza.Stanza) *stanza.Stanza {
			return s.With(stanza.Header{Kind: s.Kind, To: s.From})
		}},
	}
	for _, c := range []struct{ name, header, in string }{
		{"a big payload", plainHeader, "<iq id='1' type='get' from='a@example.org/b'><x xmlns='urn:x'>" + long + "</x></iq>"},
		{"white space in the start tag", plainHeader, "<iq" + strings.Repeat(" ", most) + " from='a@example.org/b' id='1' type='get'\n/>"},
		{"white space in the end tag", plainHeader, "<iq from='a@example.org/b' id='1' type='get'><a/></iq" + strings.Repeat(" ", 250_000) + ">"},
		{"a long id", plainHeader, "<iq from='a@example.org/b' type='get' id='" + long[:most] + "'/>"},
		{"a long type", plainHeader, "<message from='a@example.org/b' id='1' type='" + long[:most] + "'/>"},
		{"a long attribute", plainHeader, "<iq from='a@example.org/b' id='1' type='get' foo='" + long[:most] + "'/>"},
		{"a long namespace of an attribute", plainHeader, "<iq from='a@example.org/b' id='1' type='get' p:a='' xmlns:p='" + strings.Repeat("\"", 1000) + "'/>"},
		{"a declaration that nobody uses", plainHeader, "<iq from='a@example.org/b' id='1' type='get' xmlns:p='" + long[:1000] + "'/>"},
		{"addresses that are prepared", plainHeader, "<iq id='1' from='" + strings.Repeat("A", 1000) + "@EXAMPLE.org/" + long[:1000] + "' to='B@c'/>"},
		{"an address that is none", plainHeader, "<iq id='1' from='a@example.org/b' to='@" + long[:most] + "'/>"},
		{"id with references", plainHeader, "<iq from='a@example.org/b' type='get' id='" + strings.Repeat("&#x10FFFD;", most/10) + "'/>"},
		{"a prefix of the stream header", withPrefix, "<iq id='1' type='get' from='a@example.org/b'><p:x>" + long + "</p:x><y/></iq>"},
		{"children in the content namespace, declared", plainHeader, "<iq id='1' type='get' from='a@example.org/b'><a xmlns='jabber:client'/><x xmlns='u'>" + long + "</x></iq>"},
		{"one child", plainHeader, "<iq id='1' type='get'><a/></iq>"},
		{"three children", plainHeader, "<message><a/><a/><a/></message>"},
		{"namespaces with references", plainHeader, "<message>" + strings.Repeat("<a xmlns='&lt;"+long[:1000]+"'/>", 200) + "</message>"},
		{"nothing but children", plainHeader, "<message>" + strings.Repeat("<a/>", 2_000) + "</message>"},
	} {
		for _, k := range kinds {
			t.Run(c.name+"/"+k.name, func(t *testing.T) {
				const n = 40
				r, in := opened(t, c.header, Limits{}), []byte(c.in)
				kept := make([]*stanza.Stanza, n)
				kept[0] = k.keep(one(t, r, in)) // once, for what is pooled
				before := heap()
				for i := range kept {
					if kept[i] = k.keep(one(t, r, in)); kept[i] == nil {
						t.Skip("there is no answer")
					}
				}
				held := heap() - before
				counted := kept[0].Size()*(n-1) + n*sharedValues
				if held > counted+counted/5+20_000 {
					t.Errorf("%d stanzas of %d bytes hold %d", n, kept[0].Size(), held)
				}
				runtime.KeepAlive(kept)
				runtime.KeepAlive(in)
				runtime.KeepAlive(r)
			})
		}
	}
}

// The constants of Stanza.Size.
func TestSizeOfAStanza(t *testing.T) {
	none := stanza.New(stanza.Header{Kind: stanza.IQ})
	if got, want := uintptr(none.Size()), unsafe.Sizeof(*none); got != want {
		t.Errorf("a stanza counts %d bytes and has %d", got, want)
	}
	child := unsafe.Sizeof(stanza.Child{})
	for n, list := range []uintptr{0, 2, 2, 4, 4, 5} {
		s := stanza.Raw(none.Header, "", strings.Repeat("<a/>", n), nil)
		if got, want := uintptr(s.Size()), unsafe.Sizeof(*s)+uintptr(4*n)+list*child; got != want {
			t.Errorf("%d children: %d bytes, want %d", n, got, want)
		}
	}
}

// within reports whether s is a part of the memory of whole.
func within(s, whole string) bool {
	if s == "" || whole == "" {
		return false
	}
	p, from := uintptr(unsafe.Pointer(unsafe.StringData(s))), uintptr(unsafe.Pointer(unsafe.StringData(whole)))
	return p >= from && p < from+uintptr(len(whole))
}

// Names of children are parts of the content, the start tag's values are not.
func TestWhoseMemory(t *testing.T) {
	for _, in := range []string{
		"<message id='1' from='a@b' to='c@d/e' type='odd' xml:lang='de' foo='bar'><body>x</body><y xmlns='urn:y'/></message>",
		"<message id='1' from='a@b' to='c@d/e' type='odd' xml:lang='de' foo='bar'><body xmlns='jabber:client'>x</body><y xmlns='urn:y'/></message>",
	} {
		s := one(t, opened(t, plainHeader, Limits{}), []byte(in))
		for _, v := range []string{s.ID, s.Type, s.Lang, s.From.String(), s.To.String(), s.Attrs()} {
			if v == "" || within(v, s.Content()) || within(s.Content(), v) {
				t.Errorf("%q is a part of the content of %s", v, in)
			}
			if v != s.Attrs() && within(v, s.Attrs()) {
				t.Errorf("%q is a part of the attributes of %s", v, in)
			}
		}
		for _, c := range s.Children() {
			if !within(c.Local, s.Content()) || c.Space != "" && !within(c.Space, s.Content()) {
				t.Errorf("{%s}%s is no part of the content of %s", c.Space, c.Local, in)
			}
		}
		again := stanza.New(s.Header, s.Element(s.Children()[1]))
		if c := again.Children()[0]; !within(c.Local, again.Content()) || !within(c.Space, again.Content()) || c.Space != "urn:y" || c.Local != "y" {
			t.Errorf("New: {%s}%s", c.Space, c.Local)
		}
	}
}

// All ways in which values of a start tag come into memory.
func TestHeaderValues(t *testing.T) {
	long := strings.Repeat("x", 300)
	r := opened(t, header, Limits{}) // xml:lang='en'
	for _, c := range []struct {
		in   string
		want stanza.Header
	}{
		{"<iq/>", stanza.Header{Kind: stanza.IQ, Lang: "en"}},
		{"<iq id='' type='' xml:lang=''/>", stanza.Header{Kind: stanza.IQ}},
		{"<iq xml:lang='en'/>", stanza.Header{Kind: stanza.IQ, Lang: "en"}},
		{"<iq xml:lang='de&#45;CH' type='s&#101;t' id='&lt;'/>", stanza.Header{Kind: stanza.IQ, Lang: "de-CH", Type: "set", ID: "<"}},
		{"<iq to='Ä@x' type='odd'/>", stanza.Header{Kind: stanza.IQ, Lang: "en", Type: "odd", To: jid.MustParse("ä@x")}},
		{"<iq to='Ä@x' from='a@b' id='2'/>", stanza.Header{Kind: stanza.IQ, Lang: "en", ID: "2", To: jid.MustParse("ä@x"), From: jid.MustParse("a@b")}},
		{"<iq id='" + long + "' to='a@b' from='b@c/d' xml:lang='cs'/>",
			stanza.Header{Kind: stanza.IQ, ID: long, Lang: "cs", To: jid.MustParse("a@b"), From: jid.MustParse("b@c/d")}},
	} {
		if s := one(t, r, []byte(c.in)); s.Header != c.want {
			t.Errorf("%s\n got %+v\nwant %+v", c.in, s.Header, c.want)
		}
	}
	for _, typ := range []string{"normal", "chat", "groupchat", "headline", "unavailable", "subscribe", "subscribed",
		"unsubscribe", "unsubscribed", "probe", "get", "set", "result", "error"} {
		if s := one(t, r, []byte("<iq type='"+typ+"'/>")); s.Type != typ || knownType([]byte(typ)) != typ {
			t.Errorf("type %s is read as %s", typ, s.Type)
		}
	}
}

// RFC 6120 4.7.4 and 8.1.5; RFC 5646 4.4.1: 35 characters at least.
func TestLanguageTagIsBounded(t *testing.T) {
	for n, want := range map[int]bool{35: true, maxLang: true, maxLang + 1: false, 1000: false} {
		tag := "de-x-" + strings.Repeat("a", n-5)
		head := strings.Replace(plainHeader, " ", " xml:lang='"+tag+"' ", 1)
		inherited, own := []string{policyViolation}, []string{justOpened, policyViolation}
		if want {
			inherited = []string{strings.Replace(justOpened, `lang=""`, `lang="`+tag+`"`, 1), "<iq xml:lang='" + tag + "'/>"}
			own = []string{justOpened, "<iq xml:lang='" + tag + "'/>"}
		}
		if got := read(t, NewReader(Limits{}), head+"<iq/>"); !slices.Equal(got, inherited) {
			t.Errorf("%d bytes, of the stream: %q", n, got)
		}
		if got := read(t, NewReader(Limits{}), plainHeader+"<iq xml:lang='"+tag+"'/>"); !slices.Equal(got, own) {
			t.Errorf("%d bytes, of the stanza: %q", n, got)
		}
		if _, err := ParseFrame([]byte("<iq/>"), xmpp.NSClient, tag, Limits{}); (err == nil) != want {
			t.Errorf("%d bytes, of a frame: %v", n, err)
		}
	}
	// What counts is what is sent on, and references make that shorter.
	tag := strings.Repeat("&#97;", maxLang)
	if got := read(t, NewReader(Limits{}), plainHeader+"<iq xml:lang='"+tag+"'/>"); len(got) != 2 || got[1] == policyViolation {
		t.Errorf("got %q", got)
	}
}

// A header and a start tag have bounds of their own, whatever StanzaBytes is, and
// however the input is cut.
func TestStartTagIsBounded(t *testing.T) {
	cut := func(in string) map[string][]string {
		return map[string][]string{
			"whole":  {in},
			"by 1":   strings.Split(in, ""),
			"by 7":   pieces(in, func() int { return 7 }),
			"by 5 k": pieces(in, func() int { return 5000 }),
		}
	}
	padded := func(tag string, n int) string { // tag with white space, n bytes
		return strings.Replace(tag, " ", strings.Repeat(" ", n-len(tag)+1), 1)
	}
	const start, end = "<iq id='1'>", "<x xmlns='u'/></iq>"
	big := "<y xmlns='u'>" + strings.Repeat("z", 50_000) + "</y></iq>"
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"header", padded(plainHeader, maxHeader), []string{justOpened}},
		{"too long a header", padded(plainHeader, maxHeader+1), []string{policyViolation}},
		{"too long an XML declaration", padded("<?xml version='1.0'?>", maxHeader+1), []string{policyViolation}},
		{"start tag", plainHeader + padded(start, maxStartTag) + end, []string{justOpened, start + end}},
		{"start tag and more", plainHeader + padded(start, maxStartTag) + big, []string{justOpened, start + big}},
		{"too long a start tag", plainHeader + padded(start, maxStartTag+1) + end, []string{justOpened, policyViolation}},
		{"too long a start tag without content", plainHeader + padded("<iq />", maxStartTag+1), []string{justOpened, policyViolation}},
		{"of another element", plainHeader + padded("<r xmlns='urn:xmpp:sm:3'/>", maxStartTag+1), []string{justOpened, policyViolation}},
		{"inner ones are not bounded", plainHeader + "<iq>" + padded("<x />", 2*maxStartTag) + "</iq>",
			[]string{justOpened, "<iq>" + padded("<x />", 2*maxStartTag) + "</iq>"}},
		{"the first error counts", plainHeader + padded(start, maxStartTag+1)[:maxStartTag] + "<", []string{justOpened, policyViolation}},
	} {
		for how, in := range cut(c.in) {
			if got := read(t, NewReader(Limits{}), in...); !slices.Equal(got, c.want) {
				t.Errorf("%s, %s: %.200q", c.name, how, fmt.Sprint(got))
			}
		}
	}
	// RFC 6120 13.12: 10,000 bytes are never too many.
	if got := read(t, NewReader(Limits{}), plainHeader+padded("<iq />", 10_000)); len(got) != 2 || got[1] != "<iq/>" {
		t.Errorf("got %q", got)
	}
	// It is raised at once.
	r := opened(t, plainHeader, Limits{})
	r.Feed([]byte(padded(start, maxStartTag+1)[:maxStartTag]))
	if _, ok, err := r.Next(); ok || err == nil {
		t.Error("a start tag at its bound without end: no error")
	}
}
