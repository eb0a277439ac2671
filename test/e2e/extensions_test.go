package e2e

import (
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const (
	nsInfo    = xmppc.NSInfo
	nsItems   = xmppc.NSItems
	nsVersion = "jabber:iq:version"
	nsTime    = "urn:xmpp:time"
	nsReg     = "jabber:iq:register"
)

func query(ns string) string { return "<query xmlns='" + ns + "'/>" }

// features are the protocols that an answer to disco#info names.
func features(e *xmppc.Element) (vars []string) {
	for _, f := range e.Child(nsInfo, "query").All(nsInfo, "feature") {
		vars = append(vars, f.Attr("var"))
	}
	return vars
}

func TestDiscovery(t *testing.T) {
	s := server(t)
	romeo := online(t, s, account(t, s, "romeo"), "orchard", 0)

	t.Run("XEP-0030 3.1 the server: identity server/im, each protocol once", func(t *testing.T) {
		info := romeo.IQ("get", domain, query(nsInfo))
		identity := info.Child(nsInfo, "query").Child(nsInfo, "identity")
		if identity.Attr("category") != "server" || identity.Attr("type") != "im" {
			t.Errorf("identity in %s", info.Raw)
		}
		vars := features(info)
		for _, want := range []string{nsInfo, nsItems, xmppc.NSPing, nsVersion, nsTime, nsReg} {
			if !slices.Contains(vars, want) {
				t.Errorf("%s is missing in %q", want, vars)
			}
		}
		slices.Sort(vars)
		if len(slices.Compact(slices.Clone(vars))) != len(vars) {
			t.Errorf("duplicates: %q", vars)
		}
	})

	t.Run("XEP-0030 3.1 what the server advertises, it answers", func(t *testing.T) {
		for _, v := range features(romeo.IQ("get", domain, query(nsInfo))) {
			payload, known := map[string]string{
				nsInfo: query(nsInfo), nsItems: query(nsItems), nsVersion: query(nsVersion), nsReg: query(nsReg),
				nsTime: "<time xmlns='" + nsTime + "'/>", xmppc.NSPing: ping,
			}[v]
			if known {
				romeo.IQ("get", domain, payload)
			}
		}
	})

	t.Run("XEP-0030 4.1 the server's items", func(t *testing.T) {
		romeo.IQ("get", domain, query(nsItems))
	})

	t.Run("XEP-0030 7 an unknown node gets item-not-found", func(t *testing.T) {
		romeo.IQError("get", domain, "<query xmlns='"+nsInfo+"' node='no such node'/>", "item-not-found")
		romeo.IQError("get", romeo.Bare(), "<query xmlns='"+nsInfo+"' node='no such node'/>", "item-not-found")
	})

	t.Run("XEP-0030 3.1 each hosted domain has its own", func(t *testing.T) {
		info := romeo.IQ("get", second, query(nsInfo))
		if info.Attr("from") != second {
			t.Errorf("got %s", info.Raw)
		}
	})

	t.Run("XEP-0030 a set is no request of its", func(t *testing.T) {
		if e := romeo.Ask("set", domain, query(nsInfo)); e.Attr("type") != "error" {
			t.Errorf("got %s", e.Raw)
		}
	})
}

func TestPingVersionTime(t *testing.T) {
	s := server(t)
	romeo, juliet := romeoAndJuliet(t, s)

	t.Run("XEP-0199 4.2 client to server, with and without to, and to the own account", func(t *testing.T) {
		for _, to := range []string{"", domain, romeo.Bare()} {
			if res := romeo.IQ("get", to, ping); len(res.Children) > 0 {
				t.Errorf("got %s", res.Raw)
			}
		}
	})

	t.Run("XEP-0199 4.3 client to client", func(t *testing.T) {
		romeo.Sendf("<iq type='get' id='ping1' to='%s'>%s</iq>", juliet.JID, ping)
		juliet.Expect(xmppc.NSClient, "iq")
		juliet.Sendf("<iq type='result' id='ping1' to='%s'/>", romeo.JID)
		if e := romeo.Answer("ping1"); e.Attr("from") != juliet.JID {
			t.Errorf("got %s", e.Raw)
		}
	})

	t.Run("XEP-0092 2 the server's name and version", func(t *testing.T) {
		q := romeo.IQ("get", domain, query(nsVersion)).Child(nsVersion, "query")
		if name := q.Child(nsVersion, "name"); name == nil || name.Text == "" {
			t.Errorf("no name: %s", q.Names())
		}
		if version := q.Child(nsVersion, "version"); version == nil || version.Text == "" {
			t.Errorf("no version: %s", q.Names())
		}
	})

	t.Run("XEP-0202 3 the server's time", func(t *testing.T) {
		e := romeo.IQ("get", domain, "<time xmlns='"+nsTime+"'/>").Child(nsTime, "time")
		tzo, utc := e.Child(nsTime, "tzo"), e.Child(nsTime, "utc")
		if tzo == nil || !regexp.MustCompile(`^(Z|[+-]\d\d:\d\d)$`).MatchString(tzo.Text) {
			t.Errorf("tzo %v", tzo)
		}
		if utc == nil {
			t.Fatal("no utc")
		}
		at, err := time.Parse(time.RFC3339, utc.Text)
		if err != nil || at.Location() != time.UTC {
			t.Fatalf("utc %q: %v", utc.Text, err)
		}
		if off := time.Since(at).Abs(); off > time.Hour {
			t.Errorf("utc %q is %v off", utc.Text, off)
		}
	})
}
