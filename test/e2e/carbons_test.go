package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const (
	nsCarbons = "urn:xmpp:carbons:2"
	nsForward = "urn:xmpp:forward:0"

	carbonsOn  = "<enable xmlns='" + nsCarbons + "'/>"
	carbonsOff = "<disable xmlns='" + nsCarbons + "'/>"
)

// carboned is a client of an account with carbons.
func carboned(t *testing.T, s *harness.Server, local, resource string) *xmppc.Conn {
	t.Helper()
	c := online(t, s, local, resource, 0)
	c.IQ("set", "", carbonsOn)
	return c
}

// local is the local part of a session's account.
func local(c *xmppc.Conn) string {
	l, _, _ := strings.Cut(c.JID, "@")
	return l
}

// copied wants one of the elements to be a copy of that direction, sent or
// received, and returns the message in it (XEP-0280 7, 8).
func copied(t *testing.T, c *xmppc.Conn, e *xmppc.Element, name string) *xmppc.Element {
	t.Helper()
	inner := e.Child(nsCarbons, name).Child(nsForward, "forwarded").Child(xmppc.NSClient, "message")
	if inner == nil || e.Attr("from") != c.Bare() || e.Attr("to") != c.JID || e.Attr("type") != inner.Attr("type") || len(e.Children) != 1 {
		t.Fatalf("%s: no copy of a message that was %s: %s", c.JID, name, e.Raw)
	}
	return inner
}

// carbon is copied for what comes next, presence passed over.
func carbon(t *testing.T, c *xmppc.Conn, name string) *xmppc.Element {
	t.Helper()
	e := c.Next()
	for e.Is(xmppc.NSClient, "presence") {
		e = c.Next()
	}
	return copied(t, c, e, name)
}

func TestCarbons(t *testing.T) {
	s := server(t)

	t.Run("XEP-0280 3 the server tells of it, and not of the exact rules of 6.2", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "")
		vars := features(c.IQ("get", domain, query(nsInfo)))
		if !slices.Contains(vars, nsCarbons) || slices.Contains(vars, "urn:xmpp:carbons:rules:0") {
			t.Errorf("features %q", vars)
		}
	})

	t.Run("XEP-0280 4, 5, 10.1 enable and disable, again and again", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "")
		for _, payload := range []string{carbonsOff, carbonsOn, carbonsOn, carbonsOff, carbonsOff, carbonsOn} {
			if res := c.IQ("set", "", payload); len(res.Children) > 0 {
				t.Errorf("got %s", res.Raw)
			}
			c.IQ("set", c.Bare(), payload)
		}
		c.IQError("get", "", carbonsOn, "service-unavailable")
	})

	t.Run("XEP-0280 4.1, 5.1 not those of others, whether there or not", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		for _, to := range []string{juliet.Bare(), "nobody@" + domain} {
			romeo.IQError("set", to, carbonsOn, "not-allowed")
			romeo.IQError("set", to, carbonsOff, "not-allowed")
		}
	})

	t.Run("XEP-0280 4 a new session starts without, also under the same name", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		phone := carboned(t, s, local(juliet), "phone")
		phone.Close()
		phone = online(t, s, local(juliet), "phone", 0)
		chat(romeo, juliet.JID, 1)
		juliet.Collect()
		silent(t, phone)
	})

	t.Run("XEP-0280 7 what comes to one client comes to the others as received", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		phone, tablet := carboned(t, s, local(juliet), "phone"), carboned(t, s, local(juliet), "tablet")
		without := online(t, s, local(juliet), "without", 0)
		juliet.Collect()
		romeo.Sendf("<message to='%s' type='chat' id='7&amp;' xml:lang='it'><body>ciao</body><x xmlns='urn:example:x' a='&quot;'><y/></x></message>", juliet.JID)
		romeo.Sync("presence")
		original := juliet.Message("ciao")
		for _, c := range []*xmppc.Conn{phone, tablet} {
			m := carbon(t, c, "received")
			if m.Attr("from") != romeo.JID || m.Attr("to") != juliet.JID || m.Attr("id") != "7&" || m.Lang() != "it" || m.Body() != "ciao" || m.Names() != original.Names() ||
				m.Child("urn:example:x", "x").Attr("a") != `"` {
				t.Errorf("got %s, the original is %s", m.Raw, original.Raw)
			}
		}
		silent(t, romeo, juliet, phone, tablet, without)
	})

	t.Run("XEP-0280 8 what one client sends comes to the others as sent, whoever has carbons", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		phone := carboned(t, s, local(romeo), "phone")
		romeo.Collect()
		for _, to := range []string{juliet.JID, juliet.Bare(), "nobody@far.test"} {
			romeo.Sendf("<message to='%s' type='chat' id='8'><body>hi</body></message>", to)
			romeo.Sync("presence", "message")
			if m := carbon(t, phone, "sent"); m.Attr("from") != romeo.JID || m.Attr("to") != to || m.Attr("id") != "8" || m.Body() != "hi" {
				t.Errorf("got %s", m.Raw)
			}
		}
		if m := carbon(t, phone, "received"); m.Attr("type") != "error" || m.Attr("id") != "8" { // 6.1: the error that answers a copied message
			t.Errorf("got %s", m.Raw)
		}
		romeo.IQ("set", "", carbonsOn)
		phone.Sendf("<message to='%s' type='chat'><body>from the phone</body></message>", juliet.JID)
		silent(t, phone)
		if m := carbon(t, romeo, "sent"); m.Attr("from") != phone.JID || m.Body() != "from the phone" {
			t.Errorf("got %s", m.Raw)
		}
		silent(t, romeo)
	})

	t.Run("XEP-0280 7 what all clients got is not copied; what the most available got is, for the others", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		juliet.IQ("set", "", carbonsOn)
		phone := carboned(t, s, local(juliet), "phone")
		juliet.Collect()
		chat(romeo, juliet.Bare(), 1)
		juliet.Message("1")
		phone.Message("1")
		silent(t, juliet, phone)
		phone.Available(-1)
		juliet.Collect()
		chat(romeo, juliet.Bare(), 2)
		juliet.Message("2")
		if m := carbon(t, phone, "received"); m.Body() != "2" {
			t.Errorf("got %s", m.Raw)
		}
		silent(t, juliet, phone)
	})

	t.Run("XEP-0280 7 a client that wants no messages to the account gets a copy of one that nobody takes", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		juliet.IQ("set", "", carbonsOn)
		juliet.Available(-1)
		chat(romeo, juliet.Bare(), 1)
		if m := carbon(t, juliet, "received"); m.Body() != "1" || m.Attr("to") != juliet.Bare() {
			t.Errorf("got %s", m.Raw)
		}
		silent(t, juliet)
	})

	t.Run("XEP-0280 9 private and no-copy stop both sides' copies, and stay in the message", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		mine, hers := carboned(t, s, local(romeo), "phone"), carboned(t, s, local(juliet), "phone")
		juliet.Collect()
		for _, hint := range []string{"<private xmlns='" + nsCarbons + "'/>", "<no-copy xmlns='urn:xmpp:hints'/>", "<private xmlns='" + nsCarbons + "'/><no-copy xmlns='urn:xmpp:hints'/>"} {
			romeo.Sendf("<message to='%s' type='chat'><body>x</body>%s</message>", juliet.JID, hint)
			romeo.Sync("presence")
			if m := juliet.Message("x"); !strings.Contains(m.Raw, "</body>"+hint) {
				t.Errorf("got %s", m.Raw)
			}
		}
		silent(t, mine, hers)
	})

	t.Run("XEP-0280 8 a message to oneself comes to each client once", func(t *testing.T) {
		laptop := carboned(t, s, account(t, s, "romeo"), "laptop")
		phone, tv := carboned(t, s, local(laptop), "phone"), carboned(t, s, local(laptop), "tv")
		tv.Available(-1)
		laptop.Collect()
		phone.Collect()
		laptop.Sendf("<message to='%s' type='chat'><body>all</body></message>", laptop.Bare())
		laptop.Message("all")
		phone.Message("all")
		if m := carbon(t, tv, "sent"); m.Body() != "all" {
			t.Errorf("got %s", m.Raw)
		}
		laptop.Sendf("<message to='%s' type='chat'><body>one</body></message>", phone.JID)
		silent(t, laptop)
		phone.Message("one")
		if m := carbon(t, tv, "sent"); m.Body() != "one" {
			t.Errorf("got %s", m.Raw)
		}
		silent(t, laptop, phone, tv)
	})

	t.Run("XEP-0280 10.3 an error that answers a copy goes nowhere", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		phone, tablet := carboned(t, s, local(juliet), "phone"), carboned(t, s, local(juliet), "tablet")
		mine := carboned(t, s, local(romeo), "phone")
		juliet.Collect()
		romeo.Collect()
		romeo.Sendf("<message to='%s' type='chat' id='e1'><body>hi</body></message>", juliet.JID)
		romeo.Sync("presence")
		juliet.Message("hi")
		carbon(t, phone, "received")
		carbon(t, tablet, "received")
		carbon(t, mine, "sent")
		for _, id := range []string{"", " id='e1'"} {
			phone.Sendf("<message to='%s' type='error'%s><error type='cancel'><service-unavailable xmlns='%s'/></error></message>", phone.Bare(), id, xmppc.NSStanza)
			mine.Sendf("<message to='%s' type='error'%s><error type='cancel'><service-unavailable xmlns='%s'/></error></message>", mine.Bare(), id, xmppc.NSStanza)
		}
		silent(t, phone, mine, romeo, juliet, tablet)
	})

	t.Run("XEP-0280 10.3 a copy that its client never got is lost, and nobody hears of it", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		phone := carboned(t, s, local(juliet), "phone")
		juliet.Collect()
		phone.Enable()
		chat(romeo, juliet.JID, 1)
		juliet.Message("1")
		phone.Send("</stream:stream>")
		for gone := false; !gone; {
			e := juliet.Next()
			if gone = e.Attr("type") == "unavailable"; e.Is(xmppc.NSClient, "message") {
				t.Fatalf("got %s", e.Raw)
			}
		}
		silent(t, juliet, romeo)
	})

	t.Run("XEP-0280 7, XEP-0198 8 a message that another client has a copy of is not given on", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		phone := carboned(t, s, local(juliet), "phone")
		third := online(t, s, local(juliet), "third", 0)
		juliet.Collect()
		phone.Collect()
		juliet.Enable()
		chat(romeo, juliet.JID, 1)
		carbon(t, phone, "received")
		juliet.Send("</stream:stream>")
		for _, c := range []*xmppc.Conn{phone, third} {
			for gone := false; !gone; {
				e := c.Next()
				if gone = e.Attr("type") == "unavailable"; e.Is(xmppc.NSClient, "message") {
					t.Fatalf("%s got %s", c.JID, e.Raw)
				}
			}
		}
		silent(t, phone, third, romeo)
	})

	t.Run("XEP-0198 5 carbons are still on after a resumption, and copies wait for it", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		phone := carboned(t, s, local(juliet), "phone")
		juliet.Collect()
		id := phone.Enable()
		phone.Reset()
		chat(romeo, juliet.JID, 1)
		juliet.Message("1")
		again := authenticated(t, s, local(juliet))
		if e := again.Resume(id, phone.Handled, phone.JID); !e.Is(xmppc.NSSM, "resumed") {
			t.Fatalf("got %s", e.Raw)
		}
		if m := carbon(t, again, "received"); m.Body() != "1" {
			t.Errorf("got %s", m.Raw)
		}
		chat(romeo, juliet.JID, 2)
		if m := carbon(t, again, "received"); m.Body() != "2" {
			t.Errorf("got %s", m.Raw)
		}
	})
}

// TestCopiedMessages: which messages are copied (XEP-0280 6.1).
func TestCopiedMessages(t *testing.T) {
	s := server(t)
	romeo, juliet := strangers(t, s)
	mine, hers := carboned(t, s, local(romeo), "phone"), carboned(t, s, local(juliet), "phone")
	juliet.Collect()
	const room = "<x xmlns='http://jabber.org/protocol/muc#user'/>"
	for _, row := range []struct {
		rule, typ, content string
		sent, received     bool
	}{
		{"chat", "chat", "<body>x</body>", true, true},
		{"chat without a body", "chat", "<encrypted xmlns='urn:xmpp:omemo:2'/>", true, true},
		{"normal with a body", "normal", "<body>x</body>", true, true},
		{"normal without", "normal", "<x xmlns='urn:example:x'/>", false, false},
		{"a receipt", "normal", "<received xmlns='urn:xmpp:receipts' id='1'/>", true, true},
		{"a chat state", "normal", "<composing xmlns='http://jabber.org/protocol/chatstates'/>", true, true},
		{"a marker", "normal", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", true, true},
		{"groupchat", "groupchat", "<body>x</body>", false, false},
		{"headline", "headline", "<body>x</body>", false, false},
		{"an error that answers nothing", "error", "<body>x</body><error type='cancel'><gone xmlns='" + xmppc.NSStanza + "'/></error>", false, false},
		{"a direct invitation", "normal", "<x xmlns='jabber:x:conference' jid='coven@chat.test'/>", true, true},
		{"a mediated invitation", "normal", "<x xmlns='http://jabber.org/protocol/muc#user'><invite/></x>", true, true},
		{"a private message of a room", "chat", "<body>x</body>" + room, true, false},
	} {
		t.Run("XEP-0280 6.1 "+row.rule, func(t *testing.T) {
			romeo.Sendf("<message to='%s' type='%s' id='1'>%s</message>", juliet.JID, row.typ, row.content)
			romeo.Sync("presence")
			if m := juliet.Expect(xmppc.NSClient, "message"); m.Attr("from") != romeo.JID {
				t.Fatalf("got %s", m.Raw)
			}
			if row.sent {
				carbon(t, mine, "sent")
			}
			if row.received {
				carbon(t, hers, "received")
			}
			silent(t, mine, hers)
		})
	}
}
