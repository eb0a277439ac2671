package websocket

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/missing"
)

const (
	domain = "example.test"
	secret = "correct horse battery"
	path   = "/xmpp-websocket"
)

var started atomic.Bool

// shared is the server of all tests of this package.
var shared = sync.OnceValues(func() (*harness.Server, error) {
	dir, err := os.MkdirTemp("", "hexmpp-websocket-")
	if err != nil {
		return nil, err
	}
	s, err := harness.Prepare(dir, harness.Config{Domains: []string{domain, "localhost"}, Extra: "http: {origins: [\"https://chat.example.net\"]}\n"})
	if err != nil {
		return nil, err
	}
	for _, user := range []string{"a", "b", "c"} {
		if err := s.AddUser(user+"@"+domain, secret); err != nil {
			return nil, err
		}
	}
	return s, s.Run()
})

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

func server(t *testing.T) *harness.Server {
	t.Helper()
	started.Store(true)
	s, err := shared()
	if err != nil {
		t.Fatalf("the server doesn't run: %v", err)
	}
	return s
}

// TestClients: each client that others wrote logs in, has a roster and chats, in clear
// from this machine and over TLS.
func TestClients(t *testing.T) {
	s := server(t)
	node := harness.Require(t, "node", "nodejs")
	if _, err := os.Stat("node_modules/@xmpp/client"); err != nil {
		missing.Skip(t, "@xmpp/client", "npm, and run npm install in test/websocket")
	}
	for _, script := range []string{"xmppjs.mjs", "strophe.mjs"} {
		for _, service := range []string{"ws://" + s.HTTP + path, "wss://localhost:" + port(s.HTTPS) + path} {
			t.Run(script+" "+service[:3], func(t *testing.T) {
				cmd := exec.CommandContext(t.Context(), node, script, service, domain, secret)
				cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+s.CA.File)
				cmd.WaitDelay = 5 * time.Second
				timer := time.AfterFunc(90*time.Second, func() { _ = cmd.Process.Kill() })
				defer timer.Stop()
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}

func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
