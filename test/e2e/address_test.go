package e2e

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

func TestFrom(t *testing.T) {
	s := server(t)

	t.Run("RFC 6120 8.1.2.1 the server stamps the full JID", func(t *testing.T) {
		romeo, juliet := romeoAndJuliet(t, s)
		for _, from := range []string{"", " from='" + romeo.JID + "'", " from='" + romeo.Bare() + "'"} {
			romeo.Sendf("<message to='%s'%s><body>hist</body></message>", juliet.JID, from)
			m := juliet.Message("hist")
			if m.Attr("from") != romeo.JID || m.Attr("to") != juliet.JID {
				t.Errorf("got %s", m.Raw)
			}
		}
	})

	t.Run("RFC 6120 4.9.3.9 somebody else's from ends the stream with invalid-from", func(t *testing.T) {
		local := account(t, s, "romeo")
		for _, from := range []string{"juliet@" + domain, local + "@" + domain + "/other", domain, "@", local + "@" + second} {
			c := session(t, s, local, "")
			c.Sendf("<message to='%s' from='%s'><body>hist</body></message>", domain, from)
			c.ExpectStreamError("invalid-from")
		}
	})
}

func TestTo(t *testing.T) {
	s := server(t)
	romeo, juliet := romeoAndJuliet(t, s)

	t.Run("RFC 6120 8.3.3.8 jid-malformed", func(t *testing.T) {
		for _, to := range []string{"@" + domain, "a b@" + domain, "x@" + domain + "/", strings.Repeat("x", 1024) + "@" + domain, "\u2665\"@" + domain} {
			romeo.Sendf("<message to='%s' id='m1'><body>hist</body></message>", xmppc.Escape(to))
			e := romeo.StanzaError("message", "m1", "jid-malformed")
			if e.ErrorType() != "modify" {
				t.Errorf("to %q: %s", to, e.Raw)
			}
			romeo.Sendf("<iq to='%s' id='m2' type='get'>%s</iq>", xmppc.Escape(to), ping)
			romeo.StanzaError("iq", "m2", "jid-malformed")
		}
	})

	t.Run("RFC 6120 10.4 remote-server-not-found: another domain, and a subdomain that isn't served", func(t *testing.T) {
		for _, to := range []string{"paris@verona.invalid", "conference." + domain, "room@conference." + domain + "/nick", "a.b.c." + domain} {
			romeo.Sendf("<message to='%s' id='r1'><body>hist</body></message>", to)
			e := romeo.StanzaError("message", "r1", "remote-server-not-found")
			if e.Attr("from") != to || e.ErrorType() != "cancel" {
				t.Errorf("got %s", e.Raw)
			}
			romeo.IQError("get", to, ping, "remote-server-not-found")
		}
	})

	t.Run("RFC 6120 8.3.1 rule 3: no error answers an error", func(t *testing.T) {
		for _, to := range []string{"paris@verona.invalid", "@" + domain, "nobody@" + domain, juliet.Bare(), juliet.Bare() + "/gone"} {
			romeo.Sendf("<message type='error' to='%s' id='e1'><body>hist</body></message>", to)
			romeo.Sendf("<iq type='error' to='%s' id='e2'/>", to)
			romeo.Sendf("<presence type='error' to='%s' id='e3'/>", to)
		}
		silent(t, romeo, juliet)
	})

	t.Run("RFC 7622 3.2, 3.3 mixed case reaches the same user", func(t *testing.T) {
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		for _, to := range []string{
			strings.ToUpper(local) + "@" + domain,
			local + "@" + strings.ToUpper(domain),
			strings.ToUpper(local) + "@Example.Test/balcony",
			"\uff2auliet" + strings.TrimPrefix(local, "juliet") + "@" + domain, // a fullwidth J
			local + "@" + domain + ".",
		} {
			romeo.Sendf("<message to='%s' type='chat'><body>same</body></message>", to)
			juliet.Message("same")
		}
	})

	t.Run("RFC 7622 3.4 resources differ by case", func(t *testing.T) {
		romeo.Sendf("<iq type='get' id='c1' to='%s/BALCONY'>%s</iq>", juliet.Bare(), ping)
		romeo.StanzaError("iq", "c1", "service-unavailable")
	})

	t.Run("RFC 6120 10.3.1 a message without to is for the own bare JID", func(t *testing.T) {
		romeo.Send("<message type='chat'><body>to myself</body></message>")
		if m := romeo.Message("to myself"); m.Attr("from") != romeo.JID {
			t.Errorf("got %s", m.Raw)
		}
	})

	t.Run("hosted domains have accounts of their own", func(t *testing.T) {
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		romeo.IQError("get", local+"@"+second+"/balcony", ping, "service-unavailable")
		silent(t, romeo, juliet)
	})

	t.Run("stanzas pass between hosted domains", func(t *testing.T) {
		local := accountAt(t, s, second, "nurse")
		nurse := direct(t, s, second)
		nurse.Open(second)
		nurse.Login(local, secret)
		nurse.Bind("kitchen")
		nurse.Available(0)
		nurse.Sendf("<message to='%s' type='chat'><body>peace</body></message>", juliet.Bare())
		m := juliet.Message("peace")
		if m.Attr("from") != local+"@"+second+"/kitchen" {
			t.Errorf("got %s", m.Raw)
		}
		juliet.Sendf("<message to='%s' type='chat'><body>anon</body></message>", m.Attr("from"))
		nurse.Message("anon")
	})
}
