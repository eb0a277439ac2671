package interop

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

// receivers are the clients as they wait for what is stored: a session of contacts.py
// keeps what comes before it is online.
var receivers = []struct {
	name   string
	online func(t *testing.T, s *harness.Server, w way, jid string) client
}{
	{"slixmpp", func(t *testing.T, s *harness.Server, w way, jid string) client { return contactOnline(t, s, w, jid) }},
	{"go-sendxmpp", func(t *testing.T, s *harness.Server, w way, jid string) client { return sendxmppOnline(t, s, w, jid) }},
	{"profanity", func(t *testing.T, s *harness.Server, w way, jid string) client { return profanityOnline(t, s, w, jid) }},
}

// TestOffline: what is sent to somebody who is offline comes at the next login, in
// order and once (XEP-0160), as go-sendxmpp and slixmpp send it, and each client
// receives it.
func TestOffline(t *testing.T) {
	s := server(t)
	for _, c := range receivers {
		for i, w := range ways {
			t.Run(fmt.Sprint(c.name, " over ", w), func(t *testing.T) {
				romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
				sender := newSendxmpp(t, s, starttls, romeo, secret)
				send := func(body string) {
					t.Helper()
					if out, err := sender.deliver(juliet, body); err != nil {
						t.Fatalf("go-sendxmpp: %v\n%s", err, out)
					}
				}
				var all []string
				for n := range 3 {
					all = append(all, fmt.Sprint("while you slept ", n))
					send(all[n])
				}
				r := slixmppOnline(t, s, direct, romeo)
				for n := range 3 {
					all = append(all, fmt.Sprint("while you still slept ", n))
					r.send(juliet, all[3+n])
				}
				r.leave()

				j := c.online(t, s, w, juliet)
				hearsAll(j, romeo, all)
				j.leave()

				j = c.online(t, s, ways[1-i], juliet)
				send("good morning")
				j.hears(romeo, "good morning") // and nothing of before
				if p, ok := j.(*profanity); ok {
					if screen := strings.Join(p.screen(), "\n"); strings.Contains(screen, "slept") {
						t.Errorf("profanity shows %s", screen)
					}
				}
				j.leave()
			})
		}
	}
}

// hearsAll waits for messages in their order.
func hearsAll(c client, from string, bodies []string) {
	if p, ok := c.(*profanity); ok { // all of them are on one screen
		p.hears(from, strings.Join(bodies, "\n"))
		return
	}
	for _, b := range bodies {
		c.hears(from, b)
	}
}
