package interop

import (
	"fmt"
	"testing"
)

// TestOffline: what is sent to somebody who is offline comes at the next login, in
// order and once (XEP-0160), as go-sendxmpp sends and slixmpp receives it.
func TestOffline(t *testing.T) {
	s := server(t)
	romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
	sender := newSendxmpp(t, s, starttls, romeo, secret)
	send := func(body string) {
		t.Helper()
		if out, err := sender.deliver(juliet, body); err != nil {
			t.Fatalf("go-sendxmpp: %v\n%s", err, out)
		}
	}
	for i := range 3 {
		send(fmt.Sprint("while you slept ", i))
	}
	j := contactOnline(t, s, direct, juliet)
	for i := range 3 {
		j.hears(romeo, fmt.Sprint("while you slept ", i))
	}
	j.leave()

	j = contactOnline(t, s, starttls, juliet)
	send("good morning")
	j.hears(romeo, "good morning") // and nothing of before
	j.leave()
}
