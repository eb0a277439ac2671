package federation

import (
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const (
	password = "secret"
	within   = 40 * time.Second // what a user waits for: no test asserts on time
)

// client is a user who is there, with an available presence. All that comes is read at once,
// and kept.
type client struct {
	*xmppc.Conn
	t testing.TB
	s *server

	mu    sync.Mutex // guards what follows
	all   []*xmppc.Element
	ended bool
	grown chan struct{} // closed and replaced with each change

	next int // in all, behind what was awaited last
}

// client logs a user in, who is registered first if need be.
func (s *server) client(t testing.TB, user string) *client {
	t.Helper()
	conn := s.login(t, user)
	conn.Bind("here")
	c := s.begin(t, conn, nil)
	c.present()
	return c
}

// login is client up to where a resource is bound, or a session resumed.
func (s *server) login(t testing.TB, user string) *xmppc.Conn {
	t.Helper()
	conn := xmppc.Dial(t, s.addr(portC2S))
	conn.Open(s.domain)
	conn.StartTLS(&tls.Config{InsecureSkipVerify: true}) // other tests are about what servers show to clients
	e := conn.Ask("set", s.domain, fmt.Sprintf("<query xmlns='jabber:iq:register'><username>%s</username><password>%s</password></query>", user, password))
	if e.Attr("type") != "result" && e.Condition() != "conflict" {
		t.Fatalf("%s@%s can't register: %s", user, s.domain, e.Raw)
	}
	conn.Login(user, password)
	return conn
}

// begin reads what comes from now on. past is what came before, on another connection.
func (s *server) begin(t testing.TB, conn *xmppc.Conn, past []*xmppc.Element) *client {
	conn.Patience = time.Hour // await has the deadlines
	c := &client{Conn: conn, t: t, s: s, all: past, next: len(past), grown: make(chan struct{})}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for c.keep(c.TryNext()) {
		}
	}()
	t.Cleanup(func() {
		c.Drop()
		<-read
	})
	return c
}

// present is what a client does first.
func (c *client) present() {
	c.t.Helper()
	c.ask("roster", c.Bare(), "<query xmlns='"+xmppc.NSRoster+"'/>")
	c.Send("<presence/>")
	c.ask("present", c.Domain, "<ping xmlns='"+xmppc.NSPing+"'/>") // behind that
}

// managed is client with stream management (XEP-0198); id is that of its session.
func (s *server) managed(t testing.TB, user string) (c *client, id string) {
	t.Helper()
	conn := s.login(t, user)
	conn.Bind("here")
	id = conn.Enable()
	c = s.begin(t, conn, nil)
	c.present()
	return c, id
}

// back is the client on another connection: in the same session, or in a new one if that is gone.
func (c *client) back(user, id string) *client {
	c.t.Helper()
	past, ended, _ := c.seen()
	if !ended {
		c.t.Fatalf("%s: the connection did not end", c.JID)
	}
	conn := c.s.login(c.t, user)
	if e := conn.Resume(id, c.Handled, c.JID); e.Is(xmppc.NSSM, "resumed") {
		return c.s.begin(c.t, conn, past)
	}
	conn.Bind("here")
	again := c.s.begin(c.t, conn, past)
	again.present()
	return again
}

// keep adds what was read, and says whether there may be more.
func (c *client) keep(e *xmppc.Element, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.ended = true
	} else {
		c.all = append(c.all, e)
	}
	close(c.grown)
	c.grown = make(chan struct{})
	return err == nil
}

// seen returns all that has come so far, and a channel that is closed when there is more.
func (c *client) seen() (all []*xmppc.Element, ended bool, grown <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[:len(c.all):len(c.all)], c.ended, c.grown
}

// await returns the next stanza that is wanted, and passes others over.
func (c *client) await(what string, wanted func(*xmppc.Element) bool) (found *xmppc.Element) {
	c.t.Helper()
	c.until(what, func(all []*xmppc.Element) bool {
		for found == nil && c.next < len(all) {
			if e := all[c.next]; wanted(e) {
				found = e
			}
			c.next++
		}
		return found != nil
	})
	return found
}

// until waits until that holds for all that has come.
func (c *client) until(what string, holds func([]*xmppc.Element) bool) {
	c.t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		all, ended, grown := c.seen()
		if holds(all) {
			return
		}
		if ended {
			c.t.Fatalf("%s waits for %s: the connection ended. At last there was:\n%s", c.JID, what, latest(all))
		}
		select {
		case <-grown:
		case <-deadline.C:
			c.t.Fatalf("%s waits for %s in vain. At last there was:\n%s", c.JID, what, latest(all))
		}
	}
}

func latest(all []*xmppc.Element) string {
	var b strings.Builder
	for _, e := range all[max(0, len(all)-20):] {
		b.WriteString(e.Raw + "\n")
	}
	return b.String()
}

// say sends a message, whose body is its id.
func (c *client) say(to, body string) {
	c.t.Helper()
	c.Sendf("<message to='%s' type='chat' id='%s'><body>%s</body></message>", to, body, body)
}

// hear waits for a message with this body.
func (c *client) hear(from, body string) *xmppc.Element {
	c.t.Helper()
	return c.await("the message "+body, func(e *xmppc.Element) bool {
		return e.Local == "message" && e.Attr("from") == from && e.Attr("type") != "error" && e.Body() == body
	})
}

// talk has both say something that the other one hears.
func talk(a, b *client, words string) {
	a.t.Helper()
	a.say(b.JID, words)
	b.hear(a.JID, words)
	b.say(a.JID, words)
	a.hear(b.JID, words)
}

// refused waits for the error to a stanza, with one of these conditions.
func (c *client) refused(kind, id string, conditions ...string) {
	c.t.Helper()
	e := c.await("the error to "+id, func(e *xmppc.Element) bool {
		return e.Local == kind && (e.Attr("type") == "error" || kind == "iq" && e.Attr("type") == "result") && e.Attr("id") == id
	})
	for _, condition := range conditions {
		if e.Condition() == condition {
			return
		}
	}
	c.t.Errorf("%s: the error to %s is not %q: %s", c.JID, id, conditions, e.Raw)
}

// presence waits for one of this type; unavailable, subscribe, "" for available.
func (c *client) presence(from, kind string) *xmppc.Element {
	c.t.Helper()
	return c.await("presence "+kind+" of "+from, func(e *xmppc.Element) bool {
		return e.Local == "presence" && e.Attr("from") == from && e.Attr("type") == kind
	})
}

// ask sends a request, and returns its answer.
func (c *client) ask(id, to, payload string) *xmppc.Element {
	c.t.Helper()
	c.Sendf("<iq type='get' id='%s' to='%s'>%s</iq>", id, to, payload)
	return c.await("the answer to "+id, func(e *xmppc.Element) bool {
		return e.Local == "iq" && e.Attr("id") == id && (e.Attr("type") == "result" || e.Attr("type") == "error")
	})
}
