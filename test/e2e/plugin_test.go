package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

// plugged is a plugin in the output of `hexmpp plugin list --json`.
type plugged struct {
	Name, State          string
	PID                  int
	Generation, Restarts int
	Events               int
	Queue, InFlight      int
	Memory               uint64 `json:"memoryBytes"`
}

func pluginState(t *testing.T, s *harness.Server, name string) plugged {
	t.Helper()
	out := s.CLI(t, "plugin", "list", "--json")
	var list []plugged
	if err := json.Unmarshal([]byte(out.Stdout), &list); err != nil {
		t.Fatalf("%v: %+v", err, out)
	}
	i := slices.IndexFunc(list, func(p plugged) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("no %s in %s", name, out.Stdout)
	}
	return list[i]
}

// TestKilledPlugin: a process that is killed or replaced costs a client nothing: each of its
// requests is answered, as if nothing had been.
func TestKilledPlugin(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open", Domains: []string{domain, second}, Extra: "extensions: {vcard: {run: process}}\n"})
	c := session(t, s, account(t, s, "romeo"), "orchard")
	write := func(n int) {
		t.Helper()
		c.IQ("set", "", fmt.Sprintf("<vCard xmlns='%s'><FN>Romeo %d</FN></vCard>", nsVCard, n))
		if e := c.IQ("get", "", "<vCard xmlns='"+nsVCard+"'/>"); !strings.Contains(e.Raw, fmt.Sprintf(">Romeo %d<", n)) {
			t.Errorf("version %d: got %s", n, e.Raw)
		}
	}
	write(0)
	kills := 0
	for n := 1; n <= 20; n++ {
		// Not in step with the requests: they meet the plugin at any moment.
		done := make(chan struct{})
		before := pluginState(t, s, "vcard")
		if n%10 == 5 {
			kills++
			go func() {
				defer close(done)
				if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
					t.Error(err)
				}
			}()
		} else if n%10 == 0 {
			go func() {
				defer close(done)
				if out := s.CLI(t, "plugin", "reload", "vcard"); out.Code != 0 {
					t.Errorf("reload: %+v", out)
				}
			}()
		} else {
			close(done)
		}
		for range 20 {
			write(n)
		}
		<-done
		if !harness.Eventually(t, time.Minute, func() bool { return pluginState(t, s, "vcard").State == "ready" }) {
			t.Fatal("the plugin is not back")
		}
	}
	if p := pluginState(t, s, "vcard"); p.Restarts != kills || p.Generation != 5 {
		t.Errorf("%+v, and %d kills", p, kills)
	}
}

// TestLargeThroughPlugin: what the server takes of a client, a plugin is given whole, and
// may send on.
func TestLargeThroughPlugin(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open", Domains: []string{domain, second}, Limits: harness.Limits{StanzaBytes: 768 << 10},
		Extra: "extensions: {vcard: {run: process, options: {max-bytes: 1MiB}}}\n"})
	c := session(t, s, account(t, s, "romeo"), "orchard")
	photo := strings.Repeat("QUJD", 180<<10)
	c.IQ("set", "", "<vCard xmlns='"+nsVCard+"'><PHOTO><TYPE>image/png</TYPE><BINVAL>"+photo+"</BINVAL></PHOTO></vCard>")
	if e := c.IQ("get", "", "<vCard xmlns='"+nsVCard+"'/>"); !strings.Contains(e.Raw, photo) {
		t.Errorf("got %.300s", e.Raw)
	}
}
