package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// TestManyWaitForAPluginThatHangs has more clients wait for an extension in a process that hangs than the server
// has goroutines for what streams wait for, all at once: others log in and talk meanwhile. The process is replaced
// when it has given no sign of life for ten seconds, and then each of them has its answer, and what it sent behind its request
// goes on.
func TestManyWaitForAPluginThatHangs(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open", Domains: []string{domain}, Extra: "extensions: {ping: {run: process}}\n"})
	juliet := online(t, s, account(t, s, "juliet"), "balcony", 0)
	var waiting []*xmppc.Conn
	const clients, each = 600, 100
	for i := range clients / each {
		romeo := account(t, s, fmt.Sprintf("romeo%d", i))
		for range each {
			waiting = append(waiting, session(t, s, romeo, ""))
		}
	}
	hung := pluginState(t, s, "ping").PID
	harness.Freeze(t, hung)
	for i, c := range waiting {
		c.Sendf("<iq type='get' id='p' to='%s'><ping xmlns='urn:xmpp:ping'/></iq><message to='%s' type='chat'><body>%d</body></message>", domain, juliet.JID, i)
	}
	session(t, s, account(t, s, "nurse"), "n").Sendf("<message to='%s' type='chat'><body>nurse</body></message>", juliet.JID)
	if e := juliet.Next(); e.Body() != "nurse" {
		t.Errorf("got %s before the others have their answers", e.Raw)
	}
	if p := pluginState(t, s, "ping"); p.PID != hung {
		t.Error("others had to wait until the process was replaced")
	}
	if !harness.Eventually(t, time.Minute, func() bool {
		p := pluginState(t, s, "ping")
		return p.PID != hung && p.State == "ready" && p.Queue+p.InFlight == 0
	}) {
		t.Fatal("the process is not replaced, or does not answer")
	}
	for i, c := range waiting {
		if e := c.Answer("p"); e.Attr("type") != "result" {
			t.Fatalf("%d: %s", i, e.Raw)
		}
	}
	heard := map[string]bool{}
	for range clients {
		e := juliet.Next()
		if heard[e.Body()] {
			t.Fatalf("twice: %s", e.Raw)
		}
		heard[e.Body()] = true
	}
}
