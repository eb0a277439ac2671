package client

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// Namespaces.
const (
	nsSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsTLS     = "urn:ietf:params:xml:ns:xmpp-tls"
	nsBind    = "urn:ietf:params:xml:ns:xmpp-bind"
	nsSession = "urn:ietf:params:xml:ns:xmpp-session"
	nsSM      = "urn:xmpp:sm:3"
)

// Server says which server to talk to, and how. Its methods may be called by any
// goroutine.
type Server struct {
	Addr, Domain string
	TLS          string        // none, starttls or direct
	Sources      int           // loopback addresses to connect from, 127.0.0.1 and on; 0: whichever the system takes
	Limit        time.Duration // after which a connection ends, whatever it does

	dialed atomic.Uint32
}

// conn is a connection before it is a Session.
type conn struct {
	net.Conn
	srv *Server
	sc  *Scanner
}

// dial connects, and goes as far as the features over which one may log in.
func (s *Server) dial() (*conn, []byte, error) {
	d := net.Dialer{Timeout: 30 * time.Second}
	if s.Sources > 0 {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1+byte(s.dialed.Add(1)%uint32(s.Sources)))}
	}
	tcp, err := d.Dial("tcp", s.Addr)
	if err != nil {
		return nil, nil, err
	}
	c := &conn{Conn: tcp, srv: s}
	c.SetDeadline(time.Now().Add(s.Limit))
	features, err := c.secure()
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, features, nil
}

func (c *conn) secure() (features []byte, err error) {
	if c.srv.TLS == "direct" {
		c.handshake("xmpp-client")
	}
	if features, err = c.open(); err != nil || c.srv.TLS != "starttls" {
		return features, err
	}
	if _, err := c.ask("proceed", "<starttls xmlns='%s'/>", nsTLS); err != nil {
		return nil, err
	}
	c.handshake()
	return c.open()
}

// handshake puts TLS on the connection. It is a tool for tests: it verifies nothing.
func (c *conn) handshake(protocols ...string) {
	c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, ServerName: c.srv.Domain, NextProtos: protocols})
}

func (c *conn) send(format string, args ...any) error {
	_, err := fmt.Fprintf(c, format, args...)
	return err
}

// next reads an element.
func (c *conn) next() ([]byte, error) {
	item, err := c.sc.Next()
	if err != nil {
		return nil, err
	}
	if name := Name(item); name == "stream:error" || name == "" {
		return nil, fmt.Errorf("client: the server ended the stream: %.500s", item)
	}
	return item, nil
}

// ask sends something, and reads the answer, which has this name.
func (c *conn) ask(answer, format string, args ...any) ([]byte, error) {
	if err := c.send(format, args...); err != nil {
		return nil, err
	}
	item, err := c.next()
	if err == nil && Name(item) != answer {
		err = fmt.Errorf("client: %.500s is no <%s/>", item, answer)
	}
	return item, err
}

// open opens a stream and returns its features.
func (c *conn) open() ([]byte, error) {
	c.sc = NewScanner(c)
	if _, err := c.ask("stream:stream", "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='%s' version='1.0'>", c.srv.Domain); err != nil {
		return nil, err
	}
	return c.next()
}

// iq sends a request and reads until its answer, which must be a result.
func (c *conn) iq(typ, id, payload string) ([]byte, error) {
	if err := c.send("<iq type='%s' id='%s'>%s</iq>", typ, id, payload); err != nil {
		return nil, err
	}
	for {
		item, err := c.next()
		if err != nil {
			return nil, err
		}
		if Name(item) != "iq" || Attr(item, "id") != id {
			continue
		}
		if Attr(item, "type") != "result" {
			err = fmt.Errorf("client: %.500s", item)
		}
		return item, err
	}
}

// ErrExists: there is such an account.
var ErrExists = errors.New("client: the account exists")

// Register makes an account (XEP-0077).
func (s *Server) Register(user, password string) error {
	c, _, err := s.dial()
	if err != nil {
		return fmt.Errorf("register %s: %w", user, err)
	}
	defer c.Close()
	item, err := c.iq("set", "reg", fmt.Sprintf("<query xmlns='jabber:iq:register'><username>%s</username><password>%s</password></query>", user, password))
	if err == nil {
		return c.send("</stream:stream>")
	}
	if strings.Contains(string(item), "<conflict") {
		err = ErrExists
	}
	return fmt.Errorf("register %s: %w", user, err)
}

// authenticate logs in by the best mechanism, and opens the stream behind it.
func (c *conn) authenticate(features []byte, user, password string) ([]byte, error) {
	offered, _ := Content(features, "mechanisms")
	for _, m := range mechanisms {
		if strings.Contains(offered, ">"+m.name+"<") {
			if err := c.scram(m.name, user, password); err != nil {
				return nil, err
			}
			return c.open()
		}
	}
	if _, err := c.ask("success", "<auth xmlns='%s' mechanism='PLAIN'>%s</auth>", nsSASL, encode("\x00"+user+"\x00"+password)); err != nil {
		return nil, err
	}
	return c.open()
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// said decodes an element of SASL.
func said(item []byte, name string) (string, error) {
	text, _ := Content(item, name)
	p, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	return string(p), err
}

func (c *conn) scram(mechanism, user, password string) error {
	x, err := NewScram(mechanism, user, password)
	if err != nil {
		return err
	}
	item, err := c.ask("challenge", "<auth xmlns='%s' mechanism='%s'>%s</auth>", nsSASL, mechanism, encode(x.First()))
	if err != nil {
		return err
	}
	text, err := said(item, "challenge")
	if err != nil {
		return err
	}
	final, err := x.Final(text)
	if err != nil {
		return err
	}
	if item, err = c.ask("success", "<response xmlns='%s'>%s</response>", nsSASL, encode(final)); err != nil {
		return err
	}
	if text, err = said(item, "success"); err != nil {
		return err
	}
	return x.Verify(text)
}

// bind binds a resource, and returns the full JID.
func (c *conn) bind(features []byte, resource string) (jid string, err error) {
	item, err := c.iq("set", "bind", "<bind xmlns='"+nsBind+"'><resource>"+resource+"</resource></bind>")
	if err != nil {
		return "", err
	}
	jid, ok := Content(item, "jid")
	if !ok {
		return "", fmt.Errorf("client: bound to nothing: %.500s", item)
	}
	if s, ok := Content(features, "session"); ok && !strings.Contains(s, "<optional") { // RFC 3921 3
		if _, err := c.iq("set", "sess", "<session xmlns='"+nsSession+"'/>"); err != nil {
			return "", err
		}
	}
	return jid, nil
}
