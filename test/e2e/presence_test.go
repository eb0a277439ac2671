package e2e

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// TestPresenceOfContacts is RFC 6121 section 4 between accounts that have
// subscribed; TestPresence has what needs no subscription.
func TestPresenceOfContacts(t *testing.T) {
	s := server(t)
	away := "<presence><show>away</show></presence>"

	t.Run("RFC 6121 4.2.2, 4.3.2 initial presence goes to contacts and own resources, and brings theirs", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		r, _, _ := strings.Cut(romeo.Bare(), "@")
		j, _, _ := strings.Cut(juliet.Bare(), "@")
		phone := im(t, s, j, "phone")
		phone.Send("<presence><show>dnd</show></presence>")
		phone.Collect()
		juliet.Collect()
		romeo.Collect()
		street := session(t, s, r, "street")
		street.Roster()
		street.Send("<presence/>")
		hears(t, street, "available from "+street.JID, "available from "+romeo.JID, "available from "+juliet.JID, "available from "+phone.JID+" dnd")
		for _, c := range []*xmppc.Conn{romeo, juliet, phone} {
			hears(t, c, "available from "+street.JID)
		}
	})

	t.Run("RFC 6121 4.2.2 a session without presence sees and tells nothing", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		r, _, _ := strings.Cut(romeo.Bare(), "@")
		hidden := session(t, s, r, "hidden")
		hidden.Roster()
		juliet.Send(away)
		juliet.Collect()
		hears(t, hidden)
		hears(t, romeo, "available from "+juliet.JID+" away")
		hidden.Close()
		hears(t, juliet)
	})

	t.Run("RFC 6121 4.2.2 one-sided: who is subscribed sees, who isn't doesn't", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		tell(romeo, juliet, "subscribe")
		tell(juliet, romeo, "subscribed")
		romeo.Collect()
		juliet.Collect()
		juliet.Send(away)
		juliet.Collect()
		hears(t, romeo, "available from "+juliet.JID+" away")
		romeo.Send(away)
		romeo.Collect()
		hears(t, juliet)
	})

	t.Run("RFC 6121 4.3 a probe of a stranger, and one of nobody, are not answered", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		for _, to := range []string{juliet.Bare(), juliet.JID, "nobody@" + domain} {
			romeo.Sendf("<presence type='probe' to='%s'/>", to)
		}
		hears(t, romeo)
		hears(t, juliet)
	})

	t.Run("RFC 6121 4.3.2 rule 3: of a contact that is offline nothing comes", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		juliet.Close()
		romeo.Collect()
		r, _, _ := strings.Cut(romeo.Bare(), "@")
		street := session(t, s, r, "street")
		street.Send("<presence/>")
		hears(t, street, "available from "+street.JID, "available from "+romeo.JID)
	})

	t.Run("RFC 6121 4.3.1 probes are the server's business: a client's own is answered or ignored, and never delivered", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		juliet.Send(away)
		juliet.Collect()
		romeo.Collect()
		romeo.Sendf("<presence type='probe' to='%s'/>", juliet.Bare())
		for _, e := range romeo.Collect() {
			if describe(e) != "available from "+juliet.JID+" away" {
				t.Errorf("got %s", e.Raw)
			}
		}
		hears(t, juliet)
	})

	t.Run("RFC 6121 4.4.2 updates go to contacts; directed presence earns none", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		nurse := im(t, s, account(t, s, "nurse"), "kitchen")
		romeo.Sendf("<presence to='%s'/>", nurse.JID)
		romeo.Collect()
		hears(t, nurse, "available from "+romeo.JID)
		romeo.Send(away)
		romeo.Collect()
		hears(t, juliet, "available from "+romeo.JID+" away")
		hears(t, nurse)
		romeo.Send("<presence type='unavailable'/>")
		romeo.Collect()
		hears(t, juliet, "unavailable from "+romeo.JID)
		hears(t, nurse, "unavailable from "+romeo.JID)
	})

	t.Run("RFC 6121 4.5.3, 4.6.4 however a session ends, contacts and targets of directed presence are told once", func(t *testing.T) {
		ends := []struct {
			how string
			end func(c *xmppc.Conn)
		}{
			{"unavailable and close", func(c *xmppc.Conn) { c.Send("<presence type='unavailable'/></stream:stream>") }},
			{"close", func(c *xmppc.Conn) { c.Send("</stream:stream>") }},
			{"reset", (*xmppc.Conn).Reset},
			{"end without a word of TLS", (*xmppc.Conn).Hangup},
			{"stream error", func(c *xmppc.Conn) { c.Send("<!-- -->") }},
		}
		for _, how := range ends {
			romeo, juliet := friends(t, s)
			nurse := im(t, s, account(t, s, "nurse"), "kitchen")
			romeo.Sendf("<presence to='%s'/><presence to='%s'/>", nurse.JID, juliet.JID)
			romeo.Collect()
			nurse.Collect()
			juliet.Collect()
			how.end(romeo)
			for _, c := range []*xmppc.Conn{nurse, juliet} {
				if e := c.Next(); describe(e) != "unavailable from "+romeo.JID {
					t.Errorf("%s: %s hears %s", how.how, c.JID, e.Raw)
				}
			}
			hears(t, juliet)
			hears(t, nurse)
		}
	})

	t.Run("RFC 6121 4.6.3 directed unavailable to a contact is to it alone, and the last that it hears", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		nurse := im(t, s, account(t, s, "nurse"), "kitchen")
		befriend(t, romeo, nurse)
		romeo.Sendf("<presence type='unavailable' to='%s'/>", nurse.Bare())
		romeo.Collect()
		hears(t, nurse, "unavailable from "+romeo.JID)
		hears(t, juliet)
	})

	t.Run("RFC 6121 4.7.2 show, status, priority and what extensions add reach contacts as they are", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		romeo.Send("<presence xml:lang='it' id='p1'><show>xa</show><status>a domani</status><priority>-3</priority><c xmlns='http://jabber.org/protocol/caps' ver='x' node='n' hash='sha-1'/></presence>")
		romeo.Collect()
		p := juliet.Next()
		if p.Child(xmppc.NSClient, "status").Text != "a domani" || p.Child(xmppc.NSClient, "priority").Text != "-3" ||
			p.Child("http://jabber.org/protocol/caps", "c").Attr("ver") != "x" || p.Lang() != "it" || p.Attr("id") != "p1" {
			t.Errorf("got %s", p.Raw)
		}
	})
}

func TestRemovedAccount(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open"})
	for _, how := range []struct {
		how    string
		remove func(t *testing.T, juliet *xmppc.Conn)
	}{
		{"hexmpp user remove", func(t *testing.T, juliet *xmppc.Conn) {
			if out := s.CLI(t, "user", "remove", juliet.Bare()); out.Code != 0 {
				t.Fatalf("%s%s", out.Stdout, out.Stderr)
			}
		}},
		{"XEP-0077 3.2 cancelled by its user", func(t *testing.T, juliet *xmppc.Conn) {
			juliet.Send("<iq type='set' id='cancel'><query xmlns='jabber:iq:register'><remove/></query></iq>")
		}},
	} {
		t.Run(how.how+": sessions, roster, vCard and private XML end", func(t *testing.T) {
			romeo, juliet := friends(t, s)
			local, _, _ := strings.Cut(juliet.Bare(), "@")
			phone := im(t, s, local, "phone")
			waiting := im(t, s, local, "waiting")
			id := waiting.Enable()
			phone.IQ("set", "", "<vCard xmlns='vcard-temp'><FN>Juliet</FN></vCard>")
			phone.Send("<iq type='set' id='private'><query xmlns='jabber:iq:private'><x xmlns='urn:x'>y</x></query></iq>")
			phone.Answer("private", "presence")
			waiting.Reset()
			romeo.Collect()

			how.remove(t, juliet)
			gone := map[string]bool{}
			for len(gone) < 3 {
				e := romeo.Next()
				if e.Attr("type") == "unavailable" {
					gone[e.Attr("from")] = true
				}
			}
			for {
				e, err := phone.TryNext()
				if err != nil {
					break
				}
				if e.Is(xmppc.NSStream, "error") && e.Condition() != "not-authorized" {
					t.Errorf("the stream ends with %s", e.Raw)
				}
			}
			phone.ExpectHangup()

			c := direct(t, s, domain)
			c.Open(domain)
			c.IQ("set", "", register(local, secret))
			c.Close()
			again := authenticated(t, s, local)
			if e := again.Resume(id, 0, ""); e.Condition() != "item-not-found" {
				t.Errorf("resumption: %s", e.Raw)
			}
			again.Bind("balcony")
			if items := again.Roster(); len(items) > 0 {
				t.Errorf("the new account has %d contacts", len(items))
			}
			again.IQError("get", "", "<vCard xmlns='vcard-temp'/>", "item-not-found")
			if e := again.IQ("get", "", "<query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query>"); strings.Contains(e.Raw, ">y<") {
				t.Errorf("private XML: %s", e.Raw)
			}
			again.Send("<presence><show>away</show></presence>")
			again.Collect()
			for _, e := range romeo.Collect() {
				if strings.HasPrefix(describe(e), "available from "+again.JID) {
					t.Error("the contact of the old account sees the new one, who never agreed")
				}
			}
		})
	}
}
