package e2e

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// badTLS is what may go wrong around the handshake.
func badTLS(t *testing.T, h *hostile) {
	const starttls = "<starttls xmlns='" + xmppc.NSTLS + "'/>"

	smuggled := []struct{ rule, after string }{
		{"RFC 6120 5.4.3.3 a login smuggled behind starttls", auth("PLAIN", b64("\x00romeo\x00"+secret))},
		{"RFC 6120 5.4.3.3 a whole stream smuggled behind starttls", goodHeader + auth("PLAIN", b64("\x00romeo\x00"+secret))},
		{"RFC 6120 5.4.3.3 a second starttls behind the first", starttls},
		{"RFC 6120 5.4.3.3 broken XML behind starttls", "<<<&&&"},
		{"RFC 6120 5.4.3.3 half an element behind starttls", "<auth xmlns='" + xmppc.NSSASL + "' mechanism='PL"},
	}
	for _, tt := range smuggled {
		t.Run(tt.rule, func(t *testing.T) {
			c := openedInClear(t, h)
			c.Send(starttls + tt.after)
			c.Expect(xmppc.NSTLS, "proceed")
			if err := c.TryTLS(h.CA.TLS(domain)); err != nil {
				t.Fatalf("handshake: %v", err)
			}
			c.Open(domain) // nothing of what was said before has an effect
			if len(c.Mechanisms()) == 0 {
				t.Errorf("features %s", c.Features.Raw)
			}
			c.Login(h.user, secret)
			c.Bind("")
			c.Sync()
		})
	}

	garbage := []struct{ rule, hello string }{
		{"RFC 6120 5.4.3.2 text for a handshake", "this is no TLS, this is text\r\n"},
		{"RFC 6120 5.4.3.2 a stream header for a handshake", goodHeader},
		{"RFC 6120 5.4.3.2 a hello of SSL 2", "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10"},
		{"RFC 6120 5.4.3.2 a record with a huge length", "\x16\x03\x01\xff\xff\x01"},
		{"RFC 6120 5.4.3.2 an alert for a handshake", "\x15\x03\x01\x00\x02\x02\x28"},
	}
	for _, tt := range garbage {
		t.Run(tt.rule+", after starttls", func(t *testing.T) {
			c := openedInClear(t, h)
			c.Send(starttls)
			c.Expect(xmppc.NSTLS, "proceed")
			c.Send(tt.hello)
			hangup(t, c.Net())
		})
		t.Run(tt.rule+", on the port of direct TLS", func(t *testing.T) {
			c := xmppc.Dial(t, h.C2STLS)
			c.Send(tt.hello)
			hangup(t, c.Net())
		})
	}

	t.Run("RFC 7590 3.3 TLS 1.1 and older", func(t *testing.T) {
		for _, addr := range []string{h.C2STLS, h.C2S} {
			c := xmppc.Dial(t, addr)
			if addr == h.C2S {
				c.Open(domain)
				c.Send(starttls)
				c.Expect(xmppc.NSTLS, "proceed")
			}
			cfg := h.CA.TLS(domain)
			cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			if err := c.TryTLS(cfg); err == nil || !strings.Contains(err.Error(), "version") {
				t.Errorf("handshake: %v", err)
			}
			hangup(t, c.Net())
		}
	})

	t.Run("XEP-0368 4 another ALPN protocol", func(t *testing.T) {
		for _, protocol := range []string{"h2", "xmpp-server", "xmpp"} {
			c := xmppc.Dial(t, h.C2STLS)
			cfg := h.CA.TLS(domain)
			cfg.NextProtos = []string{protocol}
			if err := c.TryTLS(cfg); err == nil {
				t.Errorf("%s: the handshake went well", protocol)
			}
			hangup(t, c.Net())
		}
	})

	t.Run("RFC 8446 5.2 a record that was tampered with", func(t *testing.T) {
		c := bound(t, h)
		under := c.Net().(*tls.Conn).NetConn()
		if _, err := under.Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("\x5a", 32))); err != nil {
			t.Fatal(err)
		}
		ended(t, c)
	})

	t.Run("RFC 8446 6.1 a connection cut without close_notify", func(t *testing.T) {
		romeo, juliet := romeoAndJuliet(t, h.Server)
		romeo.Sendf("<presence to='%s'/>", juliet.JID)
		juliet.Expect(xmppc.NSClient, "presence")
		romeo.Net().(*tls.Conn).NetConn().Close()
		if p := juliet.Expect(xmppc.NSClient, "presence"); p.Attr("type") != "unavailable" {
			t.Errorf("got %s", p.Raw)
		}
	})

	t.Run("handshakes that are begun and left", func(t *testing.T) {
		for range 50 {
			c := xmppc.Dial(t, h.C2STLS)
			c.Send("\x16\x03\x01\x02\x00\x01\x00")
			c.Drop()
		}
	})
}

// hangup wants the server to close the connection; bytes before it, such as an
// alert, don't matter.
func hangup(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(xmppc.Timeout))
	_, err := io.Copy(io.Discard, conn)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Error("the server keeps the connection open")
	}
}
