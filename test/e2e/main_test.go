// Package e2e talks to the real binary over sockets, one test for each rule of
// RFC 6120, RFC 6121 and the extensions that a client can observe.
//
// Most tests share one server with two domains, required TLS and open
// registration, and make accounts of their own on it; those that need another
// configuration, or that break things, start a server for themselves. The
// tables in the hostile files are what a client may do wrong.
//
// What it leaves out: other people's clients (test/interop) and speed.
package e2e

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const (
	domain = "example.test"  // the first domain of every server
	second = "second.test"   // the other domain of the shared server
	secret = "correct horse" // the password of every account that tests make
)

func TestMain(m *testing.M) {
	code := m.Run()
	if s, err := shared(); started.Load() && err == nil {
		if err := s.Stop(); err != nil {
			fmt.Fprintf(os.Stderr, "the shared server: %v\n%s\n", err, s.Log)
			code = max(code, 1)
		}
		os.RemoveAll(s.Dir)
	}
	harness.Cleanup()
	os.Exit(code)
}

var started atomic.Bool // the shared server was asked for

// shared is the server that most tests use.
var shared = sync.OnceValues(func() (*harness.Server, error) {
	if !started.Load() {
		return nil, nil // nobody needed it; TestMain asks
	}
	dir, err := os.MkdirTemp("", "hexmpp-e2e-")
	if err != nil {
		return nil, err
	}
	return harness.Launch(dir, harness.Config{Domains: []string{domain, second}, Registration: "open"})
})

// server returns the shared server, and shows the end of its log if the test fails.
func server(t *testing.T) *harness.Server {
	t.Helper()
	started.Store(true)
	s, err := shared()
	if err != nil {
		t.Fatalf("the shared server doesn't run: %v", err)
	}
	from := len(s.Log.String())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the server meanwhile:\n%s", s.Log.String()[from:])
		}
	})
	return s
}

// accounts numbers the accounts of a test process, so that none is used twice.
var accounts atomic.Int64

// account registers a new account (XEP-0077) and returns its local part.
func account(t *testing.T, s *harness.Server, name string) string {
	t.Helper()
	return accountAt(t, s, domain, name)
}

func accountAt(t *testing.T, s *harness.Server, at, name string) string {
	t.Helper()
	local := fmt.Sprintf("%s%d", name, accounts.Add(1))
	c := direct(t, s, at)
	c.Open(at)
	c.IQ("set", "", register(local, secret))
	c.Close()
	return local
}

func register(user, password string) string {
	return "<query xmlns='jabber:iq:register'><username>" + xmppc.Escape(user) +
		"</username><password>" + xmppc.Escape(password) + "</password></query>"
}

// direct connects by direct TLS.
func direct(t *testing.T, s *harness.Server, at string) *xmppc.Conn {
	t.Helper()
	return xmppc.DialTLS(t, s.C2STLS, s.CA.TLS(at))
}

// secured connects by STARTTLS and stands before SASL.
func secured(t *testing.T, s *harness.Server) *xmppc.Conn {
	t.Helper()
	c := xmppc.Dial(t, s.C2S)
	c.Open(domain)
	c.StartTLS(s.CA.TLS(domain))
	return c
}

// authenticated stands behind SASL and before binding.
func authenticated(t *testing.T, s *harness.Server, local string) *xmppc.Conn {
	t.Helper()
	c := direct(t, s, domain)
	c.Open(domain)
	c.Login(local, secret)
	return c
}

// session logs in and binds a resource, without presence.
func session(t *testing.T, s *harness.Server, local, resource string) *xmppc.Conn {
	t.Helper()
	c := authenticated(t, s, local)
	c.Bind(resource)
	return c
}

// online is a session with available presence of that priority.
func online(t *testing.T, s *harness.Server, local, resource string, priority int) *xmppc.Conn {
	t.Helper()
	c := session(t, s, local, resource)
	c.Available(priority)
	return c
}

// romeoAndJuliet makes two accounts with one available session each.
func romeoAndJuliet(t *testing.T, s *harness.Server) (romeo, juliet *xmppc.Conn) {
	t.Helper()
	romeo = online(t, s, account(t, s, "romeo"), "orchard", 0)
	juliet = online(t, s, account(t, s, "juliet"), "balcony", 0)
	return romeo, juliet
}

// silent checks that nothing is on its way to any of these sessions, presence
// aside, once what the first has sent is handled.
func silent(t *testing.T, conns ...*xmppc.Conn) {
	t.Helper()
	for _, c := range conns {
		c.Sync("presence")
	}
}

// serial is the serial number of the certificate that the server shows.
func serial(t *testing.T, s *harness.Server, name string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", s.C2STLS, &tls.Config{RootCAs: s.CA.Pool, ServerName: name, NextProtos: []string{"xmpp-client"}})
	if err != nil {
		t.Fatalf("direct TLS to %s: %v", name, err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}
