package e2e

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

func TestSubscription(t *testing.T) {
	s := server(t)

	t.Run("RFC 6121 3.1 request, approval, presence, and the other way", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		r, j := romeo.Bare(), juliet.Bare()

		romeo.Sendf("<presence to='%s' type='subscribe'/>", j)
		hears(t, romeo, "push "+j+" none ask")
		hears(t, juliet, "subscribe from "+r)
		if items := juliet.Roster(); len(items) > 0 {
			t.Error("3.1.3: a request that is not answered is no item")
		}

		juliet.Sendf("<presence to='%s' type='subscribed'/>", r)
		hears(t, juliet, "push "+r+" from")
		hears(t, romeo, "subscribed from "+j, "push "+j+" to", "available from "+juliet.JID)

		juliet.Sendf("<presence to='%s' type='subscribe'/>", r)
		hears(t, juliet, "push "+r+" from ask")
		hears(t, romeo, "subscribe from "+j)
		romeo.Sendf("<presence to='%s' type='subscribed'/>", j)
		hears(t, romeo, "push "+j+" both")
		hears(t, juliet, "subscribed from "+r, "push "+r+" both", "available from "+romeo.JID)
	})

	t.Run("RFC 6121 3.1.2 subscription stanzas go between bare JIDs", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		romeo.Sendf("<presence to='%s' type='subscribe' id='s1'><status>it is the east</status></presence>", juliet.JID)
		romeo.Collect()
		p := juliet.Expect(xmppc.NSClient, "presence")
		if p.Attr("from") != romeo.Bare() || p.Attr("to") != juliet.Bare() || p.Attr("id") != "s1" || p.Child(xmppc.NSClient, "status") == nil {
			t.Errorf("got %s", p.Raw)
		}
	})

	t.Run("RFC 6121 3.1.3 a request waits, and comes once with each login until it is answered", func(t *testing.T) {
		romeo := im(t, s, account(t, s, "romeo"), "orchard")
		local := account(t, s, "juliet")
		for range 3 {
			romeo.Sendf("<presence to='%s@%s' type='subscribe'><status>hi</status></presence>", local, domain)
		}
		romeo.Collect()
		request := "subscribe from " + romeo.Bare()
		for range 2 {
			juliet := session(t, s, local, "balcony")
			juliet.Roster()
			hears(t, juliet) // not before initial presence
			juliet.Send("<presence/>")
			hears(t, juliet, request, "available from "+juliet.JID)
			juliet.Send("<presence><show>away</show></presence>")
			hears(t, juliet, "available from "+juliet.JID+" away")
			juliet.Close()
		}
		juliet := im(t, s, local, "balcony")
		tell(juliet, romeo, "unsubscribed")
		hears(t, romeo, "unsubscribed from "+juliet.Bare(), "push "+juliet.Bare()+" none")
		juliet.Close()
		juliet = session(t, s, local, "balcony")
		juliet.Send("<presence/>")
		hears(t, juliet, "available from "+juliet.JID)
	})

	t.Run("RFC 6121 3.1.3 a request goes to every available resource", func(t *testing.T) {
		romeo := im(t, s, account(t, s, "romeo"), "orchard")
		local := account(t, s, "juliet")
		balcony, chamber := im(t, s, local, "balcony"), im(t, s, local, "chamber")
		hidden := session(t, s, local, "tomb")
		balcony.Collect()
		tell(romeo, balcony, "subscribe")
		hears(t, balcony, "subscribe from "+romeo.Bare())
		hears(t, chamber, "subscribe from "+romeo.Bare())
		hears(t, hidden)
	})

	t.Run("RFC 6121 3.1.3 a second request of a subscriber bothers nobody", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		tell(romeo, juliet, "subscribe")
		hears(t, juliet)
		if got := entry(romeo, juliet.Bare()); got != "both" {
			t.Errorf("the item is %q", got)
		}
	})

	t.Run("RFC 6121 3.2 cancelling: unavailable first, then unsubscribed", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		tell(juliet, romeo, "unsubscribed")
		all := romeo.Collect()
		if len(all) < 2 || describe(all[0]) != "unavailable from "+juliet.JID || describe(all[1]) != "unsubscribed from "+juliet.Bare() {
			t.Errorf("romeo hears %d things", len(all))
		}
		juliet.Send("<presence><show>dnd</show></presence>")
		juliet.Collect()
		hears(t, romeo)
		romeo.Send("<presence><show>away</show></presence>")
		romeo.Collect()
		hears(t, juliet, "available from "+romeo.JID+" away")
	})

	t.Run("RFC 6121 3.3 unsubscribing: the contact is told, and the user sees it leave", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		romeo.Sendf("<presence to='%s' type='unsubscribe'/>", juliet.Bare())
		hears(t, romeo, "push "+juliet.Bare()+" from", "unavailable from "+juliet.JID)
		hears(t, juliet, "unsubscribe from "+romeo.Bare(), "push "+romeo.Bare()+" to")
	})

	t.Run("RFC 6121 3.4 pre-approval", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		juliet.Sendf("<presence to='%s' type='subscribed'/>", romeo.Bare())
		hears(t, juliet, "push "+romeo.Bare()+" none approved")
		hears(t, romeo)
		romeo.Sendf("<presence to='%s' type='subscribe'/>", juliet.Bare())
		hears(t, romeo, "push "+juliet.Bare()+" none ask", "subscribed from "+juliet.Bare(), "push "+juliet.Bare()+" to", "available from "+juliet.JID)
		hears(t, juliet, "push "+romeo.Bare()+" from")
	})

	t.Run("RFC 6121 4.7.1 presence of type error or of no known type changes nothing", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		romeo.Sendf("<presence type='error' to='%s'/>", juliet.Bare())
		romeo.Send("<presence type='error'/>")
		romeo.Send("<presence type='vanished'/>")
		romeo.Sendf("<presence type='vanished' to='%s'/>", juliet.Bare())
		romeo.Collect()
		for _, e := range juliet.Collect() { // an error may be passed on
			if e.Attr("type") != "error" {
				t.Errorf("juliet hears %s", e.Raw)
			}
		}
		if got := entry(juliet, romeo.Bare()); got != "both" {
			t.Errorf("the item is %q", got)
		}
		juliet.Sendf("<message to='%s' type='chat'><body>still there?</body></message>", romeo.Bare())
		romeo.Message("still there?")
	})

	t.Run("a request to an account that isn't there looks like one that isn't answered", func(t *testing.T) {
		romeo := im(t, s, account(t, s, "romeo"), "orchard")
		nobody := "nobody@" + domain
		romeo.Sendf("<presence to='%s' type='subscribe'/>", nobody)
		hears(t, romeo, "push "+nobody+" none ask")
	})
}

// A subscription's state from romeo's side (RFC 6121 A.1), how it comes about,
// and what romeo's and juliet's rosters say of it. "r" is a step of romeo, "j"
// one of juliet.
var states = map[string]struct{ steps, romeo, juliet string }{
	"None":                    {"", "", ""},
	"None (pre-approved)":     {"", "none approved", ""},
	"None + Pending Out":      {"r:subscribe", "none ask", ""},
	"None + Pending In":       {"j:subscribe", "", "none ask"},
	"None + Pending Out+In":   {"r:subscribe j:subscribe", "none ask", "none ask"},
	"To":                      {"r:subscribe j:subscribed", "to", "from"},
	"To + Pending In":         {"r:subscribe j:subscribed j:subscribe", "to", "from ask"},
	"From":                    {"j:subscribe r:subscribed", "from", "to"},
	"From + Pending Out":      {"j:subscribe r:subscribed r:subscribe", "from ask", "to"},
	"Both":                    {"r:subscribe j:subscribed j:subscribe r:subscribed", "both", "both"},
	"pre-approval, while out": {"", "none ask approved", ""},
	"pre-approval, while to":  {"", "to approved", "from"},
}

// TestSubscriptionStates is RFC 6121 A.2 and A.3 in one: what romeo sends in
// each state, whether juliet is given it (it must be routed by A.2 and delivered
// by A.3), and the state after it.
func TestSubscriptionStates(t *testing.T) {
	s := server(t)
	table := []struct {
		before, sends string
		heard         bool
		after         string
	}{
		{"None", "subscribe", true, "None + Pending Out"},
		{"None + Pending Out", "subscribe", false, "None + Pending Out"},
		{"None + Pending In", "subscribe", true, "None + Pending Out+In"},
		{"None + Pending Out+In", "subscribe", false, "None + Pending Out+In"},
		{"To", "subscribe", false, "To"},
		{"To + Pending In", "subscribe", false, "To + Pending In"},
		{"From", "subscribe", true, "From + Pending Out"},
		{"From + Pending Out", "subscribe", false, "From + Pending Out"},
		{"Both", "subscribe", false, "Both"},

		{"None", "unsubscribe", false, "None"},
		{"None + Pending Out", "unsubscribe", true, "None"},
		{"None + Pending In", "unsubscribe", false, "None + Pending In"},
		{"None + Pending Out+In", "unsubscribe", true, "None + Pending In"},
		{"To", "unsubscribe", true, "None"},
		{"To + Pending In", "unsubscribe", true, "None + Pending In"},
		{"From", "unsubscribe", false, "From"},
		{"From + Pending Out", "unsubscribe", true, "From"},
		{"Both", "unsubscribe", true, "From"},

		{"None", "subscribed", false, "None (pre-approved)"},
		{"None + Pending Out", "subscribed", false, "pre-approval, while out"},
		{"None + Pending In", "subscribed", true, "From"},
		{"None + Pending Out+In", "subscribed", true, "From + Pending Out"},
		{"To", "subscribed", false, "pre-approval, while to"},
		{"To + Pending In", "subscribed", true, "Both"},
		{"From", "subscribed", false, "From"},
		{"From + Pending Out", "subscribed", false, "From + Pending Out"},
		{"Both", "subscribed", false, "Both"},

		{"None", "unsubscribed", false, "None"},
		{"None + Pending Out", "unsubscribed", false, "None + Pending Out"},
		{"None + Pending In", "unsubscribed", true, "None"},
		{"None + Pending Out+In", "unsubscribed", true, "None + Pending Out"},
		{"To", "unsubscribed", false, "To"},
		{"To + Pending In", "unsubscribed", true, "To"},
		{"From", "unsubscribed", true, "None"},
		{"From + Pending Out", "unsubscribed", true, "None + Pending Out"},
		{"Both", "unsubscribed", true, "To"},
	}
	romeo := im(t, s, account(t, s, "romeo"), "orchard")
	for _, tt := range table {
		t.Run("RFC 6121 A.2, A.3 "+tt.sends+" in the state "+tt.before, func(t *testing.T) {
			juliet := im(t, s, account(t, s, "juliet"), "balcony")
			for _, step := range strings.Fields(states[tt.before].steps) {
				if who, typ, _ := strings.Cut(step, ":"); who == "r" {
					tell(romeo, juliet, typ)
				} else {
					tell(juliet, romeo, typ)
				}
			}
			romeo.Collect()
			juliet.Collect()

			tell(romeo, juliet, tt.sends)
			heard := false
			for _, e := range juliet.Collect() {
				heard = heard || describe(e) == tt.sends+" from "+romeo.Bare()
			}
			if heard != tt.heard {
				t.Errorf("juliet is given it: %t, want %t", heard, tt.heard)
			}
			romeo.Collect()
			want := states[tt.after]
			// An item that once was there stays when the subscription ends.
			if got := entry(romeo, juliet.Bare()); got != want.romeo && !(want.romeo == "" && got == "none") {
				t.Errorf("romeo's item is %q, want %q", got, want.romeo)
			}
			if got := entry(juliet, romeo.Bare()); got != want.juliet && !(want.juliet == "" && got == "none") {
				t.Errorf("juliet's item is %q, want %q", got, want.juliet)
			}
			juliet.Close()
		})
	}
}
