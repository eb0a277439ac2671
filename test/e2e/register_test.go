package e2e

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const nsRegFeature = "http://jabber.org/features/iq-register"

func TestRegistrationOpen(t *testing.T) {
	s := server(t)

	t.Run("XEP-0077 8 the stream feature, under TLS", func(t *testing.T) {
		c := secured(t, s)
		if c.Features.Child(nsRegFeature, "register") == nil {
			t.Errorf("features %s", c.Features.Raw)
		}
	})

	t.Run("XEP-0077 3.1 form, registration, login on the same stream", func(t *testing.T) {
		c := secured(t, s)
		q := c.IQ("get", "", query(nsReg)).Child(nsReg, "query")
		if q.Child(nsReg, "username") == nil || q.Child(nsReg, "password") == nil || q.Child(nsReg, "registered") != nil {
			t.Errorf("fields %s", q.Names())
		}
		c.IQ("set", "", register("benvolio", secret))
		c.Login("benvolio", secret)
		c.Bind("")
		if c.Bare() != "benvolio@"+domain {
			t.Errorf("JID %s", c.JID)
		}
	})

	t.Run("XEP-0077 3.1 with the server's address in to", func(t *testing.T) {
		c := secured(t, s)
		c.IQ("get", domain, query(nsReg))
		c.IQ("set", domain, register("balthasar", secret))
	})

	t.Run("XEP-0077 3.1 a name that is taken gets conflict, in any case of letters", func(t *testing.T) {
		taken := account(t, s, "tybalt")
		c := secured(t, s)
		for _, name := range []string{taken, strings.ToUpper(taken)} {
			if e := c.IQError("set", "", register(name, "pa55w0rd"), "conflict"); strings.Contains(e.Raw, "pa55w0rd") {
				t.Errorf("the password is in the answer: %s", e.Raw)
			}
		}
		c.Login(taken, secret) // the old password holds
	})

	t.Run("XEP-0077 3.1 what is missing or impossible gets not-acceptable", func(t *testing.T) {
		for _, payload := range []string{
			register("", secret), register("peter", ""), register("a b", secret), register("a/b@c", secret), register(strings.Repeat("p", 1024), secret),
			"<query xmlns='" + nsReg + "'><username>peter</username></query>",
			"<query xmlns='" + nsReg + "'><password>x</password></query>",
		} {
			c := secured(t, s)
			c.IQError("set", "", payload, "not-acceptable", "jid-malformed", "bad-request")
		}
	})

	t.Run("XEP-0077 3.1.1 before login nothing else is answered", func(t *testing.T) {
		c := secured(t, s)
		c.Sendf("<iq type='get' id='x' to='%s'>%s</iq>", domain, ping)
		c.ExpectStreamError("not-authorized")
	})

	t.Run("XEP-0077 3.2 before login nothing can be removed", func(t *testing.T) {
		c := secured(t, s)
		c.IQError("set", "", "<query xmlns='"+nsReg+"'><remove/></query>", "unexpected-request", "registration-required", "not-authorized", "forbidden", "not-acceptable")
	})

	t.Run("XEP-0077 3.1 after login the form says registered", func(t *testing.T) {
		local := account(t, s, "romeo")
		c := session(t, s, local, "")
		q := c.IQ("get", domain, query(nsReg)).Child(nsReg, "query")
		if q.Child(nsReg, "registered") == nil || q.Child(nsReg, "username") == nil || q.Child(nsReg, "username").Text != local {
			t.Errorf("fields %s", q.Names())
		}
		if p := q.Child(nsReg, "password"); p != nil && p.Text != "" {
			t.Errorf("the password is shown: %q", p.Text)
		}
	})
}

func TestPasswordChange(t *testing.T) {
	s := server(t)
	local := account(t, s, "romeo")
	other := account(t, s, "paris")
	c := session(t, s, local, "orchard")

	t.Run("XEP-0077 3.3 the new password works, the old one doesn't, the session goes on", func(t *testing.T) {
		c.IQ("set", domain, register(local, "new password"))
		c.Sync()
		n := secured(t, s)
		if e := n.TryPlain("", local, secret); e.Condition() != "not-authorized" {
			t.Errorf("the old password: %s", e.Raw)
		}
		n.Login(local, "new password")
	})

	t.Run("XEP-0077 3.3 another's password is refused", func(t *testing.T) {
		c.IQError("set", domain, register(other, "stolen"), "not-allowed", "forbidden", "not-authorized", "bad-request", "not-acceptable")
		secured(t, s).Login(other, secret)
	})

	t.Run("XEP-0077 3.3 an empty password changes nothing", func(t *testing.T) {
		c.Ask("set", domain, register(local, "")) // an error, or a result that did nothing
		secured(t, s).Login(local, "new password")
	})
}

func TestAccountRemoval(t *testing.T) {
	s := server(t)
	remove := "<query xmlns='" + nsReg + "'><remove/></query>"

	t.Run("XEP-0077 3.2 all sessions end, the account is gone, the name is free and empty", func(t *testing.T) {
		local := account(t, s, "romeo")
		first, other := session(t, s, local, "orchard"), session(t, s, local, "street")
		juliet := online(t, s, account(t, s, "juliet"), "balcony", 0)
		first.Available(0)
		first.Sendf("<presence to='%s'/>", juliet.JID)
		juliet.Expect(xmppc.NSClient, "presence")

		first.Sendf("<iq type='set' id='bye'>%s</iq>", remove)
		if e := first.Next(); e.Is(xmppc.NSClient, "iq") { // the result may come before the end
			if e.Attr("type") != "result" || e.Attr("id") != "bye" {
				t.Fatalf("got %s", e.Raw)
			}
			first.ExpectStreamError("not-authorized", "reset", "conflict")
		} else if e.Condition() != "not-authorized" {
			t.Fatalf("got %s", e.Raw)
		}
		e := other.Next()
		for e.Is(xmppc.NSClient, "presence") {
			e = other.Next()
		}
		if !e.Is(xmppc.NSStream, "error") {
			t.Fatalf("the other session got %s", e.Raw)
		}
		other.ExpectEnd()
		if p := juliet.Expect(xmppc.NSClient, "presence"); p.Attr("type") != "unavailable" {
			t.Errorf("got %s", p.Raw)
		}

		c := secured(t, s)
		if e := c.TryPlain("", local, secret); e.Condition() != "not-authorized" {
			t.Errorf("login after the removal: %s", e.Raw)
		}
		c.IQ("set", "", register(local, "another"))
		c.Login(local, "another")
	})

	t.Run("XEP-0077 3.2 remove must stand alone", func(t *testing.T) {
		local := account(t, s, "romeo")
		c := session(t, s, local, "")
		c.IQError("set", "", "<query xmlns='"+nsReg+"'><remove/><username>"+local+"</username></query>", "bad-request")
		secured(t, s).Login(local, secret)
	})
}

func TestRegistrationClosed(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "closed"})
	s.MustAddUser(t, "romeo@"+domain, secret)

	t.Run("XEP-0077 4 no feature, no form, no account", func(t *testing.T) {
		c := secured(t, s)
		if c.Features.Child(nsRegFeature, "register") != nil {
			t.Errorf("features %s", c.Features.Raw)
		}
		c.Sendf("<iq type='set' id='r'>%s</iq>", register("paris", secret))
		switch e := c.Next(); {
		case e.Is(xmppc.NSStream, "error") && e.Condition() == "not-authorized":
		case e.Is(xmppc.NSClient, "iq") && (e.Condition() == "service-unavailable" || e.Condition() == "not-allowed" || e.Condition() == "forbidden"):
		default:
			t.Errorf("got %s", e.Raw)
		}
		if e := secured(t, s).TryPlain("", "paris", secret); e.Condition() != "not-authorized" {
			t.Errorf("login: %s", e.Raw)
		}
	})

	t.Run("XEP-0077 3.3 the password can still be changed", func(t *testing.T) {
		c := session(t, s, "romeo", "")
		c.IQ("set", domain, register("romeo", "new"))
		secured(t, s).Login("romeo", "new")
	})
}
