package peerstream

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// events is a Handler that notes what it is told.
type events struct {
	mu       sync.Mutex
	list     []string
	changed  chan struct{}
	accept   error
	verify   func(p Pair, key string) error
	hold     bool // verifications have no end
	toWrite  []string
	fillFail error
}

func newEvents() *events { return &events{changed: make(chan struct{}, 1000)} }

func (h *events) note(format string, args ...any) {
	h.mu.Lock()
	h.list = append(h.list, fmt.Sprintf(format, args...))
	h.mu.Unlock()
	h.changed <- struct{}{}
}

func (h *events) until(t testing.TB, want string) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		h.mu.Lock()
		ok := slices.Contains(h.list, want)
		h.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-h.changed:
		case <-limit:
			t.Fatalf("%s is missing: %q", want, h.list)
		}
	}
}

func (h *events) Accept(_ *Stream, p Pair) error {
	h.note("accept %s %s", p.Local, p.Far)
	return h.accept
}
func (h *events) Verify(s *Stream, p Pair, key string, said func(error)) {
	h.note("verify %s %s %s", p.Local, p.Far, key)
	if !h.hold {
		go said(h.verify(p, key))
	}
}
func (h *events) Authorized(_ *Stream, p Pair, err error) {
	h.note("authorized %s %s %v", p.Local, p.Far, err)
}
func (h *events) Stanzas(_ *Stream, batch []*stanza.Stanza) error {
	for _, x := range batch {
		h.note("stanza %s", x.ID)
	}
	return nil
}
func (h *events) Management(_ *Stream, e *stanza.Element) error {
	h.note("management %s", e.Local)
	return nil
}
func (h *events) Fill(_ *Stream, dst []byte) ([]byte, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.toWrite {
		dst = append(dst, x...)
	}
	h.toWrite = nil
	return dst, false, h.fillFail
}
func (h *events) Wrote(*Stream, int)  {}
func (h *events) Tick(*Stream)        {}
func (h *events) Last(*Stream) string { return "" }

// certificates of the tests, which verify says are good for their DNS names.
var certificate = sync.OnceValue(func() *tls.Certificate {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"far.example", "ours.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, _ := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func testConfig() *Config {
	n := 0
	return &Config{
		Certificate: func(context.Context, string) (*tls.Certificate, error) { return certificate(), nil },
		Verify: func(_ context.Context, chain []*x509.Certificate, domain string) (string, error) {
			return "its name", chain[0].VerifyHostname(domain)
		},
		Ours: func(d string) bool { return d == "ours.example" || d == "rooms.ours.example" },
		Gone: func(d string) bool { return d == "gone.example" },
		Terms: func(far string) Terms {
			return Terms{Refused: far == "refused.example", NoTLS: !strings.HasPrefix(far, "tls"), Certificate: strings.HasPrefix(far, "certified")}
		},
		Key: func(receiving, originating, id string) string {
			return "key-" + receiving + "-" + originating + "-" + id
		},
		NewID:       func() string { n++; return fmt.Sprintf("id%d", n) },
		Before:      xmlstream.Limits{StanzaBytes: 1000, Depth: 5},
		Negotiation: 10 * time.Second, Dialback: 10 * time.Second, Write: 5 * time.Second, Idle: time.Minute, Closing: 200 * time.Millisecond, Tick: time.Minute,
		MaxPairs: 4, MaxQueued: 4096,
	}
}

// peer is the other side, written by the test.
type peer struct {
	t    testing.TB
	conn net.Conn
	read strings.Builder
	at   int
}

func (p *peer) say(text string) {
	p.t.Helper()
	_ = p.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, _ = p.conn.Write([]byte(text))
}

// hear reads until a text comes.
func (p *peer) hear(text string) {
	p.t.Helper()
	buf := make([]byte, 4096)
	for {
		if i := strings.Index(p.read.String()[p.at:], text); i >= 0 {
			p.at += i + len(text)
			return
		}
		_ = p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := p.conn.Read(buf)
		p.read.Write(buf[:n])
		if n == 0 && err != nil {
			p.t.Fatalf("%q does not come, but %q (%v)", text, p.read.String()[p.at:], err)
		}
	}
}

// end reads to the end.
func (p *peer) end() string {
	buf := make([]byte, 4096)
	for {
		_ = p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := p.conn.Read(buf)
		p.read.Write(buf[:n])
		if err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				p.t.Fatal("the connection has no end")
			}
			return p.read.String()[p.at:]
		}
	}
}

// receiver returns the peer of a stream that came in.
func receiver(t testing.TB, c *Config, h *events) (*peer, *Stream) {
	a, b := net.Pipe()
	s := Receive(b, c, h)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Run(context.Background(), false) }()
	t.Cleanup(func() {
		a.Close()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the stream does not end")
		}
	})
	return &peer{t: t, conn: a}, s
}

const open = "<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='ours.example' from='far.example'>"

func header(attributes string) string {
	return "<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams' " + attributes + ">"
}

// RFC 6120 4.9.3: each malformed input has its condition, behind a header, and an end.
func TestStreamErrors(t *testing.T) {
	for rule, row := range map[string]struct{ say, want string }{
		"4.9.3.1 bad-format":                             {open + "text", "bad-format"},
		"4.9.3.5 host-gone":                              {header("version='1.0' to='gone.example' from='far.example'"), "host-gone"},
		"4.9.3.6 host-unknown":                           {header("version='1.0' to='else.example' from='far.example'"), "host-unknown"},
		"4.9.3.7 improper-addressing, no to":             {header("version='1.0' from='far.example'"), "improper-addressing"},
		"4.9.3.7 improper-addressing, no domain":         {header("version='1.0' to='a@ours.example' from='far.example'"), "improper-addressing"},
		"4.9.3.9 invalid-from":                           {header("version='1.0' to='ours.example' from='a@far.example'"), "invalid-from"},
		"4.9.3.10 invalid-namespace, of the stream":      {strings.Replace(open, "etherx.jabber.org", "x", 1), "invalid-namespace"},
		"4.9.3.10 invalid-namespace, a client's":         {strings.Replace(open, "jabber:server'", "jabber:client'", 1), "invalid-namespace"},
		"4.9.3.12 not-authorized, a stanza":              {open + "<message from='a@far.example' to='b@ours.example'/>", "not-authorized"},
		"4.9.3.12 not-authorized, an element":            {open + "<x xmlns='urn:x'/>", "not-authorized"},
		"4.9.3.13 not-well-formed":                       {open + "<message></iq>", "not-well-formed"},
		"4.9.3.14 policy-violation, too large":           {open + "<message>" + strings.Repeat("x", 2000), "policy-violation"},
		"4.9.3.14 policy-violation, too deep":            {open + strings.Repeat("<a>", 20), "policy-violation"},
		"4.9.3.14 policy-violation, refused":             {header("version='1.0' to='ours.example' from='refused.example'"), "policy-violation"},
		"4.9.3.18 restricted-xml, entities":              {open + "<!DOCTYPE x [<!ENTITY a 'b'>]>", "restricted-xml"},
		"4.9.3.22 unsupported-encoding":                  {"<?xml version='1.0' encoding='latin1'?>" + open, "unsupported-encoding"},
		"4.9.3.25 unsupported-version":                   {header("version='x' to='ours.example' from='far.example'"), "unsupported-version"},
		"XEP-0220 2: no addresses":                       {open + "<db:result>key</db:result>", "improper-addressing"},
		"XEP-0288 2.2: nothing but domains authenticate": {open + "<db:other from='a' to='b'/>", "unsupported-stanza-type"},
	} {
		t.Run(rule, func(t *testing.T) {
			p, _ := receiver(t, testConfig(), newEvents())
			go p.say(row.say)
			got := p.end()
			if !strings.Contains(got, "<stream:stream ") || !strings.Contains(got, "<stream:error>") || !strings.Contains(got, row.want) || !strings.HasSuffix(got, "</stream:stream>") {
				t.Errorf("%s", got)
			}
		})
	}
}

// dialback makes a stream that the peer is authenticated on.
func dialback(t testing.TB, c *Config, h *events) (*peer, *Stream) {
	h.verify = func(_ Pair, key string) error {
		switch key {
		case "good":
			return nil
		case "bad":
			return ErrInvalid
		}
		return stanza.Err(stanza.RemoteServerNotFound, "")
	}
	p, s := receiver(t, c, h)
	p.say(open)
	p.hear("</stream:features>")
	p.say("<db:result from='far.example' to='ours.example'>good</db:result>")
	p.hear("<db:result from='ours.example' to='far.example' type='valid'/>")
	return p, s
}

// RFC 6120 8.1.1.2 and 8.1.2.2: addresses of stanzas; XEP-0220 2.2.1: only of pairs that are verified.
func TestAddressesOfStanzas(t *testing.T) {
	for rule, row := range map[string]struct{ stanza, want string }{
		"no to":                    {"<message from='a@far.example'/>", "improper-addressing"},
		"no from":                  {"<message to='a@ours.example'/>", "improper-addressing"},
		"a from that is none":      {"<message from='@' to='a@ours.example'/>", "improper-addressing"},
		"spoofed from":             {"<message from='a@other.example' to='a@ours.example'/>", "invalid-from"},
		"spoofed, ours":            {"<message from='a@ours.example' to='a@ours.example'/>", "invalid-from"},
		"a pair not verified":      {"<message from='a@far.example' to='a@rooms.ours.example'/>", "invalid-from"},
		"a domain that's not ours": {"<message from='a@far.example' to='a@else.example'/>", "host-unknown"},
		"no stanza":                {"<x xmlns='urn:x'/>", "unsupported-stanza-type"},
	} {
		t.Run(rule, func(t *testing.T) {
			h := newEvents()
			p, _ := dialback(t, testConfig(), h)
			go p.say("<message id='1' from='a@far.example' to='b@ours.example'/>" + row.stanza + "<message id='2' from='a@far.example' to='b@ours.example'/>")
			if got := p.end(); !strings.Contains(got, "<"+row.want) {
				t.Errorf("%s", got)
			}
			h.until(t, "stanza 1") // what was in order before is handed in
			if slices.Contains(h.list, "stanza 2") {
				t.Error("stanzas behind an error are taken")
			}
		})
	}
}

// XEP-0220 2.2 and 2.5, as the receiving and as the authoritative server.
func TestDialbackOfPeers(t *testing.T) {
	for rule, row := range map[string]struct {
		say, want string
		stays     bool
	}{
		"example 9 to 11: valid":                     {"<db:result from='two.example' to='ours.example'> good\n</db:result>", "<db:result from='ours.example' to='two.example' type='valid'/>", true},
		"example 10: not ours":                       {"<db:result from='two.example' to='else.example'>good</db:result>", "<db:result from='else.example' to='two.example' type='error'><error type='cancel'><item-not-found", true},
		"2.2.1: invalid, others are verified":        {"<db:result from='two.example' to='ours.example'>bad</db:result>", "type='error'><error type='cancel'><forbidden", true},
		"2.5: the authoritative server is not there": {"<db:result from='two.example' to='ours.example'>x</db:result>", "<remote-server-not-found", true},
		"2.5: TLS is required":                       {"<db:result from='tls.example' to='ours.example'>good</db:result>", "<policy-violation", true},
		"2.5: a certificate is required":             {"<db:result from='certified.example' to='ours.example'>good</db:result>", "<not-authorized", true},
		"2.5: refused":                               {"<db:result from='refused.example' to='ours.example'>good</db:result>", "<policy-violation", true},
		"examples 13 and 15: the key is ours":        {"<db:verify from='far.example' to='ours.example' id='x1'>key-far.example-ours.example-x1</db:verify>", "<db:verify from='ours.example' to='far.example' id='x1' type='valid'/>", true},
		"example 16: it is not":                      {"<db:verify from='far.example' to='ours.example' id='x1'>key</db:verify>", "<db:verify from='ours.example' to='far.example' id='x1' type='invalid'/>", true},
		"example 14: not ours":                       {"<db:verify from='far.example' to='else.example' id='x1'>key</db:verify>", "<db:verify from='else.example' to='far.example' id='x1' type='error'><error type='cancel'><item-not-found", true},
		"an id that would end the attribute":         {"<db:verify from='far.example' to='ours.example' id='&apos;/>'>key</db:verify>", "id='&apos;/&gt;'", true},
	} {
		t.Run(rule, func(t *testing.T) {
			h := newEvents()
			p, _ := dialback(t, testConfig(), h)
			p.say(row.say)
			p.hear(row.want)
			p.say("<message id='on' from='a@far.example' to='b@ours.example'/>")
			h.until(t, "stanza on")
		})
	}
}

// XEP-0220 2.2.1: the first pair is invalid: the stream ends.
func TestInvalidAtFirst(t *testing.T) {
	h := newEvents()
	h.verify = func(Pair, string) error { return ErrInvalid }
	p, _ := receiver(t, testConfig(), h)
	p.say(open)
	p.hear("<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>")
	p.say("<db:result from='far.example' to='ours.example'>bad</db:result>")
	p.hear("<db:result from='ours.example' to='far.example' type='invalid'/>")
	p.hear("</stream:stream>")
}

// XEP-0220 3.1: what nobody asked for is nothing.
func TestUnsolicitedDialback(t *testing.T) {
	h := newEvents()
	p, s := dialback(t, testConfig(), h)
	p.say("<db:result from='bank.example' to='ours.example' type='valid'/><db:verify from='bank.example' to='ours.example' id='" + s.ID() + "' type='valid'/>")
	p.say("<message id='1' from='a@far.example' to='b@ours.example'/>")
	h.until(t, "stanza 1")
	if s.May(Pair{"ours.example", "bank.example"}) || len(s.Pairs()) != 1 {
		t.Errorf("%v", s.Pairs())
	}
	p.say("<message id='2' from='a@bank.example' to='b@ours.example'/>")
	p.hear("<invalid-from")
}

// A stream has so many pairs, and so many that are being verified.
func TestPairsAreBounded(t *testing.T) {
	h := newEvents()
	p, _ := dialback(t, testConfig(), h)
	h.hold = true
	for i := range 3 {
		p.say(fmt.Sprintf("<db:result from='d%d.example' to='ours.example'>k</db:result>", i))
	}
	p.say("<db:result from='d9.example' to='ours.example'>k</db:result>")
	p.hear("<db:result from='ours.example' to='d9.example' type='error'><error type='cancel'><resource-constraint")
}

// A peer from before version 1.0: dialback as it was, without features (XEP-0220 2.4.1).
func TestOldVersion(t *testing.T) {
	h := newEvents()
	h.verify = func(Pair, string) error { return nil }
	p, _ := receiver(t, testConfig(), h)
	p.say(header(""))
	p.hear("xmlns:db='jabber:server:dialback'>")
	if got := p.read.String(); strings.Contains(got, "features") || strings.Contains(got, "version='1.0' ") && strings.Contains(got, "stream version") {
		t.Error(got)
	}
	p.say("<db:result from='far.example' to='ours.example'>good</db:result>")
	p.hear("type='valid'/>")
	p.say("<message id='1' from='a@far.example' to='b@ours.example'/>")
	h.until(t, "stanza 1")
}

// XEP-0288 2.2: behind the verification, and for pairs that are verified.
func TestBidi(t *testing.T) {
	h := newEvents()
	h.verify = func(Pair, string) error { return nil }
	p, s := receiver(t, testConfig(), h)
	p.say(open)
	p.hear("<bidi xmlns='urn:xmpp:features:bidi'/>")
	p.say("<bidi xmlns='urn:xmpp:bidi'/>")
	if s.May(Pair{"ours.example", "far.example"}) {
		t.Error("it may send before it is authenticated")
	}
	p.say("<db:result from='far.example' to='ours.example'>good</db:result>")
	p.hear("type='valid'/>")
	h.until(t, "authorized ours.example far.example <nil>")
	if !s.May(Pair{"ours.example", "far.example"}) || s.May(Pair{"rooms.ours.example", "far.example"}) {
		t.Error("pairs")
	}
	// example 5: a further domain of ours
	if err := s.Authorize(Pair{"rooms.ours.example", "far.example"}); err != nil {
		t.Fatal(err)
	}
	p.hear("<db:result from='rooms.ours.example' to='far.example'>key-far.example-rooms.ours.example-" + s.ID() + "</db:result>")
	p.say("<db:result from='far.example' to='rooms.ours.example' type='valid'/>")
	h.until(t, "authorized rooms.ours.example far.example <nil>")
	p.say("<bidi xmlns='urn:xmpp:bidi'/>")
	p.hear("<policy-violation")
}

// secured has the peer take TLS with a certificate, and returns it behind the second header.
func secured(t testing.TB, c *Config, h *events, from string, cert *tls.Certificate) (*peer, *Stream) {
	p, s := receiver(t, c, h)
	first := strings.Replace(open, "far.example", from, 1)
	p.say(first)
	p.hear("<starttls")
	p.hear("</stream:features>")
	p.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	p.hear("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	conf := &tls.Config{InsecureSkipVerify: true}
	if cert != nil {
		conf.Certificates = []tls.Certificate{*cert}
	}
	tc := tls.Client(p.conn, conf)
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	p.conn = tc
	p.say(first)
	return p, s
}

// XEP-0178 3.
func TestExternal(t *testing.T) {
	const auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>"
	for rule, row := range map[string]struct {
		from, auth, want string
		none             bool
	}{
		"example 26: =":             {"far.example", "=", "<success", false},
		"with authzid":              {"far.example", "ZmFyLmV4YW1wbGU=", "<success", false},
		"another authzid":           {"far.example", "b3Vycy5leGFtcGxl", "<invalid-authzid/>", false},
		"no base64":                 {"far.example", "???", "<incorrect-encoding/>", false},
		"the name of another":       {"bank.example", "=", "<not-authorized/>", false},
		"the name, said as authzid": {"bank.example", "ZmFyLmV4YW1wbGU=", "<not-authorized/>", false},
		"no certificate":            {"far.example", "=", "<not-authorized/>", true},
	} {
		t.Run(rule, func(t *testing.T) {
			h := newEvents()
			cert := certificate()
			if row.none {
				cert = nil
			}
			p, _ := secured(t, testConfig(), h, row.from, cert)
			p.hear("</stream:features>")
			good := row.from == "far.example" && !row.none
			if offered := strings.Contains(p.read.String(), "<mechanism>EXTERNAL</mechanism>"); offered != good {
				t.Errorf("EXTERNAL offered: %v", offered)
			}
			p.say(auth + row.auth + "</auth>")
			p.hear(row.want)
			if row.want != "<success" {
				h.verify = func(Pair, string) error { return nil } // example 28: dialback may follow
				p.say("<db:result from='" + row.from + "' to='ours.example'>good</db:result>")
				p.hear("type='valid'/>")
				return
			}
			p.say(open)
			p.hear("<sm xmlns='urn:xmpp:sm:3'/>")
			p.hear("</stream:features>")
			p.say("<message id='1' from='a@far.example' to='b@ours.example'/><message id='2' from='a@far.example' to='b@rooms.ours.example'/>")
			h.until(t, "stanza 2")
			p.say("<message id='3' from='a@bank.example' to='b@ours.example'/>")
			p.hear("<invalid-from")
		})
	}
}

// A valid certificate says more than a key: nobody is asked.
func TestDialbackWithCertificate(t *testing.T) {
	h := newEvents()
	p, _ := secured(t, testConfig(), h, "far.example", certificate())
	p.hear("</stream:features>")
	p.say("<db:result from='far.example' to='ours.example'>anything</db:result>")
	p.hear("<db:result from='ours.example' to='far.example' type='valid'/>")
	if slices.ContainsFunc(h.list, func(x string) bool { return strings.HasPrefix(x, "verify") }) {
		t.Error(h.list)
	}
}

// RFC 6120 5.4.3.3: what was said in the clear behind <starttls/> is not taken.
func TestNothingIsInjectedBeforeTLS(t *testing.T) {
	h := newEvents()
	h.verify = func(Pair, string) error { return nil }
	p, s := receiver(t, testConfig(), h)
	p.say(open)
	p.hear("</stream:features>")
	go p.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><db:result from='far.example' to='ours.example'>good</db:result>")
	p.hear("<proceed")
	p.conn.Close()
	if len(s.Pairs()) > 0 {
		t.Error("injected")
	}
}

// A peer that reads nothing and makes us answer is left.
func TestNeverReadingPeer(t *testing.T) {
	c := testConfig()
	c.Write = 100 * time.Millisecond
	h := newEvents()
	p, s := receiver(t, c, h)
	p.say(open)
	ask := strings.Repeat("<db:verify from='far.example' to='ours.example' id='x'>k</db:verify>", 100)
	for {
		_ = p.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
		if _, err := p.conn.Write([]byte(ask)); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				t.Error("it is not left")
			}
			break
		}
	}
	_ = s
}

// A peer that does not authenticate has so much time.
func TestNegotiationHasAnEnd(t *testing.T) {
	c := testConfig()
	c.Negotiation = 50 * time.Millisecond
	p, _ := receiver(t, c, newEvents())
	p.say(open)
	if got := p.end(); !strings.Contains(got, "<connection-timeout") {
		t.Error(got)
	}
}

// An idle stream is closed in good order.
func TestIdle(t *testing.T) {
	c := testConfig()
	c.Idle = 50 * time.Millisecond
	p, _ := dialback(t, c, newEvents())
	if got := p.end(); !strings.HasSuffix(got, "</stream:stream>") || strings.Contains(got, "error") {
		t.Error(got)
	}
}
