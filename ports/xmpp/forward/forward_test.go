package forward_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/forward"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

var head = stanza.Header{Kind: stanza.Message, Type: stanza.Chat, From: jid.MustParse("romeo@montague.lit"), To: jid.MustParse("romeo@montague.lit/home")}

func parse(t testing.TB, xml string) *stanza.Stanza {
	t.Helper()
	s, err := xmlstream.ParseStanza([]byte(xml), xmpp.NSClient, xmlstream.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWrap(t *testing.T) {
	sent := stanza.El("urn:xmpp:carbons:2", "sent")
	noon := time.Date(2010, 7, 10, 12, 8, 25, 250_600_000, time.FixedZone("", 3600))
	for _, tt := range []struct {
		name     string
		wrapper  *stanza.Element
		in       string
		received time.Time
		want     string // what is in the wrapper
	}{
		{"XEP-0297 3.1 example 2, 3.2 rules 3 and 5: in an element of the protocol, with its own namespace", sent,
			"<message from='juliet@capulet.lit/orchard' id='0202197' to='romeo@montague.lit' type='chat'><body>Yet</body><mood xmlns='http://jabber.org/protocol/mood'><amorous/></mood></message>", time.Time{},
			"<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='juliet@capulet.lit/orchard' to='romeo@montague.lit' id='0202197' type='chat'><body>Yet</body><mood xmlns='http://jabber.org/protocol/mood'><amorous/></mood></message></forwarded></sent>"},
		{"XEP-0297 3.2 rule 2: when it was received, in UTC (XEP-0203 2)", stanza.El("urn:xmpp:mam:2", "result", stanza.At("id", "28482-98726-73623"), stanza.At("queryid", "f'&27")),
			"<message id='1'/>", noon,
			"<result xmlns='urn:xmpp:mam:2' id='28482-98726-73623' queryid='f&apos;&amp;27'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2010-07-10T11:08:25.250Z'/><message xmlns='jabber:client' id='1'/></forwarded></result>"},
		{"XEP-0297 3.2 rule 1: everything is kept", sent,
			"<message xml:lang='de' xmlns:p='urn:p' p:a='1&lt;' id='&quot;'>text<p:x/><body xml:lang='fr'>&amp;</body><y xmlns='urn:y' p:b=''><![CDATA[<]]></y><z xmlns=''/></message>", time.Time{},
			""},
		{"presence and iq (7.1: inside of another protocol)", sent, "<iq type='get' id='1'><q xmlns='urn:x'/></iq>", time.Time{},
			"<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' id='1' type='get'><q xmlns='urn:x'/></iq></forwarded></sent>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := parse(t, tt.in)
			got := forward.Wrap(head, tt.wrapper, s, tt.received)
			if tt.want != "" && got.Content() != tt.want {
				t.Errorf("got  %s\nwant %s", got.Content(), tt.want)
			}
			if got.Header != head || got.Attrs() != "" {
				t.Errorf("the start tag: %s", got)
			}
			same(t, got, tt.wrapper, s)
		})
	}
}

// same reads what was forwarded as a client does, and compares it.
func same(t testing.TB, got *stanza.Stanza, wrapper *stanza.Element, s *stanza.Stanza) {
	t.Helper()
	again := parse(t, string(got.Append(nil, jid.JID{}, "")))
	if again.Content() != got.Content() || len(got.Children()) != 1 || got.Children()[0].Space != wrapper.Space || got.Children()[0].Local != wrapper.Local {
		t.Errorf("not canonical:\n%s\nis read as\n%s", got, again)
	}
	w := got.Find(wrapper.Space, wrapper.Local)
	if w == nil || len(w.Nodes) != 1 {
		t.Fatalf("no wrapper in %s", got)
	}
	inner := w.Child(forward.NS, "forwarded").Child(xmpp.NSClient, s.Kind.String())
	original, err := stanza.ParseElement(s.String(), "")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := string(inner.Append(nil, "")), string(original.Append(nil, "")); a != b {
		t.Errorf("forwarded\n%s\nas\n%s", b, a)
	}
}

func FuzzWrap(f *testing.F) {
	for _, s := range []string{"<message/>", "<message xmlns:p='urn:p' p:a='&#10;'><p:b/></message>", "<presence to='a@b/c&amp;'><x xmlns='urn:xmpp:forward:0'/></presence>",
		"<message><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'/></forwarded><a xmlns=''/></message>", "<iq id='1' type='get'><q xmlns='jabber:server'/></iq>"} {
		f.Add(s, "id'<")
	}
	f.Fuzz(func(t *testing.T, xml, id string) {
		s, err := xmlstream.ParseStanza([]byte(xml), xmpp.NSClient, xmlstream.Limits{Depth: 32})
		if err != nil {
			t.Skip()
		}
		wrapper := stanza.El("urn:xmpp:mam:2", "result", stanza.At("id", strings.ToValidUTF8(id, "")))
		same(t, forward.Wrap(head, wrapper, s, time.Unix(1, 0)), wrapper, s)
	})
}

func BenchmarkWrap(b *testing.B) {
	s := parse(b, "<message to='juliet@example.test' type='chat' id='1'><body>"+strings.Repeat("x", 200)+"</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>")
	sent := stanza.El("urn:xmpp:carbons:2", "sent")
	b.ReportAllocs()
	for b.Loop() {
		forward.Wrap(head, sent, s, time.Time{})
	}
}
