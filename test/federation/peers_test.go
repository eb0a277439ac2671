package federation

import (
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/netlab"
)

// The other servers reach each other: network, names, certificates and configurations are right before hexmpp
// is suspected.
func TestPeersAlone(t *testing.T) {
	for name, p := range map[string]policy{
		"dialback":    {noExternal: true, certificate: expired},
		"certificate": {noDialback: true, required: true, certificate: bothUses},
	} {
		t.Run(name, func(t *testing.T) {
			l := netlab.New(t)
			s := starts(t, l, &server{kind: "prosody", domain: "prosody.example", policy: p}, &server{kind: "ejabberd", domain: "ejabberd.example", policy: p})
			talks(t, s[0], s[1])
		})
	}
}
