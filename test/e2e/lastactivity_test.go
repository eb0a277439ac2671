package e2e

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// begun is before the start of every server of this process.
var begun = time.Now()

// last is what an answer tells: seconds, which are not more than this process knows
// of, and a status.
func last(t *testing.T, e *xmppc.Element) (seconds int, status string) {
	t.Helper()
	q := e.Child(nsLast, "query")
	if q == nil || len(q.Children) > 0 {
		t.Fatalf("no last activity: %s", e.Raw)
	}
	seconds, err := strconv.Atoi(q.Attr("seconds"))
	if most := int(time.Since(begun)/time.Second) + 1; err != nil || seconds < 0 || seconds > most {
		t.Errorf("seconds='%s', at most %d are possible", q.Attr("seconds"), most)
	}
	return seconds, q.Text
}

// leaves ends a session with a status, which the other one sees.
func leaves(t *testing.T, c, sees *xmppc.Conn, status string) {
	t.Helper()
	c.Sendf("<presence type='unavailable'><status>%s</status></presence>", status)
	c.Sync("presence") // it is told, too
	c.Close()
	unavailable(t, sees, c.JID)
}

// unavailable waits until a contact is seen to have left.
func unavailable(t *testing.T, c *xmppc.Conn, full string) {
	t.Helper()
	for {
		if p := c.Expect(xmppc.NSClient, "presence"); p.Attr("type") == "unavailable" && p.Attr("from") == full {
			return
		}
	}
}

func TestLastActivity(t *testing.T) {
	s := server(t)
	request := query(nsLast)

	t.Run("XEP-0012 5 the server: since when it runs, and no text", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "")
		before := 0
		for range 3 {
			now, status := last(t, c.IQ("get", domain, request))
			if now < before || status != "" {
				t.Errorf("%d seconds behind %d, %q", now, before, status)
			}
			before = now
		}
		c.IQError("set", domain, request, "service-unavailable")
	})

	t.Run("XEP-0012 6 the feature of the server and of an account", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "")
		for _, to := range []string{domain, c.Bare()} {
			if vars := features(c.IQ("get", to, query(nsInfo))); !slices.Contains(vars, nsLast) {
				t.Errorf("%s: %q", to, vars)
			}
		}
	})

	t.Run("XEP-0012 3 a contact that is available: 0, and no text", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		if now, status := last(t, romeo.IQ("get", juliet.Bare(), request)); now != 0 || status != "" {
			t.Errorf("%d seconds, %q", now, status)
		}
	})

	t.Run("XEP-0012 3 a contact that left: since then, with its last status", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		leaves(t, juliet, romeo, "Heading &lt;Home&gt; &#x1F339;")
		e := romeo.IQ("get", juliet.Bare(), request) // at once: what was seen is told
		if _, status := last(t, e); status != "Heading <Home> \U0001F339" || e.Attr("from") != juliet.Bare() {
			t.Errorf("got %s", e.Raw)
		}
	})

	t.Run("XEP-0012 3 of several sessions the last counts", func(t *testing.T) {
		romeo, balcony := friends(t, s)
		local, _, _ := strings.Cut(balcony.Bare(), "@")
		chamber := im(t, s, local, "chamber")
		leaves(t, balcony, romeo, "first")
		if now, status := last(t, romeo.IQ("get", chamber.Bare(), request)); now != 0 || status != "" {
			t.Errorf("%d seconds, %q, while another is available", now, status)
		}
		leaves(t, chamber, romeo, "second")
		if _, status := last(t, romeo.IQ("get", chamber.Bare(), request)); status != "second" {
			t.Errorf("status %q", status)
		}
	})

	t.Run("XEP-0012 3 a connection that breaks leaves no status", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		leaves(t, juliet, romeo, "first")
		juliet = im(t, s, local, "balcony")
		juliet.Drop()
		unavailable(t, romeo, juliet.JID)
		if _, status := last(t, romeo.IQ("get", juliet.Bare(), request)); status != "" {
			t.Errorf("status %q", status)
		}
	})

	t.Run("XEP-0012 3 a session that is connected but not available is not told of", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		leaves(t, juliet, romeo, "gone")
		session(t, s, local, "hidden").Roster()
		if _, status := last(t, romeo.IQ("get", juliet.Bare(), request)); status != "gone" {
			t.Errorf("status %q", status)
		}
	})

	t.Run("XEP-0012 3 oneself, with and without an address", func(t *testing.T) {
		local := account(t, s, "romeo")
		c := session(t, s, local, "orchard")
		for _, to := range []string{"", c.Bare()} {
			c.IQError("get", to, request, "item-not-found") // was never available
		}
		c.Available(0)
		for _, to := range []string{"", c.Bare()} {
			if now, _ := last(t, c.IQ("get", to, request)); now != 0 {
				t.Errorf("%d seconds", now)
			}
		}
		c.Send("<presence type='unavailable'><status>hidden</status></presence>")
		for _, to := range []string{"", c.Bare()} {
			if _, status := last(t, c.IQ("get", to, request)); status != "hidden" {
				t.Errorf("status %q", status)
			}
		}
	})

	t.Run("XEP-0012 3, 8 nobody else learns whether there is such an account, nor whether it is online", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		gone := im(t, s, account(t, s, "nurse"), "")
		gone.Close()
		never := account(t, s, "rosaline") + "@" + domain
		tell(juliet, romeo, "subscribe") // the wrong way: she may see him, he may not see her
		tell(romeo, juliet, "subscribed")
		romeo.Collect()
		juliet.Collect()
		for _, to := range []string{juliet.Bare(), gone.Bare(), never, "nobody@" + domain} {
			e := romeo.IQError("get", to, request, "forbidden")
			if want := "<error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"; !strings.Contains(strings.ReplaceAll(e.Raw, `"`, "'"), want) {
				t.Errorf("%s: got %s", to, e.Raw)
			}
			romeo.IQError("set", to, request, "service-unavailable")
		}
		last(t, juliet.IQ("get", romeo.Bare(), request))
		tell(romeo, juliet, "unsubscribed")
		juliet.Collect()
		juliet.IQError("get", romeo.Bare(), request, "forbidden")
	})

	t.Run("XEP-0012 4 a session: its client answers who may see it, others find none", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		tybalt := im(t, s, account(t, s, "tybalt"), "crypt")
		const id = "idle"
		romeo.Sendf("<iq type='get' to='%s' id='%s'>%s</iq>", juliet.JID, id, request)
		asked := juliet.Expect(xmppc.NSClient, "iq")
		if asked.Attr("from") != romeo.JID || asked.Child(nsLast, "query") == nil {
			t.Errorf("asked %s", asked.Raw)
		}
		juliet.Sendf("<iq type='result' to='%s' id='%s'><query xmlns='%s' seconds='123'/></iq>", romeo.JID, asked.Attr("id"), nsLast)
		if e := romeo.Answer(id, "presence"); e.Child(nsLast, "query").Attr("seconds") != "123" {
			t.Errorf("got %s", e.Raw)
		}
		var answers []string
		for _, to := range []string{juliet.JID, juliet.Bare() + "/cellar", "nobody@" + domain + "/balcony"} {
			e := tybalt.IQError("get", to, request, "service-unavailable")
			answers = append(answers, strings.NewReplacer(to, "TO", e.Attr("id"), "ID").Replace(e.Raw))
		}
		if answers[0] != answers[1] || answers[0] != answers[2] {
			t.Errorf("answers differ: %q", answers)
		}
		silent(t, juliet)
	})

	t.Run("XEP-0012 8, XEP-0191 3 who is blocked learns nothing, a contact or not", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		last(t, romeo.IQ("get", juliet.Bare(), request))
		blocks(t, juliet, "block", romeo.Bare())
		for _, to := range []string{juliet.Bare(), juliet.JID} {
			romeo.IQError("get", to, request, "service-unavailable")
		}
		for _, e := range juliet.Collect() {
			if e.Child(nsLast, "query") != nil {
				t.Errorf("she was asked: %s", e.Raw)
			}
		}
	})

	t.Run("an account that was removed takes its record with it", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		leaves(t, juliet, romeo, "gone")
		juliet = session(t, s, local, "balcony")
		juliet.Sendf("<iq type='set' id='bye'><query xmlns='%s'><remove/></query></iq>", nsReg)
		juliet.Answer("bye")
		c := direct(t, s, domain)
		c.Open(domain)
		c.IQ("set", "", register(local, secret))
		c.Close()
		session(t, s, local, "").IQError("get", "", request, "item-not-found")
	})
}

// What is known of accounts outlives the server, whose own time begins anew; who is
// online when it stops has left then.
func TestLastActivityOverRestarts(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open"})
	romeo, juliet := friends(t, s)
	leaves(t, juliet, romeo, "Heading Home")
	started := time.Now()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	local := func(c *xmppc.Conn) string { name, _, _ := strings.Cut(c.Bare(), "@"); return name }
	again := session(t, s, local(romeo), "orchard")
	if _, status := last(t, again.IQ("get", juliet.Bare(), query(nsLast))); status != "Heading Home" {
		t.Errorf("status %q", status)
	}
	last(t, again.IQ("get", "", query(nsLast))) // he was there until the stop
	if up, _ := last(t, again.IQ("get", domain, query(nsLast))); up > int(time.Since(started)/time.Second) {
		t.Errorf("up for %d seconds, started %v ago", up, time.Since(started))
	}
}
