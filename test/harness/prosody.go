package harness

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// againstProsody puts Prosody in the place of hexmpp, for authors of tests: it
// shows whether the client's side of a dialogue is right before the server is
// suspected. Debian's package, HEXMPP_TEST_AGAINST=prosody. Tests of what
// servers may do differently fail then; that is expected.
var againstProsody = os.Getenv("HEXMPP_TEST_AGAINST") == "prosody"

// AgainstProsody reports whether Prosody stands in for hexmpp.
func AgainstProsody() bool { return againstProsody }

const prosodyConfig = `
pidfile = "%[1]s/prosody.pid"
data_path = "%[1]s/prosody"
interfaces = { "127.0.0.1" }
c2s_ports = { %[2]s }
c2s_direct_tls_ports = { %[3]s }
s2s_ports = {}
component_ports = {}
http_ports = {}
https_ports = {}
modules_enabled = { "disco", "roster", "saslauth", "tls", "ping", "register", "time", "version", "posix" }
c2s_require_encryption = %[4]t
allow_registration = %[5]t
authentication = "internal_hashed"
log = { info = "*console" }
certificates = "%[6]s"
ssl = { certificate = "%[6]s/%[7]s.crt", key = "%[6]s/%[7]s.key" }
`

func (s *Server) prepareProsody() error {
	if !againstProsody {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(s.Dir, "prosody"), 0o755); err != nil {
		return fmt.Errorf("harness: prosody: %w", err)
	}
	text := fmt.Sprintf(prosodyConfig, s.Dir, port(s.C2S), port(s.C2STLS),
		!s.cfg.ClearText, s.cfg.Registration == "open", s.Certs, s.Domain)
	for _, domain := range s.Domains {
		text += fmt.Sprintf("VirtualHost %q\n", domain)
	}
	if err := os.WriteFile(s.prosodyFile(), []byte(text), 0o644); err != nil {
		return fmt.Errorf("harness: prosody: %w", err)
	}
	return s.giveToProsody()
}

// giveToProsody hands the folder to the user that Prosody runs as, and lets
// that user pass through the folders above, which testing makes private.
func (s *Server) giveToProsody() error {
	u, err := user.Lookup("prosody")
	if err != nil {
		return fmt.Errorf("harness: prosody: %w", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	for dir := filepath.Dir(s.Dir); strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			return fmt.Errorf("harness: prosody: %w", err)
		}
	}
	return filepath.WalkDir(s.Dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, gid)
	})
}

func (s *Server) prosodyFile() string { return filepath.Join(s.Dir, "prosody.cfg.lua") }

func (s *Server) prosodyCommand() *exec.Cmd {
	cmd := exec.Command("setpriv", "--reuid=prosody", "--regid=prosody", "--init-groups",
		"prosody", "-F", "--config", s.prosodyFile())
	cmd.Dir = s.Dir
	return cmd
}

func (s *Server) prosodyAddUser(jid, password string) []string {
	local, domain, _ := strings.Cut(jid, "@")
	return []string{"prosodyctl", "--config", s.prosodyFile(), "register", local, domain, password}
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
