package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// TestRates has one account send faster than it may: it is read more slowly, gets
// every answer all the same, and nobody else notices; the log and the metrics say so.
func TestRates(t *testing.T) {
	s := harness.Start(t, harness.Config{Rates: true,
		Limits: harness.Limits{StanzasPerSecond: 60, StanzasBurst: 100, SubscriptionRequests: 3}})
	for _, user := range []string{"romeo", "juliet", "mercutio"} {
		s.MustAddUser(t, user+"@"+domain, secret)
	}
	romeo, juliet, mercutio := online(t, s, "romeo", "orchard", 0), online(t, s, "juliet", "balcony", 0), online(t, s, "mercutio", "", 0)

	const many = 200 // they fit into one record of TLS, so that they are read at once: 100 too many
	next := 0
	flood := func() {
		t.Helper()
		romeo.Send(numbered("<message type='chat' to='"+juliet.JID+"' id='n%d'><body>flood</body></message>", many))
		for i := range many {
			if m := juliet.Message("flood"); m.Attr("id") != fmt.Sprintf("n%d", i) {
				t.Fatalf("message %d is %s", i, m.Raw)
			}
			if next++; next%10 == 0 { // others are served meanwhile
				mercutio.Sync()
			}
		}
	}
	flood()
	for deadline := time.Now().Add(3 * time.Second); metric(t, s, "hexmpp_streams_paused") != "1"; { // it rests for more than one
		if time.Now().After(deadline) {
			t.Fatal("his connection is read")
		}
		mercutio.Sync()
	}
	flood() // it is read when the rest is over
	if metric(t, s, `hexmpp_rate_pauses_total{limit="stanzas"}`) == "" {
		t.Error("no pause is counted")
	}
	if !strings.Contains(s.Log.String(), "limits.stanzas-per-second") {
		t.Error("the log does not say which limit it was")
	}
	romeo.Sync("presence")

	for i := range 4 {
		romeo.Sendf("<presence type='subscribe' id='s%d' to='nobody%[1]d@%[2]s'/>", i, domain)
	}
	refused := 0
	for _, e := range romeo.Collect() {
		if e.Condition() == "policy-violation" {
			if refused++; e.Attr("id") != "s3" || e.Child(xmppc.NSClient, "error").Attr("type") != "wait" {
				t.Errorf("got %s", e.Raw)
			}
		}
	}
	if refused != 1 {
		t.Errorf("%d requests of four are refused", refused)
	}
}
