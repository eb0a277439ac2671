package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/pgtest"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// TestDatabaseIsLost ends PostgreSQL under a server that is at work, and starts
// it again: every request has an answer, what was answered with a result is
// there afterwards, and the server works on by itself.
func TestDatabaseIsLost(t *testing.T) {
	pg := pgtest.Start(t)
	s := harness.Start(t, harness.Config{Registration: "open", Postgres: pg.DSN("postgres", "")})
	for name, end := range map[string]func(){"a stop": pg.Stop, "a crash": pg.Crash} {
		t.Run(name, func(t *testing.T) {
			romeo, juliet := romeoAndJuliet(t, s)
			absent := account(t, s, "paris")
			scribes := make([]*scribe, 8)
			for i := range scribes {
				local := account(t, s, "scribe")
				scribes[i] = &scribe{Conn: session(t, s, local, ""), local: local}
			}
			told := newTeller(t, s)
			if _, failed := writeAll(scribes); failed > 0 || !told.tell(t) {
				t.Fatalf("%d writes failed before anything happened", failed)
			}
			from := len(s.Log.String())

			ended := make(chan struct{})
			go func() { defer close(ended); end() }()
			for over := false; ; {
				written, _ := writeAll(scribes)
				told.tell(t)
				if over && written == 0 {
					break
				}
				select {
				case <-ended:
					over = true
				default:
				}
			}
			t.Run("meanwhile", func(t *testing.T) { withoutDatabase(t, s, romeo, juliet, absent) })
			wantHealth(t, s, http.StatusServiceUnavailable, "storage: ")
			for range 50 {
				told.tell(t)
			}

			pg.Run()
			for failed := 1; failed > 0; {
				_, failed = writeAll(scribes)
			}
			for _, w := range scribes {
				w.check(t, s)
			}
			wellAgain(t, s)
			for !told.tell(t) {
			}
			told.check(t, s)
			fewLines(t, s.Log.String()[from:])
			t.Run("afterwards", func(t *testing.T) { withDatabase(t, s, romeo, juliet) })
		})
	}
	session(t, s, account(t, s, "romeo"), "") // which the last server has when it stops
	t.Run("a server that starts without a database ends, and says what to look at", func(t *testing.T) {
		pg.Stop()
		defer pg.Run()
		late, err := harness.Prepare(t.TempDir(), harness.Config{Postgres: pg.DSN("postgres", "")})
		if err != nil {
			t.Fatal(err)
		}
		if err := late.Run(); err == nil || !strings.Contains(late.Log.String(), "check that it runs") {
			late.Kill()
			t.Errorf("its start: %v\n%s", err, late.Log)
		}
	})
	t.Run("a server stops in good order without its database", func(t *testing.T) {
		pg.Stop()
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// scribe writes numbers into its private XML (XEP-0049), in growing order.
type scribe struct {
	*xmppc.Conn
	local  string
	last   int   // what was tried last
	stored int   // the last one that was answered with a result
	maybe  []int // those answered with an error since then
}

const nsScribe = "urn:example:scribe"

// writeAll has each scribe write some numbers at once, and reads all answers.
func writeAll(scribes []*scribe) (written, failed int) {
	const each = 5
	for _, w := range scribes {
		for range each {
			w.last++
			w.Sendf("<iq type='set' id='w%d'><query xmlns='%s'><n xmlns='%s'>%[1]d</n></query></iq>", w.last, nsPrivate, nsScribe)
		}
	}
	for _, w := range scribes {
		for n := w.last - each + 1; n <= w.last; n++ {
			if e := w.Answer(fmt.Sprint("w", n)); e.Attr("type") == "result" {
				w.stored, w.maybe = n, nil
				written++
			} else {
				w.maybe = append(w.maybe, n)
				failed++
			}
		}
	}
	return written, failed
}

// check reads what is stored: the last number that was answered with a result,
// or one whose error said no more than that its fate is not known.
func (w *scribe) check(t *testing.T, s *harness.Server) {
	t.Helper()
	c := session(t, s, w.local, "")
	q := c.IQ("get", "", fmt.Sprintf("<query xmlns='%s'><n xmlns='%s'/></query>", nsPrivate, nsScribe))
	var n int
	fmt.Sscan(q.Child(nsPrivate, "query").Child(nsScribe, "n").Text, &n)
	if n != w.stored && !slices.Contains(w.maybe, n) {
		t.Errorf("%s: %d is stored; the last result was for %d, with errors for %v since", w.local, n, w.stored, w.maybe)
	}
}

// withoutDatabase is what a server answers that can't reach its database.
// absent is an account without a session.
func withoutDatabase(t *testing.T, s *harness.Server, romeo, juliet *xmppc.Conn, absent string) {
	t.Run("RFC 6120 6.5.12 nobody logs in, by no mechanism", func(t *testing.T) {
		for _, mechanism := range []string{"SCRAM-SHA-1", "SCRAM-SHA-256-PLUS"} {
			c := secured(t, s)
			if e := c.TryScram(&xmppc.Scram{Mechanism: mechanism, User: absent, Password: secret}); e.Condition() != "temporary-auth-failure" {
				t.Errorf("%s: %s", mechanism, e.Raw)
			}
		}
		if e := secured(t, s).TryPlain("", absent, secret); e.Condition() != "temporary-auth-failure" {
			t.Errorf("PLAIN: %s", e.Raw)
		}
	})
	t.Run("XEP-0077 nobody registers", func(t *testing.T) {
		c := direct(t, s, domain)
		c.Open(domain)
		c.IQError("set", "", register("nobody", secret), "internal-server-error")
	})
	t.Run("RFC 6121 2.3.3 a roster set", func(t *testing.T) {
		romeo.IQError("set", "", "<query xmlns='"+xmppc.NSRoster+"'><item jid='"+juliet.Bare()+"' name='meanwhile'/></query>", "internal-server-error")
	})
	t.Run("RFC 6121 3.1.2 a subscription request", func(t *testing.T) {
		romeo.Sendf("<presence type='subscribe' id='s' to='%s'/>", juliet.Bare())
		romeo.StanzaError("presence", "s", "internal-server-error")
	})
	t.Run("RFC 6120 8.1 a message is delivered, or its sender is told", func(t *testing.T) {
		romeo.Sendf("<message type='chat' id='m' to='%s'><body>meanwhile</body></message>", juliet.JID)
		told, heard := messages(romeo), messages(juliet)
		delivered := len(told) == 0 && len(heard) == 1 && heard[0].Body() == "meanwhile"
		refused := len(told) == 1 && len(heard) == 0 && told[0].Attr("type") == "error" && told[0].Attr("id") == "m"
		if !delivered && !refused {
			t.Errorf("to somebody online: %d errors came back, %d messages arrived", len(told), len(heard))
		}
		romeo.Sendf("<message type='chat' id='n' to='%s@%s'><body>meanwhile</body></message>", absent, domain)
		if told := messages(romeo); len(told) != 1 || told[0].Attr("type") != "error" || told[0].Attr("id") != "n" {
			t.Errorf("to somebody absent: %d messages came back", len(told))
		}
	})
	t.Run("XEP-0199 what needs no database works", func(t *testing.T) {
		romeo.Sync()
		juliet.Sync()
	})
}

// messages reads the messages that are on their way to a session.
func messages(c *xmppc.Conn) (list []*xmppc.Element) {
	c.Sendf("<iq type='get' id='messages' to='%s'><ping xmlns='%s'/></iq>", domain, xmppc.NSPing)
	for e := c.Next(); e.Attr("id") != "messages"; e = c.Next() {
		if e.Is(xmppc.NSClient, "message") {
			list = append(list, e)
		}
	}
	return list
}

// withDatabase is that the sessions of before, and new ones, work again.
func withDatabase(t *testing.T, s *harness.Server, romeo, juliet *xmppc.Conn) {
	romeo.Sendf("<iq type='set' id='r'><query xmlns='%s'><item jid='%s' name='Sun'/></query></iq>", xmppc.NSRoster, juliet.Bare())
	for e := romeo.Next(); e.Attr("id") != "r"; e = romeo.Next() { // roster pushes come first
	}
	items := romeo.IQ("get", "", "<query xmlns='"+xmppc.NSRoster+"'/>").Child(xmppc.NSRoster, "query").All(xmppc.NSRoster, "item")
	if len(items) != 1 || items[0].Attr("name") != "Sun" || items[0].Attr("subscription") != "none" || items[0].Attr("ask") != "" {
		t.Errorf("the roster has %v", items)
	}
	local := account(t, s, "benvolio")
	benvolio := online(t, s, local, "street", 0)
	romeo.Sendf("<message type='chat' to='%s'><body>again</body></message>", benvolio.JID)
	benvolio.Message("again")
	benvolio.Close()
}
