package xmppc

import (
	"crypto/tls"
	"encoding/xml"
	"fmt"
	"io"
)

// Open sends a stream header and reads the server's header and features.
func (c *Conn) Open(domain string) {
	c.t.Helper()
	c.SendHeader(domain)
	c.ExpectHeader()
	c.ExpectFeatures()
}

// SendHeader sends a stream header for the domain (RFC 6120 4.7), and starts
// to read a new document.
func (c *Conn) SendHeader(domain string) {
	c.t.Helper()
	c.Domain = domain
	c.SendOpening(fmt.Sprintf("<?xml version='1.0'?><stream:stream xmlns='%s' xmlns:stream='%s' to='%s' version='1.0' xml:lang='en'>",
		NSClient, NSStream, domain))
}

// SendOpening sends any bytes in place of a stream header.
func (c *Conn) SendOpening(text string) {
	c.t.Helper()
	c.restart()
	c.Send(text)
}

// ExpectHeader reads the server's stream header.
func (c *Conn) ExpectHeader() *Element {
	c.t.Helper()
	h, err := c.TryHeader()
	if err != nil {
		c.t.Fatalf("%s: the server's stream header: %v", c.name(), err)
	}
	return h
}

// TryHeader reads the server's stream header, which may not come.
func (c *Conn) TryHeader() (*Element, error) {
	c.deadline()
	for {
		start := c.dec.InputOffset()
		tok, err := c.dec.Token()
		if err != nil {
			c.talk.note("S: -- " + err.Error() + " --")
			return nil, fmt.Errorf("%w: %v", ErrConnection, err)
		}
		switch tok := tok.(type) {
		case xml.ProcInst: // the XML declaration
		case xml.CharData:
		case xml.StartElement:
			if tok.Name.Space != NSStream || tok.Name.Local != "stream" {
				return nil, fmt.Errorf("the server opened with {%s}%s", tok.Name.Space, tok.Name.Local)
			}
			c.Header = &Element{Space: tok.Name.Space, Local: tok.Name.Local, Attrs: tok.Copy().Attr}
			c.Header.Raw = c.in.cut(start, c.dec.InputOffset())
			c.talk.note("S: " + c.Header.Raw)
			return c.Header, nil
		default:
			return nil, fmt.Errorf("the server opened with a %T", tok)
		}
	}
}

// ExpectFeatures reads the stream features.
func (c *Conn) ExpectFeatures() *Element {
	c.t.Helper()
	c.Features = c.Expect(NSStream, "features")
	return c.Features
}

// Expect reads the next element and wants it to have this name.
func (c *Conn) Expect(space, local string) *Element {
	c.t.Helper()
	e := c.Next()
	if !e.Is(space, local) {
		c.t.Fatalf("%s: got %s, want {%s}%s:\n%s", c.name(), e.Name(), space, local, e.Raw)
	}
	return e
}

// StartTLS negotiates TLS (RFC 6120 5) after Open, and opens the stream anew.
func (c *Conn) StartTLS(cfg *tls.Config) {
	c.t.Helper()
	c.Send("<starttls xmlns='" + NSTLS + "'/>")
	c.Expect(NSTLS, "proceed")
	if err := c.TryTLS(cfg); err != nil {
		c.t.Fatalf("%s: STARTTLS: %v", c.name(), err)
	}
	c.Open(c.Domain)
}

// ExpectStreamError reads a stream error with one of these conditions, the
// closing tag and the end of the connection (RFC 6120 4.9.1.1).
func (c *Conn) ExpectStreamError(conditions ...string) *Element {
	c.t.Helper()
	e := c.Expect(NSStream, "error")
	if !oneOf(e.Condition(), conditions) {
		c.t.Fatalf("%s: stream error %q, want %q:\n%s", c.name(), e.Condition(), conditions, e.Raw)
	}
	if _, err := c.TryNext(); err != io.EOF {
		c.t.Fatalf("%s: after a stream error </stream:stream> is due (RFC 6120 4.9.1.1), not %v", c.name(), err)
	}
	c.ExpectHangup()
	return e
}

// ExpectEnd reads </stream:stream> and the end of the connection.
func (c *Conn) ExpectEnd() {
	c.t.Helper()
	if e, err := c.TryNext(); err != io.EOF {
		c.t.Fatalf("%s: got %s (%v), want </stream:stream>", c.name(), e.Name(), err)
	}
	c.ExpectHangup()
}

// ExpectHangup wants the server to close the connection and to send nothing
// more. A reset counts: the client may have sent what nobody read.
func (c *Conn) ExpectHangup() {
	c.t.Helper()
	c.deadline()
	rest, err := io.ReadAll(c.in)
	if ne, ok := err.(interface{ Timeout() bool }); ok && ne.Timeout() {
		c.t.Fatalf("%s: the server keeps the connection open", c.name())
	}
	if len(rest) > 0 {
		c.t.Fatalf("%s: after the end the server sent %q", c.name(), rest)
	}
	c.talk.note("S: -- closed --")
}

func oneOf(s string, allowed []string) bool {
	for _, a := range allowed {
		if s == a {
			return true
		}
	}
	return false
}
