package xmppc

import (
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
)

// Enable begins stream management with resumption (XEP-0198 3, 5) and returns
// the SM-ID. From here on Handled counts.
func (c *Conn) Enable() (id string) {
	c.t.Helper()
	c.Sendf("<enable xmlns='%s' resume='true'/>", NSSM)
	e := c.Expect(NSSM, "enabled")
	if id = e.Attr("id"); id == "" || !oneOf(e.Attr("resume"), []string{"true", "1"}) {
		c.t.Fatalf("%s: no resumption: %s", c.name(), e.Raw)
	}
	c.managed, c.Handled = true, 0
	return id
}

// Resume asks to go on with a session of before, of which h stanzas were
// handled (XEP-0198 5), and returns <resumed/> or <failed/>. With <resumed/>
// the connection has the JID that it is given, and counts on from h.
func (c *Conn) Resume(id string, h uint32, jid string) *Element {
	c.t.Helper()
	c.Sendf("<resume xmlns='%s' previd='%s' h='%d'/>", NSSM, Escape(id), h)
	e := c.Next()
	if e.Is(NSSM, "resumed") {
		if e.Attr("previd") != id {
			c.t.Fatalf("%s: resumed another session: %s", c.name(), e.Raw)
		}
		c.managed, c.Handled, c.JID = true, h, jid
	}
	return e
}

// AskCount sends <r/> and returns the server's count of what the client sent.
// Nothing else may come before it.
func (c *Conn) AskCount() uint32 {
	c.t.Helper()
	c.Sendf("<r xmlns='%s'/>", NSSM)
	return c.Count(c.Expect(NSSM, "a"))
}

// AwaitCount asks like AskCount, and reads what the server tells by itself until
// its count is h: it counts what is safe (XEP-0198 4), and tells when there is more.
func (c *Conn) AwaitCount(h uint32) {
	c.t.Helper()
	for got := c.AskCount(); got != h; got = c.Count(c.Expect(NSSM, "a")) {
		if int32(got-h) > 0 {
			c.t.Fatalf("%s: the server counts %d, want %d", c.name(), got, h)
		}
	}
}

// Count is the h of an element.
func (c *Conn) Count(e *Element) uint32 {
	c.t.Helper()
	h, err := strconv.ParseUint(e.Attr("h"), 10, 32)
	if err != nil {
		c.t.Fatalf("%s: no count in %s", c.name(), e.Raw)
	}
	return uint32(h)
}

// Ack acknowledges h stanzas.
func (c *Conn) Ack(h uint32) {
	c.t.Helper()
	c.Send(fmt.Sprintf("<a xmlns='%s' h='%d'/>", NSSM, h))
}

// TCP is the socket below, whether or not there is TLS.
func (c *Conn) TCP() *net.TCPConn {
	conn := c.net
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	return conn.(*net.TCPConn)
}

// Reset breaks the connection as a crash of the client's machine would: the
// server gets a reset, and no word of TLS.
func (c *Conn) Reset() {
	c.talk.note("C: -- reset --")
	tcp := c.TCP()
	tcp.SetLinger(0)
	tcp.Close()
}

// Hangup ends the connection below TLS: a FIN without a word of TLS or XMPP.
func (c *Conn) Hangup() {
	c.talk.note("C: -- end --")
	c.TCP().Close()
}
