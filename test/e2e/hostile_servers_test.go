package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const (
	nsServer   = "jabber:server"
	nsDialback = "jabber:server:dialback"
)

// attacked is a server that federates with a good one and with bad ones.
type attacked struct {
	*harness.Server
	s2s           string // where other servers connect
	evil          tls.Certificate
	romeo, juliet *xmppc.Conn // at the attacked server, and at the good one
	said          int
}

const (
	attackedDomain = "a.example.test"
	goodDomain     = "b.example.test"
)

func newAttacked(t *testing.T) *attacked {
	t.Helper()
	dir := t.TempDir()
	ca, err := harness.NewCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Issue(dir, "evil.test"); err != nil {
		t.Fatal(err)
	}
	x := &attacked{}
	if x.evil, err = tls.LoadX509KeyPair(filepath.Join(dir, "evil.test.crt"), filepath.Join(dir, "evil.test.key")); err != nil {
		t.Fatal(err)
	}
	addrs, err := harness.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	x.s2s = addrs[0]
	x.Server = harness.Start(t, harness.Config{Domains: []string{attackedDomain}, S2S: addrs[0], Extra: fmt.Sprintf(
		"s2s: {connect-time: 5s, ca-files: [%q], overrides: {%s: %q, evil.test: %q, sub.evil.test: %q}}\n", ca.File, goodDomain, addrs[1], deaf(t), deaf(t))})
	good := harness.Start(t, harness.Config{Domains: []string{goodDomain}, S2S: addrs[1], Extra: fmt.Sprintf("s2s: {overrides: {%s: %q}}\n", attackedDomain, addrs[0])})
	x.romeo, x.juliet = newcomer(t, x.Server, "romeo"), newcomer(t, good, "juliet")
	x.talk(t)
	return x
}

// newcomer is a client that is available.
func newcomer(t *testing.T, s *harness.Server, user string) *xmppc.Conn {
	t.Helper()
	s.MustAddUser(t, user+"@"+s.Domain, "secret")
	c := xmppc.Dial(t, s.C2S)
	c.Open(s.Domain)
	c.StartTLS(s.CA.TLS(s.Domain))
	c.Login(user, "secret")
	c.Bind("x")
	c.Available(0)
	return c
}

// deaf is the address of a server that takes connections, and neither reads nor says anything.
func deaf(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var all []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			all = append(all, c)
		}
		for _, c := range all {
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// talk: those who talk with the good server do so as ever, and get nothing else.
func (x *attacked) talk(t *testing.T) {
	t.Helper()
	x.said++
	for _, way := range []struct {
		from, to *xmppc.Conn
		address  string
	}{{x.romeo, x.juliet, "juliet@" + goodDomain}, {x.juliet, x.romeo, "romeo@" + attackedDomain}} {
		way.from.Sendf("<message to='%s' type='chat' id='m%d'><body>%d</body></message>", way.address, x.said, x.said)
		if m := way.to.Message(fmt.Sprint(x.said)); m.Attr("id") != fmt.Sprint("m", x.said) {
			t.Fatalf("it has the id %q", m.Attr("id"))
		}
	}
}

// logged waits for a line of the log that has all these words.
func (x *attacked) logged(t *testing.T, words ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := x.Log.Await(ctx, func(log string) bool {
		for line := range strings.Lines(log) {
			has := true
			for _, w := range words {
				has = has && strings.Contains(line, w)
			}
			if has {
				return true
			}
		}
		return false
	}); err != nil {
		t.Errorf("the log has no line with %q: %v", words, err)
	}
}

func (x *attacked) header(c *xmppc.Conn, from string) {
	c.SendOpening(fmt.Sprintf("<?xml version='1.0'?><stream:stream xmlns='%s' xmlns:stream='%s' xmlns:db='%s' from='%s' to='%s' version='1.0'>",
		nsServer, xmppc.NSStream, nsDialback, from, attackedDomain))
}

// encrypted is a stream from a server that says it is from, with TLS and without authentication.
func (x *attacked) encrypted(t *testing.T, from string, certificates ...tls.Certificate) *xmppc.Conn {
	t.Helper()
	c := xmppc.Dial(t, x.s2s)
	x.header(c, from)
	c.ExpectHeader()
	c.ExpectFeatures()
	c.Send("<starttls xmlns='" + xmppc.NSTLS + "'/>")
	c.Expect(xmppc.NSTLS, "proceed")
	if err := c.TryTLS(&tls.Config{InsecureSkipVerify: true, Certificates: certificates}); err != nil { // who is bad asks nobody who it is
		t.Fatal(err)
	}
	x.header(c, from)
	c.ExpectHeader()
	c.ExpectFeatures()
	return c
}

// authenticated is a stream of evil.test, by its certificate.
func (x *attacked) authenticated(t *testing.T) *xmppc.Conn {
	t.Helper()
	c := x.encrypted(t, "evil.test", x.evil)
	c.Send("<auth xmlns='" + xmppc.NSSASL + "' mechanism='EXTERNAL'>=</auth>")
	c.Expect(xmppc.NSSASL, "success")
	x.header(c, "evil.test")
	c.ExpectHeader()
	c.ExpectFeatures()
	return c
}

// TestHostileServers: whatever other servers send, it is answered as specified, the log names who it was, and
// those who talk with a good server notice nothing.
func TestHostileServers(t *testing.T) {
	x := newAttacked(t)
	for _, row := range []struct {
		name  string
		send  string
		wants []string
	}{
		{"from of another server", "<message from='juliet@b.example.test' to='romeo@a.example.test' type='chat'><body>1</body></message>", []string{"invalid-from"}},
		{"from of one of ours", "<message from='romeo@a.example.test' to='romeo@a.example.test' type='chat'><body>1</body></message>", []string{"invalid-from"}},
		{"from of a subdomain", "<message from='x@sub.evil.test' to='romeo@a.example.test' type='chat'><body>1</body></message>", []string{"invalid-from"}},
		{"no from", "<message to='romeo@a.example.test' type='chat'><body>1</body></message>", []string{"improper-addressing"}},
		{"no to", "<message from='x@evil.test' type='chat'><body>1</body></message>", []string{"improper-addressing"}},
		{"to another server", "<message from='x@evil.test' to='juliet@b.example.test' type='chat'><body>1</body></message>", []string{"host-unknown"}},
		{"a document type", "<!DOCTYPE a [<!ENTITY b 'c'>]><message from='x@evil.test' to='romeo@a.example.test'><body>&b;</body></message>", []string{"restricted-xml"}},
		{"an entity", "<message from='x@evil.test' to='romeo@a.example.test'><body>&lol;</body></message>", []string{"restricted-xml", "not-well-formed"}},
		{"depth", "<message from='x@evil.test' to='romeo@a.example.test'>" + strings.Repeat("<a>", 50_000), []string{"policy-violation"}},
		{"length", "<message from='x@evil.test' to='romeo@a.example.test'><body>" + strings.Repeat("a", 300_000), []string{"policy-violation"}},
		{"not XML", "<message from='x@evil.test' to='romeo@a.example.test'><body></message>", []string{"not-well-formed"}},
		{"an element of nobody", "<open xmlns='urn:evil'/>", []string{"unsupported-stanza-type"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := x.authenticated(t)
			if err := c.TrySend(row.send); err != nil && len(row.send) < 100_000 { // the server may have hung up amid what is long
				t.Fatal(err)
			}
			c.ExpectStreamError(row.wants...)
			x.talk(t)
		})
	}
	x.logged(t, "ended for what it sent", "evil.test")

	t.Run("a key of dialback that is forged", func(t *testing.T) {
		c := x.encrypted(t, goodDomain)
		c.Sendf("<db:result from='%s' to='%s'>0123456789abcdef</db:result>", goodDomain, attackedDomain)
		if e := c.Expect(nsDialback, "result"); e.Attr("type") != "invalid" {
			t.Errorf("the answer is of type %q", e.Attr("type"))
		}
		x.talk(t)
		x.logged(t, "not who it says it is", goodDomain)
	})
	t.Run("a stanza in front of dialback", func(t *testing.T) {
		c := x.encrypted(t, goodDomain)
		c.Sendf("<message from='juliet@%s' to='romeo@%s' type='chat'><body>1</body></message>", goodDomain, attackedDomain)
		c.ExpectStreamError("not-authorized")
		x.talk(t)
	})
	t.Run("dialback that nobody vouches for", func(t *testing.T) {
		c := x.encrypted(t, "sub.evil.test")
		c.Sendf("<db:result from='sub.evil.test' to='%s'>0123456789abcdef</db:result>", attackedDomain)
		// Both have the same time, connect-time.
		if e := c.Next(); e.Attr("type") != "error" && e.Condition() != "connection-timeout" {
			t.Errorf("the answer is %s", e.Raw)
		}
		x.talk(t)
	})
	t.Run("XML bombs before authentication", func(t *testing.T) {
		for bomb, want := range map[string][]string{
			"<!DOCTYPE a [<!ENTITY b 'c'>]>":                         {"restricted-xml"},
			"<iq>" + strings.Repeat("<a>", 50_000):                   {"policy-violation", "not-authorized"},
			"<iq><a>" + strings.Repeat("a", 200_000):                 {"policy-violation", "not-authorized"},
			"<iq " + strings.Repeat("a", 200_000) + "='1'/>":         {"policy-violation"},
			"<presence from='a' to='b'/>" + strings.Repeat(" ", 100): {"not-authorized", "improper-addressing"},
		} {
			c := xmppc.Dial(t, x.s2s)
			x.header(c, "evil.test")
			c.ExpectHeader()
			c.ExpectFeatures()
			_ = c.TrySend(bomb) // it may have hung up
			c.ExpectStreamError(want...)
		}
		x.talk(t)
	})
	t.Run("a thousand streams that are half open", func(t *testing.T) {
		var open []net.Conn
		for i := range 1000 {
			d := net.Dialer{Timeout: xmppc.Timeout, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%20))}}
			c, err := d.Dial("tcp", x.s2s)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			open = append(open, c)
		}
		x.talk(t)
		x.logged(t, "too many connections of other servers")
		for _, c := range open {
			c.Close()
		}
		// Others come in as soon as those are gone.
		c := x.authenticated(t)
		c.Close()
		x.talk(t)
	})
	t.Run("a server that never reads", func(t *testing.T) {
		nurse := newcomer(t, x.Server, "nurse")
		nurse.Patience = time.Minute // it is tried three times
		const n = 40
		for i := range n {
			nurse.Sendf("<message to='x@evil.test' type='chat' id='d%d'><body>%s</body></message>", i, strings.Repeat("a", 50_000))
		}
		x.talk(t)
		for i := range n {
			nurse.StanzaError("message", fmt.Sprint("d", i), "remote-server-timeout")
		}
		x.talk(t)
		x.logged(t, "no stream to another server", "evil.test")
	})
}
