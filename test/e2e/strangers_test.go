package e2e

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const nsLast = "jabber:iq:last"

// secretive starts a server that refuses requests of strangers.
func secretive(t *testing.T) *harness.Server {
	t.Helper()
	return harness.Start(t, harness.Config{Domains: []string{domain, second}, Registration: "open", Extra: "privacy: {strangers: refuse}\n"})
}

// TestStrangersLearnNothing: whoever is no contact gets the same answers to the
// byte, whether an account is missing, offline, or online and does not permit more.
func TestStrangersLearnNothing(t *testing.T) {
	for _, mode := range []struct {
		name  string
		start func(t *testing.T) *harness.Server
	}{{"allow", server}, {"refuse", secretive}} {
		t.Run("privacy.strangers: "+mode.name, func(t *testing.T) {
			s := mode.start(t)
			romeo, juliet := strangers(t, s)
			offline := account(t, s, "nurse") + "@" + domain
			away := im(t, s, account(t, s, "away"), "hall") // waits for a resumption
			away.Enable()
			away.Hangup()
			bare := []string{"nobody@" + domain, "nobody@" + second, offline, juliet.Bare(), away.Bare()}
			full := []string{"nobody@" + domain + "/balcony", "nobody@" + second + "/x", offline + "/hall", juliet.Bare() + "/guess", away.Bare() + "/guess"}
			if mode.name == "refuse" {
				full = append(full, juliet.JID, away.JID)
			}

			requests := []struct{ rule, typ, payload string }{
				{"RFC 6120 8.4 an unknown payload", "get", "<x xmlns='urn:example:x'/>"},
				{"RFC 6120 8.4 an unknown payload", "set", "<x xmlns='urn:example:x'/>"},
				{"RFC 6121 2.1.6 the roster", "get", query(xmppc.NSRoster)},
				{"RFC 6121 2.3.2 the roster", "set", "<query xmlns='" + xmppc.NSRoster + "'><item jid='romeo@" + domain + "'/></query>"},
				{"XEP-0030 8 disco#info", "get", query(nsInfo)},
				{"XEP-0030 8 disco#info of a node", "get", infoOf("n")},
				{"XEP-0030 8 disco#items", "get", query(nsItems)},
				{"XEP-0030 8 disco#items of a node", "get", itemsOf("n")},
				{"XEP-0054 3.3 the vCard", "get", "<vCard xmlns='" + nsVCard + "'/>"},
				{"XEP-0054 3.2 the vCard", "set", "<vCard xmlns='" + nsVCard + "'><FN>Tybalt</FN></vCard>"},
				{"XEP-0049 2 private XML", "get", "<query xmlns='" + nsPrivate + "'><n xmlns='urn:n'/></query>"},
				{"XEP-0012 8 last activity", "get", query(nsLast)},
				{"XEP-0077 registration", "get", query(nsReg)},
				{"XEP-0092 the version", "get", query(nsVersion)},
				{"XEP-0199 a ping", "get", ping},
				{"XEP-0202 the time", "get", "<time xmlns='" + nsTime + "'/>"},
			}
			for _, q := range requests {
				t.Run(q.rule+", "+q.typ, func(t *testing.T) {
					alike(t, romeo, q.typ, q.payload, bare...)
					if e := alike(t, romeo, q.typ, q.payload, full...); e.Condition() != "service-unavailable" {
						t.Errorf("RFC 6121 8.5.3.2.3: %s", e.Raw)
					}
				})
			}

			t.Run("RFC 6121 4.3.2 a probe", func(t *testing.T) {
				for _, to := range append(bare, full...) {
					romeo.Sendf("<presence type='probe' to='%s'/>", to)
					hears(t, romeo)
				}
			})
			hears(t, juliet)
		})
	}
}

// TestStrangersAreRefused is RFC 6121 8.5.3.1 to the letter.
func TestStrangersAreRefused(t *testing.T) {
	s := secretive(t)
	x := "<x xmlns='urn:example:x'/>"
	// refused checks that a request comes back, and does not come through.
	refused := func(t *testing.T, from, to *xmppc.Conn) {
		t.Helper()
		from.IQError("get", to.JID, x, "service-unavailable")
		from.IQError("set", to.JID, x, "service-unavailable")
		for _, e := range to.Collect() {
			if e.Is(xmppc.NSClient, "iq") && e.Pushed() == nil {
				t.Errorf("%s got %s", to.JID, e.Raw)
			}
		}
	}
	// answered checks that a request comes through, and its answer comes back.
	answered := func(t *testing.T, from, to *xmppc.Conn) {
		t.Helper()
		for _, typ := range []string{"get", "set"} {
			id := fresh()
			from.Sendf("<iq type='%s' id='%s' to='%s'>%s</iq>", typ, id, to.JID, x)
			from.Sync("presence", "iq")
			came := false
			for _, e := range to.Collect() {
				came = came || e.Attr("id") == id && e.Attr("from") == from.JID
			}
			if !came {
				t.Errorf("iq %s from %s did not come to %s", typ, from.JID, to.JID)
				return
			}
			to.Sendf("<iq type='result' id='%s' to='%s'/>", id, from.JID)
			to.Sync("presence")
			back := from.Answer(id, "presence")
			if back.Attr("type") != "result" || back.Attr("from") != to.JID {
				t.Errorf("got %s", back.Raw)
			}
		}
	}

	t.Run("a stranger", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		refused(t, romeo, juliet)
		romeo.Sendf("<presence to='%s'/>", juliet.JID) // that he tells her of his presence is not hers
		romeo.Collect()
		refused(t, romeo, juliet)
	})

	t.Run("subscription from or both; to is not enough", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		tell(romeo, juliet, "subscribe")
		refused(t, romeo, juliet)
		tell(juliet, romeo, "subscribed")
		romeo.Collect()
		juliet.Collect()
		answered(t, romeo, juliet) // and the result comes, though she is subscribed to nobody
		refused(t, juliet, romeo)
		tell(juliet, romeo, "unsubscribed")
		romeo.Collect()
		juliet.Collect()
		refused(t, romeo, juliet)
	})

	t.Run("a connected resource that is not available, and has not asked for its roster", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		juliet.Close()
		romeo.Collect()
		hidden := session(t, s, local, "hidden")
		answered(t, romeo, hidden)
		refused(t, session(t, s, account(t, s, "nurse"), ""), hidden)
	})

	t.Run("directed presence to the bare JID or any resource, until it is withdrawn, and of that resource only", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		rl, _, _ := strings.Cut(romeo.Bare(), "@")
		jl, _, _ := strings.Cut(juliet.Bare(), "@")
		street, phone := session(t, s, rl, "street"), im(t, s, jl, "phone")
		for _, to := range []string{romeo.Bare(), romeo.JID} {
			juliet.Sendf("<presence to='%s'/>", to)
			juliet.Collect()
			romeo.Collect()
			answered(t, romeo, juliet)
			answered(t, street, juliet)
			refused(t, romeo, phone)
			juliet.Sendf("<presence to='%s' type='unavailable'/>", to)
			juliet.Collect()
			romeo.Collect()
			refused(t, romeo, juliet)
			refused(t, street, juliet)
		}
	})

	t.Run("the own account, and answers to what the account asked", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		local, _, _ := strings.Cut(romeo.Bare(), "@")
		answered(t, session(t, s, local, "street"), romeo)
		for _, typ := range []string{"result", "error"} {
			juliet.Sendf("<iq type='%s' id='late' to='%s'/>", typ, romeo.JID)
			juliet.Sync("presence")
			hears(t, romeo, "iq "+typ+" ")
		}
	})

	t.Run("the server itself", func(t *testing.T) {
		soft := software(t, "urn:a")
		c := soft.user(t, s)
		answerInfo(c, soft.asked(t, c), soft.content)
		soft.known(t, s, true)
	})

	t.Run("messages are not concerned", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		chat(romeo, juliet.JID, 1)
		juliet.Message("1")
	})
}
