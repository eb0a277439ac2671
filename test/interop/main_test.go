// Package interop lets other people's clients chat with one another through
// the real binary: slixmpp, go-sendxmpp and profanity, as Debian has them,
// over STARTTLS and direct TLS. Each flow is a dialogue to read.
//
// The clients trust the test's certificate authority and nothing else, so
// that their own checks of certificates take part. What it leaves out: rules
// that no client shows (test/e2e).
package interop

import (
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

const (
	domain = "example.test"
	secret = "correct horse battery"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if started.Load() {
		if s, err := shared(); err == nil {
			if err := s.Stop(); err != nil {
				fmt.Fprintf(os.Stderr, "the server: %v\n%s\n", err, s.Log)
				code = max(code, 1)
			}
			os.RemoveAll(s.Dir)
		}
	}
	harness.Cleanup()
	os.Exit(code)
}

var started atomic.Bool

// shared is the server of all tests of this package.
var shared = sync.OnceValues(func() (*harness.Server, error) {
	if err := harness.Reads(".", "testdata"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "hexmpp-interop-")
	if err != nil {
		return nil, err
	}
	s, err := harness.Launch(dir, harness.Config{Registration: "open", Extra: "plugins: {muc: {}}\n"})
	if err != nil {
		os.RemoveAll(dir)
	}
	return s, err
})

func server(t *testing.T) *harness.Server {
	t.Helper()
	started.Store(true)
	s, err := shared()
	if err != nil {
		t.Fatalf("the server doesn't run: %v", err)
	}
	from := len(s.Log.String())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the server meanwhile:\n%s", s.Log.String()[from:])
		}
	})
	return s
}

var accounts atomic.Int64

// account makes a new account and returns its JID.
func account(t *testing.T, s *harness.Server, name string) string {
	t.Helper()
	jid := fmt.Sprintf("%s%d@%s", name, accounts.Add(1), domain)
	s.MustAddUser(t, jid, secret)
	return jid
}

// A way to connect.
type way string

const (
	starttls way = "starttls"
	direct   way = "direct"
)

var ways = []way{starttls, direct}

// address is the server's host and port for that way.
func (w way) address(t *testing.T, s *harness.Server) (host, port string) {
	t.Helper()
	addr := s.C2S
	if w == direct {
		addr = s.C2STLS
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// The bodies that every pair of clients exchanges.
var bodies = map[string]string{
	"plain":      "Art thou not Romeo, and a Montague?",
	"markup":     `<b>"fish" & 'chips'</b> ]]> &amp;`,
	"unicode":    "Příliš žluťoučký \U0001F339 \u2665 \u05e9\u05dc\u05d5\u05dd \U00020BB7",
	"multi-line": "O Romeo, Romeo!\nwherefore art thou Romeo?\n\n  Deny thy father",
}
