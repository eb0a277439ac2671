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

// RFC 6120 8.2.3: whatever is asked, and of whom, one answer comes, and no more.
func TestOneAnswer(t *testing.T) {
	s := server(t)
	romeo, juliet := romeoAndJuliet(t, s)
	own, unknown := romeo.Bare(), "<what xmlns='urn:example:unknown'/>"
	for _, row := range []struct{ rule, typ, to, payload string }{
		{"RFC 6120 8.2.3 rule 3: a request that nobody addressed", "get", "", unknown},
		{"RFC 6120 8.2.3 rule 3: a request to the server", "set", domain, unknown},
		{"RFC 6120 8.2.3 rule 3: a request that the server answers", "get", domain, ping},
		{"RFC 6120 8.2.3 rule 3: a request to a resource of the server", "get", domain + "/x", ping},
		{"RFC 6120 8.2.3 rule 3: a request to the other domain", "get", second, ping},
		{"RFC 6120 8.2.3 rule 3: a request to the own account", "set", own, unknown},
		{"RFC 6120 8.2.3 rule 3: a request to another account", "get", juliet.Bare(), unknown},
		{"RFC 6120 8.2.3 rule 3: a request to an account that isn't there", "get", "nobody@" + domain, unknown},
		{"RFC 6120 8.2.3 rule 3: a request to a resource that isn't there", "get", juliet.Bare() + "/nowhere", unknown},
		{"RFC 6120 8.2.3 rule 3: a request elsewhere", "get", "paris@verona.invalid", unknown},
		{"RFC 6120 8.2.3 rule 3: a request to no address", "get", "@@@", unknown},
		{"RFC 6120 8.2.3 rule 3: a request of the roster", "get", "", "<query xmlns='" + xmppc.NSRoster + "'/>"},
		{"RFC 6120 8.2.3 rule 3: a change of the roster that is refused", "set", "", "<query xmlns='" + xmppc.NSRoster + "'/>"},
		{"RFC 6120 8.2.3 rule 3: a second bind", "set", "", "<bind xmlns='" + xmppc.NSBind + "'/>"},
		{"RFC 6120 8.2.3 rule 3: a request with two children", "get", domain, ping + ping},
	} {
		t.Run(row.rule, func(t *testing.T) {
			if res := romeo.Ask(row.typ, row.to, row.payload); res.Attr("type") != "result" && res.Attr("type") != "error" {
				t.Errorf("got %s", res.Raw)
			}
			silent(t, romeo, juliet)
		})
	}
}

// RFC 6120 8.3.3 gives each condition a type, by which clients decide whether
// to try again.
func TestErrorTypes(t *testing.T) {
	s := server(t)
	romeo := im(t, s, account(t, s, "romeo"), "orchard")
	roster := func(items string) string { return "<query xmlns='" + xmppc.NSRoster + "'>" + items + "</query>" }
	for _, row := range []struct{ rule, typ, to, payload, condition, want string }{
		{"RFC 6120 8.3.3.1 bad-request: modify", "set", "", roster(""), "bad-request", "modify"},
		{"RFC 6120 8.3.3.7 item-not-found: cancel", "set", "", roster("<item jid='a@b.test' subscription='remove'/>"), "item-not-found", "cancel"},
		{"RFC 6120 8.3.3.8 jid-malformed: modify", "get", "@@@", ping, "jid-malformed", "modify"},
		{"RFC 6120 8.3.3.9 not-acceptable: modify", "set", "", roster("<item jid='a@b.test'><group/></item>"), "not-acceptable", "modify"},
		{"RFC 6120 8.3.3.10 not-allowed: cancel", "set", "", "<bind xmlns='" + xmppc.NSBind + "'/>", "not-allowed", "cancel"},
		{"RFC 6120 8.3.3.16 remote-server-not-found: cancel", "get", "paris@verona.invalid", ping, "remote-server-not-found", "cancel"},
		{"RFC 6120 8.3.3.19 service-unavailable: cancel", "get", domain, "<what xmlns='urn:example:unknown'/>", "service-unavailable", "cancel"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			e := romeo.IQError(row.typ, row.to, row.payload, row.condition)
			if e.ErrorType() != row.want {
				t.Errorf("type %q: %s", e.ErrorType(), e.Raw)
			}
		})
	}
}
