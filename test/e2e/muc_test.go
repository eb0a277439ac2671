package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const (
	rooms  = "conference." + domain
	coven  = "coven@" + rooms
	nsMUC  = "http://jabber.org/protocol/muc"
	nsUser = nsMUC + "#user"
)

// enter enters a room and returns what came up to the subject.
func enter(t *testing.T, c *xmppc.Conn, nick string) (list []*xmppc.Element) {
	t.Helper()
	c.Sendf("<presence to='%s/%s'><x xmlns='%s'/></presence>", coven, nick, nsMUC)
	for {
		e := c.Next()
		if e.Attr("type") == "error" {
			t.Fatalf("not entered: %s", e.Raw)
		}
		list = append(list, e)
		if e.Child(xmppc.NSClient, "subject") != nil {
			return list
		}
	}
}

// TestRooms: people talk in a room, whose plugin runs inside the server, or as a process that is
// killed and replaced meanwhile. They get each message once, in one order, and nothing else.
func TestRooms(t *testing.T) {
	for _, run := range []string{"inside", "process"} {
		t.Run(run, func(t *testing.T) { testRooms(t, run) })
	}
}

func testRooms(t *testing.T, run string) {
	s := harness.Start(t, harness.Config{Registration: "open", Domains: []string{domain, second}, Extra: "plugins: {muc: {run: " + run + ", options: {lock-new-rooms: false}}}\n"})
	crone := session(t, s, account(t, s, "crone"), "desktop")
	hag := session(t, s, account(t, s, "hag"), "pda")
	if list := enter(t, crone, "firstwitch"); len(list) != 2 {
		t.Fatalf("%v", list)
	}
	if list := enter(t, hag, "thirdwitch"); len(list) != 3 || list[0].Attr("from") != coven+"/firstwitch" || !strings.Contains(list[1].Raw, "'110'") {
		t.Fatalf("%v", list)
	}
	if e := crone.Next(); e.Attr("from") != coven+"/thirdwitch" {
		t.Fatalf("got %s", e.Raw)
	}
	process := run == "process"
	ready := func() {
		t.Helper()
		if process && !harness.Eventually(t, time.Minute, func() bool { return pluginState(t, s, "muc").State == "ready" }) {
			t.Fatal("the plugin is not back")
		}
	}
	const each = 100
	for n := range each {
		if n%20 == 0 {
			ready()
		}
		switch {
		case !process:
		case n == 20 || n == 60:
			if err := syscall.Kill(pluginState(t, s, "muc").PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		case n == 40 || n == 80:
			if out := s.CLI(t, "plugin", "reload", "muc"); out.Code != 0 {
				t.Fatalf("reload: %+v", out)
			}
		}
		crone.Sendf("<message to='%s' type='groupchat' id='c%d'><body>c%d</body></message>", coven, n, n)
		hag.Sendf("<message to='%s' type='groupchat' id='h%d'><body>h%d</body></message>", coven, n, n)
	}
	var order [2][]string
	for i, c := range []*xmppc.Conn{crone, hag} {
		next := map[byte]int{}
		for range 2 * each {
			e := c.Next()
			body := e.Body()
			if !e.Is(xmppc.NSClient, "message") || body == "" || body != fmt.Sprintf("%c%d", body[0], next[body[0]]) {
				t.Fatalf("%d: got %s, have had %v", i, e.Raw, next)
			}
			next[body[0]]++
			order[i] = append(order[i], body)
		}
	}
	if a, b := strings.Join(order[0], " "), strings.Join(order[1], " "); a != b {
		t.Errorf("the order differs:\n%s\n%s", a, b)
	}
	ready()
	if process {
		if p := pluginState(t, s, "muc"); p.Generation != 5 {
			t.Errorf("%+v", p)
		}
	}
	wicca := session(t, s, account(t, s, "wiccarocks"), "laptop")
	list := enter(t, wicca, "secondwitch")
	if n := len(list); n != 2+1+20+1 { // others, the own presence, history, subject
		t.Fatalf("%d stanzas", n)
	}
	for i, e := range list[3:23] {
		if want := order[0][2*each-20+i]; e.Body() != want || e.Child(nsDelay, "delay") == nil {
			t.Errorf("history: got %s, want %s", e.Raw, want)
		}
	}
	crone.Next()
	hag.Next()
	// RFC 6121 4.5.2: who is cut off leaves.
	hag.Drop()
	if e := crone.Next(); e.Attr("type") != "unavailable" || e.Attr("from") != coven+"/thirdwitch" || e.Child(nsUser, "x") == nil {
		t.Errorf("got %s", e.Raw)
	}
}

// TestRoomsOverARestart: who is in a room still is when the server was stopped and started in good order, and his
// session was resumed; so is a room that does not stay.
func TestRoomsOverARestart(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open", Domains: []string{domain}, Extra: "plugins: {muc: {options: {lock-new-rooms: false}}}\n"})
	var ids [2]string
	var both [2]*xmppc.Conn
	for i, name := range []string{"crone", "hag"} {
		c := im(t, s, account(t, s, name), "r")
		ids[i], both[i] = c.Enable(), c
		enter(t, c, name)
	}
	if e := both[0].Next(); e.Attr("from") != coven+"/hag" {
		t.Fatalf("got %s", e.Raw)
	}
	for n := range 2 {
		restarted(t, s, nil, both[:]...)
		for i := range both {
			c, e := back(t, s, both[i], ids[i])
			if !e.Is(xmppc.NSSM, "resumed") {
				t.Fatalf("got %s", e.Raw)
			}
			both[i] = c
		}
		body := fmt.Sprint("still here ", n)
		both[1].Sendf("<message to='%s' type='groupchat' id='m%d'><body>%s</body></message>", coven, n, body)
		for _, c := range both {
			for {
				e := c.Next()
				if e.Is(xmppc.NSClient, "presence") {
					t.Fatalf("presence: %s", e.Raw)
				}
				if e.Is(xmppc.NSClient, "message") {
					if e.Body() != body || e.Attr("from") != coven+"/hag" {
						t.Fatalf("got %s", e.Raw)
					}
					break
				}
			}
		}
		both[0].IQ("get", coven+"/crone", "<ping xmlns='urn:xmpp:ping'/>")
	}
}

// TestRoomsThatHangOverARestart: what a room was sent, and had not handled when the server was
// stopped in good order, it says behind the start: once and in order. So does what somebody said whose session
// has ended with the server.
func TestRoomsThatHangOverARestart(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open", Domains: []string{domain}, Extra: "plugins: {muc: {options: {lock-new-rooms: false}}}\n"})
	crone, hag := im(t, s, account(t, s, "crone"), "r"), im(t, s, account(t, s, "hag"), "r")
	id := crone.Enable()
	enter(t, crone, "crone")
	enter(t, hag, "hag")
	if e := crone.Next(); e.Attr("from") != coven+"/hag" {
		t.Fatalf("got %s", e.Raw)
	}
	harness.Freeze(t, pluginState(t, s, "muc").PID)
	const each = 50
	for n := range each {
		crone.Sendf("<message to='%s' type='groupchat' id='c%d'><body>c%d</body></message>", coven, n, n)
		hag.Sendf("<message to='%s' type='groupchat' id='h%d'><body>h%d</body></message>", coven, n, n)
	}
	for _, c := range []*xmppc.Conn{crone, hag} { // all of it is there
		c.IQ("get", domain, "<ping xmlns='urn:xmpp:ping'/>")
	}
	restarted(t, s, nil, crone, hag)
	crone = resumed(t, s, crone, id, 1+each+1) // presence, messages, ping
	next := map[byte]int{'c': 0, 'h': 0}
	for next['c'] < each || next['h'] < each {
		e := crone.Next()
		if !e.Is(xmppc.NSClient, "message") {
			continue // hag's presence: her session has ended
		}
		body := e.Body()
		if body == "" || body != fmt.Sprintf("%c%d", body[0], next[body[0]]) {
			t.Fatalf("got %s, have had %v", e.Raw, next)
		}
		next[body[0]]++
	}
	crone.IQ("get", coven+"/crone", "<ping xmlns='urn:xmpp:ping'/>")
}
