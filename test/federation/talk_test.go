package federation

import (
	"fmt"
	"sync"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/netlab"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// What users do with those of other servers, with each kind of server.
func TestTalk(t *testing.T) {
	l := netlab.New(t)
	s := starts(t, l,
		&server{kind: "hexmpp", domain: "hexmpp.example"},
		&server{kind: "hexmpp", domain: "other.example"},
		&server{kind: "prosody", domain: "prosody.example"},
		&server{kind: "ejabberd", domain: "ejabberd.example"})
	for _, far := range s[1:] {
		t.Run(far.domain, func(t *testing.T) { talks(t, s[0], far) })
	}
}

// talks has users of two servers do all that.
func talks(t *testing.T, near, far *server) {
	romeo, juliet := near.client(t, "romeo"), far.client(t, "juliet")
	t.Run("messages", func(t *testing.T) { messages(t, romeo, juliet) })
	t.Run("presence", func(t *testing.T) { presence(t, near, far) })
	t.Run("requests", func(t *testing.T) { requests(t, romeo, far); requests(t, juliet, near) })
	t.Run("rooms", func(t *testing.T) { rooms(t, romeo, juliet, far); rooms(t, juliet, romeo, near) })
}

// messages sends 1,000, both ways at once.
func messages(t *testing.T, a, b *client) {
	there, back := newFlow(t, a, b, "there"), newFlow(t, b, a, "back")
	var both sync.WaitGroup
	for _, f := range []*flow{there, back} {
		both.Go(func() {
			for range 500 {
				f.trySend()
			}
		})
	}
	both.Wait()
	for _, f := range []*flow{there, back} {
		f.settle()
		f.check(exactly1)
		if ty := f.tally(); len(ty.arrived) != f.sent {
			t.Errorf("%s: %d of %d arrived; bounced: %v", f.name, len(ty.arrived), f.sent, ty.bounced)
		}
	}
}

// presence has two users subscribe to each other (RFC 6121 3, 4), and one of them leave.
func presence(t *testing.T, near, far *server) {
	a, b := near.client(t, "benvolio"), far.client(t, "rosaline")
	for _, pair := range [][2]*client{{a, b}, {b, a}} {
		from, to := pair[0], pair[1]
		from.Sendf("<presence to='%s' type='subscribe'/>", to.Bare())
		to.presence(from.Bare(), "subscribe")
		to.Sendf("<presence to='%s' type='subscribed'/>", from.Bare())
		from.presence(to.Bare(), "subscribed")
		from.presence(to.JID, "")
	}
	a.Send("<presence><show>away</show><status>soon</status></presence>")
	b.await("the change of "+a.JID, func(e *xmppc.Element) bool {
		return e.Local == "presence" && e.Attr("from") == a.JID && e.Child(xmppc.NSClient, "show") != nil && e.Child(xmppc.NSClient, "show").Text == "away"
	})
	b.Send("<presence type='unavailable'/>")
	a.presence(b.JID, "unavailable")
	b.Send("<presence/>") // probes (RFC 6121 4.3)
	b.presence(a.JID, "")
	a.presence(b.JID, "")
	a.Sendf("<presence to='%s' type='unsubscribed'/>", b.Bare())
	from := b.next
	b.presence(a.Bare(), "unsubscribed")
	b.next = from // in any order
	b.presence(a.JID, "unavailable")
}

// requests are those of a user to a far server.
func requests(t *testing.T, c *client, far *server) {
	info := c.ask("info", far.domain, "<query xmlns='"+xmppc.NSInfo+"'/>")
	if id := info.Child(xmppc.NSInfo, "query").Child(xmppc.NSInfo, "identity"); info.Attr("type") != "result" || id.Attr("category") != "server" {
		t.Errorf("%s: %s", far.domain, info.Raw)
	}
	version := c.ask("version", far.domain, "<query xmlns='jabber:iq:version'/>")
	if version.Attr("type") != "result" || version.Child("jabber:iq:version", "query").Child("jabber:iq:version", "name") == nil {
		t.Errorf("%s: %s", far.domain, version.Raw)
	}
	c.Sendf("<iq type='get' id='unknown' to='%s'><query xmlns='urn:example:nobody'/></iq>", far.domain)
	c.refused("iq", "unknown", "service-unavailable", "feature-not-implemented")
	c.Sendf("<iq type='get' id='nobody' to='nobody@%s/there'><query xmlns='jabber:iq:version'/></iq>", far.domain)
	c.refused("iq", "nobody", "service-unavailable")
}

// rooms has a user join a room of a far server, in which its owner is.
func rooms(t *testing.T, guest, owner *client, far *server) {
	const nsUser = "http://jabber.org/protocol/muc#user"
	room := "verona@conference." + far.domain
	enter := func(c *client, nick string) {
		c.Sendf("<presence to='%s/%s'><x xmlns='http://jabber.org/protocol/muc'/></presence>", room, nick)
		c.await("itself in "+room, func(e *xmppc.Element) bool {
			if e.Local == "presence" && e.Attr("from") == room+"/"+nick && e.Attr("type") == "error" {
				c.t.Fatalf("%s is not let in: %s", c.JID, e.Raw)
			}
			for _, status := range e.Child(nsUser, "x").All(nsUser, "status") {
				if status.Attr("code") == "110" {
					return e.Attr("from") == room+"/"+nick
				}
			}
			return false
		})
	}
	enter(owner, "owner")
	owner.Sendf("<iq type='set' id='instant' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>", room)
	owner.await("a room", func(e *xmppc.Element) bool { return e.Attr("id") == "instant" && e.Attr("type") == "result" })
	enter(guest, "guest")
	owner.presence(room+"/guest", "")
	for n := range 20 {
		guest.Sendf("<message to='%s' type='groupchat' id='g%d'><body>from the guest %d</body></message>", room, n, n)
		owner.Sendf("<message to='%s' type='groupchat' id='o%d'><body>from the owner %d</body></message>", room, n, n)
	}
	var order [2][]string
	for i, c := range []*client{guest, owner} {
		c.until("all that is said in "+room, func(all []*xmppc.Element) bool {
			order[i] = nil
			for _, e := range all {
				if e.Local == "message" && e.Attr("type") == "groupchat" && e.Body() != "" && (e.Attr("from") == room+"/guest" || e.Attr("from") == room+"/owner") {
					order[i] = append(order[i], e.Body())
				}
			}
			return len(order[i]) >= 40
		})
	}
	if fmt.Sprint(order[0]) != fmt.Sprint(order[1]) {
		t.Errorf("%s: the guest heard %q, the owner %q", room, order[0], order[1])
	}
	guest.Sendf("<presence to='%s/guest' type='unavailable'/>", room)
	owner.presence(room+"/guest", "unavailable")
	owner.Sendf("<presence to='%s/owner' type='unavailable'/>", room)
}
