package carbons_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/carbons"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func TestSuite(t *testing.T) { extensiontest.Run(t, carbons.New) }

var (
	garden = extensiontest.Client("romeo@montague.example/garden")
	home   = jid.MustParse("romeo@montague.example/home")
	romeo  = jid.MustParse("romeo@montague.example")
	far    = extensiontest.Far()
)

// harness has romeo in the garden and at home, there with carbons.
func harness(t testing.TB) *extensiontest.Harness {
	h := extensiontest.New(t, carbons.New(), extensiontest.Options{Domains: []string{"montague.example"}})
	h.AddSession(extension.Session{JID: garden.Session, Available: true})
	h.AddSession(extension.Session{JID: home, Available: true, Marks: []string{"enabled"}})
	return h
}

func TestFeature(t *testing.T) { // XEP-0280 3, 6.2
	features := carbons.New().Server.Features
	if !slices.Contains(features, "urn:xmpp:carbons:2") || slices.Contains(features, "urn:xmpp:carbons:rules:0") {
		t.Errorf("features %q", features)
	}
}

func TestSwitch(t *testing.T) {
	const result = `<iq type='result' id='1' to='romeo@montague.example/garden'/>`
	refusal := func(from, to string) string {
		return `<iq type='error' id='1' from='` + from + `' to='` + to + `'><error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`
	}
	unknown := func(from string) string {
		if from != "" {
			from = "from='" + from + "'"
		}
		return `<iq type='error' id='1' ` + from + ` to='romeo@montague.example/garden'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`
	}
	const enable, disable = `<enable xmlns='urn:xmpp:carbons:2'/>`, `<disable xmlns='urn:xmpp:carbons:2'/>`
	iq := func(attrs, payload string) string { return `<iq type='set' id='1' ` + attrs + `>` + payload + `</iq>` }
	tests := []struct {
		name, ask, want string
		origin          extension.Origin
		on              bool // carbons of the garden, after it
	}{
		{"4 example 3, 4: enable", iq("", enable), result, garden, true},
		{"10.1 enable twice", iq("", enable), result, garden, true},
		{"5 example 6, 7: disable", iq("", disable), result, garden, false},
		{"10.1 disable twice", iq("", disable), result, garden, false},
		{"10.1 and enable again", iq("", enable), result, garden, true},
		{"4 to the own account", iq("to='romeo@montague.example'", disable), `<iq type='result' id='1' from='romeo@montague.example' to='romeo@montague.example/garden'/>`, garden, false},
		{"4 what is in it does not matter", iq("", `<enable xmlns='urn:xmpp:carbons:2' a='b'><x/>text</enable>`), result, garden, true},
		{"5.1 of another account", iq("to='juliet@montague.example'", disable), refusal("juliet@montague.example", "romeo@montague.example/garden"), garden, true},
		{"4.1 of an account that is not there", iq("to='nobody@montague.example'", enable), refusal("nobody@montague.example", "romeo@montague.example/garden"), garden, true},
		{"5.1 example 8: by a client that is not hosted here", iq("from='juliet@capulet.example/balcony' to='romeo@montague.example'", disable), refusal("romeo@montague.example", "juliet@capulet.example/balcony"), far, true},
		{"5.1 on behalf of the account, by no session", iq("from='romeo@montague.example' to='romeo@montague.example'", disable), refusal("romeo@montague.example", "romeo@montague.example"), far, true},
		{"4 by an iq of type get", `<iq type='get' id='1'>` + enable + `</iq>`, unknown(""), garden, true},
		{"4 the server itself has none", iq("to='montague.example'", enable), unknown("montague.example"), garden, true},
		{"13.2 an older version", iq("", `<enable xmlns='urn:xmpp:carbons:1'/>`), unknown(""), garden, true},
		{"14 no other element", iq("", `<private xmlns='urn:xmpp:carbons:2'/>`), unknown(""), garden, true},
	}
	h := harness(t)
	h.AddSession(extension.Session{JID: jid.MustParse("juliet@montague.example/balcony"), Marks: []string{"enabled"}})
	for _, tt := range tests {
		t.Run("XEP-0280 "+tt.name, func(t *testing.T) {
			extensiontest.Expect(t, h.IQ(tt.origin, extensiontest.Parse(t, tt.ask)), tt.want)
			for full, want := range map[string]bool{"romeo@montague.example/garden": tt.on, "romeo@montague.example/home": true, "juliet@montague.example/balcony": true} {
				if got := h.Marked(jid.MustParse(full), "enabled"); got != want {
					t.Errorf("%s has carbons: %v", full, got)
				}
			}
		})
	}
}

// sent and received have the account send or get a message, and return the copy.
func sent(h *extensiontest.Harness, t testing.TB, xml string) *extension.Copy {
	t.Helper()
	return passes(t, h.Stage(extension.Submit, extension.Envelope{Stanza: extensiontest.Parse(t, xml), Origin: garden}), xml)
}

func received(h *extensiontest.Harness, t testing.TB, xml string) *extension.Copy {
	t.Helper()
	return passes(t, h.Stage(extension.Deliver, extension.Envelope{Stanza: extensiontest.Parse(t, xml), Account: romeo}), xml)
}

// passes checks that the message itself goes on as it was (section 9).
func passes(t testing.TB, out extensiontest.Outcome, xml string) *extension.Copy {
	t.Helper()
	if out.Stanza == nil || out.Stanza.Content() != extensiontest.Parse(t, xml).Content() {
		t.Fatalf("%s goes on as %v", xml, out.Stanza)
	}
	return out.Copy
}

func TestWrapping(t *testing.T) {
	h := harness(t)
	c := received(h, t, `<message from='juliet@capulet.example/balcony' to='romeo@montague.example/garden' type='chat' id='x&amp;1' xml:lang='en'>
		<body>What man art thou</body><thread>0e31</thread><x xmlns='urn:x'><y/></x></message>`)
	extensiontest.Expect(t, c.Stanza, `<message from='romeo@montague.example' type='chat'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>
		<message xmlns='jabber:client' from='juliet@capulet.example/balcony' to='romeo@montague.example/garden' type='chat' id='x&amp;1' xml:lang='en'>
		<body>What man art thou</body><thread>0e31</thread><x xmlns='urn:x'><y/></x></message></forwarded></received></message>`) // 7 example 10
	c = sent(h, t, `<message to='juliet@capulet.example' id='2'><body>Neither, fair saint</body></message>`)
	extensiontest.Expect(t, c.Stanza, `<message from='romeo@montague.example'><sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>
		<message xmlns='jabber:client' from='romeo@montague.example/garden' to='juliet@capulet.example' id='2'><body>Neither, fair saint</body></message></forwarded></sent></message>`) // 8 example 13
	if c.Mark != "enabled" {
		t.Errorf("mark %q", c.Mark)
	}
}

// Nobody comes here whose account has no session with carbons.
func TestWithoutCarbons(t *testing.T) {
	h := extensiontest.New(t, carbons.New(), extensiontest.Options{Domains: []string{"montague.example"}})
	h.AddSession(extension.Session{JID: garden.Session, Available: true})
	h.AddSession(extension.Session{JID: home, Available: true})
	const chat = `<message from='juliet@capulet.example/balcony' to='romeo@montague.example' type='chat'><body>hi</body></message>`
	if received(h, t, chat) != nil || sent(h, t, chat) != nil {
		t.Error("a copy for nobody")
	}
}

// direction by which a row of TestEligible is tried.
const (
	in = 1 << iota
	out
	both = in | out
)

func TestEligible(t *testing.T) { // XEP-0280 6.1
	const x, body = `<x xmlns='http://jabber.org/protocol/muc#user'/>`, `<body>hi</body>`
	const juliet, room, nick = "juliet@capulet.example/balcony", "coven@chat.shakespeare.lit", "coven@chat.shakespeare.lit/firstwitch"
	invite := `<x xmlns='http://jabber.org/protocol/muc#user'><invite to='hecate@shakespeare.lit'/></x>`
	for _, tt := range []struct {
		rule    string
		way     int
		typ     string
		peer    string
		content string
		want    bool
	}{
		{"chat", both, "chat", juliet, body, true},
		{"chat, to or from a bare JID", both, "chat", "juliet@capulet.example", body, true},
		{"chat without a body", both, "chat", juliet, `<encrypted xmlns='urn:xmpp:omemo:2'/>`, true},
		{"chat with nothing", both, "chat", juliet, ``, true},
		{"chat from a server", both, "chat", "capulet.example", body, true},
		{"normal with a body", both, "normal", juliet, body, true},
		{"no type is normal", both, "", juliet, body, true},
		{"an unknown type is normal", both, "nonsense", juliet, body, true},
		{"normal without a body", both, "normal", juliet, `<subject>hi</subject>`, false},
		{"normal with a body of another namespace", both, "normal", juliet, `<body xmlns='urn:x'/>`, false},
		{"normal with nothing", both, "", juliet, ``, false},
		{"a request of a receipt (XEP-0184)", both, "normal", juliet, `<request xmlns='urn:xmpp:receipts'/>`, true},
		{"a receipt (XEP-0184)", both, "", juliet, `<received xmlns='urn:xmpp:receipts' id='1'/>`, true},
		{"a chat state (XEP-0085)", both, "normal", juliet, `<composing xmlns='http://jabber.org/protocol/chatstates'/>`, true},
		{"a marker (XEP-0333)", both, "", juliet, `<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>`, true},
		{"a receipt inside of something else", both, "", juliet, `<x xmlns='urn:x'><received xmlns='urn:xmpp:receipts' id='1'/></x>`, false},
		{"groupchat", both, "groupchat", room, body, false},
		{"groupchat with all that counts", both, "groupchat", nick, body + invite + `<request xmlns='urn:xmpp:receipts'/>`, false},
		{"headline", both, "headline", juliet, body, false},
		{"headline with all that counts", both, "headline", juliet, body + `<composing xmlns='http://jabber.org/protocol/chatstates'/><x xmlns='jabber:x:conference'/>`, false},
		{"a direct invitation (XEP-0249)", both, "", juliet, `<x xmlns='jabber:x:conference' jid='coven@chat.shakespeare.lit'/>`, true},
		{"a mediated invitation (XEP-0045 7.8.2)", both, "", room, invite, true},
		{"a mediated invitation from an occupant", both, "normal", nick, invite, true},
		{"that an invitation is declined", both, "", room, `<x xmlns='http://jabber.org/protocol/muc#user'><decline to='a@b.example'/></x>`, false},
		{"a private message to an occupant", out, "chat", nick, body + x, true},
		{"a private message to an occupant, normal", out, "", nick, x, true},
		{"a private message to an occupant that does not say so", out, "chat", nick, body, true},
		{"a private message from an occupant", in, "chat", nick, body + x, false},
		{"a private message from an occupant, normal", in, "", nick, x + body, false},
		{"a private message from an occupant that does not say so can't be told", in, "chat", nick, body, true},
		{"a message of a room itself", in, "chat", room, body + x, true},
		{"9 private", both, "chat", juliet, body + `<private xmlns='urn:xmpp:carbons:2'/>`, false},
		{"9 no-copy (XEP-0334 4.3)", both, "chat", juliet, body + `<no-copy xmlns='urn:xmpp:hints'/>`, false},
		{"9 example 14: both", both, "chat", juliet, body + `<private xmlns='urn:xmpp:carbons:2'/><no-copy xmlns='urn:xmpp:hints'/>`, false},
		{"9 private, with an invitation", both, "", juliet, `<private xmlns='urn:xmpp:carbons:2'/><x xmlns='jabber:x:conference'/>`, false},
		{"9 other hints", both, "chat", juliet, body + `<no-store xmlns='urn:xmpp:hints'/>`, true},
		{"11 what looks like a copy is a message like others", in, "chat", "tybalt@capulet.example/home", `<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></received>`, true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			h := harness(t)
			typ := ""
			if tt.typ != "" {
				typ = " type='" + tt.typ + "'"
			}
			if tt.way&in != 0 {
				check(t, received(h, t, `<message from='`+tt.peer+`' to='romeo@montague.example/garden' id='1'`+typ+`>`+tt.content+`</message>`), "received", tt.want)
			}
			if tt.way&out != 0 {
				check(t, sent(h, t, `<message to='`+tt.peer+`' id='1'`+typ+`>`+tt.content+`</message>`), "sent", tt.want)
			}
		})
	}
}

func check(t testing.TB, c *extension.Copy, name string, want bool) {
	t.Helper()
	if got := c != nil; got != want {
		t.Errorf("%s: a copy: %v, want %v", name, got, want)
	}
	if c != nil && !strings.HasPrefix(c.Stanza.Content(), "<"+name+" xmlns='urn:xmpp:carbons:2'>") {
		t.Errorf("want %s: %s", name, c.Stanza)
	}
}

// A message to the own account is one message: who does not get it itself gets a
// copy of what was sent.
func TestToOneself(t *testing.T) {
	h := harness(t)
	for _, to := range []string{"", " to='romeo@montague.example'", " to='romeo@montague.example/home'"} {
		check(t, sent(h, t, `<message id='1' type='chat'`+to+`><body>me</body></message>`), "sent", false)
	}
	own := func(attrs, content string) *extension.Copy {
		return received(h, t, `<message from='romeo@montague.example/garden' to='romeo@montague.example' id='1' `+attrs+`>`+content+`</message>`)
	}
	check(t, own("type='chat'", "<body>me</body>"), "sent", true)
	check(t, own("type='chat'", "<body>me</body><private xmlns='urn:xmpp:carbons:2'/>"), "sent", false)
	check(t, own("", ""), "sent", false)
	check(t, own("type='error'", "<body>me</body>"), "received", false) // 10.3: what answers a copy
}

// An error is copied if it answers a message that was eligible.
func TestErrors(t *testing.T) {
	const failed = `<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`
	h := harness(t)
	sent(h, t, `<message to='juliet@capulet.example' type='chat' id='chat'><body>hi</body></message>`)
	sent(h, t, `<message to='juliet@capulet.example' type='chat'><body>without an id</body></message>`)
	sent(h, t, `<message to='juliet@capulet.example' type='normal' id='data'><x xmlns='urn:x'/></message>`)
	sent(h, t, `<message to='juliet@capulet.example' type='chat' id='private'><private xmlns='urn:xmpp:carbons:2'/></message>`)
	sent(h, t, `<message to='coven@chat.shakespeare.lit' type='groupchat' id='room'><body>hi</body></message>`)
	sent(h, t, `<message to='coven@chat.shakespeare.lit/firstwitch' type='chat' id='pm'><body>hi</body><x xmlns='http://jabber.org/protocol/muc#user'/></message>`)
	received(h, t, `<message from='juliet@capulet.example/balcony' to='romeo@montague.example' type='chat' id='hers'><body>hi</body></message>`)
	for _, tt := range []struct {
		rule    string
		way     int
		peer    string
		id      string
		content string
		want    bool
	}{
		{"of the address of the message", in, "juliet@capulet.example", "chat", failed, true},
		{"of one of its clients, twice", in, "juliet@capulet.example/balcony", "chat", failed, true},
		{"RFC 6120 8.3.1: the original need not be there; hints of it don't count (XEP-0334 5)", in, "juliet@capulet.example", "chat", `<no-copy xmlns='urn:xmpp:hints'/>` + failed, true},
		{"private", in, "juliet@capulet.example", "chat", `<private xmlns='urn:xmpp:carbons:2'/>` + failed, false},
		{"of somebody else", in, "tybalt@capulet.example", "chat", failed, false},
		{"without an id", in, "juliet@capulet.example", "", failed, false},
		{"of a message that was none of instant messaging", in, "juliet@capulet.example", "data", `<body>hi</body>` + failed, false},
		{"of a private message", in, "juliet@capulet.example", "private", failed, false},
		{"of a message to a room", in, "coven@chat.shakespeare.lit", "room", failed, false},
		{"of a message to an occupant", in, "coven@chat.shakespeare.lit/firstwitch", "pm", failed, true},
		{"of a message that came", in, "juliet@capulet.example", "hers", failed, false},
		{"the account's own, of a message that came", out, "juliet@capulet.example/balcony", "hers", failed, true},
		{"the account's own, of another", out, "juliet@capulet.example/balcony", "other", failed, false},
		{"the account's own, of what it sent", out, "juliet@capulet.example", "chat", failed, false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if tt.way == in {
				check(t, received(h, t, `<message type='error' from='`+tt.peer+`' to='romeo@montague.example/garden' id='`+tt.id+`'>`+tt.content+`</message>`), "received", tt.want)
			} else {
				check(t, sent(h, t, `<message type='error' to='`+tt.peer+`' id='`+tt.id+`'>`+tt.content+`</message>`), "sent", tt.want)
			}
		})
	}
}
