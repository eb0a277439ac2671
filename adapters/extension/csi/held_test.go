package csi_test

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/csi"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

const (
	composing = `<composing xmlns='http://jabber.org/protocol/chatstates'/>`
	paused    = `<paused xmlns='http://jabber.org/protocol/chatstates'/>`
)

// presence from somebody to juliet.
func presence(from, typ, content string) string {
	if typ != "" {
		typ = " type='" + typ + "'"
	}
	return "<presence from='" + from + "' to='juliet@capulet.lit'" + typ + ">" + content + "</presence>"
}

func message(from, typ, content string) string {
	return "<message from='" + from + "' to='juliet@capulet.lit' type='" + typ + "' id='1'>" + content + "</message>"
}

func occupant(content string) string {
	return "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant'/>" + content + "</x>"
}

func event(content string) string {
	return "<event xmlns='http://jabber.org/protocol/pubsub#event'>" + content + "</event>"
}

func items(node, content string) string {
	return event("<items node='" + node + "'>" + content + "</items>")
}

// carbon is a copy, from juliet's account, of what is between two others.
func carbon(name, from, to, content string) string {
	return message("juliet@capulet.lit", "chat", "<"+name+" xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"+
		"<message xmlns='jabber:client' from='"+from+"' to='"+to+"' type='chat'>"+content+"</message></forwarded></"+name+">")
}

// What waits, by which option, and what does not.
func TestHeld(t *testing.T) {
	const romeo, room, nick = "romeo@montague.lit/orchard", "coven@chat.lit", "coven@chat.lit/thirdwitch"
	never := csi.Options{}
	p, c, e := csi.Options{Presence: true}, csi.Options{ChatStates: true}, csi.Options{PEP: true}
	for _, tt := range []struct {
		rule string
		by   csi.Options // the one option that holds it
		xml  string
	}{
		{"3.2 available", p, presence(romeo, "", "<show>away</show>")},
		{"3.2 unavailable", p, presence(romeo, "unavailable", "")},
		{"3.2 of a bare JID", p, presence("romeo@montague.lit", "unavailable", "")},
		{"3.2 of the own account's other clients", p, presence("juliet@capulet.lit/phone", "", "")},
		{"RFC 6121 4.4.2 the client's own", never, presence("juliet@capulet.lit/balcony", "", "")},
		{"RFC 6121 4.4.2 the client's own, unavailable", never, presence("juliet@capulet.lit/balcony", "unavailable", "")},
		{"RFC 6121 3.1 a subscription request", never, presence("romeo@montague.lit", "subscribe", "")},
		{"RFC 6121 3.1 subscribed", never, presence("romeo@montague.lit", "subscribed", "")},
		{"RFC 6121 3.3 unsubscribe", never, presence("romeo@montague.lit", "unsubscribe", "")},
		{"RFC 6121 3.2 unsubscribed", never, presence("romeo@montague.lit", "unsubscribed", "")},
		{"RFC 6121 4.3 a probe", never, presence("romeo@montague.lit", "probe", "")},
		{"an error", never, presence(nick, "error", "<x xmlns='http://jabber.org/protocol/muc'/><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>")},
		{"an unknown type", never, presence(romeo, "nonsense", "")},
		{"XEP-0045 7.2.2 another occupant", p, presence(nick, "", occupant(""))},
		{"XEP-0045 7.14 another occupant leaves", p, presence(nick, "unavailable", occupant(""))},
		{"XEP-0045 7.2.2 oneself", never, presence(nick, "", occupant("<status code='110'/>"))},
		{"XEP-0045 7.2.2 oneself, in a new room", never, presence(nick, "", occupant("<status code='201'/><status code='110'/>"))},
		{"XEP-0045 8.2 kicked", never, presence(nick, "unavailable", occupant("<status code='307'/>"))},
		{"XEP-0045 9.1 banned", never, presence(nick, "unavailable", occupant("<status code='301'/>"))},
		{"XEP-0045 10.9 the room is gone", never, presence(nick, "unavailable", occupant("<destroy jid='x@chat.lit'/>"))},
		{"an element of that name in another namespace is none", p, presence(nick, "", "<x xmlns='urn:x'><status/></x>")},

		{"XEP-0085 a chat state alone", c, message(romeo, "chat", composing)},
		{"XEP-0085 5.7 with a thread", c, message(romeo, "chat", composing+"<thread>t</thread>")},
		{"XEP-0085 in a normal message", c, message(romeo, "normal", composing)},
		{"XEP-0085 5.5 in a room", c, message(nick, "groupchat", composing+"<occupant-id xmlns='urn:xmpp:occupant-id:0' id='o'/>")},
		{"XEP-0334 with hints, ids and stamps", c, message(romeo, "chat", composing+"<no-store xmlns='urn:xmpp:hints'/><origin-id xmlns='urn:xmpp:sid:0' id='1'/><delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>")},
		{"XEP-0085 with a body", never, message(romeo, "chat", "<body>hi</body>"+composing)},
		{"XEP-0085 with anything unknown", never, message(romeo, "chat", composing+"<x xmlns='urn:x'/>")},
		{"XEP-0085 with a receipt", never, message(romeo, "chat", composing+"<received xmlns='urn:xmpp:receipts' id='1'/>")},
		{"XEP-0085 in an error", never, message(romeo, "error", composing)},
		{"XEP-0085 in a headline", never, message(romeo, "headline", composing)},
		{"a message", never, message(romeo, "chat", "<body>hi</body>")},
		{"a message to a room", never, message(nick, "groupchat", "<body>hi</body>")},
		{"the subject of a room", never, message(room, "groupchat", "<subject/>")},
		{"an encrypted message", never, message(romeo, "chat", "<encrypted xmlns='urn:xmpp:omemo:2'/><store xmlns='urn:xmpp:hints'/>")},
		{"XEP-0184 a receipt", never, message(romeo, "chat", "<received xmlns='urn:xmpp:receipts' id='1'/>")},
		{"XEP-0333 a marker", never, message(romeo, "chat", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>")},
		{"a message with nothing", never, message(romeo, "chat", "")},
		{"only hints", never, message(romeo, "chat", "<no-store xmlns='urn:xmpp:hints'/>")},
		{"a headline", never, message("montague.lit", "headline", "<body>news</body>")},

		{"XEP-0280 a received chat state", c, carbon("received", romeo, "juliet@capulet.lit/phone", composing)},
		{"XEP-0280 a sent chat state", c, carbon("sent", "juliet@capulet.lit/phone", romeo, paused+"<thread/>")},
		{"XEP-0280 a received message", never, carbon("received", romeo, "juliet@capulet.lit/phone", "<body>hi</body>"+composing)},
		{"XEP-0280 a sent message", never, carbon("sent", "juliet@capulet.lit/phone", romeo, "<body>hi</body>")},
		{"XEP-0280 11 a forged copy", never, strings.Replace(carbon("sent", "juliet@capulet.lit/phone", romeo, composing), "from='juliet@capulet.lit'", "from='tybalt@capulet.lit'", 1)},
		{"XEP-0280 a copy of nothing", never, message("juliet@capulet.lit", "chat", "<sent xmlns='urn:xmpp:carbons:2'/>")},
		{"XEP-0280 a copy of no message", never, message("juliet@capulet.lit", "chat", "<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><presence xmlns='jabber:client'/></forwarded></sent>")},
		{"XEP-0280 a copy that is large", never, carbon("sent", "juliet@capulet.lit/phone", romeo, composing+"<thread>"+strings.Repeat("x", 20_000)+"</thread>")},
		{"XEP-0313 a result of the archive", never, message("juliet@capulet.lit", "chat", "<result xmlns='urn:xmpp:mam:2'/>")},

		{"XEP-0163 an event of a contact", e, message("romeo@montague.lit", "headline", items("http://jabber.org/protocol/tune", "<item id='1'><tune/></item>"))},
		{"XEP-0163 an event of a contact, normal, with headers", e, message("romeo@montague.lit", "normal", items("n", "<retract id='1'/>")+"<headers xmlns='http://jabber.org/protocol/shim'/>")},
		{"XEP-0163 of a node that is gone", e, message("romeo@montague.lit", "headline", event("<delete node='n'/>"))},
		{"XEP-0163 of the own account", never, message("juliet@capulet.lit", "headline", items("urn:xmpp:mds:displayed:0", "<item id='1'/>"))},
		{"XEP-0060 of a service", never, message("pubsub.montague.lit", "headline", items("n", "<item id='1'/>"))},
		{"XEP-0060 of a full JID", never, message(romeo, "headline", items("n", "<item id='1'/>"))},
		{"XEP-0060 with a body", never, message("romeo@montague.lit", "headline", items("n", "<item id='1'/>")+"<body>hi</body>")},
		{"XEP-0060 a failure", never, message("romeo@montague.lit", "error", items("n", "<item id='1'/>"))},
		{"XEP-0060 a large event", never, message("romeo@montague.lit", "headline", items("n", "<item id='1'>"+strings.Repeat("x", 20_000)+"</item>"))},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			for _, o := range []csi.Options{never, p, c, e, all} {
				h := harness(t, o)
				says(t, h, "inactive")
				if _, held := write(t, h, tt.xml); held != (tt.by != never && (o == tt.by || o == all)) {
					t.Errorf("with %+v: held %v", o, held)
				}
			}
		})
	}
}

// What stands for what: stanzas of one key, of which the last counts.
func TestKeys(t *testing.T) {
	const romeo, ring, phone = "romeo@montague.lit/orchard", "romeo@montague.lit/ring", "juliet@capulet.lit/phone"
	state := func(from, to, content string) string {
		return strings.Replace(message(from, "chat", content), "juliet@capulet.lit", to, 1)
	}
	h := harness(t, all)
	says(t, h, "inactive")
	for _, tt := range []struct {
		rule string
		a, b string
		same bool
	}{
		{"presence of one full JID", presence(romeo, "", "<show>away</show>"), presence(romeo, "unavailable", ""), true},
		{"presence of two resources", presence(romeo, "", ""), presence(ring, "", ""), false},
		{"presence of a bare JID and a resource", presence(romeo, "unavailable", ""), presence("romeo@montague.lit", "unavailable", ""), false},
		{"presence and state", presence(romeo, "", ""), message(romeo, "chat", composing), false},
		{"states of one sender", message(romeo, "chat", composing), message(romeo, "chat", paused), true},
		{"states of one sender, to the account and to the session", message(romeo, "chat", composing), state(romeo, "juliet@capulet.lit/balcony", paused), true},
		{"states of two senders", message(romeo, "chat", composing), message(ring, "chat", composing), false},
		{"a state and a copy of one", message(romeo, "chat", composing), carbon("received", romeo, phone, composing), false},
		{"copies of states to one session", carbon("received", romeo, phone, composing), carbon("received", romeo, phone, paused), true},
		{"copies of states to two", carbon("sent", phone, romeo, composing), carbon("sent", phone, ring, composing), false},
		{"copies of both directions", carbon("sent", phone, romeo, composing), carbon("received", romeo, phone, composing), false},
		{"events of one item", message("romeo@montague.lit", "headline", items("n", "<item id='1'><a xmlns='urn:a'/></item>")), message("romeo@montague.lit", "headline", items("n", "<retract id='1'/>")), true},
		{"events of two items", message("romeo@montague.lit", "headline", items("n", "<item id='1'/>")), message("romeo@montague.lit", "headline", items("n", "<item id='2'/>")), false},
		{"events of two nodes", message("romeo@montague.lit", "headline", items("n", "<item id='1'/>")), message("romeo@montague.lit", "headline", items("m", "<item id='1'/>")), false},
		{"events of two contacts", message("romeo@montague.lit", "headline", items("n", "<item id='1'/>")), message("nurse@capulet.lit", "headline", items("n", "<item id='1'/>")), false},
		{"an event of two items, twice", message("romeo@montague.lit", "headline", items("n", "<item id='1'/><item id='2'/>")), message("romeo@montague.lit", "headline", items("n", "<item id='1'/><item id='2'/>")), false},
		{"events of items without an id", message("romeo@montague.lit", "headline", items("n", "<item/>")), message("romeo@montague.lit", "headline", items("n", "<item/>")), false},
		{"that a node is purged, twice", message("romeo@montague.lit", "headline", event("<purge node='n'/>")), message("romeo@montague.lit", "headline", event("<purge node='n'/>")), false},
	} {
		a, heldA := write(t, h, tt.a)
		b, heldB := write(t, h, tt.b)
		if same := a != "" && a == b; !heldA || !heldB || same != tt.same {
			t.Errorf("%s: %q (held %v), %q (held %v)", tt.rule, a, heldA, b, heldB)
		}
	}
}

func FuzzWrite(f *testing.F) {
	for _, s := range []string{
		presence("a@b/c", "", occupant("<status/>")), message("a@b/c", "chat", composing), carbon("sent", "a@b/c", "d@e", composing),
		message("a@b", "headline", items("n", "<item id='1'/>")), message("a@b", "headline", event("")), carbon("received", "", "", "text"),
	} {
		f.Add(s)
	}
	h := harness(f, all)
	says(f, h, "inactive")
	f.Fuzz(func(t *testing.T, xml string) {
		s, err := xmlstream.ParseStanza([]byte(xml), xmpp.NSClient, xmlstream.Limits{})
		if err != nil {
			t.Skip()
		}
		out := h.Stage(extension.Write, extension.Envelope{Stanza: s, Account: balcony.Bare(), Session: balcony})
		if out.Stanza != s {
			t.Fatalf("%s became %+v", xml, out)
		}
		if _, body := s.Child("", "body"); body && out.Held && s.Kind.String() == "message" {
			t.Fatalf("a message with a body is held: %s", xml)
		}
	})
}
