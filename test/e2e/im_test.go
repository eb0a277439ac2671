package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// im is what a chat client does at login: bind, get the roster, send presence.
func im(t *testing.T, s *harness.Server, local, resource string) *xmppc.Conn {
	t.Helper()
	c := session(t, s, local, resource)
	c.Roster()
	c.Available(0)
	return c
}

// strangers are two new accounts with one chat client each.
func strangers(t *testing.T, s *harness.Server) (romeo, juliet *xmppc.Conn) {
	t.Helper()
	return im(t, s, account(t, s, "romeo"), "orchard"), im(t, s, account(t, s, "juliet"), "balcony")
}

// friends are strangers that have subscribed to one another.
func friends(t *testing.T, s *harness.Server) (romeo, juliet *xmppc.Conn) {
	t.Helper()
	romeo, juliet = strangers(t, s)
	befriend(t, romeo, juliet)
	return romeo, juliet
}

func befriend(t *testing.T, one, other *xmppc.Conn) {
	t.Helper()
	tell(one, other, "subscribe")
	tell(other, one, "subscribed")
	tell(other, one, "subscribe")
	tell(one, other, "subscribed")
	one.Collect()
	other.Collect()
}

// tell sends presence of a type to a bare JID, and waits until it is handled.
func tell(from, to *xmppc.Conn, typ string) {
	from.Sendf("<presence to='%s' type='%s'/>", to.Bare(), typ)
	from.Sync("presence", "iq")
}

// setItem makes a roster set and returns its answer, once all that follows from
// it has been done; pushes are passed over.
func setItem(c *xmppc.Conn, item string) *xmppc.Element {
	const id = "set-item"
	c.Sendf("<iq type='set' id='%s'><query xmlns='%s'>%s</query></iq>", id, xmppc.NSRoster, item)
	answer := c.Answer(id, "presence", "iq")
	c.Sync("presence", "iq")
	return answer
}

// hears wants exactly these things to have come to a session, in any order,
// once what others have sent before is handled. They are written as tell of
// describe.
func hears(t *testing.T, c *xmppc.Conn, want ...string) {
	t.Helper()
	var got, raw []string
	for _, e := range c.Collect() {
		got, raw = append(got, describe(e)), append(raw, e.Raw)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s hears:\n  %s\nwant:\n  %s\nin full:\n  %s",
			c.JID, strings.Join(got, "\n  "), strings.Join(want, "\n  "), strings.Join(raw, "\n  "))
	}
}

// describe puts an element in few words:
//
//	available from romeo@example.test/orchard away
//	subscribed from juliet@example.test
//	push juliet@example.test to ask approved
//	message hist from romeo@example.test/orchard
func describe(e *xmppc.Element) string {
	if item := e.Pushed(); item != nil {
		return "push " + itemWords(item)
	}
	switch {
	case e.Is(xmppc.NSClient, "presence"):
		words := e.Attr("type")
		if words == "" {
			words = "available"
		}
		words += " from " + e.Attr("from")
		if show := e.Child(xmppc.NSClient, "show"); show != nil {
			words += " " + show.Text
		}
		return words
	case e.Is(xmppc.NSClient, "message"):
		return strings.TrimSpace("message "+e.Body()) + " from " + e.Attr("from")
	}
	return e.Local + " " + e.Attr("type") + " " + e.Condition()
}

// itemWords describes a roster item: the contact, the subscription and the flags.
func itemWords(item *xmppc.Element) string {
	words := item.Attr("jid") + " " + item.Attr("subscription")
	if item.Attr("ask") == "subscribe" {
		words += " ask"
	}
	if approved := item.Attr("approved"); approved == "true" || approved == "1" {
		words += " approved"
	}
	return words
}

// entry is the item of a contact in the roster of a session, in words without
// the contact; "" if there is none.
func entry(c *xmppc.Conn, contact string) string {
	for _, item := range c.Roster() {
		if words, ok := strings.CutPrefix(itemWords(item), contact+" "); ok {
			return words
		}
	}
	return ""
}

// fresh is a word that wasn't used before.
func fresh() string { return fmt.Sprintf("w%d", accounts.Add(1)) }
