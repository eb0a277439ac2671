package core_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/transport"
)

const (
	wsOpen  = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.test' version='1.0'/>\x00"
	wsClose = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"
)

// webSocket returns a client whose stream is framed (RFC 7395).
func (w *world) webSocket(p transport.Peer) *client {
	c := &client{w: w}
	p.Framing, p.Addr = transport.FramingWebSocket, netip.MustParseAddrPort("192.0.2.1:1234")
	c.s = w.k.NewStream(p, c)
	w.t.Cleanup(c.drop)
	return c
}

// messages returns what the client got, one a message.
func (c *client) messages() []string {
	c.w.t.Helper()
	all := strings.Split(c.take(), "\x00")
	if last := all[len(all)-1]; last != "" {
		c.w.t.Fatalf("a message without its end: %q", last)
	}
	return all[:len(all)-1]
}

func (c *client) wantMessages(parts ...string) {
	c.w.t.Helper()
	got := c.messages()
	if len(got) != len(parts) {
		c.w.t.Fatalf("%d messages, want %d: %q", len(got), len(parts), got)
	}
	for i, part := range parts {
		if !strings.Contains(got[i], part) {
			c.w.t.Errorf("message %d is %q, wanted %q in it", i, got[i], part)
		}
	}
}

// logIn logs in by WebSocket.
func (c *client) logIn(user string) *client {
	c.send(wsOpen + plain(user, "pw") + "\x00" + wsOpen).messages()
	return c
}

func (c *client) bindTo(resource string) *client {
	c.send("<iq type='set' id='b' xmlns='jabber:client'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + resource + "</resource></bind></iq>\x00")
	return c
}

func TestFramedStream(t *testing.T) {
	w := newWorld(t, nil)
	c := w.webSocket(transport.Peer{Private: true})
	c.send(wsOpen)
	c.wantMessages("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='example.test' id='", "<stream:features xmlns:stream='http://etherx.jabber.org/streams'><mechanisms")
	c.send(plain("juliet", "pw") + "\x00")
	c.wantMessages("<success ")
	c.send(wsOpen)
	c.wantMessages("<open ", "<bind xmlns")
	c.bindTo("a").wantMessages("<iq xmlns='jabber:client' id='b' type='result'>")

	// From a stream that is one document, and back.
	romeo := w.login("romeo@example.test/x", "")
	romeo.send(say(1))
	c.wantMessages("<message xmlns='jabber:client' ")
	c.send("<message xmlns='jabber:client' to='romeo@example.test/x' id='2' type='chat'><body>2</body></message>\x00")
	romeo.want("<message from='juliet@example.test/a' to='romeo@example.test/x' id='2' type='chat'><body>2</body></message>")

	c.send(wsClose + "\x00")
	c.wantMessages(wsClose)
	if !c.closing {
		t.Error("the connection is left open")
	}
}

func TestFramedErrors(t *testing.T) {
	w := newWorld(t, nil)
	for in, want := range map[string]string{
		wsOpen + "<a xmlns='x'/><b xmlns='x'/>\x00": "not-authorized", // the first already
		"<message xmlns='jabber:client'/>\x00":      "bad-format",
		"\x00":                                      "bad-format",
		"<open xmlns='wrong'/>\x00":                 "invalid-namespace",
		strings.Replace(wsOpen, "example.test", "example.org", 1):          "host-unknown",
		wsOpen + "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\x00": "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
	} {
		c := w.webSocket(transport.Peer{TLS: &transport.TLS{Version: 0x304}})
		c.send(in)
		got := c.messages()
		n := len(got)
		if n < 3 || !strings.HasPrefix(got[0], "<open ") || !strings.Contains(got[n-2], want) || got[n-1] != wsClose {
			t.Errorf("%q: %q, wanted %s", in, got, want)
		}
	}
	// Nobody logs in where others can read along.
	c := w.webSocket(transport.Peer{})
	c.send(wsOpen)
	if got := c.messages(); strings.Contains(got[1], "mechanism") || strings.Contains(got[1], "starttls") {
		t.Errorf("%q", got)
	}
}

// A session goes from one transport to the other.
func TestFramedResume(t *testing.T) {
	w := newWorld(t, nil)
	c := w.login("juliet@example.test/a", "")
	id := c.manage()
	c.cut()
	w.login("romeo@example.test/x", "").send(say(1))

	ws := w.webSocket(transport.Peer{Private: true}).logIn("juliet")
	ws.send("<resume xmlns='urn:xmpp:sm:3' h='0' previd='" + id + "'/>\x00")
	ws.wantMessages("<resumed ", "<message xmlns='jabber:client' ", "<r xmlns='urn:xmpp:sm:3'/>")
	ws.cut()

	back := w.resume("juliet@example.test", id, 1)
	back.wantPart("<resumed ")
	w.login("romeo@example.test/y", "").send(say(2))
	back.wantPart("<message from='romeo@example.test/y'")
}
