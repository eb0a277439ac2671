package xmlstream

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// RFC 6120 13.12: size is from the first '<' to the last '>'.
func TestStanzaBytes(t *testing.T) {
	l := Limits{StanzaBytes: 200}
	stanza := func(n int) string {
		return "<message>" + strings.Repeat("a", n-len("<message></message>")) + "</message>"
	}
	for n := 198; n < 204; n++ {
		want := []string{justOpened, stanza(n)}
		if n > 200 {
			want[1] = policyViolation
		}
		checkSplits(t, plainHeader+" "+stanza(n), l, want)
	}
}

// The error comes when the limit is crossed, not when the element ends.
func TestLimitIsRaisedAtOnce(t *testing.T) {
	r := opened(t, plainHeader, Limits{StanzaBytes: 1000})
	r.Feed([]byte("<message><body>" + strings.Repeat("a", 1000-16)))
	if _, ok, err := r.Next(); ok || err != nil {
		t.Fatal(ok, err)
	}
	r.Feed([]byte("a"))
	if _, _, err := r.Next(); err == nil {
		t.Fatal("1000 bytes and no end: no error")
	}
}

func TestSetLimits(t *testing.T) {
	r := opened(t, plainHeader, Limits{StanzaBytes: len(plainHeader)})
	r.SetLimits(Limits{StanzaBytes: 10_000, Depth: 2, Attributes: 1})
	got := read(t, r, "<message><body a='b'>"+strings.Repeat("a", 5000)+"</body></message>", "<a b='c' d='e'/>")
	if len(got) != 2 || got[1] != policyViolation {
		t.Errorf("got %d tokens", len(got))
	}
	r = opened(t, plainHeader, Limits{Depth: 2})
	if got := read(t, r, "<a><b/></a><a><b><c/></b></a>"); len(got) != 2 || got[1] != policyViolation {
		t.Errorf("got %q", got)
	}
}

func TestDefaultLimits(t *testing.T) {
	want := Limits{StanzaBytes: 262_144, ElementBytes: 262_144, Depth: 64, Attributes: 32}
	for _, l := range []Limits{{}, {StanzaBytes: -1, ElementBytes: -1, Depth: -1, Attributes: -1}, want} {
		if got := l.withDefaults(); got != want {
			t.Errorf("%v became %v", l, got)
		}
	}
	if got := (Limits{StanzaBytes: 1 << 40, ElementBytes: 1 << 40, Depth: 1 << 40, Attributes: 1 << 40}).withDefaults(); got != (Limits{StanzaBytes: maxStanzaBytes, ElementBytes: maxStanzaBytes, Depth: maxDepth, Attributes: maxAttributes}) {
		t.Errorf("huge limits became %v", got)
	}
	if got := (Limits{StanzaBytes: 20_000, ElementBytes: 30_000}).withDefaults(); got.ElementBytes != 20_000 {
		t.Errorf("other elements may be longer than stanzas: %v", got)
	}
}

// What is no stanza has a bound of its own, however it is cut.
func TestElementBytes(t *testing.T) {
	const limit = 1000
	for _, row := range []struct {
		name string
		n    int
		ok   bool
	}{{"message", 10_000, true}, {"a", limit, true}, {"a", limit + 1, false}, {"a", 10_000, false}} {
		xml := "<" + row.name + ">" + strings.Repeat("x", row.n-len("<></>")-2*len(row.name)) + "</" + row.name + ">"
		for _, piece := range []int{1, 100, 1 << 20} {
			r := NewReader(Limits{ElementBytes: limit})
			r.Feed([]byte("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"))
			if _, ok, err := r.Next(); !ok || err != nil {
				t.Fatal(err)
			}
			var read bool
			var err error
			for rest := xml; rest != "" && !read && err == nil; {
				n := min(piece, len(rest))
				r.Feed([]byte(rest[:n]))
				rest = rest[n:]
				_, read, err = r.Next()
			}
			if read != row.ok || (err == nil) != row.ok {
				t.Errorf("%d bytes of <%s/>, %d at a time: %v, %v", row.n, row.name, piece, read, err)
			}
		}
	}
}

// Whatever a peer sends, the reader holds no more than an element may have.
func TestHeldInputIsBounded(t *testing.T) {
	const limit = 20_000
	long := func(s string) func(int) string { return func(int) string { return s } }
	for _, c := range []struct {
		name, start string
		next        func(i int) string
	}{
		{"text without end", "<message><body>", long(strings.Repeat("a", 1500))},
		{"a tag without '>'", "<message ", func(i int) string { return fmt.Sprintf("a%d='%s' ", i, strings.Repeat("b", 1000)) }},
		{"white space in a tag", "<message ", long(strings.Repeat(" ", 1500))},
		{"a name without end", "<message", long(strings.Repeat("a", 1500))},
		{"an attribute without end", "<message a='", long(strings.Repeat("b", 1500))},
		{"CDATA without end", "<message><![CDATA[", long(strings.Repeat("]", 1500))},
		{"an end tag without '>'", "<message></message", long(strings.Repeat("\n", 1500))},
		{"elements without end", "<message>", long(strings.Repeat("<a/>", 400))},
		{"a reference without ';'", "<message>&a", long(strings.Repeat("a", 1500))},
		{"the end of the stream without '>'", "</stream:stream", long(strings.Repeat(" ", 1500))},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := opened(t, plainHeader, Limits{StanzaBytes: limit})
			r.Feed([]byte(c.start))
			total := 0
			for i := 0; ; i++ {
				_, ok, err := r.Next()
				if err != nil {
					break
				}
				if ok || total > limit {
					t.Fatalf("token %v after %d bytes", ok, total)
				}
				if r.work == nil || cap(r.work.buf) > limit || r.in != nil {
					t.Fatalf("buffer of %d bytes", cap(r.work.buf))
				}
				p := c.next(i)
				total += len(p)
				r.Feed([]byte(p))
			}
			if held(r) != 0 || r.work != nil {
				t.Error("something is held after the error")
			}
		})
	}
	t.Run("an XML declaration without end", func(t *testing.T) {
		r := NewReader(Limits{StanzaBytes: limit})
		got := read(t, r, pieces("<?xml "+strings.Repeat(" ", 2*limit), func() int { return 1500 })...)
		if !slices.Equal(got, []string{policyViolation}) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a header without end", func(t *testing.T) {
		r := NewReader(Limits{StanzaBytes: limit})
		got := read(t, r, pieces("<stream:stream to='"+strings.Repeat("a", 2*limit), func() int { return 1500 })...)
		if !slices.Equal(got, []string{policyViolation}) {
			t.Errorf("got %q", got)
		}
	})
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Entities that expand each other are refused before there is anything to expand.
func TestBillionLaughs(t *testing.T) {
	in := "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY a0 'ha'>"
	for i := range 30 {
		in += fmt.Sprintf("<!ENTITY a%d '&a%d;&a%d;'>", i+1, i, i)
	}
	in += "]>" + plainHeader + "<message><body>&a30;</body></message>"
	var got []string
	if n := allocated(func() { got = read(t, NewReader(Limits{}), in) }); n > 100_000 {
		t.Errorf("%d bytes allocated", n)
	}
	if !slices.Equal(got, []string{restricted}) {
		t.Errorf("got %q", got)
	}
}

// A long namespace name that is declared once and used often must not be
// written out each time: not here, and not by those who write a payload again.
func TestBorrowedNamespacesAreBounded(t *testing.T) {
	long := strings.Repeat("u", maxNamespace)
	for _, c := range []struct{ name, header, start, use, end string }{
		{"elements", plainHeader, "<message xmlns:p='" + long + "'>", "<p:a/>", "</message>"},
		{"attributes", plainHeader, "<message xmlns:p='" + long + "'>", "<a p:b=''/>", "</message>"},
		{"elements in an outer", plainHeader, "<message xmlns:p='" + long + "'>", "<p:a><a xmlns='u'><p:a/></a></p:a>", "</message>"},
		{"elements of a payload", plainHeader, "<message><x xmlns='v' xmlns:p='" + long + "'>", "<p:a/>", "</x></message>"},
		{"attributes of a payload", plainHeader, "<message><x xmlns='v' xmlns:p='" + long + "'>", "<a p:b=''/>", "</x></message>"},
		{"a default namespace in a prefixed element", plainHeader, "<message><p:x xmlns:p='v' xmlns='" + long + "'>", "<a/>", "</p:x></message>"},
		{"two by turns", plainHeader, "<message><p:x xmlns:p='v' xmlns='" + long + "'>", "<a><p:a/></a>", "</p:x></message>"},
		{"of the stream header", strings.Replace(plainHeader, ">", " xmlns:p='"+long+"'>", 1), "<message><x xmlns='v'>", "<p:a/>", "</x></message>"},
		{"not in a stanza", plainHeader, "<x xmlns='v' xmlns:p='" + long + "'>", "<p:a/>", "</x>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := opened(t, c.header, Limits{StanzaBytes: 100_000})
			in := c.start + strings.Repeat(c.use, 40_000/len(c.use)) + c.end
			var got []string
			n := allocated(func() { got = read(t, r, in) })
			if !slices.Equal(got, []string{policyViolation}) {
				t.Errorf("%d tokens", len(got))
			}
			if n > 10*100_000 {
				t.Errorf("%d bytes allocated for a stanza of %d", n, len(in))
			}
			r = opened(t, c.header, Limits{StanzaBytes: 100_000})
			few := 90_000 / (2 * (maxNamespace + 14))
			if got := read(t, r, c.start+strings.Repeat(c.use, few)+c.end); len(got) != 1 || got[0] == policyViolation {
				t.Errorf("%d uses are refused", few)
			}
		})
	}
	// Text that grows when it is escaped again.
	r := opened(t, plainHeader, Limits{StanzaBytes: 100_000})
	in := "<message xmlns:p='u'><p:a/>" + strings.Repeat(">", 50_000) + "</message>"
	if got := read(t, r, in); !slices.Equal(got, []string{policyViolation}) {
		t.Errorf("%d tokens", len(got))
	}
}

// Looking at each byte once: the time for an element that comes in pieces must
// not grow with the number of pieces. Of what it has seen, the scanner goes back
// over a cut character only.
func TestResumptionIsLinear(t *testing.T) {
	for name, in := range map[string]string{
		"text":      "<message><body>" + strings.Repeat("é", 20_000) + "</body></message>",
		"CDATA":     "<message><![CDATA[" + strings.Repeat("]]", 20_000) + "]]></message>",
		"attribute": "<message id='" + strings.Repeat("a", 40_000) + "'/>",
		"tag":       "<message " + strings.Repeat(" ", 40_000) + "/>",
	} {
		t.Run(name, func(t *testing.T) {
			w := works.New().(*work)
			w.begin(clientScope, Limits{}.withDefaults(), inside, false)
			b := []byte(in)
			for i := 1; i <= len(in); i++ {
				done, err := w.scan(b[:i])
				if err != nil || done != (i == len(in)) {
					t.Fatal(i, done, err)
				}
				if i-w.pos > 3 {
					t.Fatalf("at byte %d the scanner will go on from %d", i, w.pos)
				}
			}
		})
	}
}

// The target: the content, the values of the start tag, the stanza with its
// children, nothing else.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops at random under the race detector")
	}
	for name, most := range map[string]float64{"message": 3, "ping": 3, "roster": 3, "vcard": 3, "unicode": 3, "bare": 2, "header only": 2} {
		r := opened(t, header, Limits{})
		in := []byte(samples[name])
		switch name {
		case "bare":
			in = []byte("<message type='chat' xml:lang='en'><body>a</body></message>")
		case "header only":
			in = []byte("<iq id='1' type='result' to='romeo@montague.example/orchard'/>")
		}
		got := testing.AllocsPerRun(200, func() {
			r.Feed(in)
			if _, ok, err := r.Next(); !ok || err != nil {
				t.Fatal(ok, err)
			}
		})
		if got > most {
			t.Errorf("%s: %v allocations, want %v", name, got, most)
		}
	}
	r := opened(t, header, Limits{})
	space := []byte(" \n")
	if got := testing.AllocsPerRun(200, func() {
		r.Feed(space)
		if _, ok, err := r.Next(); ok || err != nil {
			t.Fatal(ok, err)
		}
	}); got > 0 {
		t.Errorf("white space: %v allocations", got)
	}
}
