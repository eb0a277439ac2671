package forgery_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/core/forgery"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

var guard = &forgery.Guard{
	Hosted:    []string{"example.test", "bücher.example"},
	Component: func(d string) bool { return d == "rooms.example.test" || d == "files.example.test" },
}

var (
	romeo = jid.MustParse("romeo@example.test/x")
	rooms = jid.MustParse("verona@rooms.example.test/nurse")
)

// parse reads a stanza as a stream does; from is stamped.
func parse(t testing.TB, xml string, from jid.JID) *stanza.Stanza {
	t.Helper()
	s, err := xmlstream.ParseStanza([]byte(xml), xmpp.NSClient, xmlstream.Limits{})
	if err != nil {
		t.Fatalf("%v: %s", err, xml)
	}
	s.From = from
	return s
}

// Rows say what a sender's stanza holds and what is left of it.
func TestStrip(t *testing.T) {
	id := func(by string) string { return "<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='" + by + "'/>" }
	delay := func(from string) string {
		return "<delay xmlns='urn:xmpp:delay' from='" + from + "' stamp='2026-01-01T00:00:00Z'/>"
	}
	const gone = ""
	for _, tt := range []struct{ name, in, left string }{
		{"XEP-0359 3 rule 2: id by the recipient", id("juliet@example.test"), gone},
		{"XEP-0359 3 rule 2: id by the sender", id("romeo@example.test"), gone},
		{"XEP-0359 3 rule 2: id by an account that is not there", id("nobody@example.test"), gone},
		{"XEP-0359 3 rule 2: id by an account of another hosted domain", id("romeo@bücher.example"), gone},
		{"XEP-0359 3 rule 2: id by the server", id("example.test"), gone},
		{"XEP-0359 3 rule 2: id by a component", id("rooms.example.test"), gone},
		{"XEP-0359 3 rule 2: also without an id", "<stanza-id xmlns='urn:xmpp:sid:0' by='example.test'/>", gone},
		{"XEP-0359 3 rule 2: also with content", "<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='example.test'><x/>t</stanza-id>", gone},
		{"XEP-0359 3 rule 3: id by a room, which is the room's affair", id("verona@rooms.example.test"), id("verona@rooms.example.test")},
		{"XEP-0359 3 rule 3: id by a resource", id("juliet@example.test/y"), id("juliet@example.test/y")},
		{"XEP-0359 3 rule 3: id by others", id("juliet@far.test") + id("far.test"), id("juliet@far.test") + id("far.test")},
		{"XEP-0359 3 rule 3: id by a subdomain that is nobody's", id("sub.example.test"), id("sub.example.test")},
		{"XEP-0359 3 rule 3: id by nobody", "<stanza-id xmlns='urn:xmpp:sid:0' id='1'/>", "<stanza-id xmlns='urn:xmpp:sid:0' id='1'/>"},
		{"XEP-0359 3 rule 7: by is no address", id("") + id("@") + id("a b@example.test") + id("example.test/"), gone},
		{"XEP-0359 3 rule 7: RFC 6122 would take it for ours", id("ro\u00ADmeo@example.test") + id("\u2163@example.test") + id(" example.test"), gone},
		{"XEP-0359 2.2: origin-id is the sender's", "<origin-id xmlns='urn:xmpp:sid:0' id='1' by='example.test'/>", "<origin-id xmlns='urn:xmpp:sid:0' id='1' by='example.test'/>"},
		{"XEP-0359 4: a reference is no id", "<referenced-stanza xmlns='urn:xmpp:sid:0' id='1' by='example.test'/>", "<referenced-stanza xmlns='urn:xmpp:sid:0' id='1' by='example.test'/>"},
		{"XEP-0359: of the name, in another namespace", "<stanza-id xmlns='urn:x' by='example.test'/>", "<stanza-id xmlns='urn:x' by='example.test'/>"},
		{"XEP-0359: of the name, in the content namespace", "<stanza-id by='example.test'/>", "<stanza-id by='example.test'/>"},
		{"XEP-0359: an attribute of another namespace", "<stanza-id xmlns='urn:xmpp:sid:0' xmlns:p='urn:p' p:by='example.test'/>", "<stanza-id xmlns='urn:xmpp:sid:0' xmlns:p='urn:p' p:by='example.test'/>"},
		{"what is left keeps its place", "<body>a</body>" + id("example.test") + "text" + id("far.test") + id("juliet@example.test") + "<thread>b</thread>",
			"<body>a</body>text" + id("far.test") + "<thread>b</thread>"},

		{"XEP-0203 5: delay by the server", delay("example.test") + delay("bücher.example") + delay("example.test/x"), gone},
		{"XEP-0203 5: delay by another account", delay("juliet@example.test") + delay("juliet@example.test/y") + delay("romeo@bücher.example"), gone},
		{"XEP-0203 5: delay by a component or its rooms", delay("rooms.example.test") + delay("verona@rooms.example.test") + delay("verona@rooms.example.test/romeo"), gone},
		{"XEP-0203 5: delay by an address that is none", delay("") + delay("a b"), gone},
		{"XEP-0203 2: delay by the sender, any of its resources", delay("romeo@example.test") + delay("romeo@example.test/x") + delay("romeo@example.test/y"),
			delay("romeo@example.test") + delay("romeo@example.test/x") + delay("romeo@example.test/y")},
		{"XEP-0203 2: delay by nobody", "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>", "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>"},
		{"XEP-0203 5: delay by others", delay("far.test") + delay("verona@rooms.far.test"), delay("far.test") + delay("verona@rooms.far.test")},
		{"XEP-0091 2: the older delay", "<x xmlns='jabber:x:delay' from='example.test' stamp='20260101T00:00:00'/>", gone},
		{"XEP-0091 2: the older delay, by the sender", "<x xmlns='jabber:x:delay' from='romeo@example.test'/>", "<x xmlns='jabber:x:delay' from='romeo@example.test'/>"},
		{"XEP-0297: what is forwarded is quoted", "<forwarded xmlns='urn:xmpp:forward:0'>" + delay("example.test") + "<message xmlns='jabber:client'>" + id("example.test") + "</message></forwarded>",
			"<forwarded xmlns='urn:xmpp:forward:0'>" + delay("example.test") + "<message xmlns='jabber:client'>" + id("example.test") + "</message></forwarded>"},

		{"XEP-0355: delegation", "<delegation xmlns='urn:xmpp:delegation:2'><delegated namespace='urn:x'/></delegation><x xmlns='urn:xmpp:delegation:1'/>", gone},
		{"XEP-0356: privilege", "<privilege xmlns='urn:xmpp:privilege:2'><perm access='roster' type='both'/></privilege><privileged_iq xmlns='urn:xmpp:privilege:1'/>", gone},
		{"XEP-0355: inside of something else", "<x xmlns='urn:x'><delegation xmlns='urn:xmpp:delegation:2'/></x>", "<x xmlns='urn:x'><delegation xmlns='urn:xmpp:delegation:2'/></x>"},

		{"XEP-0280 11: carbons from a full JID are ignored by clients", "<received xmlns='urn:xmpp:carbons:2'/><sent xmlns='urn:xmpp:carbons:2'/>", "<received xmlns='urn:xmpp:carbons:2'/><sent xmlns='urn:xmpp:carbons:2'/>"},
		{"XEP-0280 9: private", "<private xmlns='urn:xmpp:carbons:2'/>", "<private xmlns='urn:xmpp:carbons:2'/>"},
	} {
		for _, kind := range []string{"message", "presence"} {
			t.Run(kind+" "+tt.name, func(t *testing.T) {
				s := parse(t, "<"+kind+" type='chat' id='a' to='juliet@example.test' xmlns:q='urn:q' q:a='1'>"+tt.in+"</"+kind+">", romeo)
				got := guard.Strip(s)
				if got.Content() != tt.left || got.Header != s.Header || got.Attrs() != s.Attrs() {
					t.Errorf("left is\n%s\nwant\n%s", got.Content(), tt.left)
				}
				if tt.in == tt.left && got != s {
					t.Error("a stanza in which nothing is forged was made anew")
				}
			})
		}
	}
}

// A payload of an iq asserts nothing, but for what is between server and
// components alone.
func TestStripIQ(t *testing.T) {
	for in, left := range map[string]string{
		"<stanza-id xmlns='urn:xmpp:sid:0' by='example.test'/>": "<stanza-id xmlns='urn:xmpp:sid:0' by='example.test'/>",
		"<delay xmlns='urn:xmpp:delay' from='example.test'/>":   "<delay xmlns='urn:xmpp:delay' from='example.test'/>",
		"<delegation xmlns='urn:xmpp:delegation:2'/>":           "",
		"<privileged_iq xmlns='urn:xmpp:privilege:2'/>":         "",
		"<enable xmlns='urn:xmpp:carbons:2'/>":                  "<enable xmlns='urn:xmpp:carbons:2'/>",
	} {
		if got := guard.Strip(parse(t, "<iq type='set' id='a'>"+in+"</iq>", romeo)).Content(); got != left {
			t.Errorf("%s: left is %q", in, got)
		}
	}
}

// A component asserts what is its own, its rooms' and their occupants'.
func TestStripOfAComponent(t *testing.T) {
	for in, left := range map[string]bool{
		"<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='verona@rooms.example.test'/>":               true,
		"<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='rooms.example.test'/>":                      true,
		"<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='files.example.test'/>":                      false,
		"<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='example.test'/>":                            false,
		"<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='juliet@example.test'/>":                     false,
		"<delay xmlns='urn:xmpp:delay' from='verona@rooms.example.test'/>":                        true,
		"<delay xmlns='urn:xmpp:delay' from='mantua@rooms.example.test/romeo'/>":                  true,
		"<delay xmlns='urn:xmpp:delay' from='verona@far.test'/>":                                  true,
		"<delay xmlns='urn:xmpp:delay' from='files.example.test'/>":                               false,
		"<delay xmlns='urn:xmpp:delay' from='example.test'/>":                                     false,
		"<delay xmlns='urn:xmpp:delay' from='juliet@example.test'/>":                              false,
		"<delegation xmlns='urn:xmpp:delegation:2'><forwarded/></delegation>":                     true,
		"<privilege xmlns='urn:xmpp:privilege:2'><forwarded/></privilege>":                        true,
		"<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></received>": true,
	} {
		want := ""
		if left {
			want = in
		}
		if got := guard.Strip(parse(t, "<message to='juliet@example.test'>"+in+"</message>", rooms)).Content(); got != want {
			t.Errorf("%s: left is %q", in, got)
		}
	}
}

// Presence that manages subscriptions has the bare JID as its from.
func TestCarbonFromABareJID(t *testing.T) {
	for from, forged := range map[string]bool{
		"romeo@example.test": true, "romeo@example.test/x": false, "example.test": false, "romeo@far.test": false, "verona@rooms.example.test": false,
	} {
		for _, kind := range []string{"message", "presence", "iq"} {
			s := parse(t, "<"+kind+" id='1' type='result'><received xmlns='urn:xmpp:carbons:2'/></"+kind+">", jid.MustParse(from))
			if got := guard.Carbon(s); got != forged {
				t.Errorf("%s from %s: %v", kind, from, got)
			}
			if left := len(guard.Strip(s).Children()) > 0; left == (forged && kind == "presence") {
				t.Errorf("%s from %s: stays: %v", kind, from, left)
			}
		}
	}
	if guard.Carbon(parse(t, "<message><body/><x xmlns='urn:x'><received xmlns='urn:xmpp:carbons:2'/></x></message>", romeo.Bare())) {
		t.Error("what is inside of a child is none")
	}
}

// Thousands of forged children take no longer than as many others do.
func TestStripIsLinear(t *testing.T) {
	limits := xmlstream.Limits{StanzaBytes: 64 << 20}
	cost := func(n int) time.Duration {
		one := "<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='juliet@example.test'/><delay xmlns='urn:xmpp:delay' from='example.test'/><a/>"
		s, err := xmlstream.ParseStanza([]byte("<message>"+strings.Repeat(one, n)+"</message>"), xmpp.NSClient, limits)
		if err != nil {
			t.Fatal(err)
		}
		s.From = romeo
		best := time.Hour
		for range 5 {
			start := time.Now()
			left := guard.Strip(s)
			best = min(best, time.Since(start))
			if len(left.Children()) != n || len(left.Content()) != n*len("<a/>") {
				t.Fatalf("%d children of %d are left", len(left.Children()), 3*n)
			}
		}
		return best
	}
	few, many := cost(500), cost(16*500)
	if many > 16*8*few { // quadratic would be 256 times
		t.Errorf("500 take %v, 8,000 take %v", few, many)
	}
}

func TestStripAllocatesNothing(t *testing.T) {
	for _, in := range harmless {
		s := parse(t, in, romeo)
		if n := testing.AllocsPerRun(100, func() {
			if guard.Strip(s) != s {
				t.Fatal("changed")
			}
		}); n != 0 {
			t.Errorf("%v allocations for %s", n, in)
		}
	}
}

// harmless are stanzas as clients send them.
var harmless = map[string]string{
	"chat": "<message to='juliet@example.test' type='chat'><body>hi</body><active xmlns='http://jabber.org/protocol/chatstates'/>" +
		"<request xmlns='urn:xmpp:receipts'/><origin-id xmlns='urn:xmpp:sid:0' id='1'/></message>",
	"presence": "<presence><show>away</show><priority>1</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/></presence>",
	"ping":     "<iq type='get' id='1' to='example.test'><ping xmlns='urn:xmpp:ping'/></iq>",
}

func BenchmarkStrip(b *testing.B) {
	bench := func(name, xml string) {
		b.Run(name, func(b *testing.B) {
			s := parse(b, xml, romeo)
			b.ReportAllocs()
			for b.Loop() {
				guard.Strip(s)
			}
		})
	}
	for name, xml := range harmless {
		bench(name, xml)
	}
	bench("own delay", "<message to='juliet@example.test'><body>hi</body><delay xmlns='urn:xmpp:delay' from='romeo@example.test'/></message>")
	bench("forged id", "<message to='juliet@example.test'><body>hi</body><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.test'/></message>")
	bench("1,000 forged ids", fmt.Sprint("<message>", strings.Repeat("<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.test'/>", 1000), "</message>"))
}
