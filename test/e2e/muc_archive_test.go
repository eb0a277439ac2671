package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const nsIDs = "urn:xmpp:sid:0"

// said returns the id that the room gave to a message, and its body.
func said(e *xmppc.Element) string {
	id := e.Child(nsIDs, "stanza-id")
	if id == nil {
		return "no id: " + e.Raw
	}
	return id.Attr("id") + " " + e.Body()
}

// spoken returns what said does, of those that have a body.
func spoken(list []*xmppc.Element) (found []string) {
	for _, e := range list {
		if e.Body() != "" {
			found = append(found, said(e))
		}
	}
	return found
}

// recalls asks for the whole archive of the room, in pages, and returns the messages in it.
func recalls(t *testing.T, c *xmppc.Conn) (list []*xmppc.Element) {
	t.Helper()
	for after := ""; ; {
		c.Sendf("<iq type='set' id='recall' to='%s'><query xmlns='%s'><set xmlns='http://jabber.org/protocol/rsm'><max>3</max>%s</set></query></iq>", coven, nsMAM, after)
		for {
			e := c.Next()
			if result := e.Child(nsMAM, "result"); result != nil {
				m := result.Child("urn:xmpp:forward:0", "forwarded").Child(xmppc.NSClient, "message")
				if id := m.Child(nsIDs, "stanza-id"); id == nil || id.Attr("id") != result.Attr("id") {
					t.Errorf("another id: %s", e.Raw)
				}
				list = append(list, m)
				continue
			}
			fin := e.Child(nsMAM, "fin")
			if fin == nil {
				t.Fatalf("got %s", e.Raw)
			}
			if fin.Attr("complete") == "true" {
				return list
			}
			after = "<after>" + list[len(list)-1].Child(nsIDs, "stanza-id").Attr("id") + "</after>"
			break
		}
	}
}

// TestRoomArchive: what was said is in the archive of the room and in the history of who was away, once and with the
// same ids; what a moderator takes back is in neither. The plugin is killed meanwhile, and then the server.
func TestRoomArchive(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open", Domains: []string{domain}, Extra: "plugins: {muc: {options: {lock-new-rooms: false, persistent: true, history: 2}}}\n"})
	owner, member := account(t, s, "crone"), account(t, s, "hag")
	crone, hag := session(t, s, owner, "desktop"), session(t, s, member, "pda")
	enter(t, crone, "firstwitch")
	crone.IQ("set", coven, fmt.Sprintf("<query xmlns='%s#admin'><item affiliation='member' jid='%s'/></query>", nsMUC, hag.Bare()))
	if e := crone.Next(); e.Child(nsUser, "x") == nil { // that she is a member now
		t.Fatalf("got %s", e.Raw)
	}
	enter(t, hag, "thirdwitch")
	if e := crone.Next(); e.Attr("from") != coven+"/thirdwitch" {
		t.Fatalf("got %s", e.Raw)
	}
	var all []string
	say := func(body string) {
		t.Helper()
		crone.Sendf("<message to='%s' type='groupchat' id='%s'><body>%s</body></message>", coven, body, body)
		e := crone.Next()
		if e.Body() != body {
			t.Fatalf("got %s", e.Raw)
		}
		all = append(all, said(e))
	}
	for n := range 4 {
		say(fmt.Sprint("seen", n))
		if e := hag.Next(); said(e) != all[n] {
			t.Fatalf("got %s", e.Raw)
		}
	}
	hag.Sendf("<presence type='unavailable' to='%s/thirdwitch'/>", coven)
	hag.Next()
	if e := crone.Next(); e.Attr("type") != "unavailable" {
		t.Fatalf("got %s", e.Raw)
	}
	kill := func() {
		t.Helper()
		if err := syscall.Kill(pluginState(t, s, "muc").PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if !harness.Eventually(t, time.Minute, func() bool { return pluginState(t, s, "muc").State == "ready" }) {
			t.Fatal("the plugin is not back")
		}
	}
	for n := range 5 {
		if n == 2 {
			kill()
		}
		say(fmt.Sprint("missed", n))
	}
	kill()
	spam, _, _ := strings.Cut(all[5], " ")
	e := crone.Ask("set", coven, "<moderate xmlns='urn:xmpp:message-moderate:1' id='"+spam+"'><retract xmlns='urn:xmpp:message-retract:1'/></moderate>")
	if e.Attr("type") != "result" {
		t.Fatalf("got %s", e.Raw)
	}
	if e := crone.Next(); e.Child("urn:xmpp:message-retract:1", "retract").Attr("id") != spam {
		t.Fatalf("got %s", e.Raw)
	}
	left := slices.Delete(slices.Clone(all), 5, 6)
	check := func(what string, history, wanted []string, archive []*xmppc.Element) {
		t.Helper()
		if !slices.Equal(history, wanted) {
			t.Errorf("%s: the history\n got  %q\n want %q", what, history, wanted)
		}
		if got := spoken(archive); !slices.Equal(got, left) {
			t.Errorf("%s: the archive\n got  %q\n want %q", what, got, left)
		}
		if i := slices.IndexFunc(archive, func(m *xmppc.Element) bool { return m.Child("urn:xmpp:message-retract:1", "retracted") != nil }); i != 5 || said(archive[i]) != spam+" " {
			t.Errorf("%s: the tombstone is at %d", what, i)
		}
	}
	check("a member comes back", spoken(enter(t, hag, "thirdwitch")), left[4:], recalls(t, hag))
	s.Kill()
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	hag, crone = session(t, s, member, "pda"), session(t, s, owner, "desktop")
	check("the server was killed", spoken(enter(t, hag, "thirdwitch")), left[4:], recalls(t, hag))
}
