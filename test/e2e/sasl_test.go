package e2e

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

func TestSASLMechanisms(t *testing.T) {
	s := server(t)
	local := account(t, s, "romeo")

	for _, mechanism := range []string{"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run("RFC 5802, 7677, XEP-0474 6.1 "+mechanism, func(t *testing.T) {
			c := secured(t, s)
			if !c.Offers(mechanism) {
				t.Fatalf("not offered: %q", c.Mechanisms())
			}
			loginProtected(t, c, &xmppc.Scram{Mechanism: mechanism, User: local, Password: secret})
		})
		for _, binding := range []string{"tls-exporter", "tls-server-end-point"} {
			t.Run("RFC 5802 6, RFC 9266, XEP-0474 6.1 "+mechanism+"-PLUS with "+binding, func(t *testing.T) {
				c := secured(t, s)
				if !c.Offers(mechanism + "-PLUS") {
					t.Fatalf("not offered: %q", c.Mechanisms())
				}
				loginProtected(t, c, &xmppc.Scram{Mechanism: mechanism + "-PLUS", Binding: binding, User: local, Password: secret})
			})
		}
	}

	t.Run("RFC 4616 PLAIN under TLS", func(t *testing.T) {
		c := secured(t, s)
		c.LoginPlain(local, secret)
		c.Bind("")
	})

	t.Run("RFC 4616 PLAIN with the own bare JID as authzid", func(t *testing.T) {
		c := secured(t, s)
		if e := c.TryPlain(local+"@"+domain, local, secret); !e.Is(xmppc.NSSASL, "success") {
			t.Errorf("answer %s", e.Raw)
		}
	})

	t.Run("RFC 5802 5.1 SCRAM with the own bare JID as authzid", func(t *testing.T) {
		c := secured(t, s)
		c.LoginBy(&xmppc.Scram{Mechanism: "SCRAM-SHA-256", User: local, Password: secret, Authzid: local + "@" + domain})
	})

	t.Run("RFC 6120 6.4.2 an empty challenge takes the place of an initial response", func(t *testing.T) {
		c := secured(t, s)
		c.Sendf("<auth xmlns='%s' mechanism='PLAIN'/>", xmppc.NSSASL)
		if e := c.Expect(xmppc.NSSASL, "challenge"); strings.Trim(e.Text, "=") != "" {
			t.Errorf("challenge %s", e.Raw)
		}
		c.Response("\x00" + local + "\x00" + secret)
		c.Expect(xmppc.NSSASL, "success")
	})

	t.Run("RFC 6120 6.4.2 a new auth discards the handshake in progress", func(t *testing.T) {
		c := secured(t, s)
		c.Auth("SCRAM-SHA-256", "n,,n="+local+",r=abcdefgh")
		c.Expect(xmppc.NSSASL, "challenge")
		c.LoginPlain(local, secret)
	})

	t.Run("RFC 6120 6.4.5 after a failure the stream goes on and the right password works", func(t *testing.T) {
		c := secured(t, s)
		c.TryPlain("", local, "wrong")
		c.TryScram(&xmppc.Scram{Mechanism: "SCRAM-SHA-256", User: local, Password: "wrong"})
		c.Login(local, secret)
	})

	t.Run("XEP-0440 2 the bindings on offer are named", func(t *testing.T) {
		c := secured(t, s)
		const ns = xmppc.NSBindings
		kinds := map[string]bool{}
		for _, e := range c.Features.Child(ns, "sasl-channel-binding").All(ns, "channel-binding") {
			kinds[e.Attr("type")] = true
		}
		if !kinds["tls-exporter"] || !kinds["tls-server-end-point"] {
			t.Errorf("bindings %v in %s", kinds, c.Features.Raw)
		}
	})
}

// loginProtected wants the hash over what was offered (XEP-0474 6.1) as well;
// the client compares it with the features.
func loginProtected(t *testing.T, c *xmppc.Conn, s *xmppc.Scram) {
	t.Helper()
	c.LoginBy(s)
	if !s.Protected {
		t.Errorf("%s: no hash in the server's first message", s.Mechanism)
	}
}

func TestSASLRefusals(t *testing.T) {
	s := server(t)
	local := account(t, s, "romeo")

	t.Run("RFC 6120 6.5.4 PLAIN in clear", func(t *testing.T) {
		c := xmppc.Dial(t, s.C2S)
		c.Open(domain)
		c.Auth("PLAIN", "\x00"+local+"\x00"+secret)
		e := c.Next()
		if cond := e.Condition(); cond != "encryption-required" && cond != "policy-violation" {
			t.Errorf("answer %s", e.Raw)
		}
	})

	t.Run("RFC 5802 6 -PLUS with a wrong binding", func(t *testing.T) {
		for _, binding := range []string{"tls-exporter", "tls-server-end-point"} {
			c := secured(t, s)
			e := c.TryScram(&xmppc.Scram{
				Mechanism: "SCRAM-SHA-256-PLUS", Binding: binding, User: local, Password: secret,
				AlterBinding: func(b []byte) []byte { b[0] ^= 1; return b },
			})
			if e.Condition() != "not-authorized" {
				t.Errorf("%s: answer %s", binding, e.Raw)
			}
		}
	})

	t.Run("RFC 5802 6 a downgrade: y,, although -PLUS was offered", func(t *testing.T) {
		c := secured(t, s)
		e := c.TryScram(&xmppc.Scram{Mechanism: "SCRAM-SHA-256", Flag: "y", User: local, Password: secret})
		if e.Condition() != "not-authorized" {
			t.Errorf("answer %s", e.Raw)
		}
	})

	t.Run("RFC 6120 6.5.10 nobody learns whether an account exists", func(t *testing.T) {
		ask := func(user string) (condition, salt string, iterations int) {
			c := secured(t, s)
			scram := &xmppc.Scram{Mechanism: "SCRAM-SHA-256", User: user, Password: "wrong"}
			condition = c.TryScram(scram).Condition()
			return condition, scram.Salt, scram.Iterations
		}
		known, knownSalt, n := ask(local)
		unknown, unknownSalt, m := ask("nobody-of-that-name")
		_, again, _ := ask("nobody-of-that-name")
		_, other, _ := ask("nobody-else")
		if known != "not-authorized" || unknown != known || n != m {
			t.Errorf("known account: %s, %d rounds; unknown: %s, %d rounds", known, n, unknown, m)
		}
		if unknownSalt != again || unknownSalt == other || len(unknownSalt) != len(knownSalt) {
			t.Errorf("salts of unknown users: %q, again %q, another %q; of a known one %q", unknownSalt, again, other, knownSalt)
		}
	})

	t.Run("RFC 8265 a password is prepared: NFC, non-ASCII spaces", func(t *testing.T) {
		c := direct(t, s, domain)
		c.Open(domain)
		user := account(t, s, "paris")
		c.Login(user, secret)
		c.Bind("")
		c.IQ("set", domain, register(user, "pa\u00dfwort \u00e9"))
		for _, password := range []string{"pa\u00dfwort \u00e9", "pa\u00dfwort\u00a0e\u0301"} {
			if e := secured(t, s).TryPlain("", user, password); !e.Is(xmppc.NSSASL, "success") {
				t.Errorf("%q: %s", password, e.Raw)
			}
		}
	})

	t.Run("RFC 7622 3.3 a user name is prepared: case", func(t *testing.T) {
		c := secured(t, s)
		c.LoginPlain(strings.ToUpper(local), secret)
		c.Bind("")
		if c.Bare() != local+"@"+domain {
			t.Errorf("JID %s", c.JID)
		}
	})
}

func TestClearTextLogin(t *testing.T) {
	s := harness.Start(t, harness.Config{ClearText: true})
	s.MustAddUser(t, "romeo@"+domain, secret)

	t.Run("tls.required false: SCRAM and PLAIN on loopback, STARTTLS optional, no -PLUS", func(t *testing.T) {
		c := xmppc.Dial(t, s.C2S)
		c.Open(domain)
		if starttls := c.Features.Child(xmppc.NSTLS, "starttls"); starttls == nil || starttls.Child(xmppc.NSTLS, "required") != nil {
			t.Errorf("STARTTLS in %s", c.Features.Raw)
		}
		for _, m := range c.Mechanisms() {
			if strings.HasSuffix(m, "-PLUS") {
				t.Errorf("%s without TLS", m)
			}
		}
		loginProtected(t, c, &xmppc.Scram{Mechanism: "SCRAM-SHA-256", User: "romeo", Password: secret}) // XEP-0474 6.1 without bindings
		c.Bind("")

		c = xmppc.Dial(t, s.C2S)
		c.Open(domain)
		c.LoginPlain("romeo", secret)
		c.Bind("")
	})

	t.Run("RFC 6120 5.3.4 STARTTLS is still there", func(t *testing.T) {
		c := secured(t, s)
		c.Login("romeo", secret)
	})
}

func TestSCRAMServerFirst(t *testing.T) {
	s := server(t)
	local := account(t, s, "romeo")
	scram := &xmppc.Scram{Mechanism: "SCRAM-SHA-256", User: local, Password: secret}
	secured(t, s).LoginBy(scram)
	salt, err := base64.StdEncoding.DecodeString(scram.Salt)
	if err != nil || len(salt) < 16 {
		t.Errorf("RFC 5802 2.2: salt %q", scram.Salt)
	}
	if scram.Iterations < 4096 {
		t.Errorf("RFC 5802 5.1: %d iterations, want 4096 at least", scram.Iterations)
	}
}
