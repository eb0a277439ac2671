package xmppc

import (
	"fmt"
	"strings"
)

// Bind binds a resource, or one of the server's choice for "" (RFC 6120 7),
// and keeps the JID that the server gave.
func (c *Conn) Bind(resource string) {
	c.t.Helper()
	inner := ""
	if resource != "" {
		inner = "<resource>" + resource + "</resource>"
	}
	res := c.IQ("set", "", "<bind xmlns='"+NSBind+"'>"+inner+"</bind>")
	c.JID = res.Child(NSBind, "bind").Child(NSBind, "jid").textOf()
	if c.JID == "" {
		c.t.Fatalf("bind: no JID in %s", res.Raw)
	}
}

func (e *Element) textOf() string {
	if e == nil {
		return ""
	}
	return e.Text
}

// Bare is the bare JID of the session.
func (c *Conn) Bare() string {
	bare, _, _ := strings.Cut(c.JID, "/")
	return bare
}

// Available sends initial presence with a priority and waits until the server
// has taken it.
func (c *Conn) Available(priority int) {
	c.t.Helper()
	c.Sendf("<presence><priority>%d</priority></presence>", priority)
	c.Sync("presence")
}

// IQ sends a request and wants its result next. An empty to is left out.
func (c *Conn) IQ(typ, to, payload string) *Element {
	c.t.Helper()
	res := c.Ask(typ, to, payload)
	if res.Attr("type") != "result" {
		c.t.Fatalf("%s: iq %s: want a result:\n%s", c.name(), typ, res.Raw)
	}
	return res
}

// IQError sends a request and wants an error with one of these conditions.
func (c *Conn) IQError(typ, to, payload string, conditions ...string) *Element {
	c.t.Helper()
	res := c.Ask(typ, to, payload)
	if res.Attr("type") != "error" || !oneOf(res.Condition(), conditions) {
		c.t.Fatalf("%s: iq %s: want an error %q:\n%s", c.name(), typ, conditions, res.Raw)
	}
	return res
}

// Ask sends a request and reads its answer, whichever it is. Presence that
// comes before the answer is passed over.
func (c *Conn) Ask(typ, to, payload string) *Element {
	c.t.Helper()
	id := nextID()
	addr := ""
	if to != "" {
		addr = " to='" + Escape(to) + "'"
	}
	c.Sendf("<iq type='%s' id='%s'%s>%s</iq>", typ, id, addr, payload)
	return c.Answer(id, "presence")
}

// Answer reads the answer to the iq with this id. Stanzas of the kinds named
// are passed over.
func (c *Conn) Answer(id string, skip ...string) *Element {
	c.t.Helper()
	for {
		e := c.Next()
		if e.Is(NSClient, "iq") && e.Attr("id") == id {
			return e
		}
		if e.Space != NSClient || !oneOf(e.Local, skip) {
			c.t.Fatalf("%s: got %s, want the answer to iq %s:\n%s", c.name(), e.Name(), id, e.Raw)
		}
	}
}

// Sync makes a round trip to the server, so that all that was sent before it
// has been handled, and nothing but the kinds named may come before the answer.
func (c *Conn) Sync(skip ...string) {
	c.t.Helper()
	id := nextID()
	c.Sendf("<iq type='get' id='%s' to='%s'><ping xmlns='%s'/></iq>", id, c.Domain, NSPing)
	c.Answer(id, skip...)
}

// Message reads the next element and wants a message with this body.
func (c *Conn) Message(body string) *Element {
	c.t.Helper()
	m := c.Expect(NSClient, "message")
	if m.Body() != body {
		c.t.Fatalf("%s: got a message with the body %q, want %q:\n%s", c.name(), m.Body(), body, m.Raw)
	}
	return m
}

// StanzaError reads the next element and wants an error of that kind and id
// with one of these conditions.
func (c *Conn) StanzaError(kind, id string, conditions ...string) *Element {
	c.t.Helper()
	e := c.Expect(NSClient, kind)
	if e.Attr("type") != "error" || e.Attr("id") != id || !oneOf(e.Condition(), conditions) {
		c.t.Fatalf("%s: want %s %s as error %q:\n%s", c.name(), kind, id, conditions, e.Raw)
	}
	return e
}

// StanzaErrorAmong is StanzaError where presence may come first.
func (c *Conn) StanzaErrorAmong(kind, id string, conditions ...string) *Element {
	c.t.Helper()
	for {
		e := c.Next()
		if e.Is(NSClient, "presence") && kind != "presence" {
			continue
		}
		if !e.Is(NSClient, kind) || e.Attr("type") != "error" || e.Attr("id") != id || !oneOf(e.Condition(), conditions) {
			c.t.Fatalf("%s: want %s %s as error %q:\n%s", c.name(), kind, id, conditions, e.Raw)
		}
		return e
	}
}

// Escape makes a string fit for an attribute or for text.
func Escape(s string) string { return escaper.Replace(s) }

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;", `"`, "&quot;")

func nextID() string { return fmt.Sprintf("id%d", ids.Add(1)) }
