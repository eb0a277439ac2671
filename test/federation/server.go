package federation

import (
	"crypto/x509"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/netlab"
)

const (
	startWithin = 60 * time.Second
	stopWithin  = 30 * time.Second
)

// logShown is how much is shown of the log of a server, with a failed test.
const logShown = 200_000

// Ports of all servers.
const (
	portC2S  = 5222
	portS2S  = 5269
	portS2SS = 5270 // direct TLS
)

// alone is a mode of hexmpp without federation.
const alone = "mode: none"

// policy says how a server meets others.
type policy struct {
	noDialback bool   // authentication is by certificate alone, in both directions
	noExternal bool   // and this is by dialback alone
	required   bool   // a valid certificate is required, whatever else is proved
	bidi       bool   // one connection both ways (XEP-0288), where the server has it
	clear      bool   // TLS is not required (Prosody)
	noResume   bool   // no stream management between servers (XEP-0198)
	mode       string // hexmpp's s2s.mode, with its lists
	options    string // more of hexmpp's section s2s, inside of a YAML mapping

	certificate func(*x509.Certificate) // changes those of the domain and its rooms; nil: none
}

// server is one on a host of its own.
type server struct {
	kind, domain string
	policy       policy
	host         *netlab.Host
	log          *harness.Log // of all runs

	t       testing.TB
	l       *netlab.Lab
	dir     string
	command func() *exec.Cmd
	cmd     *exec.Cmd
	exited  chan struct{} // closed when the process of cmd has ended
}

// kinds start a server on a host, and give its domain the records that servers look for.
var kinds = map[string]func(*server){"hexmpp": hexmpp, "prosody": prosody, "ejabberd": ejabberd}

// starts runs servers until the test ends, each on a host of its own. What is to be said of each is kind, domain and
// policy.
func starts(t testing.TB, l *netlab.Lab, servers ...*server) []*server {
	t.Helper()
	for _, s := range servers {
		s.prepare(t, l)
		l.Names.Server(s.ascii(), s.host)
		l.Names.Server("conference."+s.ascii(), s.host)
		s.launch()
	}
	for _, s := range servers {
		s.ready()
	}
	return servers
}

// prepare makes all that the server needs to run.
func (s *server) prepare(t testing.TB, l *netlab.Lab) {
	t.Helper()
	harness.ReadsServer(t)
	s.t, s.l, s.host, s.log, s.dir = t, l, l.Host(), harness.NewLog(), filepath.Join(l.Dir, s.domain)
	if err := os.MkdirAll(filepath.Join(s.dir, "certs"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.certify(s.policy.certificate)
	kinds[s.kind](s)
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			text := s.log.String()
			t.Logf("log of %s (%s, %s), the end of %d bytes:\n%s", s.domain, s.kind, s.host.Addr, len(text), text[max(0, len(text)-logShown):])
		}
	})
}

// stop ends the server in good order.
func (s *server) stop() {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		s.cmd = nil
	case <-time.After(stopWithin):
		s.t.Fatalf("%s: %s does not end", s.domain, s.kind)
	}
}

// ascii is the domain as the DNS has it.
func (s *server) ascii() string {
	s.t.Helper()
	name, err := jid.DomainToASCII(s.domain)
	if err != nil {
		s.t.Fatal(err)
	}
	return name
}

// certify writes the certificates of the domain and its rooms.
func (s *server) certify(change func(*x509.Certificate)) {
	s.t.Helper()
	for _, name := range []string{s.ascii(), "conference." + s.ascii()} {
		changes := []func(*x509.Certificate){}
		if change != nil {
			changes = append(changes, change)
		}
		if _, err := s.l.CA.Issue(filepath.Join(s.dir, "certs"), name, changes...); err != nil {
			s.t.Fatal(err)
		}
	}
}

// bothUses is a certificate for servers and clients. ejabberd wants that of who comes to it, though public
// authorities give it no more.
func bothUses(c *x509.Certificate) {
	c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
}

// expired and wrongName are certificates that prove nothing.
func expired(c *x509.Certificate)   { c.NotAfter = time.Now().Add(-time.Minute) }
func wrongName(c *x509.Certificate) { c.DNSNames = []string{"other." + c.DNSNames[0]} }

// write writes a file of the configuration.
func (s *server) write(name, format string, args ...any) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), fmt.Appendf(nil, format, args...), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// give hands the folder to the user that the server runs as.
func (s *server) give(name string) {
	s.t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		s.t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := filepath.WalkDir(s.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	}); err != nil {
		s.t.Fatal(err)
	}
}

// launch starts the process; ready waits until it accepts connections.
func (s *server) launch() {
	s.t.Helper()
	cmd := s.command()
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, s.log, s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what it starts ends with it
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	s.cmd, s.exited = cmd, exited
	go func() { // ends with the process, which kill waits for
		cmd.Wait()
		close(exited)
	}()
}

func (s *server) ready() {
	s.t.Helper()
	if !harness.Eventually(s.t, startWithin, func() bool {
		select {
		case <-s.exited:
			s.t.Fatalf("%s: %s ended at its start:\n%s", s.domain, s.kind, s.log)
		default:
		}
		return s.accepts(portC2S) && (s.policy.mode == alone || s.accepts(portS2S))
	}) {
		s.t.Fatalf("%s: %s is not ready after %v:\n%s", s.domain, s.kind, startWithin, s.log)
	}
}

func (s *server) addr(port int) string { return net.JoinHostPort(s.host.Addr, strconv.Itoa(port)) }

func (s *server) accepts(port int) bool {
	conn, err := net.DialTimeout("tcp", s.addr(port), time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// kill ends it as a crash would.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	s.signal(syscall.SIGKILL)
	<-s.exited
	s.cmd = nil
}

// signal sends one to the process and all that it started.
func (s *server) signal(sig syscall.Signal) {
	syscall.Kill(-s.cmd.Process.Pid, sig) // fails only if they have ended
}

func (s *server) as(user, program string, args ...string) func() *exec.Cmd {
	return func() *exec.Cmd {
		return s.host.Command("setpriv", append([]string{"--reuid=" + user, "--regid=" + user, "--init-groups", program}, args...)...)
	}
}
