package e2e

import (
	"slices"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

func infoOf(node string) string {
	return "<query xmlns='" + nsInfo + "' node='" + xmppc.Escape(node) + "'/>"
}

// TestServerCaps is what the server says of itself (XEP-0115 6.2, 6.3, 7).
func TestServerCaps(t *testing.T) {
	withContact := "extensions: {contact: {options: {abuse: 'mailto:abuse@example.test', admin: ['xmpp:a@example.test', 'mailto:b@example.test']}}}\n"
	for _, conf := range []struct {
		name string
		with harness.Config
	}{
		{"as it comes", harness.Config{Domains: []string{domain, second}, Registration: "open"}},
		{"with a form", harness.Config{Domains: []string{domain, second}, Registration: "open", Extra: withContact}},
	} {
		t.Run(conf.name, func(t *testing.T) {
			s := harness.Start(t, conf.with)
			for _, at := range []string{domain, second} {
				c := direct(t, s, at)
				c.Open(at)
				if c.Features.Child(xmppc.NSCaps, "c") != nil {
					t.Errorf("before login: %s", c.Features.Raw)
				}
				c = direct(t, s, at)
				c.Open(at)
				c.Login(accountAt(t, s, at, "romeo"), secret)
				caps := c.Features.Child(xmppc.NSCaps, "c")
				if caps.Attr("hash") != "sha-1" || caps.Attr("node") == "" {
					t.Fatalf("after login: %s", c.Features.Raw)
				}
				c.Bind("")
				plain := c.IQ("get", at, query(nsInfo))
				if ver := xmppc.Ver(plain.Child(nsInfo, "query")); caps.Attr("ver") != ver {
					t.Errorf("ver is %q, and disco#info has %q: %s", caps.Attr("ver"), ver, plain.Raw)
				}
				if !slices.Contains(features(plain), xmppc.NSCaps) {
					t.Errorf("XEP-0115 7: %s", plain.Raw)
				}
				node := caps.Attr("node") + "#" + caps.Attr("ver")
				asked := c.IQ("get", at, infoOf(node)).Child(nsInfo, "query")
				if asked.Attr("node") != node || xmppc.Ver(asked) != caps.Attr("ver") {
					t.Errorf("XEP-0115 6.2: under the node %q: %s", node, asked.Names())
				}
				for _, other := range []string{caps.Attr("node"), node + "x", "#" + caps.Attr("ver")} {
					c.IQError("get", at, infoOf(other), "item-not-found")
				}
				c.IQError("get", c.Bare(), infoOf(node), "item-not-found")
				c.IQError("get", at, "<query xmlns='"+nsItems+"' node='"+node+"'/>", "item-not-found")
			}
		})
	}
}
