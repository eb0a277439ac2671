package federation

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/netlab"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// Servers that prove who they are in one way only.
func TestAuthentication(t *testing.T) {
	for name, p := range map[string]policy{
		"dialback":    {noExternal: true, certificate: expired},
		"certificate": {noDialback: true, required: true, certificate: bothUses},
		// what public authorities give: RFC 5280 4.2.1.12 would have servers not be clients
		"certificate for servers": {noDialback: true, required: true},
	} {
		t.Run(name, func(t *testing.T) {
			l := netlab.New(t)
			s := starts(t, l,
				&server{kind: "hexmpp", domain: "hexmpp.example", policy: p},
				&server{kind: "hexmpp", domain: "other.example", policy: p},
				&server{kind: "prosody", domain: "prosody.example", policy: p},
				&server{kind: "ejabberd", domain: "ejabberd.example", policy: p})
			for _, far := range s[1:] {
				if far.kind == "ejabberd" && name == "certificate for servers" {
					continue // ejabberd 23.01 lets nobody in by such a certificate
				}
				t.Run(far.domain, func(t *testing.T) {
					romeo, juliet := s[0].client(t, "romeo"), far.client(t, "juliet")
					talk(romeo, juliet, "words")
					rooms(t, romeo, juliet, far)
					rooms(t, juliet, romeo, s[0])
				})
			}
		})
	}
}

// A connection is used both ways with servers that can (XEP-0288).
func TestBothWays(t *testing.T) {
	l := netlab.New(t)
	p := policy{bidi: true}
	s := starts(t, l,
		&server{kind: "hexmpp", domain: "hexmpp.example", policy: p},
		&server{kind: "hexmpp", domain: "other.example", policy: p},
		&server{kind: "prosody", domain: "prosody.example", policy: p})
	for _, far := range s[1:] {
		t.Run(far.domain, func(t *testing.T) {
			romeo, juliet := s[0].client(t, "romeo"), far.client(t, "juliet")
			talk(romeo, juliet, "first")
			talk(juliet, romeo, "second")
			if n := s[0].connections(far); len(n) != 1 {
				t.Errorf("connections: %q", n)
			}
		})
	}
	t.Run("the other one first", func(t *testing.T) {
		for _, far := range s[1:] {
			s[0].stop()
			s[0].launch()
			s[0].ready()
			romeo, juliet := s[0].client(t, "romeo"), far.client(t, "juliet")
			talk(juliet, romeo, "third")
			if n := s[0].connections(far); len(n) != 1 {
				t.Errorf("%s: connections: %q", far.domain, n)
			}
		}
	})
}

// connections are those of a server with another one, as their ports for servers.
func (s *server) connections(far *server) (ports []string) {
	s.t.Helper()
	out, err := s.host.Command("ss", "-Htn", "state", "established", "dst", far.host.Addr).Output()
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		for _, port := range []int{portS2S, portS2SS} {
			if strings.Contains(strings.Join(strings.Fields(line), " ")+" ", ":"+strconv.Itoa(port)+" ") {
				ports = append(ports, strings.TrimSpace(line))
			}
		}
	}
	return ports
}

// Direct TLS is used with a server that has records for nothing else (XEP-0368), to it and from it.
func TestDirectTLS(t *testing.T) {
	l := netlab.New(t)
	p := policy{options: "bidi: false"}
	s := starts(t, l,
		&server{kind: "hexmpp", domain: "hexmpp.example", policy: p},
		&server{kind: "hexmpp", domain: "other.example", policy: p},
		&server{kind: "prosody", domain: "prosody.example"},
		&server{kind: "ejabberd", domain: "ejabberd.example"})
	for _, of := range s {
		l.Names.Remove("_xmpp-server._tcp." + of.domain)
		l.Names.Add(fmt.Sprintf("_xmpps-server._tcp.%s. 60 IN SRV 5 1 %d xmpp.%s.", of.domain, portS2SS, of.domain))
	}
	for _, far := range s[1:] {
		t.Run(far.domain, func(t *testing.T) {
			talk(s[0].client(t, "romeo"), far.client(t, "juliet"), "words")
			list := s[0].connections(far)
			for _, end := range []*server{s[0], far} {
				if !strings.Contains(strings.Join(list, " ")+" ", end.addr(portS2SS)+" ") {
					t.Errorf("to %s: connections: %q", end.domain, list)
				}
			}
			if strings.Contains(strings.Join(list, " ")+" ", ":"+strconv.Itoa(portS2S)+" ") {
				t.Errorf("connections: %q", list)
			}
		})
	}
}

// A bad certificate is worth nothing: where one is required nothing passes, in neither direction. Elsewhere dialback
// proves who the other server is.
func TestBadCertificates(t *testing.T) {
	l := netlab.New(t)
	s := starts(t, l,
		&server{kind: "hexmpp", domain: "strict.example", policy: policy{required: true}},
		&server{kind: "hexmpp", domain: "hexmpp.example"},
		&server{kind: "hexmpp", domain: "expired.example", policy: policy{certificate: expired}},
		&server{kind: "prosody", domain: "expired-prosody.example", policy: policy{certificate: expired}},
		&server{kind: "prosody", domain: "other-prosody.example", policy: policy{certificate: wrongName}},
		&server{kind: "ejabberd", domain: "other-ejabberd.example", policy: policy{certificate: wrongName}})
	for _, far := range s[2:] {
		t.Run(far.domain, func(t *testing.T) {
			juliet := far.client(t, "juliet")
			talk(s[1].client(t, "romeo"), juliet, "words")
			romeo := s[0].client(t, "romeo")
			romeo.say(juliet.JID, "secret")
			romeo.refused("message", "secret", "policy-violation")
			romeo.Sendf("<iq type='get' id='question' to='%s'><query xmlns='jabber:iq:version'/></iq>", far.domain)
			romeo.refused("iq", "question", "policy-violation")
			juliet.say(romeo.JID, "forged")
			juliet.refused("message", "forged", "remote-server-not-found", "remote-server-timeout", "policy-violation", "not-allowed", "internal-server-error", "gone")
			heardNothing(t, juliet, "secret")
			heardNothing(t, romeo, "forged")
		})
	}
}

// heardNothing fails if a message has come that must not.
func heardNothing(t *testing.T, c *client, body string) {
	t.Helper()
	c.ask("sync", c.Domain, "<ping xmlns='"+xmppc.NSPing+"'/>")
	all, _, _ := c.seen()
	for _, e := range all {
		if e.Local == "message" && e.Attr("type") != "error" && e.Body() == body {
			t.Errorf("%s heard %s", c.JID, e.Raw)
		}
	}
}
