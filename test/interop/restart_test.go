package interop

import (
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

// A client as it is found in the wild goes on over a planned restart: it takes the end
// of its connection for no end of its session.
func TestSlixmppOverARestart(t *testing.T) {
	for _, w := range ways {
		t.Run(string(w), func(t *testing.T) {
			s := harness.Start(t, harness.Config{})
			romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
			both := []*slixmpp{startPython(t, s, w, "resume.py", romeo, secret), startPython(t, s, w, "resume.py", juliet, secret)}
			for _, c := range both {
				c.jid = c.await("online").JID
			}
			r, j := both[0], both[1]
			j.send(r.jid, "wherefore art thou?")
			r.hears(juliet, "wherefore art thou?")
			for range 2 {
				if err := s.Stop(); err != nil {
					t.Fatal(err)
				}
				if err := s.Run(); err != nil {
					t.Fatal(err)
				}
				for _, c := range both { // or "failed" and "online", if it took the end for the session's
					c.await("lost")
					c.await("resumed")
				}
				r.send(j.jid, "it was the lark")
				j.hears(romeo, "it was the lark")
			}
			for _, c := range both {
				c.say(`{"leave": true}`)
				c.await("offline")
			}
		})
	}
}
