package ping_test

import (
	"slices"
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/ping"
	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
)

func TestSuite(t *testing.T) { extensiontest.Run(t, ping.New) }

func TestSuiteAsAPlugin(t *testing.T) {
	extensiontest.Run(t, func() extension.Registration { return plugintest.Through(ping.New()) })
}

func TestPing(t *testing.T) { plugintest.InHarness(t, testPing) }

func testPing(t *testing.T, as plugintest.Way) {
	juliet := extensiontest.Client("juliet@capulet.example/balcony")
	tests := []struct {
		name, in, want string
		from           extension.Origin
	}{
		{"XEP-0199 4.2 example 4, 5: to the server",
			`<iq from='juliet@capulet.example/balcony' to='capulet.example' id='c2s1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>`,
			`<iq from='capulet.example' to='juliet@capulet.example/balcony' id='c2s1' type='result'/>`, juliet},
		{"XEP-0199 4.2: to the own bare JID",
			`<iq to='juliet@capulet.example' id='c2s2' type='get'><ping xmlns='urn:xmpp:ping'/></iq>`,
			`<iq from='juliet@capulet.example' to='juliet@capulet.example/balcony' id='c2s2' type='result'/>`, juliet},
		{"XEP-0199 4.2: no address",
			`<iq id='c2s3' type='get'><ping xmlns='urn:xmpp:ping'/></iq>`,
			`<iq to='juliet@capulet.example/balcony' id='c2s3' type='result'/>`, juliet},
		{"XEP-0199 4.3 example 7, 8: from a server",
			`<iq from='montague.example' to='capulet.example' id='s2s1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>`,
			`<iq from='capulet.example' to='montague.example' id='s2s1' type='result'/>`, extensiontest.Far()},
		{"RFC 6120 8.4: a ping of type set is unknown",
			`<iq to='capulet.example' id='c2s4' type='set'><ping xmlns='urn:xmpp:ping'/></iq>`,
			`<iq from='capulet.example' to='juliet@capulet.example/balcony' id='c2s4' type='error'>
			 <error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`, juliet},
		{"XEP-0199 7: another account says nothing of itself",
			`<iq to='romeo@capulet.example' id='c2s5' type='get'><ping xmlns='urn:xmpp:ping'/></iq>`,
			`<iq from='romeo@capulet.example' to='juliet@capulet.example/balcony' id='c2s5' type='error'>
			 <error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`, juliet},
		{"RFC 6120 4.9.3.12: not before login",
			`<iq to='capulet.example' id='c2s6' type='get'><ping xmlns='urn:xmpp:ping'/></iq>`, "",
			extensiontest.Stream("capulet.example")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := extensiontest.New(t, as(t, ping.New()), extensiontest.Options{Domains: []string{"capulet.example"}})
			extensiontest.Expect(t, h.IQ(tt.from, extensiontest.Parse(t, tt.in)), tt.want)
		})
	}
}

func TestFeature(t *testing.T) { // XEP-0199 5
	reg := ping.New()
	for _, d := range []extension.Disco{reg.Server, reg.Account} {
		if !slices.Contains(d.Features, "urn:xmpp:ping") {
			t.Errorf("features %q", d.Features)
		}
	}
}
