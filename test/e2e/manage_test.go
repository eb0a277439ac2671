package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const (
	enable = "<enable xmlns='" + xmppc.NSSM + "'/>"
	askAck = "<r xmlns='" + xmppc.NSSM + "'/>"
)

// failed wants the next element to be <failed/> with this condition.
func failed(t *testing.T, c *xmppc.Conn, condition string) *xmppc.Element {
	t.Helper()
	e := c.Expect(xmppc.NSSM, "failed")
	if e.Condition() != condition {
		t.Errorf("got %s, want %s", e.Raw, condition)
	}
	return e
}

// chat sends numbered chat messages to a full JID and waits until they are handled.
func chat(from *xmppc.Conn, to string, numbers ...int) {
	for _, n := range numbers {
		from.Sendf("<message to='%s' type='chat' id='m%d'><body>%d</body></message>", to, n, n)
	}
	from.Sync("presence", "message")
}

func TestStreamManagement(t *testing.T) {
	s := server(t)

	t.Run("XEP-0198 2 the feature is there once one can bind", func(t *testing.T) {
		if c := secured(t, s); c.Features.Child(xmppc.NSSM, "sm") != nil {
			t.Errorf("before SASL: %s", c.Features.Raw)
		}
		if c := authenticated(t, s, account(t, s, "romeo")); c.Features.Child(xmppc.NSSM, "sm") == nil {
			t.Errorf("after SASL: %s", c.Features.Raw)
		}
	})

	t.Run("XEP-0198 3 enable before bind is refused, after it works, a second one is refused", func(t *testing.T) {
		c := authenticated(t, s, account(t, s, "romeo"))
		c.Send(enable)
		failed(t, c, "unexpected-request")
		c.Bind("")
		c.Send(enable)
		if e := c.Expect(xmppc.NSSM, "enabled"); e.Attr("id") != "" || e.Attr("resume") != "" {
			t.Errorf("resumption was not asked for: %s", e.Raw)
		}
		c.Send(enable)
		failed(t, c, "unexpected-request")
		c.Sync()
	})

	t.Run("XEP-0198 3 acknowledgements without enable are refused", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "")
		c.Send(askAck)
		failed(t, c, "unexpected-request")
	})

	t.Run("XEP-0198 4 the server counts message, presence and iq, from enable on, and answers at once", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "")
		c.Send("<presence/>")
		c.Sync("presence")
		c.Send(enable)
		c.Expect(xmppc.NSSM, "enabled")
		if h := c.AskCount(); h != 0 {
			t.Errorf("after nothing: %d", h)
		}
		c.Send("<iq type='result' id='none'/>")
		c.AwaitCount(1)
		c.Sendf("<message to='nobody@%s' type='headline'/> \n <iq type='error' id='e'/><presence to='nobody@%s'/>", domain, domain)
		c.AwaitCount(4)
		c.Send(askAck + askAck)
		for range 2 {
			if h := c.Count(c.Expect(xmppc.NSSM, "a")); h != 4 {
				t.Errorf("after <r/>, which is no stanza: %d", h)
			}
		}
		c.Send("<message id='bad' to='@'/>") // a stanza that is refused was handled, too
		c.StanzaError("message", "bad", "jid-malformed")
		c.AwaitCount(5)
	})

	t.Run("XEP-0198 4 what was sent may be acknowledged, and twice", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		juliet.Enable()
		chat(romeo, juliet.JID, 1, 2)
		juliet.Message("1")
		juliet.Message("2")
		for _, h := range []uint32{0, 1, 2, 2} {
			juliet.Ack(h)
		}
		juliet.Sync()
	})

	t.Run("XEP-0198 4 more than was sent ends the stream with handled-count-too-high", func(t *testing.T) {
		for _, h := range []uint32{1, 1 << 31, 1<<32 - 1} {
			c := session(t, s, account(t, s, "romeo"), "")
			c.Enable()
			c.Ack(h)
			e := c.ExpectStreamError("undefined-condition")
			if e.Child(xmppc.NSSM, "handled-count-too-high").Attr("h") != fmt.Sprint(h) {
				t.Errorf("got %s", e.Raw)
			}
		}
	})

	t.Run("XEP-0198 4 the server asks by itself", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		juliet.Enable()
		for i := range 40 {
			chat(romeo, juliet.JID, i)
		}
		for range 41 {
			if juliet.NextOrAsk().Is(xmppc.NSSM, "r") {
				return
			}
		}
		t.Error("40 stanzas are not acknowledged, and the server doesn't ask")
	})

	t.Run("XEP-0198 5 SM-IDs are unique and can't be guessed, max is told", func(t *testing.T) {
		local := account(t, s, "romeo")
		seen := map[string]bool{}
		for range 5 {
			c := session(t, s, local, "")
			c.Send("<enable xmlns='" + xmppc.NSSM + "' resume='true' max='60'/>")
			e := c.Expect(xmppc.NSSM, "enabled")
			id := e.Attr("id")
			if seen[id] || len(id) < 16 || strings.Contains(c.JID, id) {
				t.Errorf("id %q", id)
			}
			if e.Attr("max") != "60" {
				t.Errorf("got %s", e.Raw)
			}
			seen[id] = true
		}
	})
}

// breaks are the ways in which a connection may be lost. After silence the
// server still takes the old one for alive.
var breaks = []struct {
	how string
	cut func(c *xmppc.Conn)
}{
	{"reset", (*xmppc.Conn).Reset},
	{"end without a word of TLS", (*xmppc.Conn).Hangup},
	{"end without the closing tag", (*xmppc.Conn).Drop},
	{"silence", func(*xmppc.Conn) {}},
}

func TestResumption(t *testing.T) {
	s := server(t)

	for _, lost := range breaks {
		t.Run("XEP-0198 5 after "+lost.how+": the unacknowledged in order, nothing twice, no presence", func(t *testing.T) {
			romeo, juliet := friends(t, s)
			local, _, _ := strings.Cut(juliet.Bare(), "@")
			id := juliet.Enable()
			chat(romeo, juliet.JID, 1, 2)
			juliet.Message("1")
			h := juliet.Handled
			juliet.Sendf("<message to='%s' type='chat'><body>mine</body></message>", romeo.JID)
			romeo.Message("mine")
			lost.cut(juliet)
			chat(romeo, juliet.JID, 3)
			chat(romeo, juliet.Bare(), 4)

			again := authenticated(t, s, local)
			resumed := again.Resume(id, h, juliet.JID)
			if !resumed.Is(xmppc.NSSM, "resumed") || again.Count(resumed) != 1 {
				t.Fatalf("got %s", resumed.Raw)
			}
			for n := 2; n <= 4; n++ {
				again.Message(fmt.Sprint(n))
			}
			hears(t, again)
			hears(t, romeo)
			again.Sendf("<message to='%s' type='chat'><body>back</body></message>", romeo.JID)
			if m := romeo.Message("back"); m.Attr("from") != juliet.JID {
				t.Errorf("got %s", m.Raw)
			}
			again.AwaitCount(3) // mine, the ping of hears, back
			again.Ack(again.Handled)
			again.Sync()
		})
	}

	t.Run("XEP-0198 5 a resumption takes over from a connection that stands, which ends with conflict", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		id := juliet.Enable()
		again := authenticated(t, s, local)
		if e := again.Resume(id, 0, juliet.JID); !e.Is(xmppc.NSSM, "resumed") {
			t.Fatalf("got %s", e.Raw)
		}
		juliet.ExpectStreamError("conflict")
		chat(romeo, juliet.JID, 1)
		again.Message("1")
		hears(t, romeo)
	})

	t.Run("XEP-0198 5 resumed again and again", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		id := juliet.Enable()
		c := juliet
		for n := range 5 {
			c.Reset()
			chat(romeo, juliet.JID, n)
			h := c.Handled
			c = authenticated(t, s, local)
			if e := c.Resume(id, h, juliet.JID); !e.Is(xmppc.NSSM, "resumed") {
				t.Fatalf("time %d: %s", n, e.Raw)
			}
			c.Message(fmt.Sprint(n))
		}
		hears(t, romeo)
	})

	t.Run("XEP-0198 5 who is away looks available, and the last presence of each contact is kept", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		id := juliet.Enable()
		juliet.Reset()
		for _, show := range []string{"away", "xa", "dnd"} {
			romeo.Sendf("<presence><show>%s</show></presence>", show)
		}
		romeo.Collect()
		watch := session(t, s, strings.TrimSuffix(romeo.Bare(), "@"+domain), "street")
		watch.Roster()
		watch.Send("<presence/>")
		hears(t, watch, "available from "+watch.JID, "available from "+romeo.JID+" dnd", "available from "+juliet.JID)
		romeo.Collect()

		again := authenticated(t, s, local)
		if e := again.Resume(id, 0, juliet.JID); !e.Is(xmppc.NSSM, "resumed") {
			t.Fatalf("got %s", e.Raw)
		}
		shows := map[string]string{} // the last word of each counts; what came before the cut was noticed may be there, too
		for _, e := range again.Collect() {
			shows[e.Attr("from")] = describe(e)
		}
		if shows[romeo.JID] != "available from "+romeo.JID+" dnd" || shows[watch.JID] != "available from "+watch.JID {
			t.Errorf("juliet hears %v", shows)
		}
		hears(t, romeo)
	})

	t.Run("XEP-0198 5 roster interest is kept", func(t *testing.T) {
		local := account(t, s, "juliet")
		balcony, chamber := im(t, s, local, "balcony"), im(t, s, local, "chamber")
		balcony.Collect()
		id := balcony.Enable()
		balcony.Reset()
		setItem(chamber, "<item jid='missed@"+domain+"'/>")
		again := authenticated(t, s, local)
		if e := again.Resume(id, 0, balcony.JID); !e.Is(xmppc.NSSM, "resumed") {
			t.Fatalf("got %s", e.Raw)
		}
		hears(t, again, "push missed@"+domain+" none")
		setItem(chamber, "<item jid='nurse@"+domain+"'/>")
		hears(t, again, "push nurse@"+domain+" none")
	})

	refused := func(t *testing.T, id string, c *xmppc.Conn) *xmppc.Element {
		t.Helper()
		c.Sendf("<resume xmlns='%s' previd='%s' h='0'/>", xmppc.NSSM, xmppc.Escape(id))
		e := failed(t, c, "item-not-found")
		c.Bind("") // one can bind then
		c.Sync()
		return e
	}

	t.Run("XEP-0198 5 an unknown SM-ID, and binding after it", func(t *testing.T) {
		local := account(t, s, "romeo")
		for _, id := range []string{"nonsense", "", "<&'\">", strings.Repeat("x", 5000)} {
			refused(t, id, authenticated(t, s, local))
		}
	})

	t.Run("XEP-0198 5 another user's SM-ID is as good as none, and harms nobody", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		id := juliet.Enable()
		local, _, _ := strings.Cut(romeo.Bare(), "@")
		if e := refused(t, id, authenticated(t, s, local)); e.Has("h") {
			t.Errorf("another's count is told: %s", e.Raw)
		}
		juliet.Sync()
		juliet.Reset()
		refused(t, id, authenticated(t, s, local))
		own, _, _ := strings.Cut(juliet.Bare(), "@")
		if e := authenticated(t, s, own).Resume(id, 0, juliet.JID); !e.Is(xmppc.NSSM, "resumed") {
			t.Errorf("got %s", e.Raw)
		}
	})

	t.Run("XEP-0198 5 no resumption before login, nor on a stream with a session", func(t *testing.T) {
		juliet := session(t, s, account(t, s, "juliet"), "")
		id := juliet.Enable()
		early := secured(t, s)
		early.Sendf("<resume xmlns='%s' previd='%s' h='0'/>", xmppc.NSSM, id)
		if e := early.Next(); !e.Is(xmppc.NSStream, "error") && !e.Is(xmppc.NSSM, "failed") {
			t.Errorf("got %s", e.Raw)
		}
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		late := session(t, s, local, "")
		late.Sendf("<resume xmlns='%s' previd='%s' h='0'/>", xmppc.NSSM, id)
		failed(t, late, "unexpected-request")
		juliet.Sync()
	})

	t.Run("XEP-0198 5 a session that closed its stream can't be resumed; its count is told", func(t *testing.T) {
		c := session(t, s, account(t, s, "juliet"), "")
		local, _, _ := strings.Cut(c.Bare(), "@")
		id := c.Enable()
		c.Sync()
		c.Close()
		if e := refused(t, id, authenticated(t, s, local)); e.Has("h") && e.Attr("h") != "1" {
			t.Errorf("got %s", e.Raw)
		}
	})

	t.Run("XEP-0198 5 a stream error ends a session for good", func(t *testing.T) {
		c := session(t, s, account(t, s, "juliet"), "")
		local, _, _ := strings.Cut(c.Bare(), "@")
		id := c.Enable()
		c.Send("<!-- -->")
		c.ExpectStreamError("restricted-xml")
		refused(t, id, authenticated(t, s, local))
	})

	t.Run("XEP-0198 5 a session without resumption ends with its connection", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		juliet.Send(enable)
		juliet.Expect(xmppc.NSSM, "enabled")
		juliet.Reset()
		if p := romeo.Next(); describe(p) != "unavailable from "+juliet.JID {
			t.Errorf("got %s", p.Raw)
		}
	})

	t.Run("XEP-0198 5 too high a count with resume ends the new stream; the session waits on", func(t *testing.T) {
		c := session(t, s, account(t, s, "juliet"), "")
		local, _, _ := strings.Cut(c.Bare(), "@")
		id := c.Enable()
		c.Reset()
		liar := authenticated(t, s, local)
		liar.Sendf("<resume xmlns='%s' previd='%s' h='77'/>", xmppc.NSSM, id)
		liar.ExpectStreamError("undefined-condition")
		if e := authenticated(t, s, local).Resume(id, 0, c.JID); !e.Is(xmppc.NSSM, "resumed") {
			t.Errorf("after the lie: %s", e.Raw)
		}
	})

	t.Run("RFC 6120 7.7.2.2 a new session takes the resource from one that waits", func(t *testing.T) {
		local := account(t, s, "juliet")
		c := session(t, s, local, "balcony")
		id := c.Enable()
		c.Reset()
		later := session(t, s, local, "balcony")
		if later.JID == c.JID {
			refused(t, id, authenticated(t, s, local))
		}
		later.Sync()
	})
}

// TestUnacknowledged: nothing vanishes with a session (XEP-0198 8).
func TestUnacknowledged(t *testing.T) {
	s := server(t)

	t.Run("XEP-0198 8 messages go to another resource, late and stamped; a request is answered", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		juliet.Enable()
		chat(romeo, juliet.JID, 1)
		romeo.Sendf("<iq type='get' id='lost' to='%s'><query xmlns='urn:example:age'/></iq>", juliet.JID)
		romeo.Sync("presence")
		phone := im(t, s, local, "phone")
		romeo.Collect()
		juliet.Collect()
		juliet.Send("</stream:stream>")
		m := phone.Next()
		for !m.Is(xmppc.NSClient, "message") {
			m = phone.Next()
		}
		delay := m.Child("urn:xmpp:delay", "delay")
		if m.Body() != "1" || m.Attr("from") != romeo.JID || delay == nil {
			t.Fatalf("got %s", m.Raw)
		}
		if at, err := time.Parse(time.RFC3339, delay.Attr("stamp")); err != nil || at.Location() != time.UTC {
			t.Errorf("stamp %q: %v", delay.Attr("stamp"), err)
		}
		romeo.StanzaErrorAmong("iq", "lost", "service-unavailable", "recipient-unavailable")
	})

	t.Run("XEP-0198 8 what was acknowledged is not given on", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		phone := im(t, s, local, "phone")
		romeo.Collect()
		juliet.Collect()
		juliet.Enable()
		chat(romeo, juliet.JID, 1)
		juliet.Message("1")
		juliet.Ack(juliet.Handled)
		juliet.Close()
		for gone := false; !gone; {
			e := phone.Next()
			if e.Is(xmppc.NSClient, "message") {
				t.Fatalf("got %s", e.Raw)
			}
			gone = e.Attr("type") == "unavailable"
		}
		hears(t, phone)
	})
}

// TestResumptionEnds needs a server on which sessions wait shortly.
func TestResumptionEnds(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open", Limits: harness.Limits{ResumeTime: 2 * time.Second, Unacknowledged: 20}})

	t.Run("XEP-0198 5 when the time is up contacts see it, and the SM-ID is worth nothing", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		id := juliet.Enable()
		juliet.Sync()
		juliet.Reset()
		if p := romeo.Next(); describe(p) != "unavailable from "+juliet.JID {
			t.Fatalf("got %s", p.Raw)
		}
		again := authenticated(t, s, local)
		e := again.Resume(id, 1, juliet.JID)
		if !e.Is(xmppc.NSSM, "failed") || e.Condition() != "item-not-found" || e.Attr("h") != "1" {
			t.Errorf("got %s", e.Raw)
		}
		again.Bind("balcony")
		again.Sync()
	})

	t.Run("XEP-0198 8 when the time is up another resource gets the messages", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		phone := im(t, s, local, "phone")
		juliet.Collect()
		juliet.Enable()
		juliet.Reset()
		chat(romeo, juliet.JID, 1, 2)
		var bodies []string
		for len(bodies) < 2 {
			if e := phone.Next(); e.Is(xmppc.NSClient, "message") {
				bodies = append(bodies, e.Body())
			}
		}
		if bodies[0] != "1" || bodies[1] != "2" {
			t.Errorf("phone got %q", bodies)
		}
	})

	t.Run("XEP-0198 4 limits.unacknowledged: more than that waits until the client acknowledges", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		juliet.Enable()
		for n := range 60 {
			chat(romeo, juliet.JID, n)
		}
		next := 0
		for next < 60 {
			e := juliet.NextOrAsk()
			if e.Is(xmppc.NSSM, "r") {
				juliet.Ack(juliet.Handled)
				continue
			}
			if e.Body() != fmt.Sprint(next) {
				t.Fatalf("got %s, want message %d", e.Raw, next)
			}
			next++
		}
	})

	t.Run("XEP-0198 4 a client that never acknowledges ends, and costs the others nothing", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		juliet.Enable()
		body := strings.Repeat("x", 64<<10)
		for range 200 { // three times limits.outbox-bytes
			romeo.Sendf("<message to='%s' type='chat'><body>%s</body></message>", juliet.JID, body)
			romeo.Sync("presence", "message")
		}
		romeo.IQError("get", juliet.JID, ping, "service-unavailable")
	})

	t.Run("XEP-0198 5 a server that was killed: item-not-found, then bind", func(t *testing.T) {
		c := im(t, s, account(t, s, "juliet"), "balcony")
		local, _, _ := strings.Cut(c.Bare(), "@")
		id := c.Enable()
		setItem(c, "<item jid='nurse@"+domain+"'/>")
		s.Kill()
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
		again := authenticated(t, s, local)
		if e := again.Resume(id, 0, c.JID); !e.Is(xmppc.NSSM, "failed") || e.Condition() != "item-not-found" {
			t.Errorf("got %s", e.Raw)
		}
		again.Bind("balcony")
		if got := entry(again, "nurse@"+domain); got != "none" {
			t.Errorf("what was answered before the kill is lost: %q", got)
		}
	})
}
