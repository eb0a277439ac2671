package chaos

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	load "github.com/hexmpp/hexmpp/test/load/client"
)

// ending is what becomes of a connection that is cut.
type ending int

const (
	fin     ending = iota // an end of file
	rst                   // a reset
	silence               // nothing: the server takes it for alive until the client comes back
	endings
)

func (e ending) String() string { return [...]string{"fin", "rst", "silence"}[e] }

// direction says whose bytes are counted.
type direction int

const (
	fromClient direction = iota
	fromServer
)

func (d direction) String() string { return [...]string{"client", "server"}[d] }

// errCut is what the client sees of it.
var errCut = errors.New("the connection is cut")

// wire is a TCP connection that is cut behind a byte. It belongs to one goroutine.
type wire struct {
	net.Conn
	dir  direction
	how  ending
	at   int // bytes of dir, since arm; negative: never
	gone [2]int
	cut  bool
}

func dialWire(addr string) (*wire, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &wire{Conn: conn, at: -1}, nil
}

// arm has the connection cut behind n bytes of one side from now on.
func (w *wire) arm(dir direction, n int, how ending) {
	w.dir, w.at, w.how, w.gone = dir, n, how, [2]int{}
}

// left is how many bytes of a side still pass.
func (w *wire) left(dir direction) int {
	if w.at < 0 || w.dir != dir {
		return 1 << 30
	}
	return w.at - w.gone[dir]
}

func (w *wire) pass(dir direction, n int) {
	w.gone[dir] += n
	if w.left(dir) == 0 && !w.cut {
		w.cut = true
		switch w.how {
		case fin:
			w.Conn.Close()
		case rst:
			w.Conn.(*net.TCPConn).SetLinger(0)
			w.Conn.Close()
		}
	}
}

func (w *wire) Write(p []byte) (int, error) {
	w.pass(fromClient, 0)
	if w.cut {
		return 0, errCut
	}
	some := p[:min(len(p), w.left(fromClient))]
	n, err := w.Conn.Write(some)
	w.pass(fromClient, n)
	if err == nil && n < len(p) {
		err = errCut
	}
	return n, err
}

func (w *wire) Read(p []byte) (int, error) {
	w.pass(fromServer, 0)
	if w.cut {
		return 0, errCut
	}
	n, err := w.Conn.Read(p[:min(len(p), w.left(fromServer))])
	w.pass(fromServer, n)
	return n, err
}

// party is somebody who writes numbered messages to a peer and gets some from it,
// over as many connections as it takes, and knows at each moment what must not be
// lost, and what must not come again. It belongs to one goroutine.
type party struct {
	client
	peer   string      // user name
	full   bool        // every other message goes to the peer's full JID
	secure *tls.Config // for STARTTLS, and then SCRAM; nil for neither

	sent    int    // number of the last message that was sent
	last    int    // number of the last one that is to be sent
	unacked []int  // sent on this session, not acknowledged, in order; 0 is the presence
	base    uint32 // the server's count in front of them
	came    int    // number of the last message that came
	want    int    // number of the last one that is to come
}

// begin logs in on a connection, and resumes the session of before or makes one.
func (p *party) begin(conn net.Conn) error {
	p.conn = conn
	old := p.smID
	p.smID = "" // nothing counts until the session is there
	err := p.authenticate()
	switch {
	case err == nil && old == "":
		p.unacked, p.base = nil, 0
		if err := p.bind(); err != nil {
			return err
		}
		return p.put(0)
	case err == nil:
		err = p.resume(old)
	}
	p.smID = old
	if err != nil {
		return err
	}
	again := p.unacked
	p.unacked = nil
	for i, n := range again {
		if err := p.put(n); err != nil {
			p.unacked = append(p.unacked, again[i+1:]...)
			return err
		}
	}
	return nil
}

// resume asks for the session of before, which must be there.
func (p *party) resume(id string) error {
	if err := p.send("<resume xmlns='%s' previd='%s' h='%d'/>", nsSM, id, p.received); err != nil {
		return err
	}
	e, err := p.next()
	if err != nil {
		return err
	}
	if !e.is("resumed") {
		return fmt.Errorf("%w: %s h=%q for a session that waits to be resumed", errFault, e.XMLName.Local, e.H)
	}
	return p.acknowledged(e)
}

// errFault is what no broken connection explains.
var errFault = errors.New("the server broke its promise")

// authenticate goes as far as the features behind login.
func (p *party) authenticate() error {
	if p.secure == nil {
		return p.login()
	}
	if err := p.open(); err != nil {
		return err
	}
	if err := p.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"); err != nil {
		return err
	}
	if _, err := p.expect("proceed"); err != nil {
		return err
	}
	p.conn = tls.Client(p.conn, p.secure)
	if err := p.open(); err != nil {
		return err
	}
	if err := p.scram(); err != nil {
		return err
	}
	return p.open()
}

func (p *party) scram() error {
	const ns, mechanism = "urn:ietf:params:xml:ns:xmpp-sasl", "SCRAM-SHA-256"
	x, err := load.NewScram(mechanism, p.user, password)
	if err != nil {
		return err
	}
	if err := p.send("<auth xmlns='%s' mechanism='%s'>%s</auth>", ns, mechanism, base64.StdEncoding.EncodeToString([]byte(x.First()))); err != nil {
		return err
	}
	text, err := p.said("challenge")
	if err != nil {
		return err
	}
	final, err := x.Final(text)
	if err != nil {
		return err
	}
	if err := p.send("<response xmlns='%s'>%s</response>", ns, base64.StdEncoding.EncodeToString([]byte(final))); err != nil {
		return err
	}
	if text, err = p.said("success"); err != nil {
		return err
	}
	return x.Verify(text)
}

// said reads an element of SASL.
func (p *party) said(local string) (string, error) {
	e, err := p.expect(local)
	if err != nil {
		return "", err
	}
	text, err := base64.StdEncoding.DecodeString(e.Text)
	return string(text), err
}

// put sends a message, or the presence of a new session.
func (p *party) put(n int) error {
	p.unacked = append(p.unacked, n) // also if that fails: nobody knows what arrived
	if n == 0 {
		return p.send("<presence/>")
	}
	to := p.peer + "@" + domain
	if p.full && n%2 == 0 {
		to += "/r"
	}
	return p.send("<message to='%s' type='chat' id='%d'><body>%d</body></message><r xmlns='%s'/>", to, n, n, nsSM)
}

// acknowledged takes the server's count.
func (p *party) acknowledged(e *element) error {
	h, ok := e.count()
	if n := int32(h - p.base); !ok || n < 0 || int(n) > len(p.unacked) {
		return fmt.Errorf("%w: %s h=%q, where %d are acknowledged and %v are not", errFault, e.XMLName.Local, e.H, p.base, p.unacked)
	}
	p.unacked = p.unacked[h-p.base:]
	p.base = h
	return nil
}

// talk sends what is to be sent, and takes and acknowledges what comes, until all
// of it is acknowledged and has come.
func (p *party) talk() error {
	for p.sent < p.last {
		p.sent++
		if err := p.put(p.sent); err != nil {
			return err
		}
	}
	if len(p.unacked) > 0 {
		if err := p.send("<r xmlns='%s'/>", nsSM); err != nil {
			return err
		}
	}
	for len(p.unacked) > 0 || p.came < p.want {
		e, err := p.next()
		if err != nil {
			return err
		}
		if err := p.take(e); err != nil {
			return err
		}
	}
	return nil
}

// take handles what the server sent.
func (p *party) take(e *element) error {
	switch {
	case e.is("a"):
		return p.acknowledged(e)
	case e.is("message"):
		n, err := strconv.Atoi(strings.TrimSpace(e.Body))
		if err != nil || e.Type == "error" || n != p.came+1 {
			return fmt.Errorf("%w: message %q of type %q came behind %d", errFault, e.Body, e.Type, p.came)
		}
		p.came = n
	case e.is("error"):
		return fmt.Errorf("%w: a stream error: %+v", errFault, e.Children)
	}
	if e.stanza() || e.is("r") {
		return p.send("<a xmlns='%s' h='%d'/>", nsSM, p.received)
	}
	return nil
}

// quit ends the session in order. All that came was expected.
func (p *party) quit() error {
	if err := p.send("</stream:stream>"); err != nil {
		return err
	}
	for {
		e, err := p.next()
		if err == io.EOF {
			p.smID, p.unacked = "", nil
			return p.conn.Close()
		}
		if err != nil {
			return err
		}
		if e.is("message") {
			return fmt.Errorf("%w: message %q came behind %d, the last", errFault, e.Body, p.came)
		}
	}
}
