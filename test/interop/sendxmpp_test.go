package interop

import (
	"bytes"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

// sendxmpp is go-sendxmpp twice: one process listens, another is run for each
// message that is sent.
type sendxmpp struct {
	*process
	program string
	args    []string // of the account and the server
	env     []string
	jid     string // bare
}

func newSendxmpp(t *testing.T, s *harness.Server, w way, jid, password string) *sendxmpp {
	t.Helper()
	program := harness.Require(t, "go-sendxmpp", "go-sendxmpp")
	host, port := w.address(t, s)
	args := []string{"-u", jid, "-p", password, "-j", host + ":" + port}
	if w == direct {
		args = append(args, "-t")
	}
	return &sendxmpp{program: program, args: args, env: append(home(t), "SSL_CERT_FILE="+s.CA.File), jid: jid}
}

// sendxmppOnline listens and is known to be available.
func sendxmppOnline(t *testing.T, s *harness.Server, w way, jid string) *sendxmpp {
	t.Helper()
	c := newSendxmpp(t, s, w, jid, secret)
	c.process = begin(t, "go-sendxmpp "+jid, c.env, c.program, append([]string{"-l"}, c.args...)...)
	awaitPresence(t, s, jid) // it prints nothing when it is ready
	return c
}

func (c *sendxmpp) send(to, body string) {
	c.t.Helper()
	if out, err := c.deliver(to, body); err != nil {
		c.t.Fatalf("go-sendxmpp to %s: %v\n%s", to, err, out)
	}
}

// deliver runs a go-sendxmpp that sends one message.
func (c *sendxmpp) deliver(to, body string) (string, error) {
	cmd := exec.Command(c.program, append(c.args, to)...)
	cmd.Env, cmd.Stdin = c.env, strings.NewReader(body)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// heard is a line that begins a message: time, bare JID, first line of the body. The
// time is that of the stamp, if it was stored.
var heard = regexp.MustCompile(`^\d{4}-\d\d-\d\dT[0-9:]+Z ([^ ]+): (.*)$`)

func (c *sendxmpp) hears(from, body string) {
	c.t.Helper()
	for {
		line, ok := c.line()
		if !ok {
			c.t.Fatalf("%s ended while it should hear %q", c.name, body)
		}
		m := heard.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			continue
		}
		text := m[2]
		for range strings.Count(body, "\n") {
			line, _ := c.line()
			text += "\n" + strings.TrimRight(line, "\n")
		}
		if m[1] != from || text != body {
			c.t.Errorf("%s heard %q from %s, want %q from %s", c.name, text, m[1], body, from)
		}
		return
	}
}

// leave ends the listener by its signal: go-sendxmpp has no other way. It has no
// stream management either: what is written to its connection before the server
// notices the end counts as delivered.
func (c *sendxmpp) leave() {
	c.cmd.Process.Kill()
	c.end()
}

func TestSendxmppWrongPassword(t *testing.T) {
	s := server(t)
	romeo := account(t, s, "romeo")
	for _, w := range ways {
		t.Run(string(w), func(t *testing.T) {
			out, err := newSendxmpp(t, s, w, romeo, "wrong").deliver(romeo, "x")
			if err == nil || !strings.Contains(out, "auth") {
				t.Errorf("result %v\n%s", err, out)
			}
		})
	}
}

func TestSendxmppChecksTheCertificate(t *testing.T) {
	s := server(t)
	c := newSendxmpp(t, s, starttls, account(t, s, "romeo"), secret)
	c.env = home(t) // without the test's authority
	if out, err := c.deliver(c.jid, "x"); err == nil || !strings.Contains(out, "certificate") {
		t.Errorf("result %v\n%s", err, out)
	}
}
