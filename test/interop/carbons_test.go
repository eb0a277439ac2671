package interop

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

// several is one of several clients of an account: a session of testdata/carbons.py.
type several struct{ *contact }

func severalOnline(t *testing.T, s *harness.Server, w way, jid string) *several {
	t.Helper()
	c := &several{&contact{slixmpp: startPython(t, s, w, "carbons.py", jid, secret)}}
	c.jid = c.tells("online", func(e event) bool { return e.Pong && e.Roster == "yes" }).JID
	c.tells("managed", nil)
	return c
}

func (c *several) carbons(on bool) {
	c.t.Helper()
	c.does(map[string]any{"carbons": on})
	c.tells(map[bool]string{true: "carbons on", false: "carbons off"}[on], nil)
}

// copied waits for a copy of a message with this body, from a full JID to
// another, or to one of a bare JID's that the sender chose.
func (c *several) copied(way, from, to, body string) {
	c.t.Helper()
	e := c.tells("carbon", func(e event) bool { return e.Body == body })
	bare, _, _ := strings.Cut(e.JID, "/")
	if e.Type != way || e.From != from || e.JID != to && bare != to {
		c.t.Errorf("%s got a copy %+v, want one that was %s from %s to %s", c.jid, e, way, from, to)
	}
}

// nothingMore checks that no message and no copy is left that nobody waited for.
func (c *several) nothingMore() {
	c.t.Helper()
	c.does(map[string]any{"carbons": true}) // a round trip
	c.tells("carbons on", nil)
	for _, e := range c.told {
		if e.Event == "carbon" || e.Event == "message" {
			c.t.Errorf("%s also got %+v", c.jid, e)
		}
	}
}

// TestSlixmppCarbons: XEP-0280 and XEP-0352 as slixmpp speaks them.
func TestSlixmppCarbons(t *testing.T) {
	s := server(t)
	for _, w := range ways {
		t.Run(string(w), func(t *testing.T) {
			romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
			r, laptop, phone := severalOnline(t, s, w, romeo), severalOnline(t, s, w, juliet), severalOnline(t, s, w, juliet)
			phone.carbons(true)

			for name, body := range bodies {
				r.send(laptop.jid, body)
				laptop.hears(romeo, body)
				phone.copied("received", r.jid, laptop.jid, body)
				laptop.send(romeo, name+" "+body)
				r.hears(juliet, name+" "+body)
				phone.copied("sent", laptop.jid, romeo, name+" "+body)
			}
			r.send(juliet, "to both")
			laptop.hears(romeo, "to both")
			phone.hears(romeo, "to both")
			phone.nothingMore()

			phone.does(map[string]any{"cut": true})
			r.send(laptop.jid, "while the phone was away")
			laptop.hears(romeo, "while the phone was away")
			phone.tells("resumed", nil)
			phone.copied("received", r.jid, laptop.jid, "while the phone was away")

			phone.carbons(false)
			r.send(laptop.jid, "no more")
			laptop.hears(romeo, "no more")
			phone.nothingMore()
			r.leave()
			laptop.leave()
			phone.leave()
		})
	}
}

// TestSlixmppIsInactive: presence and chat states wait, messages don't.
func TestSlixmppIsInactive(t *testing.T) {
	s := server(t)
	romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
	r, laptop, phone := severalOnline(t, s, starttls, romeo), severalOnline(t, s, direct, juliet), severalOnline(t, s, direct, juliet)
	laptop.subscription("subscribe", romeo)
	r.sees("subscribe", juliet)
	r.subscription("subscribed", juliet)
	for _, c := range []*several{laptop, phone} {
		c.sees("available", romeo)
		c.carbons(true)
		c.told = nil // of the subscription
	}
	waits := func() {
		phone.does(map[string]any{"active": false})
		phone.tells("inactive", nil)
		for _, show := range []string{"away", "xa", "dnd"} {
			r.does(map[string]any{"show": show})
			laptop.sees(show, romeo)
		}
		for _, state := range []string{"composing", "paused"} {
			r.does(map[string]any{"state": state, "to": juliet})
			laptop.tells("state", func(e event) bool { return e.Type == state })
		}
	}
	until := func(name string) string { // all that the phone tells of romeo up to an event of that name
		var all []string
		e := phone.tells(name, nil)
		for _, before := range phone.told {
			if strings.HasPrefix(before.From, romeo) {
				all = append(all, before.Event+" "+before.Type)
			}
		}
		phone.told = nil
		return strings.Join(append(all, e.Event+" "+e.Type), ", ")
	}
	waits()
	r.send(laptop.jid, "a copy for the phone")
	laptop.hears(romeo, "a copy for the phone")
	if got := until("carbon"); got != "presence dnd, state paused, carbon received" {
		t.Errorf("the phone was told of %s", got)
	}
	waits()
	phone.does(map[string]any{"active": true})
	if got := until("state"); got != "presence dnd, state paused" {
		t.Errorf("when it is active the phone is told of %s", got)
	}
	r.leave()
	laptop.leave()
	phone.leave()
}

// TestProfanityCarbons: profanity beside another client of the same account.
func TestProfanityCarbons(t *testing.T) {
	s := server(t)
	romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
	r, laptop := severalOnline(t, s, direct, romeo), severalOnline(t, s, starttls, juliet)
	terminal := profanityOnline(t, s, starttls, juliet)
	terminal.enter("/carbons on")
	terminal.enter("/roster add nurse@" + domain) // a round trip
	terminal.shows("Roster item added: nurse@" + domain)

	r.send(laptop.jid, "What man art thou that, thus bescreen'd in night")
	laptop.hears(romeo, "What man art thou that, thus bescreen'd in night")
	terminal.hears(romeo, "bescreen'd in night")
	laptop.send(romeo, "Neither, fair saint, if either thee dislike")
	r.hears(juliet, "Neither, fair saint, if either thee dislike")
	terminal.shows("me: Neither, fair saint, if either thee dislike")

	laptop.carbons(true)
	terminal.send(romeo, "How camest thou hither, tell me, and wherefore")
	r.hears(juliet, "How camest thou hither, tell me, and wherefore")
	laptop.copied("sent", juliet+"/terminal", romeo, "How camest thou hither, tell me, and wherefore")
	r.leave()
	laptop.leave()
	terminal.leave()
}
