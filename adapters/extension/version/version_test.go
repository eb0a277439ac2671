package version_test

import (
	"slices"
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/version"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
)

func TestSuite(t *testing.T) {
	extensiontest.Run(t, func() extension.Registration { return version.New(version.Options{Version: "1.0", OS: "linux"}) })
}

func TestVersion(t *testing.T) {
	const ask = `<iq type='get' to='capulet.example' id='version_1'><query xmlns='jabber:iq:version'/></iq>`
	answer := func(query string) string {
		return `<iq type='result' from='capulet.example' to='romeo@montague.example/orchard' id='version_1'>
			<query xmlns='jabber:iq:version'>` + query + `</query></iq>`
	}
	tests := []struct {
		name    string
		options version.Options
		want    string
	}{
		{"XEP-0092 2 name and version are required", version.Options{Version: "1.2.3"}, "<name>hexmpp</name><version>1.2.3</version>"},
		{"XEP-0092 3 example 2 with an operating system", version.Options{Name: "Exodus", Version: "0.7.0.4", OS: "Windows-XP 5.01.2600"},
			"<name>Exodus</name><version>0.7.0.4</version><os>Windows-XP 5.01.2600</os>"},
		{"XEP-0092 5 hidden, but required", version.Options{Version: "1.2.3", HideVersion: true}, "<name>hexmpp</name><version/>"},
		{"the text is escaped", version.Options{Name: "<&>", Version: "1"}, "<name>&lt;&amp;&gt;</name><version>1</version>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := extensiontest.New(t, version.New(tt.options), extensiontest.Options{Domains: []string{"capulet.example", "montague.example"}})
			got := h.IQ(extensiontest.Client("romeo@montague.example/orchard"), extensiontest.Parse(t, ask))
			extensiontest.Expect(t, got, answer(tt.want))
		})
	}
}

func TestRefusals(t *testing.T) {
	h := extensiontest.New(t, version.New(version.Options{}), extensiontest.Options{Domains: []string{"capulet.example"}})
	for name, in := range map[string]string{
		"XEP-0092 3 nothing to set":           `<iq type='set' to='capulet.example' id='1'><query xmlns='jabber:iq:version'/></iq>`,
		"XEP-0092 1 not on behalf of clients": `<iq type='get' to='juliet@capulet.example' id='1'><query xmlns='jabber:iq:version'/></iq>`,
	} {
		t.Run(name, func(t *testing.T) {
			s := extensiontest.Parse(t, in)
			extensiontest.Expect(t, h.IQ(extensiontest.Client("romeo@capulet.example/o"), s),
				`<iq type='error' id='1' to='romeo@capulet.example/o' from='`+s.To.String()+`'>
				 <error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`)
		})
	}
}

func TestFeature(t *testing.T) { // XEP-0092 4
	if d := version.New(version.Options{}).Server; !slices.Equal(d.Features, []string{"jabber:iq:version"}) {
		t.Errorf("features %q", d.Features)
	}
}
