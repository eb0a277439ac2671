package xmlstream

import (
	"errors"
	"fmt"
	"math/rand"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// read feeds the pieces to r and returns what came, one line for each token:
// it ends with "error CONDITION" if there was one.
func read(t testing.TB, r *Reader, pieces ...string) (events []string) {
	t.Helper()
	for _, p := range pieces {
		fed := []byte(p)
		r.Feed(fed)
		for {
			tok, ok, err := r.Next()
			if err != nil {
				var se *stream.Error
				if !errors.As(err, &se) {
					t.Fatalf("error is no *stream.Error: %v", err)
				}
				if se.Condition == stream.InternalServerError {
					t.Fatalf("read %q: the tree of a checked element is refused", pieces)
				}
				if _, _, again := r.Next(); again != err {
					t.Fatalf("error %v is not final: %v", err, again)
				}
				if held(r) != 0 {
					t.Fatalf("%d bytes are held after an error", held(r))
				}
				return append(events, "error "+string(se.Condition))
			}
			if !ok {
				break
			}
			events = append(events, describe(t, tok))
		}
		for i := range fed { // what was borrowed is given back
			fed[i] = '!'
		}
	}
	return events
}

// held returns how many bytes of input r holds.
func held(r *Reader) int {
	n := len(r.in)
	if r.work != nil {
		n += len(r.work.buf)
	}
	return n
}

func describe(t testing.TB, tok Token) string {
	t.Helper()
	switch tok.Kind {
	case Open:
		h := tok.Header
		return fmt.Sprintf("open to=%q from=%q id=%q lang=%q version=%q content=%s", h.To, h.From, h.ID, h.Lang, h.Version, h.ContentSpace)
	case Stanza:
		s := tok.Stanza
		scanned := stanza.Raw(s.Header, s.Attrs(), s.Content(), nil)
		if !slices.Equal(s.Children(), scanned.Children()) {
			t.Fatalf("children are %v, package stanza finds %v in %q", s.Children(), scanned.Children(), s.Content())
		}
		checkRoundTrip(t, s)
		line := string(s.Append(nil, jid.JID{}, ""))
		if tok.Malformed != "" {
			line += " malformed " + tok.Malformed
		}
		return line
	case Element:
		space := tok.Element.Space
		if space == "" {
			space = "content"
		}
		return "{" + space + "}" + string(tok.Element.Append(nil, ""))
	case Close:
		return "close"
	}
	t.Fatalf("token of kind %d", tok.Kind)
	return ""
}

// checkSplits reads in whole, split in two at every byte, and byte by byte.
func checkSplits(t *testing.T, in string, l Limits, want []string) {
	t.Helper()
	if got := read(t, NewReader(l), in); !slices.Equal(got, want) {
		t.Fatalf("read %q\n got %q\nwant %q", in, got, want)
	}
	for i := 1; i < len(in); i++ {
		if got := read(t, NewReader(l), in[:i], in[i:]); !slices.Equal(got, want) {
			t.Fatalf("read %q, split at %d\n got %q\nwant %q", in, i, got, want)
		}
	}
	if got := read(t, NewReader(l), strings.Split(in, "")...); !slices.Equal(got, want) { // by characters
		t.Fatalf("read %q by characters\n got %q\nwant %q", in, got, want)
	}
	bytes := make([]string, len(in))
	for i := range len(in) {
		bytes[i] = in[i : i+1]
	}
	if got := read(t, NewReader(l), bytes...); !slices.Equal(got, want) {
		t.Fatalf("read %q byte by byte\n got %q\nwant %q", in, got, want)
	}
}

const plainHeader = `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`

// opened returns a Reader that has read in.
func opened(t testing.TB, in string, l Limits) *Reader {
	t.Helper()
	r := NewReader(l)
	if got := read(t, r, in); len(got) == 0 || !strings.HasPrefix(got[0], "open ") {
		t.Fatalf("header %q: %q", in, got)
	}
	return r
}

func TestResetAfterSASL(t *testing.T) { // RFC 6120 4.3.3
	auth := `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AGp1bGlldA==</auth>`
	r := NewReader(Limits{})
	r.Feed([]byte(header + auth + "\n" + strings.Replace(header, "'en'", "'de'", 1) + "<presence/>"))
	for _, want := range []Kind{Open, Element} {
		if tok, ok, err := r.Next(); tok.Kind != want || !ok || err != nil {
			t.Fatal(tok.Kind, ok, err)
		}
	}
	r.Reset()
	for _, want := range []Kind{Open, Stanza} {
		tok, ok, err := r.Next()
		if tok.Kind != want || !ok || err != nil {
			t.Fatal(tok.Kind, ok, err)
		}
		if want == Stanza && tok.Stanza.Lang != "de" {
			t.Errorf("language of the replaced stream: %q", tok.Stanza.Lang)
		}
	}
}

func TestResetForgetsTheScope(t *testing.T) { // RFC 6120 4.8.5: declarations apply to that stream only
	r := opened(t, `<stream:stream xmlns='jabber:client' xmlns:x='u' xmlns:stream='http://etherx.jabber.org/streams'>`, Limits{})
	r.Reset()
	got := read(t, r, plainHeader+`<x:a/>`)
	if len(got) != 2 || got[1] != "error not-well-formed" {
		t.Errorf("got %q", got)
	}
}

func TestResetKeepsAnIncompleteItem(t *testing.T) {
	r := opened(t, plainHeader+plainHeader[:20], Limits{})
	r.Reset()
	if got := read(t, r, plainHeader[20:]+"<iq/>"); len(got) != 2 || got[1] != "<iq/>" {
		t.Errorf("got %q", got)
	}
}

func TestDiscard(t *testing.T) { // RFC 6120 5.4.3.3
	r := NewReader(Limits{})
	r.Feed([]byte(header + `<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><presence/><mess`))
	for range 2 {
		if _, ok, err := r.Next(); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	r.Discard()
	r.Reset()
	if n := held(r); n != 0 {
		t.Fatalf("%d bytes are held", n)
	}
	if got := read(t, r, header+"<iq/>"); len(got) != 2 || got[1] != "<iq xml:lang='en'/>" {
		t.Errorf("got %q", got)
	}
	// Also in the middle of an element.
	r.Feed([]byte("<message><bo"))
	if _, ok, err := r.Next(); ok || err != nil || held(r) != 12 {
		t.Fatal(ok, err, held(r))
	}
	r.Discard()
	if got := read(t, r, "<iq/>"); held(r) != 0 || len(got) != 1 {
		t.Errorf("got %q, %d held", got, held(r))
	}
}

func TestHold(t *testing.T) {
	r := NewReader(Limits{})
	in := []byte(header + "<iq id='1'/><iq id='2'/><iq id='")
	r.Feed(in)
	for range 2 {
		if _, ok, err := r.Next(); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	r.Hold()
	clear(in)
	if want := len("<iq id='2'/><iq id='"); held(r) != want {
		t.Fatalf("%d bytes are held, want %d", held(r), want)
	}
	if got := read(t, r, "", "3'/>"); !slices.Equal(got, []string{"<iq id='2' xml:lang='en'/>", "<iq id='3' xml:lang='en'/>"}) {
		t.Errorf("got %q", got)
	}
	// Feed while some is left goes on with both.
	r.Feed([]byte("<iq id='4'/><i"))
	r.Feed([]byte("q id='5'/>"))
	r.Feed(nil)
	if got := read(t, r, ""); !slices.Equal(got, []string{"<iq id='4' xml:lang='en'/>", "<iq id='5' xml:lang='en'/>"}) {
		t.Errorf("got %q", got)
	}
}

// A Reader must not hold a scanner or a buffer while nothing is incomplete.
func TestIdleReaderHoldsNothing(t *testing.T) {
	r := opened(t, header+"<presence/> \n", Limits{})
	if r.in != nil || r.work != nil || r.scope != clientScope {
		t.Errorf("in %v, work %v, scope %v", r.in, r.work, r.scope)
	}
	r.Feed([]byte("<iq/><iq/>"))
	if _, ok, _ := r.Next(); !ok {
		t.Fatal("no token")
	}
	r.Hold()
	if r.work != nil {
		t.Error("a scanner is held after Hold")
	}
	if size := reflect.TypeFor[Reader]().Size(); size > 128 {
		t.Errorf("a Reader takes %d bytes", size)
	}
}

func TestNothingMattersAfterClose(t *testing.T) { // RFC 6120 4.4
	r := opened(t, plainHeader, Limits{})
	if got := read(t, r, "</stream:stream>\n<iq/>\x00", "&<"); !slices.Equal(got, []string{"close"}) || held(r) != 0 {
		t.Errorf("got %q, %d held", got, held(r))
	}
}

func TestLastAddress(t *testing.T) {
	r := opened(t, plainHeader, Limits{})
	for _, c := range []struct{ to, want string }{
		{"Romeo@Montague.EXAMPLE", "romeo@montague.example"},
		{"Romeo@Montague.EXAMPLE", "romeo@montague.example"},
		{"ромео@монтекки.example", "ромео@монтекки.example"},
		{"romeo@montague.example", "romeo@montague.example"},
		{"ромео@монтекки.example", "ромео@монтекки.example"},
		{"@", ""},
		{"ромео@монтекки.example/r", "ромео@монтекки.example/r"},
	} {
		r.Feed([]byte("<iq to='" + c.to + "'/>"))
		tok, _, err := r.Next()
		if err != nil || tok.Stanza.To.String() != c.want || (tok.Malformed != "") != (c.want == "") {
			t.Errorf("to %q: %q %q, %v", c.to, tok.Stanza.To, tok.Malformed, err)
		}
	}
	if r.last == nil || r.last.raw != "ромео@монтекки.example/r" {
		t.Errorf("kept %v", r.last)
	}
}

// Stanzas of real streams, cut into random pieces, come out the same.
func TestRandomPieces(t *testing.T) {
	var in strings.Builder
	in.WriteString(header)
	for range 5 {
		for _, name := range sampleNames {
			in.WriteString(samples[name])
		}
	}
	in.WriteString("</stream:stream>")
	want := read(t, NewReader(Limits{}), in.String())
	if len(want) != 5*len(sampleNames)+2 {
		t.Fatalf("%d tokens", len(want))
	}
	for seed := range int64(50) {
		rng := rand.New(rand.NewSource(seed))
		if got := read(t, NewReader(Limits{}), pieces(in.String(), func() int { return 1 + rng.Intn(1<<rng.Intn(13)) })...); !slices.Equal(got, want) {
			t.Fatalf("seed %d: tokens differ", seed)
		}
	}
}

// pieces cuts s into pieces of the given sizes.
func pieces(s string, size func() int) (list []string) {
	for len(s) > 0 {
		n := min(size(), len(s))
		list = append(list, s[:n])
		s = s[n:]
	}
	return list
}
