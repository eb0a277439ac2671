package spool

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// widest are the limits of clients when all options are at their highest.
var widest = xmlstream.Limits{StanzaBytes: 768 << 10, Depth: 255, Attributes: 255}

// sender is an address that is as long as one can be, and longer escaped.
var sender = jid.MustParse("romeo@example.org/" + strings.Repeat("'", 1023))

const streamHeader = `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:h='urn:&apos;h' version='1.0'`

// again has each stanza of a client's stream written to the spool, as it is when the
// server has put its own into the start tag, and read from there. It returns how many
// there were.
func again(t interface{ Fatalf(string, ...any) }, header, in string) (n int) {
	r := xmlstream.NewReader(widest)
	r.Feed([]byte(header + in))
	for {
		token, ok, err := r.Next()
		if !ok || err != nil {
			return n
		}
		if token.Kind != xmlstream.Stanza {
			continue
		}
		n++
		h := token.Stanza.Header
		h.From = sender
		if h.To.IsZero() {
			h.To = juliet
		}
		want := storage.SpoolRecord{ID: 1, To: h.To.Bare(), Stanza: token.Stanza.With(h)}
		kind, body, _, err := nextFrame(appendMessage(nil, &want))
		if err != nil || kind != kindMessage {
			t.Fatalf("%.200q: the frame: %v", in, err)
		}
		got, err := parseMessage(body)
		if err != nil {
			t.Fatalf("%.200q was accepted, and %.200q is refused: %v", in, want.Stanza, err)
		}
		if got.Stanza.String() != want.Stanza.String() || got.Stanza.Header != h || len(got.Stanza.Children()) != len(want.Stanza.Children()) {
			t.Fatalf("%.200q\nwritten %.200q\nread    %.200q", in, want.Stanza, got.Stanza)
		}
	}
}

// large are stanzas that pass the limits of clients, and whose canonical form does not.
var large = func() map[string]string {
	deep := func(open, end string, n int) string {
		return "<message>" + strings.Repeat(open, n) + strings.Repeat(end, n) + "</message>"
	}
	many := func(n int, attr string) (all string) {
		for i := range n {
			all += fmt.Sprintf(attr, i)
		}
		return all
	}
	return map[string]string{
		"an id that fills the start tag":     "<message id='" + strings.Repeat("x", 16300) + "'><body/></message>",
		"an id of quotes":                    `<message id="` + strings.Repeat("'", 16300) + `"><body/></message>`,
		"a type of references":               "<message type='" + strings.Repeat("\t", 16300) + "'/>",
		"a namespace of quotes":              `<message><p:a xmlns:p="` + strings.Repeat("'", 1000) + `"><b xmlns='u' p:c=''/></p:a></message>`,
		"a namespace of the start tag":       `<message xmlns:p="` + strings.Repeat("'", 1000) + `"><p:a/></message>`,
		"an attribute in such a namespace":   `<message p:a='' xmlns:p="` + strings.Repeat("'", 1000) + `"/>`,
		"a prefix of the stream":             "<message h:a='1'><h:b h:c='2'/></message>",
		"a language of quotes":               `<message xml:lang="` + strings.Repeat("'", 64) + `"/>`,
		"nested as deep as can be":           deep("<a>", "</a>", 254),
		"a namespace on each level":          deep("<a xmlns='u'><b xmlns='v'>", "</b></a>", 60),
		"namespaces that come to be default": "<message xmlns:p='u' xmlns:q='v'>" + strings.Repeat("<p:a><q:a>", 127) + strings.Repeat("</q:a></p:a>", 127) + "</message>",
		"as many attributes as can be":       "<message" + many(255, " a%d=''") + "/>",
		"prefixes of the stream, many":       "<message" + many(110, " s%d:a=''") + "/>",
		"prefixes inside, many":              "<message><a" + many(120, " xmlns:p%d='u%[1]d'") + many(120, " p%d:a=''") + "/></message>",
	}
}()

func TestWhatIsAcceptedIsReadAgain(t *testing.T) {
	for name, in := range large {
		t.Run(name, func(t *testing.T) {
			header := streamHeader
			if strings.HasPrefix(name, "prefixes of the stream") {
				for i := range 110 {
					header += fmt.Sprintf(" xmlns:s%d='%[1]d'", i)
				}
			}
			if again(t, header+">", in) != 1 {
				t.Error("it is not accepted")
			}
		})
	}
}

func FuzzAccepted(f *testing.F) {
	for _, in := range large {
		if len(in) < 4<<10 {
			f.Add(in, uint16(1))
		}
	}
	f.Add("<message id='$$$$' xmlns:p='$$$'><p:a b='$$'/>$<c xmlns='$$'>$</c></message><iq id='$' xml:lang='$'/>", uint16(300))
	f.Fuzz(func(t *testing.T, in string, n uint16) {
		again(t, streamHeader+">", strings.ReplaceAll(in, "$", strings.Repeat("\"", int(n)%1024)))
	})
}

// Stanzas made of what grows.
func TestAcceptedModel(t *testing.T) {
	accepted := 0
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.Custom(func(t *rapid.T) string {
			return strings.Repeat(rapid.SampledFrom([]string{"x", "'", "&quot;", "\n", "\t", "&#13;", "é", "&gt;", ">"}).Draw(t, "c"), rapid.IntRange(0, 300).Draw(t, "n"))
		})
		declarations := func() string {
			return fmt.Sprintf(` xmlns:p="%s" xmlns:q="%s-"`, text.Draw(rt, "p"), text.Draw(rt, "q"))
		}
		var inner func(depth int) string
		inner = func(depth int) string {
			out := ""
			for range rapid.IntRange(0, 3).Draw(rt, "children") {
				name := rapid.SampledFrom([]string{"a", "p:a", "q:a", "h:a", "c:a", "body"}).Draw(rt, "name")
				out += "<" + name + rapid.SampledFrom([]string{"", " b='1'", " p:b='1' q:b='2'", " xml:lang='de'", " xmlns='jabber:client'", " xmlns=''", " xmlns='u'"}).Draw(rt, "attr")
				if rapid.Bool().Draw(rt, "declares") {
					out += declarations()
				}
				out += ">" + text.Draw(rt, "text")
				if depth > 0 {
					out += inner(depth - 1)
				}
				out += "</" + name + ">"
			}
			return out
		}
		in := fmt.Sprintf(`<message id="%s" type="%s" xmlns:c="jabber:client"%s%s>%s</message>`, text.Draw(rt, "id"), text.Draw(rt, "type"),
			rapid.SampledFrom([]string{"", " p:x='1' q:y='2'", " xml:lang='en'"}).Draw(rt, "more"), declarations(), inner(3))
		accepted += again(rt, streamHeader+">", in)
	})
	if accepted < 10 {
		t.Errorf("%d were accepted", accepted)
	}
}

// The largest option that there is for stanzas leaves room for all that is added.
func TestStorageHasRoomForWhatIsAccepted(t *testing.T) {
	start := `<message type="` + strings.Repeat("'", 16000) + `"><body>`
	in := start + strings.Repeat("x", widest.StanzaBytes-len(start+"</body></message>")) + "</body></message>"
	r := xmlstream.NewReader(widest)
	r.Feed([]byte(streamHeader + ">" + in))
	for {
		token, ok, err := r.Next()
		if !ok || err != nil {
			t.Fatal("it is not accepted", err)
		}
		if token.Kind == xmlstream.Stanza {
			h := token.Stanza.Header
			h.From = sender
			if n := len(token.Stanza.With(h).String()); n <= len(in) || n > storage.MaxValue-100<<10 {
				t.Errorf("%d bytes became %d", len(in), n)
			}
			return
		}
	}
}
