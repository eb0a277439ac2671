package chaos

import (
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

// TestPluginsMessageEachOther: two components that send each other two messages for each that
// they get, and one that sends them to itself, with room for one event: they never come to a
// stand, and are there for others.
func TestPluginsMessageEachOther(t *testing.T) {
	program := harness.Plugin(t, "echo")
	extra := "plugins:\n"
	for _, name := range []string{"tick", "tock"} {
		extra += fmt.Sprintf("  %s: {command: [%q, %s], limits: {queue: 1, in-flight: 1, start-time: 1m, grace-time: 2m}}\n", name, program, name)
	}
	s := harness.Start(t, harness.Config{ClearText: true, Registration: "open", Domains: []string{domain}, Extra: extra})
	c := &client{addr: s.C2S, user: "romeo", resource: "r"}
	if err := register(s.C2S, c.user); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.conn, err = net.DialTimeout("tcp", s.C2S, patience); err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	if err := c.login(); err != nil {
		t.Fatal(err)
	}
	if err := c.bindResource(); err != nil {
		t.Fatal(err)
	}
	for _, ends := range [][2]string{{"tick", "tock"}, {"tock", "tock"}} {
		const enough, tries = 1000, 500
		began, passed, try := events(t, s, ends), 0, 0
		for ; passed < enough && try < tries; try++ {
			// Of 2^hops messages most find no room; and it may be that none does.
			if err := c.send("<message to='%s.%s'><relay xmlns='%s' hops='200' to='%s.%s'/></message>", ends[0], domain, nsTest, ends[1], domain); err != nil {
				t.Fatal(err)
			}
			for _, name := range ends {
				if err := c.persist(name + "." + domain); err != nil {
					t.Fatalf("%v: %v", ends, err)
				}
			}
			if !harness.Eventually(t, patience, func() bool { return waiting(t, s, ends) == 0 }) {
				t.Fatalf("%v: %d events wait", ends, waiting(t, s, ends))
			}
			passed = events(t, s, ends) - began
		}
		if passed < enough {
			t.Errorf("%v: of %d beginnings came no more than %d events", ends, try, passed)
		}
		t.Logf("%v: %d events passed, of %d beginnings", ends, passed, try)
	}
}

// events is how many outcomes the busier one of two plugins had.
func events(t *testing.T, s *harness.Server, names [2]string) int {
	return max(gauge(t, s, "events_total", names[0]), gauge(t, s, "events_total", names[1]))
}

// waiting is how many events have no outcome.
func waiting(t *testing.T, s *harness.Server, names [2]string) (n int) {
	for _, name := range names {
		n += gauge(t, s, "queue", name) + gauge(t, s, "in_flight", name)
	}
	return n
}

func gauge(t *testing.T, s *harness.Server, metric, plugin string) int {
	return int(metrics(t, s)[fmt.Sprintf("hexmpp_plugin_%s{plugin=%q}", metric, plugin)])
}

// persist sends a message until it is answered: while there is no room it is told so.
func (c *client) persist(to string) error {
	for try := 1; ; try++ {
		if err := c.send("<message to='%s' type='chat' id='%d'><body>%d</body></message>", to, try, try); err != nil {
			return err
		}
		var e *element
		for e == nil || e.ID != strconv.Itoa(try) { // what else was sent may have found no room
			var err error
			if e, err = c.expect("message"); err != nil {
				return err
			}
		}
		if e.Type != "error" {
			return nil
		}
		if x := e.child("error"); x == nil || x.Type != "wait" || x.child("resource-constraint") == nil {
			return fmt.Errorf("%w: %+v", errUnexpected, e)
		}
	}
}
