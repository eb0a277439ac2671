package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

func TestTLS(t *testing.T) {
	s := server(t)

	t.Run("RFC 7590 3.3 versions 1.2 and 1.3", func(t *testing.T) {
		local := account(t, s, "romeo")
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			cfg := s.CA.TLS(domain)
			cfg.MinVersion, cfg.MaxVersion = version, version
			c := xmppc.Dial(t, s.C2S)
			c.Open(domain)
			c.StartTLS(cfg)
			c.Login(local, secret)
			c.Bind("")
			if c.Peer.Version != version {
				t.Errorf("version %s", tls.VersionName(c.Peer.Version))
			}
		}
	})

	t.Run("RFC 9266 3 every binding that is offered over TLS 1.2 works", func(t *testing.T) {
		// tls-exporter is right here only with an extended master secret, which Go has.
		local := account(t, s, "romeo")
		cfg := s.CA.TLS(domain)
		cfg.MaxVersion = tls.VersionTLS12
		c := xmppc.Dial(t, s.C2S)
		c.Open(domain)
		c.StartTLS(cfg)
		const ns = "urn:xmpp:sasl-cb:0"
		for _, e := range c.Features.Child(ns, "sasl-channel-binding").All(ns, "channel-binding") {
			c := xmppc.Dial(t, s.C2S)
			c.Open(domain)
			c.StartTLS(cfg)
			c.LoginBy(&xmppc.Scram{Mechanism: "SCRAM-SHA-256-PLUS", Binding: e.Attr("type"), User: local, Password: secret})
		}
	})

	t.Run("RFC 7590 3.2 no compression, of TLS or of the stream", func(t *testing.T) {
		for _, row := range []struct {
			methods string // that the client offers; \x00 is none (RFC 5246 7.4.1.2)
			hello   bool
		}{{"\x01\x00", true}, {"\x01", false}} {
			c := xmppc.Dial(t, s.C2STLS)
			c.Send(clientHello(row.methods))
			c.Net().SetReadDeadline(time.Now().Add(xmppc.Timeout))
			answer := make([]byte, 5+4+2+32+1)
			_, err := io.ReadFull(c.Net(), answer)
			if !row.hello {
				if err == nil && answer[0] == 22 {
					t.Error("a client that insists on compression is answered")
				}
				continue
			}
			if err != nil || answer[0] != 22 || answer[5] != 2 {
				t.Fatalf("answer %x, %v, want a ServerHello", answer, err)
			}
			rest := make([]byte, int(answer[43])+3) // session id, cipher suite, compression method
			if _, err := io.ReadFull(c.Net(), rest); err != nil || rest[len(rest)-1] != 0 {
				t.Errorf("compression method %x, %v", rest, err)
			}
		}
		c := direct(t, s, domain)
		c.Open(domain)
		early := c.Features.Names()
		c.Login(account(t, s, "romeo"), secret)
		if f := early + c.Features.Names(); strings.Contains(f, "compression") {
			t.Errorf("features %s", f)
		}
	})

	t.Run("XEP-0368 4 direct TLS with ALPN xmpp-client", func(t *testing.T) {
		c := direct(t, s, domain)
		if c.Peer.NegotiatedProtocol != "xmpp-client" {
			t.Errorf("ALPN %q", c.Peer.NegotiatedProtocol)
		}
		c.Open(domain)
		c.Login(account(t, s, "romeo"), secret)
		c.Bind("")
	})

	t.Run("XEP-0368 4 direct TLS without ALPN", func(t *testing.T) {
		cfg := s.CA.TLS(domain)
		cfg.NextProtos = []string{}
		c := xmppc.DialTLS(t, s.C2STLS, cfg)
		c.Open(domain)
	})

	t.Run("RFC 6066 3 SNI picks the certificate of the domain", func(t *testing.T) {
		for _, name := range []string{domain, second} {
			c := direct(t, s, name) // the client verifies the name
			if got := c.Peer.PeerCertificates[0].DNSNames; len(got) != 1 || got[0] != name {
				t.Errorf("certificate for %q, asked for %s", got, name)
			}
		}
	})

	t.Run("SNI and the stream's to agree: another domain is host-unknown or policy-violation", func(t *testing.T) {
		c := direct(t, s, domain)
		c.SendHeader(second)
		c.ExpectHeader()
		c.ExpectStreamError("host-unknown", "policy-violation")
	})

	t.Run("RFC 6066 3 STARTTLS has SNI too", func(t *testing.T) {
		c := xmppc.Dial(t, s.C2S)
		c.Open(second)
		c.StartTLS(s.CA.TLS(second))
	})

	t.Run("a client without SNI gets the certificate of the first domain", func(t *testing.T) {
		c := xmppc.Dial(t, s.C2S)
		c.Open(domain)
		c.StartTLS(&tls.Config{InsecureSkipVerify: true, VerifyConnection: func(state tls.ConnectionState) error {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: domain, Roots: s.CA.Pool})
			return err
		}})
	})
}

func TestCertificateReload(t *testing.T) {
	s := harness.Start(t, harness.Config{Domains: []string{domain, second}})
	s.MustAddUser(t, "romeo@"+domain, secret)
	romeo := session(t, s, "romeo", "orchard")
	before, untouched := serial(t, s, domain), serial(t, s, second)

	want, err := s.CA.Issue(s.Certs, domain)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if !harness.Eventually(t, 20*time.Second, func() bool { return serial(t, s, domain) != before }) {
		t.Fatal("the old certificate is still shown after SIGHUP")
	}
	if got := serial(t, s, domain); got != want.String() {
		t.Errorf("certificate %s, want %s", got, want)
	}
	if got := serial(t, s, second); got != untouched {
		t.Error("the other domain's certificate changed")
	}
	romeo.Sync() // the session never noticed
}

func TestSelfSigned(t *testing.T) {
	s := harness.Start(t, harness.Config{SelfSigned: true})
	s.MustAddUser(t, "romeo@"+domain, secret)
	cfg := &tls.Config{InsecureSkipVerify: true, ServerName: domain}
	c := xmppc.DialTLS(t, s.C2STLS, cfg)
	leaf := c.Peer.PeerCertificates[0]
	if err := leaf.VerifyHostname(domain); err != nil {
		t.Error(err)
	}
	c.Open(domain)
	c.LoginBy(&xmppc.Scram{Mechanism: "SCRAM-SHA-256-PLUS", User: "romeo", Password: secret})
	first := leaf.SerialNumber.String()

	// It is made once and kept.
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	again := xmppc.DialTLS(t, s.C2STLS, cfg).Peer.PeerCertificates[0].SerialNumber.String()
	if again != first {
		t.Errorf("certificate %s after the restart, %s before", again, first)
	}
}

func TestSystemShutdown(t *testing.T) {
	s := harness.Start(t, harness.Config{})
	s.MustAddUser(t, "romeo@"+domain, secret)
	s.MustAddUser(t, "juliet@"+domain, secret)
	romeo, juliet := online(t, s, "romeo", "orchard", 0), online(t, s, "juliet", "balcony", 0)
	waiting := xmppc.Dial(t, s.C2S)
	waiting.Open(domain)

	// RFC 6120 4.9.3.20; what is queued goes out first.
	const many = 200
	for range many {
		romeo.Sendf("<message to='%s'><body>parting is such sweet sorrow</body></message>", juliet.JID)
	}
	romeo.Sync("presence")
	if err := s.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range many {
		juliet.Message("parting is such sweet sorrow")
	}
	for _, c := range []*xmppc.Conn{juliet, romeo, waiting} {
		e := c.Next()
		for e.Is(xmppc.NSClient, "presence") { // of own resources that went before
			e = c.Next()
		}
		if !e.Is(xmppc.NSStream, "error") || e.Condition() != "system-shutdown" {
			t.Errorf("got %s", e.Raw)
		}
		c.ExpectEnd()
	}
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	session(t, s, "romeo", "orchard").Sync()
	if log := s.Log.String(); strings.Contains(log, secret) {
		t.Error("the log has a password")
	}
}

// clientHello is a ClientHello of TLS 1.2 (RFC 5246 7.4.1.2) with these
// compression methods.
func clientHello(methods string) string {
	sized := func(bytes int, s string) string { // s behind its length
		n := string([]byte{byte(len(s) >> 16), byte(len(s) >> 8), byte(len(s))})
		return n[3-bytes:] + s
	}
	extensions := "\x00\x0a" + sized(2, sized(2, "\x00\x1d\x00\x17")) + // curves: x25519, P-256
		"\x00\x0b" + sized(2, "\x01\x00") + // points are not compressed
		"\x00\x0d" + sized(2, sized(2, "\x04\x03\x08\x04\x04\x01")) // signatures: ECDSA, RSA-PSS, RSA, each with SHA-256
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00" +
		sized(2, "\xc0\x2b\xc0\x2f") + // ECDHE with AES-128-GCM
		sized(1, methods) + sized(2, extensions)
	return "\x16\x03\x01" + sized(2, "\x01"+sized(3, body))
}
