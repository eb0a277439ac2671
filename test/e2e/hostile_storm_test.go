package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// storms are floods at others: at accounts, at strangers, at oneself. Whoever
// does not read is cut off, whoever reads is served, and what is stored is bounded.
func storms(t *testing.T, h *hostile) {
	t.Run("RFC 6120 7.7.2.2 one resource bound again and again", func(t *testing.T) {
		local := account(t, h.Server, "romeo")
		watchPeak(t, h, func() {
			last := session(t, h.Server, local, "orchard")
			for range 60 {
				next := session(t, h.Server, local, "orchard")
				if next.JID == last.JID {
					last.ExpectStreamError("conflict")
				} else {
					last.Close()
				}
				last = next
			}
			last.Sync()
		})
	})
	t.Run("RFC 6120 7.7.3 resources that are none, until the server has enough", func(t *testing.T) {
		c := loggedIn(t, h)
		for n := 1; ; n++ {
			c.Sendf("<iq type='set' id='b%d'><bind xmlns='%s'><resource>%s</resource></bind></iq>", n, xmppc.NSBind, strings.Repeat("r", 2000))
			e := c.Next()
			if e.Is(xmppc.NSStream, "error") {
				c.ExpectEnd()
				return
			}
			if e.Attr("type") == "result" {
				t.Skip("the server makes a resource of it")
			}
			if n > 20 {
				t.Fatal("no bound")
			}
		}
	})
	t.Run("RFC 6121 8.5.1 requests to accounts that aren't there, answers not read", func(t *testing.T) {
		watchPeak(t, h, func() {
			overwhelm(t, bound(t, h), "<iq type='get' id='"+strings.Repeat("i", 900)+"' to='nobody@"+domain+"'><q xmlns='urn:x'/></iq>")
		})
		goodClient(t, h)
	})
	t.Run("RFC 6121 8.5.3.2.3 requests to resources that aren't there, answers not read", func(t *testing.T) {
		watchPeak(t, h, func() {
			overwhelm(t, bound(t, h), "<iq type='set' id='"+strings.Repeat("i", 900)+"' to='romeo@"+domain+"/nowhere'><q xmlns='urn:x'/></iq>")
		})
		goodClient(t, h)
	})
	t.Run("RFC 6120 10.4 messages to ever new domains, errors not read", func(t *testing.T) {
		watchPeak(t, h, func() {
			overwhelm(t, bound(t, h), "<message id='"+strings.Repeat("i", 900)+"' to='a@"+strings.Repeat("x", 60)+".test'/>")
		})
		goodClient(t, h)
	})
	t.Run("RFC 6120 8.2.3 a burst of requests to a stranger, who answers each", func(t *testing.T) {
		romeo, juliet := strangers(t, h.Server)
		const many = 500
		romeo.Send(numbered("<iq type='get' id='q%d' to='"+juliet.JID+"'><q xmlns='urn:x'/></iq>", many))
		for i := range many {
			q := juliet.Expect(xmppc.NSClient, "iq")
			if q.Attr("id") != fmt.Sprintf("q%d", i) || q.Attr("from") != romeo.JID {
				t.Fatalf("request %d is %s", i, q.Raw)
			}
			juliet.Sendf("<iq type='result' id='%s' to='%s'/>", q.Attr("id"), romeo.JID)
		}
		for i := range many {
			if a := romeo.Answer(fmt.Sprintf("q%d", i)); a.Attr("type") != "result" || a.Attr("from") != juliet.JID {
				t.Fatalf("answer %d is %s", i, a.Raw)
			}
		}
	})
	t.Run("RFC 6120 8.2.3 results at a stranger who didn't ask and doesn't read", func(t *testing.T) {
		romeo, juliet := strangers(t, h.Server)
		watchPeak(t, h, func() {
			flood := strings.Repeat("<iq type='result' id='i' to='"+juliet.JID+"'><x xmlns='urn:x'>"+strings.Repeat("y", 16<<10)+"</x></iq>", 16)
			for range 100 { // 25 MiB
				romeo.Send(flood)
				romeo.Sync("presence", "iq")
			}
		})
		juliet.Drop()
	})
	t.Run("RFC 6121 4.6 directed presence at a stranger who doesn't read", func(t *testing.T) {
		romeo, juliet := strangers(t, h.Server)
		watchPeak(t, h, func() {
			storm := strings.Repeat("<presence to='"+juliet.JID+"'><status>"+strings.Repeat("x", 16<<10)+"</status></presence>", 16)
			for range 100 { // 25 MiB
				romeo.Send(storm)
				romeo.Sync("presence")
			}
		})
		juliet.Drop()
		goodClient(t, h)
	})
	t.Run("RFC 6121 4.4 a presence storm at one's own sessions that don't read", func(t *testing.T) {
		local := account(t, h.Server, "romeo")
		var deaf [4]*xmppc.Conn
		for i := range deaf {
			deaf[i] = online(t, h.Server, local, "", -1)
		}
		loud := online(t, h.Server, local, "", 0)
		watchPeakWithin(t, h, 64<<20, func() { // each of the four may hold limits.outbox-bytes
			storm := strings.Repeat("<presence><status>"+strings.Repeat("x", 16<<10)+"</status></presence>", 16)
			for range 40 { // 10 MiB for each of them
				loud.Send(storm)
				loud.Sync("presence")
			}
		})
		for _, c := range deaf {
			c.Drop()
		}
	})
	t.Run("RFC 6121 4.3.2 probes at a stranger tell nothing, and don't reach her", func(t *testing.T) {
		romeo, juliet := strangers(t, h.Server)
		juliet.Send("<presence><status>here</status></presence>")
		juliet.Sync("presence")
		for range 8 {
			romeo.Send(strings.Repeat("<presence type='probe' to='"+juliet.Bare()+"'/><presence type='probe' to='"+juliet.JID+"'/>", 250))
		}
		hears(t, romeo)
		hears(t, juliet)
	})
	t.Run("RFC 6121 4.3.2 probes in another's name end the stream", func(t *testing.T) {
		romeo, juliet := friends(t, h.Server)
		mercutio := session(t, h.Server, account(t, h.Server, "mercutio"), "")
		mercutio.Sendf("<presence type='probe' from='%s' to='%s'/>", romeo.Bare(), juliet.Bare())
		mercutio.ExpectStreamError("invalid-from")
		hears(t, juliet)
	})
	t.Run("RFC 6121 3.1.3 asking and taking it back, 100 times, bothers a stranger at most as often", func(t *testing.T) {
		romeo, juliet := strangers(t, h.Server)
		for range 10 {
			romeo.Send(strings.Repeat("<presence type='subscribe' to='"+juliet.Bare()+"'/><presence type='unsubscribe' to='"+juliet.Bare()+"'/>", 10))
			romeo.Collect()
		}
		n := 0
		for _, e := range juliet.Collect() {
			if typ := e.Attr("type"); e.Local == "presence" && (typ == "subscribe" || typ == "unsubscribe") {
				n++
			}
		}
		if n > 200 || entry(juliet, romeo.Bare()) != entry(juliet, "nobody@"+domain) {
			t.Errorf("%d stanzas; her roster says %q", n, entry(juliet, romeo.Bare()))
		}
	})
	t.Run("RFC 6121 3.1.2 requests to ever new strangers fill the own roster and end there", func(t *testing.T) {
		c := im(t, h.Server, account(t, h.Server, "romeo"), "")
		full := 0
		for round := range (hostileRoster + 50) / 25 {
			for i := range 25 {
				c.Sendf("<presence type='subscribe' id='s' to='s%d-%d@%s'/>", round, i, domain)
			}
			for _, e := range c.Collect() {
				if e.Local == "presence" && e.Condition() == "resource-constraint" {
					full++
				}
			}
		}
		if n := len(c.Roster()); full == 0 || n > hostileRoster {
			t.Errorf("%d items, %d refusals", n, full)
		}
	})
	t.Run("RFC 6121 2.3 a contact added and removed without end, pushes not read by three other sessions", func(t *testing.T) {
		local := account(t, h.Server, "romeo")
		for range 3 {
			im(t, h.Server, local, "")
		}
		c := im(t, h.Server, local, "")
		watchPeakWithin(t, h, 32<<20, func() {
			for range 15 {
				var b strings.Builder
				for i := range 25 {
					fmt.Fprintf(&b, "<iq type='set' id='s%d'><query xmlns='jabber:iq:roster'><item jid='a@b.test' name='%s'/></query></iq>"+
						"<iq type='set' id='r%d'><query xmlns='jabber:iq:roster'><item jid='a@b.test' subscription='remove'/></query></iq>", i, strings.Repeat("n", 1000), i)
				}
				c.Send(b.String())
				c.Collect()
			}
		})
		if items := c.Roster(); len(items) != 0 {
			t.Errorf("%d items are left", len(items))
		}
	})
	t.Run("XEP-0359 3 forged ids by the thousand in message after message", func(t *testing.T) {
		romeo, juliet := romeoAndJuliet(t, h.Server)
		bomb := fmt.Sprintf("<message to='%s' type='chat'>%s<body>x</body>%s</message>", juliet.JID,
			strings.Repeat(idBy(juliet.Bare())+delayFrom(domain), 150), strings.Repeat(idBy(domain), 300))
		watchPeak(t, h, func() {
			for range 100 { // 6 MiB, of which a hundredth arrives
				romeo.Send(bomb)
			}
			romeo.Sync("presence")
			for range 100 {
				if m := juliet.Message("x"); len(m.Children) != 2 || len(stanzaIDs(m, juliet.Bare())) != 1 {
					t.Fatalf("got %.500s", m.Raw)
				}
			}
		})
	})
	t.Run("XEP-0115 8 another forged hash in each of 1,000 presences, questions not answered", func(t *testing.T) {
		romeo, juliet := friends(t, h.Server)
		watchPeak(t, h, func() {
			for round := range 10 {
				romeo.Send(numbered(fmt.Sprintf("<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='QgayPKaw%02dPSDYmwT/%%03dAlu0='/></presence>", round), 100))
				romeo.Sync("presence", "iq")
				juliet.Sync("presence", "iq")
			}
		})
		goodClient(t, h)
	})
}
