package wire

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/plugins/s2s"
)

// TestFederationDefaults: what the configuration gives the plugin s2s where nothing is said is what the
// plugin has by itself.
func TestFederationDefaults(t *testing.T) {
	c, err := config.Parse("c.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	given, err := c.Plugins["s2s"].OptionsJSON()
	if err != nil {
		t.Fatal(err)
	}
	var got s2s.Options
	d := json.NewDecoder(bytes.NewReader(given))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	// Empty, and not there, are the same.
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(s2s.Defaults)
	norm := func(b []byte) string { return strings.NewReplacer("null", "{}", "[]", "{}").Replace(string(b)) }
	if norm(a) != norm(b) {
		t.Errorf("given\n%s\nits own\n%s", a, b)
	}
}
