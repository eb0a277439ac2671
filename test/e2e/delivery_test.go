package e2e

import (
	"fmt"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// TestMessageDelivery is the summary table of RFC 6121 section 8.5.4, as far
// as no offline storage is needed.
func TestMessageDelivery(t *testing.T) {
	s := server(t)
	romeo := online(t, s, account(t, s, "romeo"), "orchard", 0)
	send := func(to, typ, body string) {
		romeo.Sendf("<message to='%s' type='%s' id='%s'><body>%s</body></message>", to, typ, body, body)
	}
	n := 0
	fresh := func() string { n++; return fmt.Sprintf("m%d", n) }

	t.Run("RFC 6121 8.5.2.1.1 one non-negative resource: normal, chat, headline to the bare JID", func(t *testing.T) {
		juliet := online(t, s, account(t, s, "juliet"), "balcony", 0)
		for _, typ := range []string{"normal", "chat", "headline"} {
			body := fresh()
			send(juliet.Bare(), typ, body)
			if m := juliet.Message(body); m.Attr("to") != juliet.Bare() {
				t.Errorf("to was rewritten: %s", m.Raw)
			}
		}
	})

	t.Run("RFC 6121 8.5.2.1.1 several resources: the most available take chat and normal", func(t *testing.T) {
		local := account(t, s, "juliet")
		high := online(t, s, local, "balcony", 10)
		low := online(t, s, local, "chamber", 1)
		negative := online(t, s, local, "tomb", -1)
		for _, typ := range []string{"normal", "chat"} {
			body := fresh()
			send(high.Bare(), typ, body)
			e := high.Next()
			for e.Is(xmppc.NSClient, "presence") {
				e = high.Next()
			}
			if e.Body() != body {
				t.Errorf("%s: got %s", typ, e.Raw)
			}
		}
		romeo.Sync("presence")
		// normal may go to all that are not negative; chat only to the most available.
		low.Sync("presence", "message")
		silent(t, negative)
	})

	t.Run("RFC 6121 8.5.2.1.1 a headline goes to every non-negative resource", func(t *testing.T) {
		local := account(t, s, "juliet")
		high, low := online(t, s, local, "balcony", 10), online(t, s, local, "chamber", 0)
		negative := online(t, s, local, "tomb", -1)
		body := fresh()
		send(high.Bare(), "headline", body)
		for _, c := range []*xmppc.Conn{high, low} {
			e := c.Next()
			for e.Is(xmppc.NSClient, "presence") {
				e = c.Next()
			}
			if e.Body() != body {
				t.Errorf("%s got %s", c.JID, e.Raw)
			}
		}
		silent(t, negative)
	})

	t.Run("RFC 6121 8.5.2.1.1 groupchat to a bare JID gets service-unavailable", func(t *testing.T) {
		juliet := online(t, s, account(t, s, "juliet"), "balcony", 0)
		body := fresh()
		send(juliet.Bare(), "groupchat", body)
		romeo.StanzaError("message", body, "service-unavailable")
		silent(t, juliet)
	})

	t.Run("RFC 6121 8.5.2.1.1 error to a bare JID is ignored", func(t *testing.T) {
		juliet := online(t, s, account(t, s, "juliet"), "balcony", 0)
		send(juliet.Bare(), "error", fresh())
		silent(t, romeo, juliet)
	})

	t.Run("RFC 6121 5.2.2 an unknown type is treated as normal", func(t *testing.T) {
		juliet := online(t, s, account(t, s, "juliet"), "balcony", 0)
		body := fresh()
		send(juliet.Bare(), "whatever", body)
		juliet.Message(body)
	})

	t.Run("RFC 6121 8.5.3.1 to a full JID that is there: every type, whatever the priority", func(t *testing.T) {
		juliet := online(t, s, account(t, s, "juliet"), "tomb", -5)
		for _, typ := range []string{"normal", "chat", "groupchat", "headline", "error"} {
			body := fresh()
			send(juliet.JID, typ, body)
			juliet.Message(body)
		}
	})

	t.Run("RFC 6121 8.5.3.1 a connected resource without presence takes what is to its full JID", func(t *testing.T) {
		juliet := session(t, s, account(t, s, "juliet"), "balcony")
		body := fresh()
		send(juliet.JID, "chat", body)
		juliet.Message(body)
	})

	t.Run("RFC 6121 8.5.3.2.1 to a full JID that is gone: chat as to the bare JID", func(t *testing.T) {
		juliet := online(t, s, account(t, s, "juliet"), "balcony", 0)
		body := fresh()
		send(juliet.Bare()+"/gone", "chat", body)
		if m := juliet.Message(body); m.Attr("to") != juliet.Bare()+"/gone" {
			t.Errorf("to was rewritten: %s", m.Raw)
		}
	})

	t.Run("RFC 6121 8.5.3.2.1 to a full JID that is gone: normal, groupchat, headline are refused or ignored", func(t *testing.T) {
		juliet := online(t, s, account(t, s, "juliet"), "balcony", 0)
		for _, typ := range []string{"normal", "groupchat", "headline"} {
			send(juliet.Bare()+"/gone", typ, fresh())
		}
		silent(t, juliet)
		romeo.Sync("presence", "message")
	})

	t.Run("RFC 6121 8.5.1, 8.5.2.2.1 no account and an offline account answer alike", func(t *testing.T) {
		offline := account(t, s, "mercutio") + "@" + domain
		for _, typ := range []string{"normal", "chat", "headline", "groupchat", "error"} {
			answer := func(to string) (all string) {
				body := fresh()
				send(to, typ, body)
				// Whatever comes before the answer to a ping is the server's answer.
				romeo.Sendf("<iq type='get' id='after-%s' to='%s'>%s</iq>", body, domain, ping)
				for {
					e := romeo.Next()
					if e.Is(xmppc.NSClient, "iq") {
						return all
					}
					all += e.Attr("type") + " " + e.Condition() + " " + e.ErrorType()
				}
			}
			there, nowhere := answer(offline), answer("nobody@"+domain)
			if there != nowhere {
				t.Errorf("%s: an offline account answers %q, none %q", typ, there, nowhere)
			}
			if (typ == "headline" || typ == "error") && there != "" {
				t.Errorf("%s got %q, want silence", typ, there)
			}
			if typ == "groupchat" && there != "error service-unavailable cancel" {
				t.Errorf("groupchat got %q", there)
			}
		}
	})

	t.Run("RFC 6121 8.5.2.1.1 a session that left takes no more messages", func(t *testing.T) {
		local := account(t, s, "juliet")
		stays, leaves := online(t, s, local, "balcony", 0), online(t, s, local, "chamber", 20)
		leaves.Send("<presence type='unavailable'/>")
		leaves.Sync("presence")
		body := fresh()
		send(stays.Bare(), "chat", body)
		e := stays.Next()
		for e.Is(xmppc.NSClient, "presence") {
			e = stays.Next()
		}
		if e.Body() != body {
			t.Errorf("got %s", e.Raw)
		}
		silent(t, leaves)
	})
}

func TestPresence(t *testing.T) {
	s := server(t)

	t.Run("RFC 6121 4.6.1 directed presence reaches a full and a bare JID", func(t *testing.T) {
		romeo, juliet := romeoAndJuliet(t, s)
		for _, to := range []string{juliet.JID, juliet.Bare()} {
			romeo.Sendf("<presence to='%s'><show>away</show></presence>", to)
			p := juliet.Expect(xmppc.NSClient, "presence")
			if p.Attr("from") != romeo.JID || p.Attr("to") != to || p.Child(xmppc.NSClient, "show").Text != "away" {
				t.Errorf("got %s", p.Raw)
			}
		}
		romeo.Sendf("<presence type='unavailable' to='%s'/>", juliet.JID)
		if p := juliet.Expect(xmppc.NSClient, "presence"); p.Attr("type") != "unavailable" {
			t.Errorf("got %s", p.Raw)
		}
	})

	t.Run("RFC 6121 4.6.4 who got directed presence is told of the end, however it comes", func(t *testing.T) {
		for _, end := range []struct {
			how   string
			leave func(c *xmppc.Conn)
		}{
			{"unavailable", func(c *xmppc.Conn) { c.Send("<presence type='unavailable'/>") }},
			{"closed stream", func(c *xmppc.Conn) { c.Send("</stream:stream>") }},
			{"lost connection", func(c *xmppc.Conn) { c.Drop() }},
			{"stream error", func(c *xmppc.Conn) { c.Send("<!-- -->") }},
		} {
			romeo, juliet := romeoAndJuliet(t, s)
			romeo.Sendf("<presence to='%s'/>", juliet.JID)
			juliet.Expect(xmppc.NSClient, "presence")
			end.leave(romeo)
			p := juliet.Expect(xmppc.NSClient, "presence")
			if p.Attr("type") != "unavailable" || p.Attr("from") != romeo.JID {
				t.Errorf("%s: got %s", end.how, p.Raw)
			}
			silent(t, juliet)
		}
	})

	t.Run("RFC 6121 4.6.3 after directed unavailable there is no further notice", func(t *testing.T) {
		romeo, juliet := romeoAndJuliet(t, s)
		romeo.Sendf("<presence to='%s'/>", juliet.JID)
		romeo.Sendf("<presence type='unavailable' to='%s'/>", juliet.JID)
		juliet.Expect(xmppc.NSClient, "presence")
		juliet.Expect(xmppc.NSClient, "presence")
		romeo.Close()
		juliet.Sync() // no presence may come
	})

	t.Run("RFC 6121 8.5.1 presence to nobody is ignored", func(t *testing.T) {
		romeo := online(t, s, account(t, s, "romeo"), "orchard", 0)
		romeo.Send("<presence to='nobody@" + domain + "'/><presence to='nobody@" + domain + "/x' type='unavailable'/>")
		silent(t, romeo)
	})

	t.Run("RFC 6121 4.7.2.3 a priority that is none gets bad-request", func(t *testing.T) {
		romeo := session(t, s, account(t, s, "romeo"), "orchard")
		for _, priority := range []string{"128", "-129", "high", "1.5", "99999999999999999999"} {
			romeo.Sendf("<presence id='p'><priority>%s</priority></presence>", priority)
			romeo.StanzaError("presence", "p", "bad-request")
		}
		for _, priority := range []string{"127", "-128", "0"} {
			romeo.Sendf("<presence id='p'><priority>%s</priority></presence>", priority)
			romeo.Sync("presence")
		}
	})
}
