package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// resourcesOf are the JIDs that an answer to disco#items lists, sorted.
func resourcesOf(e *xmppc.Element) (all []string) {
	for _, item := range e.Child(nsItems, "query").All(nsItems, "item") {
		all = append(all, item.Attr("jid"))
	}
	slices.Sort(all)
	return all
}

func itemsOf(node string) string {
	return "<query xmlns='" + nsItems + "' node='" + xmppc.Escape(node) + "'/>"
}

// TestAccountDiscovery is service discovery of bare JIDs (XEP-0030 3.1, 4.1, 8).
func TestAccountDiscovery(t *testing.T) {
	s := server(t)
	registered := func(t *testing.T, asks, of *xmppc.Conn, to string) {
		t.Helper()
		info := asks.IQ("get", to, query(nsInfo))
		identity := info.Child(nsInfo, "query").Child(nsInfo, "identity")
		vars := features(info)
		if identity.Attr("category") != "account" || identity.Attr("type") != "registered" || !slices.Contains(vars, nsInfo) || !slices.Contains(vars, nsVCard) {
			t.Errorf("%s asks %q: %s", asks.JID, to, info.Raw)
		}
		if from := info.Attr("from"); from != "" && from != of.Bare() {
			t.Errorf("from %q: %s", from, info.Raw)
		}
	}
	// lists checks which resources of an account somebody is told.
	lists := func(t *testing.T, asks *xmppc.Conn, to string, want ...string) {
		t.Helper()
		slices.Sort(want)
		if e := asks.IQ("get", to, query(nsItems)); !slices.Equal(resourcesOf(e), want) {
			t.Errorf("%s asks %q: %s, want %q", asks.JID, to, e.Raw, want)
		}
	}

	t.Run("XEP-0030 3.1, 4.1 the owner: identity, features, available resources", func(t *testing.T) {
		local := account(t, s, "romeo")
		romeo := im(t, s, local, "orchard")
		street := im(t, s, local, "street")
		session(t, s, local, "hidden")
		romeo.Collect()
		for _, to := range []string{"", romeo.Bare()} {
			registered(t, romeo, romeo, to)
			lists(t, romeo, to, romeo.JID, street.JID)
		}
		romeo.IQError("get", romeo.Bare(), infoOf("no such node"), "item-not-found")
		romeo.IQError("get", romeo.Bare(), itemsOf("no such node"), "item-not-found")
	})

	t.Run("XEP-0030 3.1, 4.1 contacts that see its presence are told the same, nodes that are not there included", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		phone := im(t, s, local, "phone")
		session(t, s, local, "hidden")
		registered(t, romeo, juliet, juliet.Bare())
		lists(t, romeo, juliet.Bare(), juliet.JID, phone.JID)
		romeo.IQError("get", juliet.Bare(), infoOf("no such node"), "item-not-found")
		romeo.IQError("get", juliet.Bare(), itemsOf("no such node"), "item-not-found")
		phone.Send("<presence type='unavailable'/>")
		phone.Collect()
		lists(t, romeo, juliet.Bare(), juliet.JID)
		phone.Close()
		juliet.Collect()
		juliet.Close()
		registered(t, romeo, juliet, juliet.Bare()) // while nobody of it is online
		lists(t, romeo, juliet.Bare())
	})

	t.Run("XEP-0030 8 the direction of the subscription counts, and it ends with it", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		tell(romeo, juliet, "subscribe")
		romeo.IQError("get", juliet.Bare(), query(nsInfo), "service-unavailable") // not approved yet
		tell(juliet, romeo, "subscribed")
		romeo.Collect()
		juliet.Collect()
		registered(t, romeo, juliet, juliet.Bare())
		juliet.IQError("get", romeo.Bare(), query(nsInfo), "service-unavailable")
		lists(t, juliet, romeo.Bare())
		tell(juliet, romeo, "unsubscribed")
		romeo.Collect()
		romeo.IQError("get", juliet.Bare(), query(nsInfo), "service-unavailable")
		lists(t, romeo, juliet.Bare())
	})

	t.Run("XEP-0030 8 to all others, accounts that are missing, offline and online are alike", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		romeo.Sendf("<presence to='%s'/>", juliet.JID) // directed presence is no subscription
		romeo.Collect()
		offline := account(t, s, "nurse") + "@" + domain
		everybody := []string{"nobody@" + domain, "nobody@" + second, offline, juliet.Bare()}
		for _, payload := range []string{query(nsInfo), infoOf("n"), query(nsItems), itemsOf("n")} {
			alike(t, romeo, "get", payload, everybody...)
		}
		romeo.IQError("get", juliet.Bare(), query(nsInfo), "service-unavailable")
		lists(t, romeo, juliet.Bare())
	})
}

// alike asks each address the same. The answers must be the same to the byte, but
// for ids and addresses. One of them is returned.
func alike(t *testing.T, c *xmppc.Conn, typ, payload string, to ...string) *xmppc.Element {
	t.Helper()
	var first *xmppc.Element
	for _, addr := range to {
		e := c.Ask(typ, addr, payload)
		if e.Attr("from") != addr || e.Attr("to") != c.JID {
			t.Errorf("asked %s: %s", addr, e.Raw)
		}
		if first == nil {
			first = e
		}
		if got, want := anonymous(e), anonymous(first); got != want {
			t.Errorf("iq %s %s\nto %s: %s\nto %s: %s", typ, payload, to[0], want, addr, got)
		}
	}
	return first
}

// anonymous is an answer without its id and addresses.
func anonymous(e *xmppc.Element) string {
	raw := e.Raw
	for _, attr := range []string{"id", "from", "to"} {
		raw = strings.Replace(raw, " "+attr+"='"+e.Attr(attr)+"'", "", 1)
	}
	return raw
}
