package federation

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/netlab"
)

// Without STARTTLS nothing is said: whoever takes it away hears no stanza, and senders are told.
func TestStrippedSTARTTLS(t *testing.T) {
	l := netlab.New(t)
	s := starts(t, l,
		&server{kind: "hexmpp", domain: "hexmpp.example"},
		&server{kind: "hexmpp", domain: "careless.example", policy: policy{options: "without-tls: [prosody.example]"}},
		&server{kind: "prosody", domain: "prosody.example", policy: policy{clear: true}},
		&server{kind: "ejabberd", domain: "ejabberd.example"},
		&server{kind: "hexmpp", domain: "other.example"})
	for _, far := range s[2:] {
		t.Run(far.domain, func(t *testing.T) {
			there, back := strip(t, far, false), strip(t, s[0], false)
			far.onTheWay(there)
			s[0].onTheWay(back)
			romeo, juliet := s[0].client(t, "romeo"), far.client(t, "juliet")
			romeo.say(juliet.JID, "secret")
			romeo.Sendf("<iq type='get' id='question' to='%s'><query xmlns='jabber:iq:version'/></iq>", far.domain)
			romeo.refused("message", "secret", "policy-violation")
			romeo.refused("iq", "question", "policy-violation")
			juliet.say(romeo.JID, "exposed")
			juliet.refused("message", "exposed", "remote-server-not-found", "remote-server-timeout", "policy-violation", "not-allowed", "internal-server-error", "gone")
			heardNothing(t, juliet, "secret")
			heardNothing(t, romeo, "exposed")
			for name, p := range map[string]*stripper{"there": there, "back": back} {
				if heard := p.String(); !strings.Contains(heard, "<stream:stream") || strings.Contains(heard, "<message") || strings.Contains(heard, "<iq") {
					t.Errorf("%s was heard: %s", name, heard)
				}
			}
		})
	}
	t.Run("where TLS is not wanted", func(t *testing.T) { // the one on the way would hear it
		there := strip(t, s[2], true)
		s[2].onTheWay(there)
		talk(s[1].client(t, "romeo"), s[2].client(t, "juliet"), "exposed")
		if !strings.Contains(there.String(), "exposed") {
			t.Errorf("was heard: %s", there)
		}
	})
}

// STARTTLS is asked for though it is not offered (RFC 7590 3.1): who takes the offer away alone hears nothing either.
func TestStrippedOffer(t *testing.T) {
	l := netlab.New(t)
	s := starts(t, l,
		&server{kind: "hexmpp", domain: "hexmpp.example"},
		&server{kind: "prosody", domain: "prosody.example"},
		&server{kind: "ejabberd", domain: "ejabberd.example"},
		&server{kind: "hexmpp", domain: "other.example"})
	for _, far := range s[1:] {
		t.Run(far.domain, func(t *testing.T) {
			there := strip(t, far, true)
			far.onTheWay(there)
			romeo, juliet := s[0].client(t, "romeo"), far.client(t, "juliet")
			romeo.say(juliet.JID, "hidden")
			juliet.hear(romeo.JID, "hidden")
			if heard := there.String(); !strings.Contains(heard, "<proceed") || strings.Contains(heard, "<message") {
				t.Errorf("was heard: %.2000q", heard)
			}
		})
	}
}

// Targets that do not answer are passed over (RFC 6120 3.2.1).
func TestDeadTargets(t *testing.T) {
	l := netlab.New(t)
	s := starts(t, l,
		&server{kind: "hexmpp", domain: "hexmpp.example"},
		&server{kind: "prosody", domain: "prosody.example"})
	refuses, silent := l.Host(), l.Host()
	silent.Cut(true)
	l.Names.Remove("_xmpp-server._tcp.prosody.example")
	l.Names.Add(
		"refuses.example. 60 IN A "+refuses.Addr,
		"silent.example. 60 IN A "+silent.Addr,
		"_xmpp-server._tcp.prosody.example. 60 IN SRV 1 1 5269 refuses.example.",
		"_xmpp-server._tcp.prosody.example. 60 IN SRV 2 1 5269 silent.example.",
		"_xmpp-server._tcp.prosody.example. 60 IN SRV 3 1 5269 nobody.example.",
		"_xmpp-server._tcp.prosody.example. 60 IN SRV 4 1 5269 xmpp.prosody.example.")
	talk(s[0].client(t, "romeo"), s[1].client(t, "juliet"), "words")
}

// Senders are told why what they sent does not arrive.
func TestNotThere(t *testing.T) {
	l := netlab.New(t)
	s := starts(t, l, &server{kind: "hexmpp", domain: "hexmpp.example"})
	down, silent := l.Host(), l.Host()
	silent.Cut(true)
	l.Names.Server("down.example", down)
	l.Names.Server("silent.example", silent)
	l.Names.Add("_xmpp-server._tcp.none.example. 60 IN SRV 0 0 0 .")
	l.Names.Break("_xmpp-server._tcp.broken.example", true)
	romeo := s[0].client(t, "romeo")
	for domain, condition := range map[string]string{
		"nowhere.example": "remote-server-not-found",
		"none.example":    "remote-server-not-found", // RFC 2782: a target of "." is no service
		"down.example":    "remote-server-timeout",
		"silent.example":  "remote-server-timeout",
		"broken.example":  "remote-server-timeout",
	} {
		t.Run(domain, func(t *testing.T) {
			romeo.say("juliet@"+domain, "m-"+domain)
			romeo.Sendf("<iq type='get' id='i-%s' to='%s'><query xmlns='jabber:iq:version'/></iq>", domain, domain)
			romeo.Sendf("<presence type='subscribe' id='p-%s' to='juliet@%s'/>", domain, domain)
			for kind, id := range map[string]string{"message": "m-", "iq": "i-"} {
				romeo.next = 0
				romeo.refused(kind, fmt.Sprint(id, domain), condition)
			}
		})
	}
}
