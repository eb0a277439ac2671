package chaos

import (
	"cmp"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// domain of all accounts, and the password of each.
const (
	domain   = "example.test"
	password = "secret"
	nsSM     = "urn:xmpp:sm:3"
)

// patience is how long a client waits for the server's next element.
const patience = 20 * time.Second

// client is a session with stream management that survives its connections, as
// far as the server lets it. It belongs to one goroutine.
type client struct {
	addr, user, resource string
	server               string // its domain; "": domain

	conn net.Conn
	dec  *xml.Decoder

	smID     string
	received uint32 // stanzas, on the session of smID
}

// element is any element, as far as this test looks into it.
type element struct {
	XMLName  xml.Name
	ID       string    `xml:"id,attr"`
	H        string    `xml:"h,attr"`
	Type     string    `xml:"type,attr"`
	From     string    `xml:"from,attr"`
	N        int       `xml:"n,attr"`
	PID      string    `xml:"pid,attr"`
	Body     string    `xml:"body"`
	Text     string    `xml:",chardata"`
	Children []element `xml:",any"`
}

func (e *element) is(local string) bool { return e.XMLName.Local == local }

// child returns the first child of that name, nil if there is none.
func (e *element) child(local string) *element {
	for i := range e.Children {
		if e.Children[i].is(local) {
			return &e.Children[i]
		}
	}
	return nil
}

// all returns the children of that name.
func (e *element) all(local string) (list []*element) {
	for i := range e.Children {
		if e.Children[i].is(local) {
			list = append(list, &e.Children[i])
		}
	}
	return list
}

func (e *element) stanza() bool { return e.is("message") || e.is("presence") || e.is("iq") }

// count returns h; ok is false if there is none.
func (e *element) count() (h uint32, ok bool) {
	n, err := strconv.ParseUint(e.H, 10, 32)
	return uint32(n), err == nil
}

var errUnexpected = errors.New("unexpected element")

func (c *client) send(format string, args ...any) error {
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := fmt.Fprintf(c.conn, format, args...)
	return err
}

// next reads the next element.
func (c *client) next() (*element, error) {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		tok, err := c.dec.Token()
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if tok.Name.Local == "stream" {
				continue
			}
			var e element
			if err := c.dec.DecodeElement(&e, &tok); err != nil {
				return nil, err
			}
			if e.is("error") && len(e.Children) > 0 && e.Children[0].is("system-shutdown") {
				return nil, io.EOF
			}
			if e.stanza() && c.smID != "" {
				c.received++
			}
			return &e, nil
		case xml.EndElement:
			return nil, io.EOF
		}
	}
}

// expect reads an element of this name.
func (c *client) expect(local string) (*element, error) {
	e, err := c.next()
	if err == nil && !e.is(local) {
		err = fmt.Errorf("%w: %s, not %s", errUnexpected, e.XMLName.Local, local)
	}
	return e, err
}

// open opens a stream and reads the features.
func (c *client) open() error {
	c.dec = xml.NewDecoder(c.conn)
	if err := c.send("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='%s' version='1.0'>", cmp.Or(c.server, domain)); err != nil {
		return err
	}
	_, err := c.expect("features")
	return err
}

// connect logs in, and goes on with the session of before if there is one. The
// result is <resumed/>, or <failed/> and a new session.
func (c *client) connect() (answer *element, err error) {
	if c.conn, err = net.DialTimeout("tcp", c.addr, patience); err != nil {
		return nil, err
	}
	old := c.smID
	c.smID = "" // nothing counts until the session is there
	defer func() {
		if err != nil {
			c.conn.Close()
			c.smID = old
		}
	}()
	if err := c.login(); err != nil {
		return nil, err
	}
	if old != "" {
		if err := c.send("<resume xmlns='%s' previd='%s' h='%d'/>", nsSM, old, c.received); err != nil {
			return nil, err
		}
		if answer, err = c.next(); err != nil {
			return nil, err
		}
		if answer.is("resumed") {
			c.smID = old
			if h, ok := answer.count(); ok && h == 0 { // the first stanza of a session did not arrive
				return answer, c.send("<presence/>")
			}
			return answer, nil
		}
	}
	if err := c.bind(); err != nil {
		return answer, err
	}
	return answer, c.send("<presence/>")
}

func (c *client) login() error {
	if err := c.open(); err != nil {
		return err
	}
	if err := c.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>",
		base64.StdEncoding.EncodeToString([]byte("\x00"+c.user+"\x00"+password))); err != nil {
		return err
	}
	if _, err := c.expect("success"); err != nil {
		return err
	}
	return c.open()
}

// bind begins a new session, with stream management.
func (c *client) bind() error {
	if err := c.bindResource(); err != nil {
		return err
	}
	if err := c.send("<enable xmlns='%s' resume='true'/>", nsSM); err != nil {
		return err
	}
	e, err := c.expect("enabled")
	if err != nil {
		return err
	}
	c.smID, c.received = e.ID, 0
	return nil
}

// bindResource begins a new session.
func (c *client) bindResource() error {
	if err := c.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>%s</resource></bind></iq>", c.resource); err != nil {
		return err
	}
	if e, err := c.expect("iq"); err != nil || e.Type != "result" {
		return fmt.Errorf("bind: %w", errors.Join(err, errUnexpected))
	}
	return nil
}

// register makes the account (XEP-0077).
func register(addr, user string) error { return (&client{addr: addr, user: user}).register() }

// register makes the account of a client that is not connected.
func (c *client) register() (err error) {
	if c.conn, err = net.DialTimeout("tcp", c.addr, patience); err != nil {
		return err
	}
	defer c.conn.Close()
	if err := c.open(); err != nil {
		return err
	}
	if err := c.send("<iq type='set' id='r'><query xmlns='jabber:iq:register'><username>%s</username><password>%s</password></query></iq>", c.user, password); err != nil {
		return err
	}
	e, err := c.expect("iq")
	if err == nil && e.Type != "result" {
		err = fmt.Errorf("register %s: %w", c.user, errUnexpected)
	}
	return err
}

// broken says whether an error is what a killed server causes.
func broken(err error) bool {
	var op *net.OpError
	var syntax *xml.SyntaxError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) ||
		errors.As(err, &syntax) && strings.Contains(syntax.Msg, "unexpected EOF")
}
