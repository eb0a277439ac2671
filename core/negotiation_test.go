package core_test

import (
	"context"
	"crypto/tls"
	"net/netip"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// wire is a client whose connection notes what the kernel asks of it.
type wire struct {
	client
	starttls int
	other    *other // set: another goroutine ends the stream, and the test drains
}

// other notes what is asked of a connection by another goroutine.
type other struct{ closed, flushed chan struct{} }

func (c *wire) Flush() {
	if c.other != nil {
		close(c.other.flushed)
		return
	}
	if c.s != nil { // nil: the kernel ends it before it is ours
		c.client.Flush()
	}
}

func (c *wire) StartTLS(string)       { c.starttls++ }
func (c *wire) Pause(d time.Duration) { c.client.Pause(d) }

func (c *wire) Close() {
	if c.other != nil {
		close(c.other.closed)
		return
	}
	c.client.Close()
}

// Kinds of connections.
var (
	inClear  = transport.Peer{Addr: netip.MustParseAddrPort("192.0.2.1:1234"), TLSAvailable: true}
	noTLS    = transport.Peer{Addr: netip.MustParseAddrPort("192.0.2.1:1234")}
	loopback = transport.Peer{Addr: netip.MustParseAddrPort("127.0.0.1:1234")}
	mapped   = transport.Peer{Addr: netip.MustParseAddrPort("[::ffff:127.0.0.1]:1234")}
	overTLS  = transport.Peer{Addr: netip.MustParseAddrPort("192.0.2.1:1234"), TLS: &transport.TLS{Version: tls.VersionTLS13}, TLSAvailable: true}
	bindable = transport.Peer{Addr: netip.MustParseAddrPort("192.0.2.1:1234"), TLS: &transport.TLS{
		Version: tls.VersionTLS13, EndPoint: []byte("hash of the certificate"),
		Exporter: func() ([]byte, error) { return []byte("octets of this connection"), nil },
	}}
)

func sni(name string) transport.Peer {
	p := overTLS
	p.TLS = &transport.TLS{Version: tls.VersionTLS13, ServerName: name}
	return p
}

func (w *world) dial(p transport.Peer) *wire {
	c := &wire{client: client{w: w}}
	c.s = w.k.NewStream(p, c)
	w.t.Cleanup(c.drop)
	return c
}

// secured tells the stream that the handshake is done.
func (c *wire) secured(t *transport.TLS) {
	var b transport.Batch
	c.s.Secured(&b, t)
	b.Flush()
}

func (c *client) tick(now time.Time) (next time.Time) {
	var b transport.Batch
	next = c.s.Tick(&b, now)
	b.Flush()
	c.reap()
	return next
}

// What a client sends and the server answers.
const (
	toUs = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.test' version='1.0'>"

	nsSASL   = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
	starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	proceed  = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	success  = "<success " + nsSASL + "></success>"
	end      = "</stream:stream>"

	scramOffer = "<mechanism>SCRAM-SHA-512</mechanism><mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism>"
	plusOffer  = "<mechanism>SCRAM-SHA-512-PLUS</mechanism><mechanism>SCRAM-SHA-256-PLUS</mechanism><mechanism>SCRAM-SHA-1-PLUS</mechanism>"
	plainOffer = "<mechanism>PLAIN</mechanism>"
	bindOffer  = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session><ver xmlns='urn:xmpp:features:rosterver'/><sm xmlns='urn:xmpp:sm:3'/><sub xmlns='urn:xmpp:features:pre-approval'/>" +
		"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://github.com/hexmpp/hexmpp' ver='aT7bRlKCWx7kjFDe0McgHfwfxkA='/></stream:features>" // of a server without extensions

	mustTLS = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"

	bindX     = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>x</resource></bind></iq>"
	boundX    = "<iq id='b' type='result'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>romeo@example.test/x</jid></bind></iq>"
	chatBadly = "<message to='juliet@example.test'><body>too early</body></message>"
)

func hello(to string) string {
	return "<?xml version='1.0'?><stream:stream from='example.test'" + to + " version='1.0' xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
}

func mechanisms(list string) string { return "<mechanisms " + nsSASL + ">" + list + "</mechanisms>" }

func features(list string) string { return "<stream:features>" + list + "</stream:features>" }

// loginOffer is what comes before login on a stream with TLS.
var loginOffer = features(mechanisms(scramOffer + plainOffer))

func failure(condition string) string {
	return "<failure " + nsSASL + "><" + condition + "/></failure>"
}

// fault is a stream error without text, and the end of the stream.
func fault(condition string) string { return faultText(condition, "") }

func faultText(condition, text string) string {
	if text != "" {
		text = "<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>" + text + "</text>"
	}
	return "<stream:error><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" + text + "</stream:error>" + end
}

// state is a place in the negotiation, and how a client gets there.
type state struct {
	name string
	peer transport.Peer
	sent []string
	tls  bool // the handshake comes behind what is sent
}

// states lists every state of a stream (RFC 6120 4.3).
var states = []state{
	{name: "connected", peer: inClear},
	{name: "half a header", peer: inClear, sent: []string{toUs[:40]}},
	{name: "opened in clear", peer: inClear, sent: []string{toUs}},
	{name: "TLS under way", peer: inClear, sent: []string{toUs, starttls}},
	{name: "encrypted", peer: inClear, sent: []string{toUs, starttls}, tls: true},
	{name: "opened", peer: overTLS, sent: []string{toUs}},
	{name: "exchange under way", peer: overTLS, sent: []string{toUs, "<auth " + nsSASL + " mechanism='PLAIN'/>"}},
	{name: "authenticated", peer: overTLS, sent: []string{toUs, plain("romeo", "pw")}},
	{name: "unbound", peer: overTLS, sent: []string{toUs, plain("romeo", "pw"), toUs}},
	{name: "bound", peer: overTLS, sent: []string{toUs, plain("romeo", "pw"), toUs, bindX}},
	{name: "available", peer: overTLS, sent: []string{toUs, plain("romeo", "pw"), toUs, bindX, "<presence/>"}},
	{name: "half a stanza", peer: overTLS, sent: []string{toUs, plain("romeo", "pw"), toUs, bindX, "<message to='juliet@exam"}},
}

// reach returns a client in this state, which has read what it was sent.
func (w *world) reach(s state) *wire {
	c := w.dial(s.peer)
	for _, xml := range s.sent {
		c.send(xml)
	}
	if s.tls {
		c.secured(&transport.TLS{Version: tls.VersionTLS13})
	}
	if c.closing {
		w.t.Fatalf("%s: the stream ended: %s", s.name, c.take())
	}
	c.take()
	return c
}

// step is what a client sends, and all that it gets for it.
type step struct{ send, want string }

// dialogue is a table row: what is said on one connection.
type dialogue struct {
	rule   string
	peer   transport.Peer
	change func(*core.Options, *core.Ports)
	steps  []step
	ends   bool // the server closes the connection behind the last step
}

func (d *dialogue) run(t *testing.T) {
	t.Helper()
	t.Run(d.rule, func(t *testing.T) {
		t.Helper()
		c := newWorld(t, d.change).dial(d.peer)
		for i, s := range d.steps {
			if c.closing {
				t.Fatalf("step %d: the stream has ended", i)
			}
			c.send(s.send)
			c.want(s.want)
		}
		if c.closing != d.ends {
			t.Errorf("closed: %v, want %v", c.closing, d.ends)
		}
	})
}

func runAll(t *testing.T, rows []dialogue) {
	t.Helper()
	for i := range rows {
		rows[i].run(t)
	}
}

func clearAllowed(o *core.Options, _ *core.Ports) { o.TLSRequired = false }

// empty checks that a kernel forgot all streams and sessions.
func (w *world) empty() {
	w.t.Helper()
	st, err := w.k.Status(context.Background())
	if err != nil || st.Streams != 0 || st.Sessions != 0 {
		w.t.Errorf("streams %d, sessions %d are left, %v", st.Streams, st.Sessions, err)
	}
}

func times(n int, s step) []step {
	out := make([]step, n)
	for i := range out {
		out[i] = s
	}
	return out
}

func concat(lists ...[]step) (out []step) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}
