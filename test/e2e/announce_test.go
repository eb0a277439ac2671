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
	nsCommands = "http://jabber.org/protocol/commands"
	nsAdmin    = "http://jabber.org/protocol/admin"
	news       = "announce." + domain
)

// announcing is a server with announcements, and its administrator.
func announcing(t *testing.T, run string) (s *harness.Server, admin string) {
	t.Helper()
	s = harness.Start(t, harness.Config{Registration: "open", Domains: []string{domain, second}, Admins: []string{"bard@" + domain},
		Extra: "plugins: {announce: {run: " + run + ", options: {message-of-the-day: true}}}\n"})
	s.MustAddUser(t, "bard@"+domain, secret)
	return s, "bard"
}

// fill runs a command of XEP-0133 and fills in its one field.
func fill(t *testing.T, c *xmppc.Conn, node, field, text string) {
	t.Helper()
	asked := c.IQ("set", news, "<command xmlns='"+nsCommands+"' node='"+nsAdmin+"#"+node+"'/>").Child(nsCommands, "command")
	if asked == nil || asked.Attr("status") != "executing" {
		t.Fatalf("%s is not being executed: %v", node, asked)
	}
	value := "<value>" + strings.ReplaceAll(text, "\n", "</value><value>") + "</value>"
	done := c.IQ("set", news, "<command xmlns='"+nsCommands+"' node='"+nsAdmin+"#"+node+"' sessionid='"+asked.Attr("sessionid")+"'>"+
		"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>"+nsAdmin+"</value></field><field var='"+field+"'>"+value+"</field></x></command>")
	if e := done.Child(nsCommands, "command"); e == nil || e.Attr("status") != "completed" {
		t.Fatalf("%s is not completed: %s", node, done.Raw)
	}
}

// told waits for a message, passing over presence.
func told(t *testing.T, c *xmppc.Conn, body string) *xmppc.Element {
	t.Helper()
	for {
		e := c.Next()
		if e.Is(xmppc.NSClient, "presence") {
			continue
		}
		if !e.Is(xmppc.NSClient, "message") || e.Body() != body {
			t.Fatalf("got %s, want a message with the body %q", e.Raw, body)
		}
		return e
	}
}

// TestAnnounce: it makes no difference where the plugin runs.
func TestAnnounce(t *testing.T) {
	for _, run := range []string{"inside", "process"} {
		t.Run(run, func(t *testing.T) { testAnnounce(t, run) })
	}
}

func testAnnounce(t *testing.T, run string) {
	s, admin := announcing(t, run)
	bard := im(t, s, admin, "globe")
	romeo := im(t, s, account(t, s, "romeo"), "orchard")
	absent := account(t, s, "juliet")

	t.Run("XEP-0133 3 it is found, with its commands, by the administrator", func(t *testing.T) {
		items := bard.IQ("get", domain, query(nsItems)).Child(nsItems, "query")
		if len(items.Children) != 1 || items.Children[0].Attr("jid") != news {
			t.Errorf("items %s", items.Raw)
		}
		list := "<query xmlns='" + nsItems + "' node='" + nsCommands + "'/>"
		if got := bard.IQ("get", news, list).Child(nsItems, "query"); len(got.Children) != 4 {
			t.Errorf("commands %s", got.Raw)
		}
		if got := romeo.IQ("get", news, list).Child(nsItems, "query"); len(got.Children) != 0 {
			t.Errorf("commands of others %s", got.Raw)
		}
	})

	t.Run("XEP-0133 4.23 to users who are online", func(t *testing.T) {
		fill(t, bard, "announce", "announcement", "Attention!\n\nWe go down.")
		for _, c := range []*xmppc.Conn{bard, romeo} {
			if m := c.Message("Attention!\n\nWe go down."); m.Attr("type") != "headline" || m.Attr("from") != news || m.Attr("to") != c.Bare() {
				t.Errorf("got %s", m.Raw)
			}
		}
	})

	t.Run("by a message to the service, to all, also to who is not there", func(t *testing.T) {
		bard.Sendf("<message to='%s/all' type='chat' id='a'><subject>s</subject><body>to all</body></message>", news)
		bard.Message("to all")
		if m := romeo.Message("to all"); m.Child(xmppc.NSClient, "subject") == nil {
			t.Errorf("got %s", m.Raw)
		}
		juliet := session(t, s, absent, "balcony")
		juliet.Send("<presence/>")
		if m := told(t, juliet, "to all"); m.Child(nsDelay, "delay") == nil {
			t.Errorf("it was not stored: %s", m.Raw)
		}
	})

	t.Run("XEP-0133 6 others may not", func(t *testing.T) {
		romeo.IQError("set", news, "<command xmlns='"+nsCommands+"' node='"+nsAdmin+"#announce'/>", "forbidden")
		romeo.Sendf("<message to='%s/online' id='f'><body>mine</body></message>", news)
		romeo.StanzaError("message", "f", "forbidden")
		bard.Sync()
	})

	t.Run("XEP-0133 4.24, 4.26 a message of the day: once, until it is deleted", func(t *testing.T) {
		fill(t, bard, "set-motd", "motd", "tea is ready")
		bard.Message("tea is ready")
		romeo.Message("tea is ready")
		juliet := session(t, s, absent, "balcony")
		juliet.Send("<presence/>")
		told(t, juliet, "tea is ready")
		other := im(t, s, absent, "nurse")
		bard.IQ("set", news, "<command xmlns='"+nsCommands+"' node='"+nsAdmin+"#delete-motd'/>")
		late := im(t, s, account(t, s, "late"), "x")
		bard.Sendf("<message to='%s/all' id='b'><body>last</body></message>", news)
		for _, c := range []*xmppc.Conn{late, other, juliet, bard, romeo} {
			told(t, c, "last") // and nothing before it
		}
	})

	t.Run("each domain has its own", func(t *testing.T) {
		bard.Sendf("<message to='announce.%s/all' id='c'><body>second</body></message>", second)
		bard.Sync()
		bard.Sendf("<message to='%s/online' id='d'><body>first</body></message>", news)
		bard.Message("first")
	})
}

// A login is no event for a plugin that has no use for it.
func TestLoginIsNoEvent(t *testing.T) {
	for motd, more := range map[bool]int{false: 0, true: 1} {
		s := harness.Start(t, harness.Config{Registration: "open", Domains: []string{domain, second},
			Extra: fmt.Sprintf("plugins: {announce: {options: {message-of-the-day: %t}}}\n", motd)})
		events := func(want int) {
			t.Helper()
			if !harness.Eventually(t, 10*time.Second, func() bool { return pluginState(t, s, "announce").Events == want }) {
				t.Errorf("message of the day %t: %d events, want %d", motd, pluginState(t, s, "announce").Events, want)
			}
		}
		events(1) // the timer by which it goes on with what an earlier process left
		online(t, s, account(t, s, "romeo"), "orchard", 0).Sync("presence")
		events(1 + more)
	}
}
