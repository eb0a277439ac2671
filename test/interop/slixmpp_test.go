package interop

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

// slixmpp is a session of testdata/chat.py.
type slixmpp struct {
	*process
	jid string // full
}

func startSlixmpp(t *testing.T, s *harness.Server, w way, jid, password string) *slixmpp {
	t.Helper()
	return startPython(t, s, w, "chat.py", jid, password)
}

func startPython(t *testing.T, s *harness.Server, w way, script, jid, password string) *slixmpp {
	t.Helper()
	python := harness.RequirePython(t, "slixmpp", "python3-slixmpp")
	host, port := w.address(t, s)
	return &slixmpp{process: begin(t, "slixmpp "+jid, nil, python, "testdata/"+script, jid, password, host, port, s.CA.File, string(w))}
}

// slixmppOnline is logged in, has sent presence and has pinged the server.
func slixmppOnline(t *testing.T, s *harness.Server, w way, jid string) *slixmpp {
	t.Helper()
	c := startSlixmpp(t, s, w, jid, secret)
	e := c.await("online")
	if !strings.HasPrefix(e.JID, jid+"/") || !e.Pong {
		t.Fatalf("%s is online as %+v", jid, e)
	}
	t.Logf("%s: roster %s, server %s", e.JID, e.Roster, e.Version)
	c.jid = e.JID
	return c
}

func (c *slixmpp) send(to, body string) {
	c.t.Helper()
	order, err := json.Marshal(map[string]string{"to": to, "body": body})
	if err != nil {
		c.t.Fatal(err)
	}
	c.say("%s", order)
}

// hears wants the next message to be this one, from that bare JID.
func (c *slixmpp) hears(from, body string) {
	c.t.Helper()
	e := c.await("message")
	if bare, _, _ := strings.Cut(e.From, "/"); bare != from || e.Body != body {
		c.t.Errorf("%s heard %q from %s, want %q from %s", c.jid, e.Body, e.From, body, from)
	}
}

// leave ends the session in good order.
func (c *slixmpp) leave() {
	c.t.Helper()
	c.in.Close()
	c.await("offline")
}

func TestSlixmppWithSlixmpp(t *testing.T) {
	s := server(t)
	for _, w := range ways {
		t.Run(string(w), func(t *testing.T) {
			romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
			r, j := slixmppOnline(t, s, w, romeo), slixmppOnline(t, s, w, juliet)
			for _, body := range bodies {
				r.send(juliet, body)
				j.hears(romeo, body)
				j.send(r.jid, body)
				r.hears(juliet, body)
			}
			r.leave()
			j.leave()
		})
	}
}

func TestSlixmppWrongPassword(t *testing.T) {
	s := server(t)
	romeo := account(t, s, "romeo")
	for _, w := range ways {
		t.Run(string(w), func(t *testing.T) {
			c := startSlixmpp(t, s, w, romeo, "wrong")
			if e := c.await("refused"); e.Condition != "not-authorized" {
				t.Errorf("refused with %q", e.Condition)
			}
			c.await("offline")
		})
	}
}

func TestSlixmppRegistersAndRemoves(t *testing.T) {
	s := server(t)
	python := harness.RequirePython(t, "slixmpp", "python3-slixmpp")
	host, port := starttls.address(t, s)
	const jid = "balthasar@" + domain
	register := func(password string) *process {
		return begin(t, "register", nil, python, "testdata/register.py", jid, password, host, port, s.CA.File)
	}

	register(secret).await("registered")
	if e := register("other").await("refused"); e.Condition != "conflict" {
		t.Errorf("a second registration got %q", e.Condition)
	}

	c := slixmppOnline(t, s, starttls, jid)
	c.say(`{"remove": true}`)
	c.await("offline")

	startSlixmpp(t, s, starttls, jid, secret).await("refused")
	register("another").await("registered")
}
