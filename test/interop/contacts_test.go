package interop

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

// contact is a session of testdata/contacts.py. What it tells may be waited for
// in any order.
type contact struct {
	*slixmpp
	told []event // not waited for yet
}

// contactOnline is online, and has turned stream management on.
func contactOnline(t *testing.T, s *harness.Server, w way, jid string) *contact {
	t.Helper()
	c := &contact{slixmpp: startPython(t, s, w, "contacts.py", jid, secret)}
	c.jid = c.tells("online", func(e event) bool { return e.Pong && e.Roster == "yes" }).JID
	c.tells("managed", nil)
	return c
}

// does gives an order.
func (c *contact) does(order map[string]any) {
	c.t.Helper()
	text, err := json.Marshal(order)
	if err != nil {
		c.t.Fatal(err)
	}
	c.say("%s", text)
}

// tells waits for an event of that name, or of any if it is "", for which ok holds; nil is any.
func (c *contact) tells(name string, ok func(event) bool) event {
	c.t.Helper()
	matches := func(e event) bool { return (name == "" || e.Event == name) && (ok == nil || ok(e)) }
	for i, e := range c.told {
		if matches(e) {
			c.told = append(c.told[:i], c.told[i+1:]...)
			return e
		}
	}
	for {
		text, more := c.line()
		if !more {
			c.t.Fatalf("%s ended while it should tell %q; it told %+v", c.name, name, c.told)
		}
		var e event
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			c.t.Fatalf("%s: %q: %v", c.name, text, err)
		}
		if matches(e) {
			return e
		}
		c.t.Logf("%s: %s", c.name, strings.TrimSpace(text))
		c.told = append(c.told, e)
	}
}

// sees waits for presence of that type from a bare JID.
func (c *contact) sees(typ, from string) {
	c.t.Helper()
	c.tells("presence", func(e event) bool {
		bare, _, _ := strings.Cut(e.From, "/")
		return bare == from && e.Type == typ
	})
}

// pushed waits for a roster push of that contact with that subscription.
func (c *contact) pushed(jid, subscription string) {
	c.t.Helper()
	c.tells("pushed", func(e event) bool { return e.JID == jid && e.Subscription == subscription })
}

// hears waits for a message, whatever else comes.
func (c *contact) hears(from, body string) {
	c.t.Helper()
	e := c.tells("message", nil)
	if bare, _, _ := strings.Cut(e.From, "/"); bare != from || e.Body != body {
		c.t.Errorf("%s heard %q from %s, want %q from %s", c.jid, e.Body, e.From, body, from)
	}
}

func (c *contact) leave() {
	c.t.Helper()
	c.in.Close()
	c.tells("offline", nil)
}

func (c *contact) subscription(typ, to string) {
	c.does(map[string]any{"subscription": typ, "to": to})
}

// TestSlixmppContacts: RFC 6121 3 and 4 as slixmpp understands them.
func TestSlixmppContacts(t *testing.T) {
	s := server(t)
	for _, w := range ways {
		t.Run(string(w), func(t *testing.T) {
			romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
			r, j := contactOnline(t, s, w, romeo), contactOnline(t, s, w, juliet)

			r.subscription("subscribe", juliet)
			r.tells("pushed", func(e event) bool { return e.JID == juliet && e.Subscription == "none" && e.Ask == "subscribe" })
			j.sees("subscribe", romeo)
			j.subscription("subscribed", romeo)
			j.pushed(romeo, "from")
			r.sees("subscribed", juliet)
			r.pushed(juliet, "to")
			r.sees("available", juliet)

			j.subscription("subscribe", romeo)
			r.sees("subscribe", juliet)
			r.subscription("subscribed", juliet)
			r.pushed(juliet, "both")
			j.pushed(romeo, "both")
			j.sees("available", romeo)

			r.does(map[string]any{"show": "away"})
			j.sees("away", romeo)
			r.send(juliet, "I must be gone and live")
			j.hears(romeo, "I must be gone and live")

			j.subscription("unsubscribed", romeo)
			r.sees("unsubscribed", juliet)
			r.pushed(juliet, "from")
			r.leave()
			j.sees("unavailable", romeo)

			again := contactOnline(t, s, w, romeo)
			j.sees("available", romeo)
			again.leave()
			j.leave()
		})
	}
}

func TestSlixmppRequestWaits(t *testing.T) {
	s := server(t)
	romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
	r := contactOnline(t, s, direct, romeo)
	r.subscription("subscribe", juliet)
	r.tells("pushed", func(e event) bool { return e.JID == juliet })
	for range 2 {
		j := contactOnline(t, s, starttls, juliet)
		j.sees("subscribe", romeo)
		j.leave()
	}
	r.leave()
}

// TestSlixmppProfile: XEP-0054, and XEP-0049 by way of bookmarks.
func TestSlixmppProfile(t *testing.T) {
	s := server(t)
	romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
	r, j := contactOnline(t, s, direct, romeo), contactOnline(t, s, starttls, juliet)

	r.does(map[string]any{"vcard of": juliet})
	if e := r.tells("vcard", nil); e.Condition != "service-unavailable" {
		t.Errorf("juliet's vCard before she has one: %+v", e)
	}
	j.does(map[string]any{"vcard": "Juliet Capulet \u2665"})
	j.tells("published", nil)
	r.does(map[string]any{"vcard of": juliet})
	if e := r.tells("vcard", nil); e.Name != "Juliet Capulet \u2665" {
		t.Errorf("juliet's vCard: %+v", e)
	}

	j.does(map[string]any{"bookmark": "balcony@rooms." + domain})
	j.tells("bookmarked", nil)
	j.leave()
	j = contactOnline(t, s, direct, juliet)
	j.does(map[string]any{"bookmarks": true})
	if e := j.tells("bookmarks", nil); len(e.Fields) != 1 || e.Fields[0] != "balcony@rooms."+domain {
		t.Errorf("bookmarks: %q", e.Fields)
	}
	r.does(map[string]any{"bookmarks": true})
	if e := r.tells("bookmarks", nil); len(e.Fields) > 0 {
		t.Errorf("romeo's bookmarks: %q", e.Fields)
	}
	r.leave()
	j.leave()
}

// TestSlixmppBlocks: XEP-0191 as slixmpp's plugin speaks it.
func TestSlixmppBlocks(t *testing.T) {
	s := server(t)
	for _, w := range ways {
		t.Run(string(w), func(t *testing.T) {
			romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
			r, j, phone := contactOnline(t, s, w, romeo), contactOnline(t, s, w, juliet), contactOnline(t, s, w, juliet)
			r.subscription("subscribe", juliet)
			j.sees("subscribe", romeo)
			j.subscription("subscribed", romeo)
			r.sees("available", juliet)
			r.sees("available", juliet)

			listed := func(c *contact, want ...string) {
				t.Helper()
				c.does(map[string]any{"block list": true})
				if e := c.tells("block list", nil); !slices.Equal(e.Fields, want) {
					t.Errorf("the list is %q, want %q", e.Fields, want)
				}
			}
			pushed := func(name string, jids ...string) {
				t.Helper()
				phone.tells(name, func(e event) bool { return slices.Equal(e.Fields, jids) })
			}
			listed(phone)
			j.does(map[string]any{"block": []string{romeo, "montague.example"}})
			j.tells("done", nil)
			pushed("blocked", "montague.example", romeo)
			r.sees("unavailable", juliet)
			r.sees("unavailable", juliet)
			r.send(j.jid, "it is I")
			r.tells("bounced", func(e event) bool { return e.From == j.jid && e.Condition == "service-unavailable" })
			j.send(romeo, "go away")
			j.tells("bounced", func(e event) bool { return e.From == romeo && e.Condition == "not-acceptable" })
			listed(j, "montague.example", romeo)

			j.does(map[string]any{"unblock": []string{romeo}})
			j.tells("done", nil)
			pushed("unblocked", romeo)
			r.sees("available", juliet)
			r.sees("available", juliet)
			r.send(j.jid, "it is I")
			j.hears(romeo, "it is I")
			phone.does(map[string]any{"unblock": []string{}}) // all of them
			phone.tells("done", nil)
			pushed("unblocked")
			listed(j)
			for _, c := range []*contact{r, j, phone} {
				c.leave()
			}
		})
	}
}

// TestSlixmppLastActivity: XEP-0012 of the server, of a session, and of an account
// before and after its last session left.
func TestSlixmppLastActivity(t *testing.T) {
	s := server(t)
	romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
	r, j := contactOnline(t, s, direct, romeo), contactOnline(t, s, starttls, juliet)
	last := func(of string) event {
		t.Helper()
		r.does(map[string]any{"last of": of})
		return r.tells("last", nil)
	}
	if e := last(domain); e.Condition != "" || e.Body != "" || e.Seconds < 0 || e.Seconds > 3600 {
		t.Errorf("the server: %+v", e)
	}
	j.does(map[string]any{"idle": 123})
	j.tells("idle", nil)
	if e := last(juliet); e.Condition != "forbidden" {
		t.Errorf("without a subscription: %+v", e)
	}
	if e := last(j.jid); e.Condition != "service-unavailable" {
		t.Errorf("a session, without a subscription: %+v", e)
	}

	r.subscription("subscribe", juliet)
	j.sees("subscribe", romeo)
	j.subscription("subscribed", romeo)
	r.sees("available", juliet)
	if e := last(juliet); e.Condition != "" || e.Seconds != 0 || e.Body != "" {
		t.Errorf("while she is available: %+v", e)
	}
	if e := last(j.jid); e.Condition != "" || e.Seconds < 123 {
		t.Errorf("a session: %+v", e)
	}
	j.does(map[string]any{"goodbye": "Parting is such sweet sorrow \u2665"})
	r.sees("unavailable", juliet)
	if e := last(juliet); e.Condition != "" || e.Body != "Parting is such sweet sorrow \u2665" || e.Seconds > 3600 {
		t.Errorf("after she left: %+v", e)
	}
	r.leave()
	j.leave()
}

// TestSlixmppResumes: XEP-0198 after slixmpp's socket is gone.
func TestSlixmppResumes(t *testing.T) {
	s := server(t)
	for _, w := range ways {
		t.Run(string(w), func(t *testing.T) {
			romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
			r, j := contactOnline(t, s, w, romeo), contactOnline(t, s, w, juliet)
			j.subscription("subscribe", romeo)
			r.sees("subscribe", juliet)
			r.subscription("subscribed", juliet)
			j.sees("available", romeo)
			for range 3 {
				r.does(map[string]any{"cut": true})
				j.send(romeo, "while you were away")
				if e := r.tells("resumed", nil); e.JID != r.jid {
					t.Errorf("resumed as %s, was %s", e.JID, r.jid)
				}
				r.hears(juliet, "while you were away")
				r.send(juliet, "back again")
				j.hears(romeo, "back again")
			}
			for _, e := range j.told {
				if e.Event == "presence" && e.Type == "unavailable" {
					t.Errorf("juliet saw romeo leave: %+v", e)
				}
			}
			r.leave()
			j.sees("unavailable", romeo)
			j.leave()
		})
	}
}

// TestSlixmppLeaves: what slixmpp has is not sent to it again after it logged out,
// though it acknowledges only when it is asked (XEP-0198 4).
func TestSlixmppLeaves(t *testing.T) {
	s := server(t)
	romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
	r := contactOnline(t, s, starttls, romeo)
	for n := range 3 {
		j := contactOnline(t, s, ways[n%2], juliet)
		for m := range 3 {
			body := fmt.Sprintf("visit %d, message %d", n, m)
			r.send(juliet, body)
			j.hears(romeo, body) // and nothing of the visit before
		}
		j.leave()
	}
	r.leave()
}
