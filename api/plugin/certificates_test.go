package plugin_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"slices"
	"testing"

	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// TestCertificates: a handler has certificates and keys, renewed ones too, inside and through messages, and
// the same refusals.
func TestCertificates(t *testing.T) {
	plugintest.InHarness(t, func(t *testing.T, as plugintest.Way) {
		for name, granted := range map[string][]extension.Permission{"granted": nil, "not granted": {extension.SeeStanzas}} {
			t.Run(name, func(t *testing.T) {
				var domain string
				var cert *tls.Certificate
				var got error
				reg := extension.Registration{
					Name: "test", Permissions: []extension.Permission{extension.ReadCertificates},
					Components: []extension.Component{{Domain: "test.$domain", Handle: func(ctx context.Context, h *extension.Host, _ *extension.Envelope) error {
						cert, got = h.Certificates.Certificate(ctx, domain)
						return nil
					}}},
				}
				h := extensiontest.New(t, as(t, reg), extensiontest.Options{Domains: []string{"example.org", "bücher.example"}, Granted: granted})
				ask := func(d string) {
					domain = d
					h.Component(extension.Envelope{Stanza: stanza.New(stanza.Header{Kind: stanza.Message, From: jid.MustParse("romeo@example.org/x"), To: jid.MustParse("test.example.org")})})
				}
				if granted != nil {
					if ask("example.org"); !errors.Is(got, extension.ErrPermission) || cert != nil {
						t.Errorf("got %v, %v, want %v", cert, got, extension.ErrPermission)
					}
					return
				}
				for d, name := range map[string]string{"example.org": "example.org", "test.example.org": "test.example.org", "bücher.example": "xn--bcher-kva.example"} {
					if ask(d); got != nil {
						t.Fatalf("%s: %v", d, got)
					}
					if err := cert.Leaf.VerifyHostname(name); err != nil {
						t.Error(err)
					}
				}
				for _, d := range []string{"far.example", "", "example.org."} {
					if ask(d); !errors.Is(got, extension.ErrNotServed) || cert != nil {
						t.Errorf("%q: got %v, %v, want %v", d, cert, got, extension.ErrNotServed)
					}
				}
				renewed := extensiontest.Certificate(t, "example.org")
				renewed.Certificate = append(renewed.Certificate, extensiontest.Certificate(t, "authority.example").Certificate...)
				h.SetCertificate("example.org", renewed)
				if ask("example.org"); got != nil || !slices.EqualFunc(cert.Certificate, renewed.Certificate, slices.Equal) {
					t.Errorf("the renewed chain: %v", got)
				}
				if !renewed.PrivateKey.(*ecdsa.PrivateKey).Equal(cert.PrivateKey) {
					t.Error("another key")
				}
			})
		}
	})
}
