package federation

import (
	"os"
	"os/exec"
	"path/filepath"

	"github.com/hexmpp/hexmpp/test/harness"
)

// The node speaks to no other one, and so needs no daemon that knows where they are. Its schedulers
// sleep when there is nothing to do.
const ejabberdctlConfig = `
ERL_OPTIONS="-env ERL_CRASH_DUMP_BYTES 0 -setcookie lab +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
ERL_DIST_PORT=5280
INET_DIST_INTERFACE=127.0.0.1
EJABBERD_PID_PATH=%[1]s/ejabberd.pid
ERLANG_NODE=lab@localhost
`

const ejabberdConfig = `
loglevel: debug
hosts: [%[2]q]
certfiles: ["%[1]s/certs/*.pem"]
ca_file: %[3]q
s2s_cafile: %[3]q
s2s_use_starttls: %[4]s
outgoing_s2s_timeout: 5
s2s_max_retry_delay: 1
listen:
  - {port: %[6]d, ip: %[5]q, module: ejabberd_c2s, shaper: none, access: all, starttls: true}
  - {port: %[7]d, ip: %[5]q, module: ejabberd_s2s_in, shaper: none}
  - {port: %[8]d, ip: %[5]q, module: ejabberd_s2s_in, shaper: none, tls: true}
auth_password_format: plain
registration_timeout: infinity
modules:
  mod_disco: {}
  mod_muc: {access_create: all, db_type: mnesia}
  mod_ping: {}
  mod_register: {access: all, ip_access: all}
  mod_roster: {}
  mod_version: {}
%[9]s
`

func ejabberd(s *server) {
	s.t.Helper()
	program := harness.Require(s.t, "/usr/sbin/ejabberdctl", "ejabberd")
	starttls, dialback := "required", "  mod_s2s_dialback: {}"
	if s.policy.noDialback {
		dialback = ""
	}
	for _, name := range []string{s.domain, "conference." + s.domain} {
		var both []byte
		for _, end := range []string{".crt", ".key"} {
			part, err := os.ReadFile(filepath.Join(s.dir, "certs", name+end))
			if err != nil {
				s.t.Fatal(err)
			}
			both = append(both, part...)
		}
		s.write("certs/"+name+".pem", "%s", both)
	}
	for _, dir := range []string{"spool", "log"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	s.write("inetrc", "{lookup,[\"file\",\"native\"]}.\n{host,{127,0,0,1}, [\"localhost\"]}.\n{file, resolv, \"/etc/resolv.conf\"}.\n")
	s.write("ejabberdctl.cfg", ejabberdctlConfig, s.dir)
	s.write("ejabberd.yml", ejabberdConfig, s.dir, s.domain, s.l.CA.File, starttls, s.host.Addr, portC2S, portS2S, portS2SS, dialback)
	s.give("ejabberd")
	command := s.as("ejabberd", program, "--config-dir", s.dir, "--config", filepath.Join(s.dir, "ejabberd.yml"),
		"--ctl-config", filepath.Join(s.dir, "ejabberdctl.cfg"), "--logs", filepath.Join(s.dir, "log"), "--spool", filepath.Join(s.dir, "spool"), "foreground")
	s.command = func() *exec.Cmd {
		cmd := command()
		cmd.Env = append(os.Environ(), "HOME="+s.dir)
		return cmd
	}
}
