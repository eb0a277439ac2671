package federation

import (
	"fmt"

	"github.com/hexmpp/hexmpp/test/harness"
)

const prosodyConfig = `
pidfile = %[1]q .. "/prosody.pid"
data_path = %[1]q .. "/data"
interfaces = { %[2]q }
c2s_ports = { %[3]d }
s2s_ports = { %[4]d }
s2s_direct_tls_ports = { %[5]d }
component_ports = {}
http_ports = {}
https_ports = {}
modules_enabled = { "disco", "roster", "saslauth", "tls", "ping", "register", "time", "version", "posix", %[6]s }
modules_disabled = { %[7]s }
allow_registration = true
registration_invite_only = false
authentication = "internal_plain"
s2s_require_encryption = %[11]t
s2s_secure_auth = %[8]t
s2s_timeout = 10
smacks_s2s_resend = false
log = { debug = "*console" }
ssl = { cafile = %[9]q, certificate = %[1]q .. "/certs/%[10]s.crt", key = %[1]q .. "/certs/%[10]s.key" }
VirtualHost %[10]q
Component "conference.%[10]s" "muc"
	ssl = { cafile = %[9]q, certificate = %[1]q .. "/certs/conference.%[10]s.crt", key = %[1]q .. "/certs/conference.%[10]s.key" }
`

func prosody(s *server) {
	s.t.Helper()
	program := harness.Require(s.t, "prosody", "prosody")
	var modules, without string
	if !s.policy.noDialback {
		modules += `"dialback", `
	}
	if s.policy.noExternal {
		without += `"s2s_auth_certs", `
	}
	if s.policy.bidi {
		modules += `"s2s_bidi", `
	}
	if !s.policy.noResume {
		modules += `"smacks", `
	}
	s.write("prosody.cfg.lua", prosodyConfig, s.dir, s.host.Addr, portC2S, portS2S, portS2SS, modules, without, s.policy.required,
		s.l.CA.File, s.domain, !s.policy.clear)
	s.give("prosody")
	s.command = s.as("prosody", program, "-F", "--config", fmt.Sprint(s.dir, "/prosody.cfg.lua"))
}
