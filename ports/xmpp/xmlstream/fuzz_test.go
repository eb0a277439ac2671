package xmlstream

import (
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// headers are the ways to open a client's stream.
var headers = []string{
	plainHeader,
	header,
	`<stream xmlns='http://etherx.jabber.org/streams'>`,
	`<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns:c='jabber:client'>`,
	`<stream:stream xmlns='jabber:client' xmlns:x='urn:x' xmlns:c='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`,
}

// fragments are what stanzas are made of, good and bad: seeds and mutations.
var fragments = []string{
	" ", "\n", "'", `"`, "=", "<", ">", "/", "</", "/>", "&", ";", ":", "]]>", "<![CDATA[", "<!--", "<?", "<!DOCTYPE a>",
	"&amp;", "&lt;", "&#x41;", "&#xFFFE;", "&foo;", "é", "羅", "\U0001F600", "\xC3", "\xED\xA0\x80", "\uFFFE", "\x00", "\t", "\r\n",
	"<a>", "</a>", "<a/>", "<x:a>", "</x:a>", "<x:a/>", "<c:body>", "</c:body>", "<c:message>", "</c:message>", "<message>", "</message>", "<iq/>",
	" xmlns='u'", " xmlns=''", " xmlns='jabber:client'", " xmlns='jabber:server'", " xmlns:x='u'", " xmlns:x='v'", " xmlns:y='u'", " xmlns:c='jabber:client'",
	" xmlns:xml='http://www.w3.org/XML/1998/namespace'", " xmlns:z='http://www.w3.org/XML/1998/namespace'", " xmlns:xmlns='u'", " xmlns:q=''",
	" a='1'", " x:a='1'", " y:a='2'", " stream:a='3'", " xml:lang='de'", " id='1'", " to='a@b/c'", " to='@'", " from='A@B'", " type='chat'",
	"<body>text</body>", "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>b</body></message></forwarded>",
	"<stream:error/>", "</stream:stream>", "<?xml version='1.0'?>",
}

// seeds adds inputs that reach all states of the scanner.
func seeds(add func(in string)) {
	for _, s := range samples {
		add(s)
	}
	for _, c := range streamRules {
		add(c.in)
	}
	add("<message xmlns:x='u'><x:a y:b='' xmlns:y='v'/>t<c:body xmlns:c='jabber:client'/></message>")
}

// FuzzReader checks that it does not matter how input is cut, and that what
// comes out is canonical: it is read again as the same.
func FuzzReader(f *testing.F) {
	seeds(func(in string) { f.Add(in, uint8(0), int64(len(in))) })
	for i, h := range headerRules {
		f.Add(h.in, uint8(len(headers)), int64(i))
	}
	f.Fuzz(func(t *testing.T, in string, head uint8, seed int64) {
		if n := int(head) % (len(headers) + 1); n < len(headers) {
			in = headers[n] + in
		}
		checkReader(t, in, seed)
	})
}

func checkReader(t testing.TB, in string, seed int64) {
	t.Helper()
	limits := Limits{StanzaBytes: 4096, Depth: 8, Attributes: 6}
	whole := read(t, NewReader(limits), in)
	rng := rand.New(rand.NewSource(seed))
	most := 1 << rng.Intn(8)
	if got := read(t, NewReader(limits), pieces(in, func() int { return 1 + rng.Intn(most) })...); !slices.Equal(got, whole) {
		t.Fatalf("read %q\nwhole    %q\nin parts %q", in, whole, got)
	}
	for _, event := range whole {
		if !strings.HasPrefix(event, "<") || strings.Contains(event, " malformed ") {
			continue
		}
		s, err := ParseCanonical([]byte(event))
		if err != nil {
			t.Fatalf("read %q\ncanonical form %q is refused: %v", in, event, err)
		}
		if again := string(s.Append(nil, jid.JID{}, "")); again != event {
			t.Fatalf("read %q\ncanonical form %q\nread again as  %q", in, event, again)
		}
	}
}

// mutate changes s in a few places.
func mutate(s string, rng *rand.Rand) string {
	for range 1 + rng.Intn(3) {
		i := rng.Intn(len(s) + 1)
		j := min(len(s), i+rng.Intn(12))
		switch rng.Intn(5) {
		case 0: // delete
			s = s[:i] + s[j:]
		case 1: // repeat
			s = s[:j] + s[i:j] + s[j:]
		case 2: // move
			part, rest := s[i:j], s[:i]+s[j:]
			k := rng.Intn(len(rest) + 1)
			s = rest[:k] + part + rest[k:]
		case 3: // insert at the end of a name or tag, where it is likelier to fit
			if n := strings.IndexAny(s[i:], " />"); n >= 0 {
				i += n
			}
			fallthrough
		default:
			s = s[:i] + fragments[rng.Intn(len(fragments))] + s[i:]
		}
	}
	return s
}

func TestMutations(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	bases := []string{
		samples["message"], samples["ping"], samples["unicode"],
		"<message xmlns:x='u'><x:a y:b='' xmlns:y='v'/>t<c:body xmlns:c='jabber:client'/></message>",
		"<presence from='a@b' to='c@d/e' xml:lang='de'><show>away</show><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' ver='a+b='/></presence>",
		"<iq type='set' id='x'><query xmlns='jabber:iq:private'><s:a xmlns:s='s' s:b='c'><d/></s:a></query></iq>",
		"<c:message><c:body>a<x:y xmlns:x='u'/></c:body><body xmlns='jabber:client'/></c:message>",
		"<x:message xmlns:x='jabber:client' xmlns='u'><a><x:b/></a></x:message>",
	}
	n := 20_000
	if testing.Short() || raceEnabled {
		n = 2_000
	}
	accepted := 0
	for range n {
		in := headers[rng.Intn(len(headers))] + mutate(bases[rng.Intn(len(bases))], rng)
		checkReader(t, in, rng.Int63())
		if checkAgainstEncodingXML(t, in) {
			accepted++
		}
	}
	t.Logf("%d of %d accepted", accepted, n)
	if accepted < n/10 {
		t.Errorf("only %d of %d inputs were accepted: the comparison says little", accepted, n)
	}
}
