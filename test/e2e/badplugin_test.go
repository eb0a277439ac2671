package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// badServer runs plugins of test/plugins/bad: for each name what it does wrong, and more of its
// configuration; and beside them "good", which does nothing wrong.
type badServer struct {
	*harness.Server
	client *xmppc.Conn
}

// badPlugin is a line of "plugins".
func badPlugin(t *testing.T, name, wrong, more string) string {
	args := []string{fmt.Sprintf("%q", harness.Plugin(t, "bad")), name}
	for _, w := range strings.Fields(wrong) {
		args = append(args, fmt.Sprintf("%q", w))
	}
	return fmt.Sprintf("  %s: {command: [%s]%s}\n", name, strings.Join(args, ", "), more)
}

// withBad starts a server with a plugin that misbehaves, called bad.
func withBad(t *testing.T, wrong, more string) *badServer {
	t.Helper()
	s := harness.Start(t, harness.Config{Registration: "open", Extra: "plugins:\n" + badPlugin(t, "bad", wrong, more) + badPlugin(t, "good", "", "")})
	return &badServer{s, session(t, s, account(t, s, "romeo"), "orchard")}
}

// ask sends a message to a plugin and returns what comes back.
func (s *badServer) ask(plugin, body string) *xmppc.Element {
	s.client.Sendf("<message type='chat' id='ask' to='%s.%s'><body>%s</body></message>", plugin, domain, body)
	return s.client.Next()
}

func (s *badServer) wantError(t *testing.T, e *xmppc.Element, condition string) {
	t.Helper()
	if e.Attr("type") != "error" || !strings.Contains(e.Raw, "<"+condition) {
		t.Errorf("got %s, want the error %s", e.Raw, condition)
	}
}

// wantEcho says that a plugin works.
func (s *badServer) wantEcho(t *testing.T, plugin string) {
	t.Helper()
	if e := s.ask(plugin, "are you well?"); e.Attr("type") != "chat" || e.Body() != "are you well?" {
		t.Errorf("%s: got %s", plugin, e.Raw)
	}
}

// wantLog waits for a line of the log that has all parts.
func wantLog(t *testing.T, s *harness.Server, parts ...string) {
	t.Helper()
	found := func() bool {
		for line := range strings.Lines(s.Log.String()) {
			all := true
			for _, p := range parts {
				all = all && strings.Contains(line, p)
			}
			if all {
				return true
			}
		}
		return false
	}
	if !harness.Eventually(t, 30*time.Second, found) {
		t.Errorf("no line of the log has all of %q", parts)
	}
}

func (s *badServer) wantState(t *testing.T, plugin string, states ...string) plugged {
	t.Helper()
	var p plugged
	if !harness.Eventually(t, time.Minute, func() bool {
		p = pluginState(t, s.Server, plugin)
		for _, state := range states {
			if p.State == state {
				return true
			}
		}
		return false
	}) {
		t.Errorf("%s is %s, want %s", plugin, p.State, strings.Join(states, " or "))
	}
	return p
}

// meanwhile two clients talk, for as long as f runs: nothing of it is lost, late or doubled, and
// the other plugin works.
func (s *badServer) meanwhile(t *testing.T, f func()) {
	t.Helper()
	good := pluginState(t, s.Server, "good").PID
	nurse, juliet := session(t, s.Server, account(t, s.Server, "nurse"), "n"), online(t, s.Server, account(t, s.Server, "juliet"), "balcony", 0)
	over, sent := make(chan struct{}), make(chan int)
	to := juliet.JID
	go func() {
		n := 0
		defer func() { sent <- n }()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			<-tick.C
			select {
			case <-over:
				if n >= 20 {
					return
				}
			default:
			}
			if err := nurse.TrySend(fmt.Sprintf("<message type='chat' to='%s'><body>%d</body></message>", to, n)); err != nil {
				t.Error(err)
				return
			}
			n++
		}
	}()
	heard := make(chan int)
	go func() {
		n := 0
		defer func() { heard <- n }()
		for {
			e, err := juliet.TryNext()
			if err != nil {
				t.Error(err)
				return
			}
			if e.Is(xmppc.NSClient, "presence") {
				continue
			}
			if e.Body() == "end" {
				return
			}
			if e.Body() != fmt.Sprint(n) {
				t.Errorf("Juliet got %s, want message %d", e.Raw, n)
				return
			}
			n++
		}
	}()
	f()
	close(over)
	all := <-sent
	nurse.Sendf("<message type='chat' to='%s'><body>end</body></message>", to)
	if n := <-heard; n != all || n == 0 {
		t.Errorf("Juliet got %d messages of %d", n, all)
	}
	s.wantEcho(t, "good")
	if p := pluginState(t, s.Server, "good"); p.State != "ready" || p.Restarts != 0 || p.PID != good {
		t.Errorf("the other plugin: %+v", p)
	}
}

// A process that hangs is seen to, and killed.
func TestBadPluginHangs(t *testing.T) {
	t.Parallel()
	s := withBad(t, "", "")
	s.meanwhile(t, func() {
		s.client.Sendf("<message type='chat' id='h' to='bad.%s'><body>hang</body></message>", domain)
		s.wantState(t, "bad", "degraded")
		wantLog(t, s.Server, `"bad"`, "is gone, and is started again", "sign of life")
		s.wantError(t, s.client.Next(), "service-unavailable") // it has waited for the grace time
	})
}

func TestBadPluginFloodsEffects(t *testing.T) {
	t.Parallel()
	s := withBad(t, "", "")
	s.meanwhile(t, func() {
		s.wantError(t, s.ask("bad", "flood of effects"), "resource-constraint")
		wantLog(t, s.Server, `"bad"`, "an outcome was not applied", "a handler may send 4000 stanzas")
		s.wantEcho(t, "bad")
		s.wantState(t, "bad", "ready")
	})
}

func TestBadPluginFloodsFrames(t *testing.T) {
	t.Parallel()
	s := withBad(t, "", "")
	s.meanwhile(t, func() {
		s.client.Sendf("<message type='chat' id='h' to='bad.%s'><body>flood of frames</body></message>", domain)
		wantLog(t, s.Server, `"bad"`, "is gone, and is started again", "under way")
	})
}

func TestBadPluginFloodsTheLog(t *testing.T) {
	t.Parallel()
	s := withBad(t, "", "")
	s.meanwhile(t, func() {
		if e := s.ask("bad", "flood of log"); e.Body() != "said" {
			t.Error(e.Raw)
		}
		wantLog(t, s.Server, `"bad"`, "lines")
		if n := strings.Count(s.Log.String(), "so many words so many words"); n == 0 || n > 5000 {
			t.Errorf("%d of 50000 lines are in the log", n)
		}
		s.wantState(t, "bad", "ready")
	})
}

func TestBadPluginLeaks(t *testing.T) {
	t.Parallel()
	s := withBad(t, "", ", limits: {memory: 64MiB}")
	s.meanwhile(t, func() {
		s.client.Sendf("<message type='chat' id='h' to='bad.%s'><body>leak</body></message>", domain)
		wantLog(t, s.Server, `"bad"`, "it uses more memory than its limit", "plugins.bad.limits.memory")
		s.wantError(t, s.client.Next(), "internal-server-error") // three of its processes died of it
		wantLog(t, s.Server, `"bad"`, "an event was given up", "romeo", `"id":"h"`)
		s.wantState(t, "bad", "ready", "starting")
	})
}

// What a plugin may not send, or that is no XML, is refused as a whole; it works on.
func TestBadPluginSays(t *testing.T) {
	t.Parallel()
	s := withBad(t, "", "")
	for body, log := range map[string]string{
		"ill-formed":     "content",
		"forged account": "juliet@example.test",
		"forged domain":  "example.org",
	} {
		s.meanwhile(t, func() {
			s.wantError(t, s.ask("bad", body), "internal-server-error")
			wantLog(t, s.Server, `"bad"`, "error", log)
			s.wantEcho(t, "bad")
			if p := s.wantState(t, "bad", "ready"); p.Restarts != 0 {
				t.Errorf("%s: %+v", body, p)
			}
		})
	}
}

// An answer to what was never asked breaks the contract.
func TestBadPluginAnswersWhatWasNotAsked(t *testing.T) {
	t.Parallel()
	s := withBad(t, "", "")
	s.meanwhile(t, func() {
		s.client.Sendf("<message type='chat' id='h' to='bad.%s'><body>unknown event</body></message>", domain)
		wantLog(t, s.Server, `"bad"`, "is gone, and is started again", "outcome")
	})
}

// Words on standard output are log, in front of the handshake and behind it.
func TestBadPluginPrints(t *testing.T) {
	t.Parallel()
	s := withBad(t, "stray-output", "")
	s.meanwhile(t, func() {
		for _, word := range []string{"a word in front of the handshake", "a word behind the handshake"} {
			wantLog(t, s.Server, `"bad"`, "warn", word)
		}
		s.wantEcho(t, "bad")
	})
}

// A process that ignores every request to end is killed: when it is disabled, and at the end of
// the server.
func TestBadPluginStays(t *testing.T) {
	t.Parallel()
	s := withBad(t, "ignores-signals", "")
	pid := s.wantState(t, "bad", "ready").PID
	s.meanwhile(t, func() {
		if out := s.CLI(t, "plugin", "disable", "bad"); out.Code != 0 {
			t.Errorf("%+v", out)
		}
		s.wantState(t, "bad", "disabled")
		wantGone(t, pid)
		s.wantError(t, s.ask("bad", "x"), "service-unavailable")
		if out := s.CLI(t, "plugin", "enable", "bad"); out.Code != 0 {
			t.Errorf("%+v", out)
		}
		pid = s.wantState(t, "bad", "ready").PID
		s.wantEcho(t, "bad")
	})
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	wantGone(t, pid)
}

func wantGone(t *testing.T, pid int) {
	t.Helper()
	if !harness.Eventually(t, 30*time.Second, func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
		return err != nil
	}) {
		t.Errorf("process %d is still there", pid)
	}
}

// A plugin that can't be started stops nobody.
func TestBadPluginLeavesAtTheStart(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ wrong, more, log string }{
		{"exit-at-start", "", "exit"},
		{"exit-at-handshake", "", "bad"},
		{"exit-at-describe", "", "Describe"},
		{"exit-at-configure", "", "Configure"},
		{"", fmt.Sprintf(", files: {%q: %s}", harness.Plugin(t, "bad"), strings.Repeat("0", 64)), "SHA-256"},
	} {
		s := withBad(t, row.wrong, row.more)
		s.meanwhile(t, func() {
			wantLog(t, s.Server, `"bad"`, "the plugin can't be started; the server goes on without it", row.log)
			if moment, leaves := strings.CutPrefix(row.wrong, "exit-at-"); leaves {
				wantLog(t, s.Server, `"bad"`, "I leave at "+moment)
			}
			s.wantState(t, "bad", "failed")
			s.wantError(t, s.ask("bad", "x"), "remote-server-not-found")
		})
	}
}

// One that starts and then leaves is started again, until it has failed.
func TestBadPluginLeavesLater(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{"activate", "event"} {
		s := withBad(t, "exit-at-"+moment, "")
		s.meanwhile(t, func() {
			if moment == "event" {
				for range 2 { // an event is given up behind three crashes, a plugin behind five
					s.client.Sendf("<message type='chat' id='h' to='bad.%s'><body>x</body></message>", domain)
				}
			}
			wantLog(t, s.Server, `"bad"`, "I leave at "+moment)
			wantLog(t, s.Server, `"bad"`, "the plugin has failed: what it answers for is answered with service-unavailable")
			s.wantState(t, "bad", "failed")
			if moment == "event" {
				s.wantError(t, s.client.Next(), "internal-server-error")
				s.wantError(t, s.client.Next(), "service-unavailable")
			}
			s.wantError(t, s.ask("bad", "x"), "service-unavailable")
		})
	}
}

// A plugin that claims what it may not have is named, and with it what would mend that; the
// server does not start.
func TestBadPluginLies(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, wrong string
		log         []string
	}{
		{"a hosted domain", "claims=" + domain, []string{"bad", domain}},
		{"the domain of another plugin", "claims=good.$domain", []string{"bad", "good." + domain}},
		{"a domain that is not ours", "claims=example.org", []string{"plugins.bad.domains", "example.org"}},
		{"a domain that is none", "claims=.$domain", []string{"bad", "domain"}},
		{"an unknown permission", "wants=root", []string{"bad", "root"}},
		{"a permission that it is not granted", "wants=see-stanzas", []string{"plugins.bad", "permissions: [see-stanzas]"}},
		{"another name", "calls-itself=good", []string{"bad", `calls itself "good"`}},
		{"all domains of others", "far-domains", []string{"bad", "far_domains"}},
	} {
		s, err := harness.Prepare(t.TempDir(), harness.Config{Extra: "plugins:\n" + badPlugin(t, "bad", row.wrong, "") + badPlugin(t, "good", "", "")})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(); err == nil {
			t.Errorf("%s: the server starts", row.name)
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
			continue
		}
		out := s.Log.String()
		for _, part := range row.log {
			if !strings.Contains(out, part) {
				t.Errorf("%s: the server does not say %q:\n%s", row.name, part, out)
			}
		}
	}
}
