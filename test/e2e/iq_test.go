package e2e

import (
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

func TestIQ(t *testing.T) {
	s := server(t)
	romeo, juliet := romeoAndJuliet(t, s)

	malformed := []struct{ rule, stanza, id string }{
		{"RFC 6120 8.2.3 rule 1: no id", "<iq type='get' to='" + domain + "'>" + ping + "</iq>", ""},
		{"RFC 6120 8.2.3 rule 2: no type", "<iq id='a1' to='" + domain + "'>" + ping + "</iq>", "a1"},
		{"RFC 6120 8.2.3 rule 2: an unknown type", "<iq type='subscribe' id='a2' to='" + domain + "'>" + ping + "</iq>", "a2"},
		{"RFC 6120 8.2.3 rule 5: a get with two children", "<iq type='get' id='a3' to='" + domain + "'>" + ping + ping + "</iq>", "a3"},
		{"RFC 6120 8.2.3 rule 5: a get without a child", "<iq type='get' id='a4' to='" + domain + "'/>", "a4"},
		{"RFC 6120 8.2.3 rule 5: a set without a child, to another user", "<iq type='set' id='a5' to='" + juliet.JID + "'/>", "a5"},
		{"RFC 6120 8.2.3 rule 2: an unknown type to another user", "<iq type='fetch' id='a6' to='" + juliet.JID + "'>" + ping + "</iq>", "a6"},
	}
	for _, tt := range malformed {
		t.Run(tt.rule, func(t *testing.T) {
			romeo.Send(tt.stanza)
			e := romeo.StanzaError("iq", tt.id, "bad-request")
			if e.ErrorType() != "modify" {
				t.Errorf("error type %q", e.ErrorType())
			}
			silent(t, romeo, juliet)
		})
	}

	t.Run("RFC 6120 8.4 an unknown payload gets service-unavailable", func(t *testing.T) {
		for _, to := range []string{"", domain, romeo.Bare(), juliet.Bare()} {
			e := romeo.IQError("get", to, "<what xmlns='urn:example:unknown'/>", "service-unavailable")
			if e.ErrorType() != "cancel" {
				t.Errorf("to %q: error type %q", to, e.ErrorType())
			}
			if from := e.Attr("from"); from != to && !(to == "" && from == romeo.Bare()) && !(to == romeo.Bare() && from == "") {
				t.Errorf("to %q: the error is from %q", to, from)
			}
		}
	})

	t.Run("RFC 6120 8.2.3 rule 4: result and error are not answered", func(t *testing.T) {
		for _, to := range []string{"", domain, juliet.Bare(), juliet.Bare() + "/gone", "nobody@" + domain} {
			for _, typ := range []string{"result", "error"} {
				address := ""
				if to != "" {
					address = " to='" + to + "'"
				}
				romeo.Sendf("<iq type='%s' id='none'%s/>", typ, address)
			}
		}
		silent(t, romeo, juliet)
	})

	t.Run("RFC 6121 8.5.3.1 request and result between two sessions", func(t *testing.T) {
		romeo.Sendf("<iq type='get' id='q1' to='%s'><query xmlns='urn:example:age'/></iq>", juliet.JID)
		q := juliet.Expect(xmppc.NSClient, "iq")
		if q.Attr("from") != romeo.JID || q.Attr("id") != "q1" || q.Attr("type") != "get" {
			t.Fatalf("got %s", q.Raw)
		}
		juliet.Sendf("<iq type='result' id='q1' to='%s'><query xmlns='urn:example:age'>13</query></iq>", q.Attr("from"))
		a := romeo.Answer("q1")
		if a.Attr("from") != juliet.JID || a.Child("urn:example:age", "query") == nil {
			t.Errorf("got %s", a.Raw)
		}
	})

	t.Run("RFC 6121 8.5.3.2.3 to a resource that isn't there", func(t *testing.T) {
		romeo.IQError("get", juliet.Bare()+"/gone", ping, "service-unavailable")
	})

	t.Run("RFC 6121 8.5.1 to an account that isn't there, the same as to one that is offline", func(t *testing.T) {
		offline := account(t, s, "mercutio") + "@" + domain
		for _, to := range []string{offline, "nobody@" + domain} {
			for _, resource := range []string{"", "/attic"} {
				e := romeo.IQError("get", to+resource, "<what xmlns='urn:example:unknown'/>", "service-unavailable")
				if e.Attr("from") != to+resource || e.ErrorType() != "cancel" {
					t.Errorf("got %s", e.Raw)
				}
			}
		}
	})

	t.Run("RFC 6120 8.3.1 an error swaps the addresses, keeps the id and has xml:lang on its text", func(t *testing.T) {
		romeo.Sendf("<iq type='get' id='swap &lt;1&gt;' to='%s' xml:lang='de'><what xmlns='urn:example:unknown'/></iq>", juliet.Bare())
		e := romeo.StanzaError("iq", "swap <1>", "service-unavailable")
		if e.Attr("from") != juliet.Bare() || e.Attr("to") != romeo.JID {
			t.Errorf("got %s", e.Raw)
		}
		if text := e.Child(xmppc.NSClient, "error").Child(xmppc.NSStanza, "text"); text != nil && text.Lang() == "" && e.Lang() == "" {
			t.Errorf("text without xml:lang: %s", e.Raw)
		}
	})
}
