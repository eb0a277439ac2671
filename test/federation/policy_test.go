package federation

import (
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/netlab"
)

// Who may not federate does not, in either direction; others do.
func TestPolicy(t *testing.T) {
	l := netlab.New(t)
	s := starts(t, l,
		&server{kind: "hexmpp", domain: "denies.example", policy: policy{mode: "mode: open, deny: [prosody.example]"}},
		&server{kind: "hexmpp", domain: "allows.example", policy: policy{mode: "mode: allow, allow: [denies.example]"}},
		&server{kind: "hexmpp", domain: "alone.example", policy: policy{mode: alone}},
		&server{kind: "prosody", domain: "prosody.example"})
	juliet := s[3].client(t, "juliet")
	for _, near := range s[:3] {
		t.Run(near.domain, func(t *testing.T) {
			romeo := near.client(t, "romeo")
			refusal := "not-allowed"
			if near.domain == "alone.example" {
				refusal = "remote-server-not-found"
			}
			romeo.say(juliet.JID, "out-"+near.domain)
			romeo.refused("message", "out-"+near.domain, refusal)
			juliet.say(romeo.JID, "in-"+near.domain)
			juliet.refused("message", "in-"+near.domain, "remote-server-not-found", "remote-server-timeout", "policy-violation", "not-allowed")
			heardNothing(t, juliet, "out-"+near.domain)
			heardNothing(t, romeo, "in-"+near.domain)
		})
	}
	talk(s[0].client(t, "nurse"), s[1].client(t, "nurse"), "words")
}
