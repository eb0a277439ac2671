package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

func TestStreamHeader(t *testing.T) {
	s := server(t)

	t.Run("RFC 6120 4.7 has from, id, version and xml:lang", func(t *testing.T) {
		c := xmppc.Dial(t, s.C2S)
		c.Open(domain)
		h := c.Header
		if h.Attr("from") != domain || h.Attr("version") != "1.0" || h.Attr("id") == "" || h.Lang() == "" {
			t.Errorf("header %s", h.Raw)
		}
	})

	t.Run("RFC 6120 4.7.3 ids are unique and cannot be guessed", func(t *testing.T) {
		seen := map[string]bool{}
		for range 20 {
			c := xmppc.Dial(t, s.C2S)
			c.Open(domain)
			id := c.Header.Attr("id")
			if seen[id] || len(id) < 16 { // 16 characters of base64 are 96 bits
				t.Fatalf("id %q; seen before: %t", id, seen[id])
			}
			seen[id] = true
			c.Drop()
		}
	})

	t.Run("RFC 6120 4.7.5 a higher minor or major version is answered with 1.0", func(t *testing.T) {
		for _, version := range []string{"1.7", "2.0", "01.0"} {
			c := xmppc.Dial(t, s.C2S)
			c.SendOpening(opening("to='" + domain + "' version='" + version + "'"))
			if got := c.ExpectHeader().Attr("version"); got != "1.0" {
				t.Errorf("version %s was answered with %q", version, got)
			}
			c.ExpectFeatures()
		}
	})

	t.Run("RFC 6120 4.3.2 features before TLS: STARTTLS is required, no mechanism is offered", func(t *testing.T) {
		c := xmppc.Dial(t, s.C2S)
		c.Open(domain)
		starttls := c.Features.Child(xmppc.NSTLS, "starttls")
		if starttls == nil || starttls.Child(xmppc.NSTLS, "required") == nil {
			t.Errorf("want <starttls><required/></starttls> in %s", c.Features.Raw)
		}
		if m := c.Mechanisms(); len(m) > 0 {
			t.Errorf("mechanisms in clear: %q", m)
		}
	})

	t.Run("RFC 6120 4.3.2 features after TLS: mechanisms, no STARTTLS", func(t *testing.T) {
		c := secured(t, s)
		if c.Features.Child(xmppc.NSTLS, "starttls") != nil || !c.Offers("SCRAM-SHA-256") || !c.Offers("PLAIN") {
			t.Errorf("features %s", c.Features.Raw)
		}
	})

	t.Run("RFC 6120 6.4.6 features after SASL: bind, no mechanisms, a new id", func(t *testing.T) {
		local := account(t, s, "romeo")
		c := secured(t, s)
		before := c.Header.Attr("id")
		c.Login(local, secret)
		f := c.Features
		if f.Child(xmppc.NSBind, "bind") == nil || f.Child(xmppc.NSSASL, "mechanisms") != nil || f.Child(xmppc.NSTLS, "starttls") != nil {
			t.Errorf("features %s", f.Raw)
		}
		if session := f.Child(xmppc.NSSess, "session"); session != nil && session.Child(xmppc.NSSess, "optional") == nil {
			t.Errorf("the session feature isn't optional: %s", f.Raw)
		}
		if c.Header.Attr("id") == before {
			t.Error("the id is the same after the restart")
		}
	})

	t.Run("RFC 6120 4.4 the closing tag is answered, what came before it is handled", func(t *testing.T) {
		romeo, juliet := romeoAndJuliet(t, s)
		romeo.Sendf("<message to='%s' type='chat'><body>adieu</body></message></stream:stream>", juliet.JID)
		for {
			if _, err := romeo.TryNext(); err != nil {
				break
			}
		}
		romeo.ExpectHangup()
		juliet.Message("adieu")
	})

	t.Run("RFC 6120 4.6.1 whitespace between stanzas keeps the stream alive", func(t *testing.T) {
		romeo := session(t, s, account(t, s, "romeo"), "")
		for range 5 {
			romeo.Send(" \n\t\r\n")
		}
		romeo.Sync()
	})

	t.Run("RFC 6120 4.7.2 without to: the server names a domain, or refuses by host-unknown or improper-addressing", func(t *testing.T) {
		for _, to := range []string{"", "to=''"} {
			c := xmppc.Dial(t, s.C2S)
			c.SendOpening(opening("version='1.0' " + to))
			h := c.ExpectHeader()
			e := c.Next()
			if e.Is(xmppc.NSStream, "features") && h.Attr("from") == domain {
				continue
			}
			if cond := e.Condition(); cond != "host-unknown" && cond != "improper-addressing" {
				t.Errorf("answer %s%s", h.Raw, e.Raw)
			}
		}
	})

	t.Run("RFC 6120 4.8.3 no default namespace: each stanza declares its own", func(t *testing.T) {
		c := direct(t, s, domain)
		header := fmt.Sprintf("<stream:stream xmlns:stream='%s' to='%s' version='1.0'>", xmppc.NSStream, domain)
		c.SendOpening(header)
		c.ExpectHeader()
		e := c.Next()
		if e.Condition() == "invalid-namespace" {
			return // it may be refused
		}
		c.Features = e
		if e := c.TryPlain("", account(t, s, "romeo"), secret); !e.Is(xmppc.NSSASL, "success") {
			t.Fatalf("PLAIN: %s", e.Raw)
		}
		c.SendOpening(header)
		c.ExpectHeader()
		c.ExpectFeatures()
		c.Sendf("<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='%s'/></iq>", xmppc.NSBind)
		if res := c.Answer("b"); res.Attr("type") != "result" {
			t.Errorf("bind: %s", res.Raw)
		}
	})

	t.Run("RFC 6120 4.8.5 another prefix for the stream namespace works or gets bad-namespace-prefix", func(t *testing.T) {
		c := xmppc.Dial(t, s.C2S)
		c.SendOpening(fmt.Sprintf("<s:stream xmlns:s='%s' xmlns='%s' to='%s' version='1.0'>", xmppc.NSStream, xmppc.NSClient, domain))
		c.ExpectHeader()
		if e := c.Next(); !e.Is(xmppc.NSStream, "features") && e.Condition() != "bad-namespace-prefix" {
			t.Errorf("answer %s", e.Raw)
		}
	})
}

// TestLeastStanzaLimit: the smallest limit that can be configured still takes
// what RFC 6120 13.12 promises to everybody.
func TestLeastStanzaLimit(t *testing.T) {
	const least = 10_000
	s := harness.Start(t, harness.Config{Limits: harness.Limits{StanzaBytes: least}})
	s.MustAddUser(t, "romeo@"+domain, secret)
	c := online(t, s, "romeo", "orchard", 0)
	message := func(bytes int) string {
		head, tail := "<message to='"+c.JID+"' type='chat'><body>", "</body></message>"
		return head + strings.Repeat("x", bytes-len(head)-len(tail)) + tail
	}
	t.Run("RFC 6120 13.12 a stanza of 10,000 bytes passes", func(t *testing.T) {
		c.Send(message(least))
		if m := c.Expect(xmppc.NSClient, "message"); len(m.Body()) < 9000 {
			t.Errorf("got %s", m.Raw)
		}
	})
	t.Run("RFC 6120 13.12 one byte more than the limit is policy-violation", func(t *testing.T) {
		c.Send(message(least + 1))
		c.ExpectStreamError("policy-violation")
	})
	t.Run("RFC 6120 13.12 a lower limit can't be configured", func(t *testing.T) {
		low, err := harness.Prepare(t.TempDir(), harness.Config{Limits: harness.Limits{StanzaBytes: least - 1}})
		if err != nil {
			t.Fatal(err)
		}
		if err := low.Run(); err == nil {
			low.Kill()
			t.Error("the server runs")
		}
		if !strings.Contains(low.Log.String(), "stanza-bytes") {
			t.Errorf("the log names no reason:\n%s", low.Log)
		}
	})
}

// opening is a stream header with these attributes beside the namespaces.
func opening(attrs string) string {
	return fmt.Sprintf("<stream:stream xmlns='%s' xmlns:stream='%s' %s>", xmppc.NSClient, xmppc.NSStream, attrs)
}
