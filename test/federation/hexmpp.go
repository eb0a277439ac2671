package federation

import (
	"fmt"
	"os/exec"

	"github.com/hexmpp/hexmpp/test/harness"
)

const hexmppConfig = `
domains: [%[2]s]
data: %[1]s/data
listen: {c2s: "%[3]s:%[4]d", s2s: "%[3]s:%[5]d", s2s-tls: "%[3]s:%[6]d"}
tls: {certificates: %[1]s/certs}
registration: {mode: open}
limits: {rates: false}
s2s: {%[10]s, certificates: %[7]s, ca-files: %[8]s, %[9]s}
log: {level: debug}
`

// hexmpp is the server that is tested, or, for authors of tests, Prosody in its place.
func hexmpp(s *server) {
	s.t.Helper()
	if harness.AgainstProsody() {
		prosody(s)
		return
	}
	binary, err := harness.Binary()
	if err != nil {
		s.t.Fatal(err)
	}
	certificates := "dialback"
	if s.policy.required {
		certificates = "required"
	}
	mode := s.policy.mode
	if mode == "" {
		mode = "mode: open"
	}
	s.write("hexmpp.yaml", hexmppConfig, s.dir, s.domain, s.host.Addr, portC2S, portS2S, portS2SS, certificates, s.l.CA.File, s.policy.options, mode)
	s.command = func() *exec.Cmd {
		return s.host.Command(binary, "serve", "--config", fmt.Sprint(s.dir, "/hexmpp.yaml"))
	}
}
