package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

func rosterGet(ver string) string {
	return "<query xmlns='" + xmppc.NSRoster + "' ver='" + ver + "'/>"
}

func TestRoster(t *testing.T) {
	s := server(t)

	t.Run("RFC 6121 2.1.3 a get has an empty result at first, from the own account", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "orchard")
		for _, to := range []string{"", c.Bare()} {
			res := c.IQ("get", to, query(xmppc.NSRoster))
			if from := res.Attr("from"); from != "" && from != c.Bare() {
				t.Errorf("to %q: from %q", to, from)
			}
			if q := res.Child(xmppc.NSRoster, "query"); q == nil || len(q.Children) > 0 {
				t.Errorf("got %s", res.Raw)
			}
		}
	})

	t.Run("RFC 6121 2.2 a push goes to every resource that asked for the roster, and to no other", func(t *testing.T) {
		local := account(t, s, "romeo")
		orchard, street := im(t, s, local, "orchard"), session(t, s, local, "street")
		street.Roster()                        // interested, not available
		quiet := online(t, s, local, "hut", 0) // available, not interested
		nurse := im(t, s, account(t, s, "nurse"), "kitchen")
		orchard.Collect()

		setItem(orchard, "<item jid='nurse@"+domain+"' name='Angelica'><group>Servants</group></item>")
		hears(t, street, "push nurse@"+domain+" none")
		hears(t, quiet)
		hears(t, nurse)
		item := orchard.Roster()[0]
		if item.Attr("name") != "Angelica" || item.Child(xmppc.NSRoster, "group").Text != "Servants" {
			t.Errorf("stored: %+v", item)
		}
	})

	t.Run("RFC 6121 2.1.6 a push is from the own account or has no from", func(t *testing.T) {
		c := im(t, s, account(t, s, "romeo"), "orchard")
		c.Send("<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='nurse@" + domain + "'/></query></iq>")
		for _, e := range c.Collect() {
			if from := e.Attr("from"); e.Pushed() != nil && from != "" && from != c.Bare() || e.Attr("id") == "" {
				t.Errorf("got %s", e.Raw)
			}
		}
	})

	bad := []struct{ rule, items, condition string }{
		{"RFC 6121 2.3.3 two items", "<item jid='a@b.test'/><item jid='c@d.test'/>", "bad-request"},
		{"RFC 6121 2.3.3 no item", "", "bad-request"},
		{"RFC 6121 2.1.2.3 no jid", "<item name='x'/>", "bad-request"},
		{"RFC 6121 2.1.2.3 a malformed jid", "<item jid='@b.test'/>", "bad-request"},
		{"RFC 6121 2.3.3 a group twice", "<item jid='a@b.test'><group>x</group><group>x</group></item>", "bad-request"},
		{"RFC 6121 2.3.3 a group without a name", "<item jid='a@b.test'><group/></item>", "not-acceptable"},
		{"RFC 6121 2.3.3 a long group", "<item jid='a@b.test'><group>" + strings.Repeat("x", 2000) + "</group></item>", "not-acceptable"},
		{"RFC 6121 2.3.3 a long name", "<item jid='a@b.test' name='" + strings.Repeat("x", 2000) + "'/>", "not-acceptable"},
		{"RFC 6121 2.5.3 removal of what isn't there", "<item jid='a@b.test' subscription='remove'/>", "item-not-found"},
	}
	for _, tt := range bad {
		t.Run(tt.rule, func(t *testing.T) {
			c := im(t, s, account(t, s, "romeo"), "orchard")
			c.IQError("set", "", "<query xmlns='"+xmppc.NSRoster+"'>"+tt.items+"</query>", tt.condition)
			hears(t, c)
			if items := c.Roster(); len(items) > 0 {
				t.Errorf("%d items are stored", len(items))
			}
		})
	}

	t.Run("RFC 6121 2.1.2 a client sets neither subscription, nor ask, nor approved", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		for _, attrs := range []string{"subscription='both'", "subscription='to'", "subscription='from'", "ask='subscribe'", "approved='true'"} {
			setItem(romeo, "<item jid='"+juliet.Bare()+"' "+attrs+"/>")
			if got := entry(romeo, juliet.Bare()); got != "none" {
				t.Errorf("%s: the item is %q", attrs, got)
			}
		}
		romeo.Send("<presence><show>away</show></presence>")
		romeo.Collect()
		hears(t, juliet)
	})

	t.Run("RFC 6121 2.4 an update keeps the subscription", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		setItem(romeo, "<item jid='"+juliet.Bare()+"' name='Sun' subscription='none'/>")
		if got := entry(romeo, juliet.Bare()); got != "both" {
			t.Errorf("the item is %q", got)
		}
		hears(t, juliet)
	})

	t.Run("RFC 6121 2.5.2 removal ends the subscriptions that there are", func(t *testing.T) {
		for _, tt := range removals {
			t.Run(tt.state, func(t *testing.T) {
				romeo, juliet := strangers(t, s)
				tt.arrange(t, romeo, juliet)
				setItem(romeo, "<item jid='"+juliet.Bare()+"' subscription='remove'/>")
				var want []string
				for _, w := range tt.hears {
					want = append(want, strings.NewReplacer("ROMEO", romeo.Bare(), "FULL", romeo.JID).Replace(w))
				}
				hears(t, juliet, want...)
				if got := entry(romeo, juliet.Bare()); got != "" {
					t.Errorf("the item is %q", got)
				}
			})
		}
	})

	t.Run("RFC 6121 2.5.2 removal is pushed", func(t *testing.T) {
		local := account(t, s, "romeo")
		orchard, street := im(t, s, local, "orchard"), im(t, s, local, "street")
		setItem(orchard, "<item jid='nurse@"+domain+"'/>")
		street.Collect()
		setItem(orchard, "<item jid='nurse@"+domain+"' subscription='remove'/>")
		hears(t, street, "push nurse@"+domain+" remove")
	})

	t.Run("RFC 6121 2.6 versions: the same gets an empty result, an old or unknown one the roster", func(t *testing.T) {
		c := im(t, s, account(t, s, "romeo"), "orchard")
		first := c.IQ("get", "", rosterGet("")).Child(xmppc.NSRoster, "query").Attr("ver")
		if res := c.IQ("get", "", rosterGet(first)); first == "" || len(res.Children) > 0 {
			t.Errorf("version %q: got %s", first, res.Raw)
		}
		setItem(c, "<item jid='nurse@"+domain+"'/>")
		for _, ver := range []string{first, "no such version", ""} {
			c.Send("<iq type='get' id='v'>" + rosterGet(ver) + "</iq>")
			res := c.Answer("v", "presence", "iq")
			if !strings.Contains(res.Raw, "nurse@"+domain) {
				t.Errorf("version %q: got %s", ver, res.Raw)
			}
		}
	})

	t.Run("RFC 6121 2.3.2 another's roster is neither told nor changed", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		payload := "<query xmlns='" + xmppc.NSRoster + "'><item jid='" + romeo.Bare() + "'/></query>"
		for _, to := range []string{juliet.Bare(), "nobody@" + domain} {
			romeo.IQError("get", to, query(xmppc.NSRoster), "service-unavailable", "forbidden")
			romeo.IQError("set", to, payload, "service-unavailable", "forbidden")
		}
		hears(t, juliet)
		if items := juliet.Roster(); len(items) > 0 {
			t.Errorf("juliet has %d items", len(items))
		}
	})

	t.Run("RFC 6121 2.1.6 a forged push changes nothing and shows who sent it", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		romeo.Sendf("<iq type='set' id='forged' to='%s'><query xmlns='%s'><item jid='tybalt@%s' subscription='both'/></query></iq>",
			juliet.JID, xmppc.NSRoster, domain)
		romeo.Sync("iq")
		for _, e := range juliet.Collect() {
			if e.Attr("from") != romeo.JID {
				t.Errorf("got %s", e.Raw)
			}
		}
		if items := juliet.Roster(); len(items) > 0 {
			t.Errorf("juliet has %d items", len(items))
		}
	})

	t.Run("rosters outlive sessions", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		romeo.Close()
		local, _, _ := strings.Cut(romeo.Bare(), "@")
		again := session(t, s, local, "orchard")
		if got := entry(again, juliet.Bare()); got != "both" {
			t.Errorf("the item is %q", got)
		}
	})

	t.Run("RFC 7622 3.2 a contact is one, however it is written", func(t *testing.T) {
		c := im(t, s, account(t, s, "romeo"), "orchard")
		for _, jid := range []string{"Nurse@Example.Test", "nurse@example.test", "nurse@example.test/kitchen"} {
			setItem(c, "<item jid='"+jid+"' name='"+jid+"'/>")
		}
		if items := c.Roster(); len(items) != 1 || items[0].Attr("jid") != "nurse@example.test" {
			t.Errorf("%d items", len(items))
		}
	})
}

// removals are the states in which an item is removed, and what the contact
// hears of it.
var removals = []struct {
	state   string
	arrange func(t *testing.T, romeo, juliet *xmppc.Conn)
	hears   []string
}{
	{"none", func(t *testing.T, romeo, juliet *xmppc.Conn) {
		setItem(romeo, "<item jid='"+juliet.Bare()+"'/>")
	}, nil},
	{"to", func(t *testing.T, romeo, juliet *xmppc.Conn) {
		tell(romeo, juliet, "subscribe")
		tell(juliet, romeo, "subscribed")
		romeo.Collect()
		juliet.Collect()
	}, []string{"unsubscribe from ROMEO", "push ROMEO none"}},
	{"from", func(t *testing.T, romeo, juliet *xmppc.Conn) {
		tell(juliet, romeo, "subscribe")
		tell(romeo, juliet, "subscribed")
		romeo.Collect()
		juliet.Collect()
	}, []string{"unsubscribed from ROMEO", "unavailable from FULL", "push ROMEO none"}},
	{"both", befriend,
		[]string{"unsubscribe from ROMEO", "push ROMEO to", "unsubscribed from ROMEO", "unavailable from FULL", "push ROMEO none"}},
}

func TestRosterBounds(t *testing.T) {
	s := harness.Start(t, harness.Config{Limits: harness.Limits{RosterItems: 10, RosterRequests: 3}})
	s.MustAddUser(t, "romeo@"+domain, secret)
	romeo := im(t, s, "romeo", "orchard")

	t.Run("limits.roster-items: one too many gets resource-constraint, the others stay", func(t *testing.T) {
		for i := range 12 {
			res := setItem(romeo, fmt.Sprintf("<item jid='c%d@%s'/>", i, domain))
			if full := i >= 10; full != (res.Condition() == "resource-constraint") {
				t.Errorf("item %d: %s", i, res.Raw)
			}
		}
		romeo.Collect()
		if items := romeo.Roster(); len(items) != 10 {
			t.Errorf("%d items", len(items))
		}
		romeo.Send("<presence type='subscribe' id='full' to='nurse@" + domain + "'/>")
		romeo.StanzaError("presence", "full", "resource-constraint")
		setItem(romeo, "<item jid='c0@"+domain+"' subscription='remove'/>")
		if res := setItem(romeo, "<item jid='c11@"+domain+"'/>"); res.Attr("type") != "result" {
			t.Errorf("after a removal: %s", res.Raw)
		}
	})

	t.Run("limits.roster-requests: only so many strangers' requests wait, and take no contact's room", func(t *testing.T) {
		s.MustAddUser(t, "juliet@"+domain, secret)
		for i := range 6 {
			name := fmt.Sprintf("stranger%d", i)
			s.MustAddUser(t, name+"@"+domain, secret)
			c := im(t, s, name, "x")
			c.Send("<presence type='subscribe' to='juliet@" + domain + "'/>")
			c.Collect()
			c.Close()
		}
		juliet := session(t, s, "juliet", "balcony")
		juliet.Roster()
		juliet.Send("<presence/>")
		requests := 0
		for _, e := range juliet.Collect() {
			if e.Attr("type") == "subscribe" {
				requests++
			}
		}
		if requests != 3 {
			t.Errorf("%d requests wait, want 3", requests)
		}
		if items := juliet.Roster(); len(items) > 0 {
			t.Errorf("%d contacts", len(items))
		}
	})
}
