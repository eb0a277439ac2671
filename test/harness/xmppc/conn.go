package xmppc

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Timeout is how long the client waits for anything. It only ends hopeless
// tests: the race detector on a busy machine needs seconds now and then.
const Timeout = 15 * time.Second

// Conn is a client's side of one connection.
type Conn struct {
	Header   *Element // the server's latest stream header, without content
	Features *Element // the latest stream features
	JID      string   // the full JID, after Bind
	Peer     *tls.ConnectionState
	Domain   string // the domain of the latest Open
	Handled  uint32 // stanzas that were read under stream management

	// Patience is how long one read or write may take, in place of Timeout; 0 is Timeout.
	Patience time.Duration

	t    testing.TB
	net  net.Conn
	in   *recorder
	dec  *xml.Decoder
	talk transcript

	managed bool // stream management is on
}

// Dial connects by TCP. The connection is closed when the test ends.
func Dial(t testing.TB, addr string) *Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, Timeout)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	c := &Conn{t: t}
	c.attach(conn)
	t.Cleanup(func() {
		c.net.Close()
		if t.Failed() {
			t.Logf("dialogue of %s:\n%s", c.name(), &c.talk)
		}
	})
	return c
}

// DialTLS connects by direct TLS (XEP-0368), with the ALPN protocol xmpp-client
// if the configuration names none.
func DialTLS(t testing.TB, addr string, cfg *tls.Config) *Conn {
	t.Helper()
	c := Dial(t, addr)
	if cfg.NextProtos == nil {
		cfg = cfg.Clone()
		cfg.NextProtos = []string{"xmpp-client"}
	}
	if err := c.TryTLS(cfg); err != nil {
		t.Fatalf("direct TLS: %v", err)
	}
	return c
}

// TryTLS makes the handshake as the client, and changes nothing if it fails.
func (c *Conn) TryTLS(cfg *tls.Config) error {
	if n := c.in.Buffered(); n > 0 {
		return fmt.Errorf("the server sent %d bytes in clear before the handshake", n)
	}
	c.deadline()
	conn := tls.Client(c.net, cfg)
	if err := conn.Handshake(); err != nil {
		return err
	}
	c.talk.note("-- TLS --")
	state := conn.ConnectionState()
	c.Peer = &state
	c.attach(conn)
	return nil
}

func (c *Conn) attach(conn net.Conn) {
	c.net = conn
	c.in = &recorder{Reader: bufio.NewReader(conn)}
	c.restart()
}

// restart makes ready for a new document on the same bytes.
func (c *Conn) restart() {
	c.in.seen.Reset()
	c.in.dropped = 0
	c.dec = xml.NewDecoder(c.in)
}

func (c *Conn) deadline() {
	patience := Timeout
	if c.Patience > 0 {
		patience = c.Patience
	}
	c.net.SetDeadline(time.Now().Add(patience))
}

func (c *Conn) name() string {
	if c.JID != "" {
		return c.JID
	}
	return c.net.LocalAddr().String()
}

// Send writes bytes as they are, in one piece.
func (c *Conn) Send(text string) {
	c.t.Helper()
	if err := c.TrySend(text); err != nil {
		c.t.Fatalf("%s: send: %v", c.name(), err)
	}
}

// Sendf is Send with fmt.
func (c *Conn) Sendf(format string, args ...any) {
	c.t.Helper()
	c.Send(fmt.Sprintf(format, args...))
}

// TrySend is Send for a server that may have hung up.
func (c *Conn) TrySend(text string) error {
	c.talk.note("C: " + text)
	c.deadline()
	_, err := io.WriteString(c.net, text)
	return err
}

// Next reads the next element of the stream that is no request to acknowledge
// (XEP-0198 4), which may come at any time.
func (c *Conn) Next() *Element {
	c.t.Helper()
	return c.must(c.TryNext())
}

// NextOrAsk is Next, requests to acknowledge included.
func (c *Conn) NextOrAsk() *Element {
	c.t.Helper()
	return c.must(c.read())
}

func (c *Conn) must(e *Element, err error) *Element {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s: the server's next element: %v", c.name(), err)
	}
	return e
}

// TryNext is Next for a stream that may end: io.EOF stands for
// </stream:stream>, any other error for what the connection did.
func (c *Conn) TryNext() (*Element, error) {
	for {
		if e, err := c.read(); err != nil || !e.Is(NSSM, "r") {
			return e, err
		}
	}
}

func (c *Conn) read() (*Element, error) {
	c.deadline()
	for {
		start := c.dec.InputOffset()
		tok, err := c.dec.Token()
		if err != nil {
			c.talk.note("S: -- " + err.Error() + " --")
			return nil, fmt.Errorf("%w: %w", ErrConnection, err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			e, err := readElement(c.dec, tok)
			if err != nil {
				c.talk.note("S: -- " + err.Error() + " --")
				return nil, fmt.Errorf("%w: inside <%s>: %w", ErrConnection, tok.Name.Local, err)
			}
			e.Raw = c.in.cut(start, c.dec.InputOffset())
			c.talk.note("S: " + e.Raw)
			if c.managed && e.Space == NSClient {
				c.Handled++
			}
			return e, nil
		case xml.EndElement:
			c.talk.note("S: </stream:stream>")
			return nil, io.EOF
		case xml.CharData:
			if s := strings.TrimSpace(string(tok)); s != "" {
				return nil, fmt.Errorf("text between stanzas: %q", s)
			}
		default:
			return nil, fmt.Errorf("the server sent a %T, which RFC 6120 11.1 forbids", tok)
		}
	}
}

// ErrConnection says that the connection or its XML ended in mid-stream.
var ErrConnection = errors.New("the connection ended")

// readElement reads the content of an element whose start tag was read.
func readElement(dec *xml.Decoder, start xml.StartElement) (*Element, error) {
	e := &Element{Space: start.Name.Space, Local: start.Name.Local, Attrs: start.Copy().Attr}
	var text strings.Builder
	for {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			child, err := readElement(dec, tok)
			if err != nil {
				return nil, err
			}
			e.Children = append(e.Children, child)
		case xml.EndElement:
			e.Text = text.String()
			return e, nil
		case xml.CharData:
			text.Write(tok)
		default:
			return nil, fmt.Errorf("a %T, which RFC 6120 11.1 forbids", tok)
		}
	}
}

// Close ends the stream in good order and waits for the server to do the same.
func (c *Conn) Close() {
	c.t.Helper()
	c.Send("</stream:stream>")
	c.ExpectEnd()
}

// Drop closes the socket without a word.
func (c *Conn) Drop() { c.net.Close() }

// Net is the connection below, for what no method covers.
func (c *Conn) Net() net.Conn { return c.net }

// recorder feeds encoding/xml byte by byte, so that nothing is read ahead of
// the document, and keeps what was read since the last cut.
type recorder struct {
	*bufio.Reader
	seen    bytes.Buffer
	dropped int64 // bytes of the document before seen
}

func (r *recorder) ReadByte() (byte, error) {
	b, err := r.Reader.ReadByte()
	if err == nil {
		r.seen.WriteByte(b)
	}
	return b, err
}

// cut returns the bytes between two offsets of the document and forgets them.
func (r *recorder) cut(from, to int64) string {
	r.seen.Next(int(from - r.dropped))
	s := string(r.seen.Next(int(to - from)))
	r.dropped = to
	return s
}

// transcript keeps the latest lines of a dialogue.
type transcript struct {
	mu    sync.Mutex // guards lines: one goroutine may read while another one sends
	lines []string
}

const (
	transcriptLines = 200
	transcriptWidth = 2000
)

func (tr *transcript) note(line string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(line) > transcriptWidth {
		line = fmt.Sprintf("%s... (%d bytes)", line[:transcriptWidth], len(line))
	}
	if len(tr.lines) == transcriptLines {
		tr.lines = append(tr.lines[:0], tr.lines[transcriptLines/2:]...)
	}
	tr.lines = append(tr.lines, line)
}

func (tr *transcript) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return strings.Join(tr.lines, "\n")
}
