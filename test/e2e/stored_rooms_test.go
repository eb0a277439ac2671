package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// TestStoredRooms: rooms that nobody is in take no memory of the plugin, and nobody reads them when the server
// starts; they are there when somebody wants one. HEXMPP_STORED_ROOMS says how many (200 if it is not set); with
// -v the log has what a start took.
func TestStoredRooms(t *testing.T) {
	const each = 10_000 // the most that an account may make
	n := 200
	if text := os.Getenv("HEXMPP_STORED_ROOMS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	s := harness.Start(t, harness.Config{Registration: "open", Domains: []string{domain},
		Extra: fmt.Sprintf("plugins: {muc: {options: {lock-new-rooms: false, persistent: true, rate: 0, max-rooms: %d}}}\n", each)})
	start := func(rooms int) uint64 {
		t.Helper()
		began := time.Now()
		restarted(t, s, nil)
		took := time.Since(began)
		if !harness.Eventually(t, time.Minute, func() bool { return pluginState(t, s, "muc").State == "ready" }) {
			t.Fatal("the plugin is not ready")
		}
		memory := pluginState(t, s, "muc").Memory
		t.Logf("%d rooms: stopped, and ready again, in %v; the server has %d MiB, the plugin %d", rooms, took, s.Usage(t).RSS>>20, memory>>20)
		return memory
	}
	empty := start(0)
	began := time.Now()
	var c *xmppc.Conn
	var maker string
	for i := range n {
		if i%each == 0 {
			maker = account(t, s, "maker")
			c = session(t, s, maker, "r")
		}
		room := fmt.Sprintf("room%d@%s", i, rooms)
		c.Sendf("<presence to='%s/n'><x xmlns='%s'/></presence>", room, nsMUC)
		c.Sendf("<message to='%s' type='groupchat' id='m%d'><body>hello</body></message><presence to='%s/n' type='unavailable'/>", room, i, room)
		for e := c.Next(); e.Attr("type") != "unavailable"; e = c.Next() {
			if e.Attr("type") == "error" {
				t.Fatalf("got %s", e.Raw)
			}
		}
	}
	c.Close()
	t.Logf("%d rooms were made in %v", n, time.Since(began))
	full := start(n)
	if spare := uint64(16 << 20); full > empty+spare {
		t.Errorf("with %d rooms that nobody is in the plugin takes %d KiB, and %d without", n, full>>10, empty>>10)
	}
	c = session(t, s, maker, "again")
	count := c.IQ("get", rooms, "<query xmlns='http://jabber.org/protocol/disco#items'><set xmlns='http://jabber.org/protocol/rsm'><max>0</max></set></query>")
	if want := fmt.Sprintf("<count>%d</count>", min(n, 10_000)); !strings.Contains(count.Raw, want) {
		t.Errorf("no %s in %s", want, count.Raw)
	}
	c.Sendf("<presence to='room%d@%s/n'><x xmlns='%s'/></presence>", n-1, rooms, nsMUC)
	heard := false
	for e := c.Next(); e.Child(xmppc.NSClient, "subject") == nil; e = c.Next() {
		heard = heard || e.Body() == "hello"
	}
	if !heard {
		t.Error("its history is gone")
	}
}
