package websocket

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

// patience bounds each wait for the server.
const patience = 20 * time.Second

const (
	open  = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='" + domain + "' version='1.0'/>"
	ended = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"

	fin          = 0x80
	text         = 1
	binaryFrame  = 2
	closeFrame   = 8
	ping, pong   = 9, 10
	continuation = 0
)

// request asks for a WebSocket with these headers changed ("" leaves one out).
func request(t testing.TB, s *harness.Server, change map[string]string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	nc, err := net.DialTimeout("tcp", s.HTTP, patience)
	if err != nil {
		t.Fatal(err)
	}
	r, answer := ask(t, nc, s.HTTP, change)
	return nc, r, answer
}

// ask is request on a connection that is there.
func ask(t testing.TB, nc net.Conn, host string, change map[string]string) (*bufio.Reader, *http.Response) {
	t.Helper()
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	headers := map[string]string{
		"Host": host, "Connection": "keep-alive, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "xmpp",
	}
	for k, v := range change {
		headers[k] = v
	}
	var b strings.Builder
	b.WriteString("GET " + path + " HTTP/1.1\r\n")
	for k, v := range headers {
		if v != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", k, v)
		}
	}
	if _, err := io.WriteString(nc, b.String()+"\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(nc)
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r, answer
}

func TestRequests(t *testing.T) {
	s := server(t)
	for _, c := range []struct {
		name   string
		change map[string]string
		want   int
	}{
		{"good", nil, 101},
		{"several subprotocols", map[string]string{"Sec-WebSocket-Protocol": "chat, xmpp"}, 101},
		{"same origin", map[string]string{"Origin": "http://" + s.HTTP}, 101},
		{"allowed origin", map[string]string{"Origin": "https://chat.example.net"}, 101},
		{"other origin", map[string]string{"Origin": "https://evil.example"}, 403},
		{"no origin at all", map[string]string{"Origin": "null"}, 403},
		{"no subprotocol", map[string]string{"Sec-WebSocket-Protocol": ""}, 400},
		{"another subprotocol", map[string]string{"Sec-WebSocket-Protocol": "chat"}, 400},
		{"no upgrade", map[string]string{"Upgrade": "", "Connection": "keep-alive"}, 426},
		{"old version", map[string]string{"Sec-WebSocket-Version": "8"}, 426},
		{"no key", map[string]string{"Sec-WebSocket-Key": ""}, 400},
		{"short key", map[string]string{"Sec-WebSocket-Key": "AAAA"}, 400},
	} {
		_, _, answer := request(t, s, c.change)
		if answer.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", c.name, answer.StatusCode, c.want)
		}
		if c.want == 101 && (answer.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || answer.Header.Get("Sec-WebSocket-Protocol") != "xmpp" ||
			answer.Header.Get("Sec-WebSocket-Extensions") != "") { // the accept is that of RFC 6455 1.3
			t.Errorf("%s: %v", c.name, answer.Header)
		}
	}
}

// client speaks WebSocket frame by frame.
type client struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func dial(t testing.TB, s *harness.Server, change map[string]string) *client {
	t.Helper()
	nc, r, answer := request(t, s, change)
	if answer.StatusCode != 101 {
		t.Fatal(answer.Status)
	}
	return &client{t, nc, r}
}

func frame(first byte, payload string) []byte {
	f := []byte{first}
	switch n := len(payload); {
	case n < 126:
		f = append(f, 0x80|byte(n))
	case n < 1<<16:
		f = binary.BigEndian.AppendUint16(append(f, 0x80|126), uint16(n))
	default:
		f = binary.BigEndian.AppendUint64(append(f, 0x80|127), uint64(n))
	}
	mask := []byte{7, 1, 0x80, 0xFF}
	f = append(f, mask...)
	for i := range len(payload) {
		f = append(f, payload[i]^mask[i%4])
	}
	return f
}

func (c *client) write(p []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(p); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) say(messages ...string) *client {
	c.t.Helper()
	for _, m := range messages {
		c.write(frame(fin|text, m))
	}
	return c
}

// next returns the next frame; op is 0 at the end of the connection.
func (c *client) next() (op byte, payload string) {
	c.t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(c.r, head); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "reset") {
			return 0, ""
		}
		c.t.Fatal(err)
	}
	n := uint64(head[1])
	switch {
	case head[0]&0xF0 != fin:
		c.t.Fatalf("a frame begins with %x", head[0])
	case n == 126:
		n = 0
		for range 2 {
			b, _ := c.r.ReadByte()
			n = n<<8 | uint64(b)
		}
	case n == 127:
		n = 0
		for range 8 {
			b, _ := c.r.ReadByte()
			n = n<<8 | uint64(b)
		}
	case n > 127:
		c.t.Fatal("a masked frame of a server")
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(c.r, p); err != nil {
		c.t.Fatal(err)
	}
	return head[0] & 0xF, string(p)
}

// until reads messages to the first that has part in it.
func (c *client) until(part string) string {
	c.t.Helper()
	var seen []string
	for {
		op, p := c.next()
		if op == 0 || op == closeFrame {
			c.t.Fatalf("%q did not come: %d %q, behind %q", part, op, p, seen)
		}
		if op == text && strings.Contains(p, part) {
			return p
		}
		seen = append(seen, p)
	}
}

// rest reads to the end and returns the last message and the status of the Close.
func (c *client) rest() (messages []string, status int) {
	c.t.Helper()
	for {
		op, p := c.next()
		switch {
		case op == 0:
			return messages, status
		case op == closeFrame && len(p) >= 2:
			status = int(p[0])<<8 | int(p[1])
		case op == closeFrame:
			status = 1005
		case op == text && status != 0:
			c.t.Errorf("behind the Close: %q", p)
		case op == text:
			messages = append(messages, p)
		}
	}
}

func (c *client) logIn(user, resource string) *client {
	c.t.Helper()
	c.say(open)
	c.until("<mechanism>PLAIN<")
	c.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+secret)) + "</auth>")
	c.until("<success")
	c.say(open)
	c.until("<bind")
	if resource != "" {
		c.say("<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + resource + "</resource></bind></iq>")
		c.until("id='bind'")
	}
	return c
}

func TestHostileFrames(t *testing.T) {
	s := server(t)
	big := "<message xmlns='jabber:client'><body>" + strings.Repeat("x", 300<<10) + "</body></message>"
	for _, c := range []struct {
		name   string
		login  bool
		in     []byte
		error  string // in the last message but one
		status int
	}{
		{"binary", true, frame(fin|binaryFrame, "<a/>"), "", 1003},
		{"unmasked", true, append([]byte{fin | text, 4}, "<a/>"...), "", 1002},
		{"compressed though not agreed", true, frame(fin|0x40|text, "x"), "", 1002},
		{"ping too long", true, frame(fin|ping, strings.Repeat("x", 126)), "", 1002},
		{"continuation of nothing", true, frame(fin|continuation, "x"), "", 1002},
		{"two elements", true, frame(fin|text, "<r xmlns='urn:xmpp:sm:3'/><r xmlns='urn:xmpp:sm:3'/>"), "bad-format", 1000},
		{"none", true, frame(fin|text, ""), "bad-format", 1000},
		{"white space", true, frame(fin|text, " "), "bad-format", 1000},
		{"a part", true, frame(fin|text, "<message xmlns='jabber:client'>"), "not-well-formed", 1000},
		{"zero byte", true, frame(fin|text, "<message xmlns='jabber:client'>\x00</message>"), "not-well-formed", 1000},
		{"no UTF-8", true, frame(fin|text, "<message xmlns='jabber:client'><body>\xff</body></message>"), "encoding", 1000},
		{"document type", true, frame(fin|text, "<!DOCTYPE a><message xmlns='jabber:client'/>"), "restricted-xml", 1000},
		{"too big", true, frame(fin|text, big), "policy-violation", 1000},
		{"too big before login", false, frame(fin|text, big), "policy-violation", 1000},
		{"TCP's header", false, frame(fin|text, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='"+domain+"' version='1.0'>"), "not-well-formed", 1000},
		{"no header", false, frame(fin|text, "<message xmlns='jabber:client'/>"), "bad-format", 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			ws := dial(t, s, nil)
			if c.login {
				ws.logIn("c", "hostile")
			}
			go ws.nc.Write(c.in) // what is too big is not read to its end
			got, status := ws.rest()
			n := len(got)
			if status != c.status {
				t.Errorf("closed with %d, want %d: %q", status, c.status, got)
			}
			if c.error != "" && (n < 2 || !strings.Contains(got[n-2], c.error) || got[n-1] != ended) {
				t.Errorf("%q, want %s", got, c.error)
			}
		})
	}
	dial(t, s, nil).logIn("c", "harmless").say("<iq xmlns='jabber:client' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>").until("id='1'")
}

// TestPieces: a message byte by byte, in fragments, and with pings in between.
func TestPieces(t *testing.T) {
	s := server(t)
	c := dial(t, s, nil).logIn("a", "pieces")
	iq := "<iq xmlns='jabber:client' type='get' id='slow'><ping xmlns='urn:xmpp:ping'/></iq>"
	for _, b := range frame(fin|text, iq) {
		c.write([]byte{b})
	}
	c.until("id='slow'")
	for i := range iq {
		first := byte(continuation)
		if i == 0 {
			first = text
		}
		c.write(frame(first, iq[i:i+1]))
		if i == 9 {
			c.write(frame(fin|ping, "hello"))
		}
	}
	c.write(frame(fin|continuation, ""))
	if op, p := c.next(); op != pong || p != "hello" {
		t.Errorf("%d %q", op, p)
	}
	c.until("id='slow'")
	c.say(ended)
	if got, status := c.rest(); status != 1000 || len(got) != 1 || got[0] != ended {
		t.Errorf("%q %d", got, status)
	}
}

// TestPageUnloads: a page that goes away closes with 1001 and no <close/>; its session can be
// resumed, and what it had sent before is not lost.
func TestPageUnloads(t *testing.T) {
	s := server(t)
	b := dial(t, s, nil).logIn("b", "stays")
	a := dial(t, s, nil).logIn("a", "page")
	a.say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	_, id, _ := strings.Cut(a.until("<enabled "), " id='")
	id, _, _ = strings.Cut(id, "'")
	var last []byte
	for i := range 50 {
		last = append(last, frame(fin|text, fmt.Sprintf("<message xmlns='jabber:client' to='b@%s/stays' type='chat'><body>%d.</body></message>", domain, i))...)
	}
	a.write(append(last, frame(fin|closeFrame, "\x03\xe9")...))
	if _, status := a.rest(); status != 1001 {
		t.Errorf("the Close is answered with %d", status)
	}
	for i := range 50 {
		b.until(fmt.Sprintf("<body>%d.<", i))
	}
	b.say("<message xmlns='jabber:client' to='a@" + domain + "/page' type='chat'><body>meanwhile</body></message>")

	back := dial(t, s, nil).logIn("a", "")
	back.say("<resume xmlns='urn:xmpp:sm:3' h='0' previd='" + id + "'/>")
	if got := back.until("<resumed "); !strings.Contains(got, "h='50'") {
		t.Error(got)
	}
	back.until("meanwhile")
}

// TestBehindProxy: who a proxy on this machine speaks for logs in where it says that
// they came by HTTPS, and not otherwise.
func TestBehindProxy(t *testing.T) {
	s := server(t)
	secure := dial(t, s, map[string]string{"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https"})
	secure.logIn("a", "proxied")
	clear := dial(t, s, map[string]string{"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "http"})
	clear.say(open)
	if features := clear.until("<stream:features"); strings.Contains(features, "mechanism") {
		t.Errorf("a login in clear: %s", features)
	}
}
