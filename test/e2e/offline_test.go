package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const nsDelay = "urn:xmpp:delay"

// bodies are those of the messages among elements.
func bodies(all []*xmppc.Element) (list []string) {
	for _, e := range all {
		if e.Is(xmppc.NSClient, "message") {
			list = append(list, e.Body())
		}
	}
	return list
}

// wait reads messages until there are n, passing over presence, and returns their bodies.
func wait(c *xmppc.Conn, n int) (list []string) {
	for len(list) < n {
		list = append(list, bodies([]*xmppc.Element{c.Next()})...)
	}
	return list
}

func numbers(from, to int) (list []string) {
	for n := from; n <= to; n++ {
		list = append(list, fmt.Sprint(n))
	}
	return list
}

// absent is an account without a session, and a client of another one.
func absent(t *testing.T, s *harness.Server) (romeo *xmppc.Conn, juliet string) {
	t.Helper()
	return im(t, s, account(t, s, "romeo"), "orchard"), account(t, s, "juliet")
}

// leave sends numbered chat messages to the bare JID of an account.
func leave(from *xmppc.Conn, local string, first, last int) {
	for n := first; n <= last; n++ {
		from.Sendf("<message to='%s' type='chat' id='m%d'><body>%d</body></message>", local+"@"+domain, n, n)
	}
	from.Sync() // no error may come
}

func TestOfflineMessages(t *testing.T) {
	s := server(t)

	t.Run("XEP-0160 2, XEP-0203 2 in order, stamped, in front of all else, and once", func(t *testing.T) {
		romeo, local := absent(t, s)
		before := time.Now().Add(-time.Second)
		leave(romeo, local, 1, 25)
		juliet := session(t, s, local, "balcony")
		hears(t, juliet)
		juliet.Send("<presence/>")
		for n := 1; n <= 25; n++ {
			m := juliet.Message(fmt.Sprint(n))
			if m.Attr("from") != romeo.JID || m.Attr("to") != juliet.Bare() || m.Attr("type") != "chat" || m.Attr("id") != fmt.Sprintf("m%d", n) {
				t.Errorf("got %s", m.Raw)
			}
			all := m.All(nsDelay, "delay")
			if len(all) != 1 || all[0].Attr("from") != domain {
				t.Fatalf("got %s", m.Raw)
			}
			at, err := time.Parse(time.RFC3339, all[0].Attr("stamp"))
			if err != nil || at.Location() != time.UTC || at.Before(before) || at.After(time.Now().Add(time.Second)) {
				t.Errorf("stamp %q: %v", all[0].Attr("stamp"), err)
			}
		}
		hears(t, juliet, "available from "+juliet.JID)
		juliet.Close()
		juliet = im(t, s, local, "balcony")
		hears(t, juliet)
	})

	t.Run("XEP-0160 2 for the first session of a priority that is not negative, and for it alone", func(t *testing.T) {
		romeo, local := absent(t, s)
		leave(romeo, local, 1, 3)
		tomb := session(t, s, local, "tomb")
		tomb.Available(-1)
		hears(t, tomb)
		balcony := session(t, s, local, "balcony")
		balcony.Send("<presence/>")
		if got := wait(balcony, 3); !slices.Equal(got, numbers(1, 3)) {
			t.Errorf("got %q", got)
		}
		chamber := session(t, s, local, "chamber")
		chamber.Send("<presence/>")
		for _, c := range []*xmppc.Conn{balcony, chamber, tomb} {
			if got := bodies(c.Collect()); got != nil {
				t.Errorf("%s got %q", c.JID, got)
			}
		}
	})

	t.Run("XEP-0160 2 when the priority is raised", func(t *testing.T) {
		romeo, local := absent(t, s)
		leave(romeo, local, 1, 1)
		juliet := session(t, s, local, "balcony")
		juliet.Available(-1)
		leave(romeo, local, 2, 2)
		hears(t, juliet)
		juliet.Send("<presence><priority>0</priority></presence>")
		if got := wait(juliet, 2); !slices.Equal(got, numbers(1, 2)) {
			t.Errorf("got %q", got)
		}
	})

	t.Run("RFC 6121 8.5.3.2.1 a chat message to a resource that is gone is kept for the account", func(t *testing.T) {
		romeo, local := absent(t, s)
		full := local + "@" + domain + "/gone"
		romeo.Sendf("<message to='%s' type='chat'><body>1</body></message><message to='%s' id='n'><body>2</body></message>", full, full)
		romeo.StanzaError("message", "n", "service-unavailable")
		juliet := session(t, s, local, "balcony")
		juliet.Send("<presence/>")
		if m := juliet.Message("1"); m.Attr("to") != full {
			t.Errorf("to was rewritten: %s", m.Raw)
		}
		hears(t, juliet, "available from "+juliet.JID)
	})

	t.Run("XEP-0160 3, XEP-0334 what is kept", func(t *testing.T) {
		romeo, local := absent(t, s)
		const state, hints = "<paused xmlns='http://jabber.org/protocol/chatstates'/>", "<%s xmlns='urn:xmpp:hints'/>"
		hint := func(name string) string { return fmt.Sprintf(hints, name) }
		for n, row := range []struct {
			typ, content string
			kept         bool
			refused      bool
		}{
			{"chat", "<body>%s</body>", true, false},
			{"normal", "<body>%s</body>", true, false},
			{"chat", "<body>%s</body>" + state, true, false},
			{"chat", state, false, false},
			{"chat", state + "<thread>t</thread>", false, false},
			{"headline", "<body>%s</body>", false, false},
			{"groupchat", "<body>%s</body>", false, true},
			{"error", "<body>%s</body>", false, false},
			{"chat", "<body>%s</body>" + hint("no-store"), false, true},
			{"chat", "<body>%s</body>" + hint("no-permanent-store"), true, false},
			{"chat", state + hint("store") + "<subject>%s</subject>", true, false},
			{"chat", "<received xmlns='urn:xmpp:receipts' id='%s'/>", true, false},
		} {
			id := fmt.Sprintf("k%d", n)
			romeo.Sendf("<message to='%s' type='%s' id='%s'>%s</message>", local+"@"+domain, row.typ, id, strings.ReplaceAll(row.content, "%s", id))
			if row.refused {
				romeo.StanzaError("message", id, "service-unavailable")
			} else {
				romeo.Sync()
			}
			juliet := session(t, s, local, "balcony")
			juliet.Send("<presence/>")
			var got []string
			for _, e := range juliet.Collect() {
				if e.Is(xmppc.NSClient, "message") {
					got = append(got, e.Attr("id"))
				}
			}
			if want := []string{id}; row.kept && !slices.Equal(got, want) || !row.kept && got != nil {
				t.Errorf("%s %s: got %q", row.typ, row.content, got)
			}
			juliet.Close()
		}
	})

	t.Run("XEP-0160 4 the feature", func(t *testing.T) {
		romeo := session(t, s, account(t, s, "romeo"), "orchard")
		if res := romeo.IQ("get", domain, query(nsInfo)); !strings.Contains(res.Raw, "var='msgoffline'") && !strings.Contains(res.Raw, `var="msgoffline"`) {
			t.Errorf("got %s", res.Raw)
		}
	})
}

// XEP-0198 together with messages from storage.
func TestOfflineMessagesAreAcknowledged(t *testing.T) {
	s := server(t)

	t.Run("XEP-0198 5 the connection dies amid them: the resumed session gets the rest", func(t *testing.T) {
		for _, lost := range breaks {
			romeo, local := absent(t, s)
			leave(romeo, local, 1, 60)
			juliet := session(t, s, local, "balcony")
			id := juliet.Enable()
			juliet.Send("<presence/>")
			got := wait(juliet, 5)
			h := juliet.Handled
			lost.cut(juliet)
			leave(romeo, local, 61, 62)
			again := authenticated(t, s, local)
			if e := again.Resume(id, h, juliet.JID); !e.Is(xmppc.NSSM, "resumed") {
				t.Fatalf("got %s", e.Raw)
			}
			for len(got) < 62 {
				got = append(got, wait(again, 1)...)
				again.Ack(again.Handled)
			}
			if !slices.Equal(got, numbers(1, 62)) {
				t.Errorf("%s: got %q", lost.how, got)
			}
			again.Collect()
			again.Ack(again.Handled)
			again.Close()
			next := im(t, s, local, "balcony")
			hears(t, next)
		}
	})

	t.Run("XEP-0198 5 the connection dies amid them: another session gets what was not acknowledged", func(t *testing.T) {
		romeo, local := absent(t, s)
		leave(romeo, local, 1, 60)
		juliet := session(t, s, local, "balcony")
		juliet.Enable()
		juliet.Send("<presence/>")
		wait(juliet, 5)
		juliet.Ack(3)
		juliet.Collect()
		juliet.Reset()
		again := session(t, s, local, "balcony") // ends the old session
		again.Send("<presence/>")
		if got := wait(again, 57); !slices.Equal(got, numbers(4, 60)) {
			t.Errorf("got %q", got)
		}
		hears(t, again, "available from "+again.JID)
	})

	t.Run("XEP-0198 8 what was not acknowledged waits for the next session, in order and stamped", func(t *testing.T) {
		romeo, local := absent(t, s)
		leave(romeo, local, 1, 2)
		juliet := session(t, s, local, "balcony")
		juliet.Enable()
		juliet.Send("<presence/>")
		wait(juliet, 2)
		leave(romeo, local, 3, 4) // live
		wait(juliet, 2)
		juliet.Ack(1)
		juliet.Collect()
		juliet.Send("</stream:stream>")
		juliet.ExpectEnd()
		leave(romeo, local, 5, 5)
		again := session(t, s, local, "balcony")
		again.Send("<presence/>")
		for n := 2; n <= 5; n++ {
			if m := again.Message(fmt.Sprint(n)); len(m.All(nsDelay, "delay")) != 1 {
				t.Errorf("got %s", m.Raw)
			}
		}
		hears(t, again, "available from "+again.JID)
	})

	t.Run("XEP-0198 4 enabled behind the presence: what came before is not counted", func(t *testing.T) {
		romeo, local := absent(t, s)
		leave(romeo, local, 1, 3)
		juliet := session(t, s, local, "balcony")
		juliet.Send("<presence/>" + enable)
		for {
			if e := juliet.Next(); e.Is(xmppc.NSSM, "enabled") {
				break
			}
		}
		counted := uint32(0)
		for _, e := range juliet.Collect() {
			if e.Space == xmppc.NSClient {
				counted++
			}
		}
		juliet.Ack(counted + 1) // with the answer to the ping of Collect; one more would end the stream
		juliet.Collect()
	})
}

// Bounds, restarts, and a server that keeps none.
func TestOfflineMessagesOfAServer(t *testing.T) {
	t.Run("XEP-0160 above the quota the sender is told, and the stored ones stay", func(t *testing.T) {
		s := harness.Start(t, harness.Config{Registration: "open", Limits: harness.Limits{OfflineMessages: 3}})
		romeo, local := absent(t, s)
		leave(romeo, local, 1, 3)
		romeo.Sendf("<message to='%s' type='chat' id='over'><body>4</body></message>", local+"@"+domain)
		if e := romeo.StanzaError("message", "over", "resource-constraint"); e.ErrorType() != "wait" {
			t.Errorf("got %s", e.Raw)
		}
		juliet := session(t, s, local, "balcony")
		juliet.Send("<presence/>")
		if got := wait(juliet, 3); !slices.Equal(got, numbers(1, 3)) {
			t.Errorf("got %q", got)
		}
		juliet.Collect()
		juliet.Close()
		leave(romeo, local, 5, 6)
	})

	t.Run("they survive a restart, and a kill", func(t *testing.T) {
		s := harness.Start(t, harness.Config{Registration: "open"})
		romeo, local := absent(t, s)
		leave(romeo, local, 1, 2)
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
		r, _, _ := strings.Cut(romeo.Bare(), "@")
		romeo = im(t, s, r, "orchard")
		leave(romeo, local, 3, 4)
		s.Kill()
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
		juliet := session(t, s, local, "balcony")
		juliet.Send("<presence/>")
		if got := wait(juliet, 4); !slices.Equal(got, numbers(1, 4)) {
			t.Errorf("got %q", got)
		}
		hears(t, juliet, "available from "+juliet.JID)
		if err := s.Stop(); err != nil { // what has arrived is deleted by now
			t.Fatal(err)
		}
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
		juliet = im(t, s, local, "balcony")
		hears(t, juliet)
	})

	t.Run("a session that was kept over a restart and is replaced leaves what it did not acknowledge", func(t *testing.T) {
		s := harness.Start(t, harness.Config{Registration: "open"})
		romeo, local := absent(t, s)
		leave(romeo, local, 1, 2)
		juliet := session(t, s, local, "balcony")
		juliet.Enable()
		juliet.Send("<presence/>")
		wait(juliet, 2)
		leave(romeo, local, 3, 3)
		wait(juliet, 1)
		juliet.Ack(1)
		juliet.Collect()
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
		again := session(t, s, local, "balcony")
		again.Send("<presence/>")
		if got := wait(again, 2); !slices.Equal(got, numbers(2, 3)) {
			t.Errorf("got %q", got)
		}
		hears(t, again, "available from "+again.JID)
	})

	t.Run("RFC 6121 8.5.2.2.1 a server that keeps none returns them, and does not advertise them", func(t *testing.T) {
		s := harness.Start(t, harness.Config{Registration: "open", Limits: harness.Limits{OfflineMessages: -1}})
		romeo, local := absent(t, s)
		for n, to := range []string{local + "@" + domain, "nobody@" + domain} {
			id := fmt.Sprint("back", n)
			romeo.Sendf("<message to='%s' type='chat' id='%s'><body>hi</body></message>", to, id)
			romeo.StanzaError("message", id, "service-unavailable")
		}
		if res := romeo.IQ("get", domain, query(nsInfo)); strings.Contains(res.Raw, "msgoffline") {
			t.Errorf("got %s", res.Raw)
		}
	})
}
