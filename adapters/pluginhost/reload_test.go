//go:build unix

package pluginhost

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/adapters/pluginhost/runner"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// TestReload: another process takes over under load; each event has one outcome, in order.
func TestReload(t *testing.T) {
	r := newRig(t, "version=1")
	r.start()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				text := fmt.Sprintf("%d-%d", g, i)
				c, err := r.dispatch(fmt.Sprint("k", g), text)
				if err != nil {
					t.Errorf("%s: %v", text, err)
					return
				}
				if e := <-c; e.err != nil || !slices.Equal(e.texts, []string{text}) {
					t.Errorf("%s: %+v", text, e)
					return
				}
			}
		})
	}
	for i := range 3 {
		r.say(fmt.Sprintf("version=%d", i+2))
		if err := r.host.ReloadPlugin(t.Context(), "raw"); err != nil {
			t.Error(err)
		}
		r.expect("version", fmt.Sprint(i+2))
	}
	close(stop)
	wg.Wait()
	if i := r.info(); i.Generation != 4 || i.Version != "4" || i.Restarts != 0 || i.State != admin.PluginReady {
		t.Errorf("%+v", i)
	}
	if o := r.host.Observe(); o[0].Reloads != 3 || o[0].State != "ready" || o[0].Stale != 0 {
		t.Errorf("%+v", o)
	}
}

// TestReloadRefused: a new process that is not well, or claims something else, is dropped,
// and the old one never noticed.
func TestReloadRefused(t *testing.T) {
	r := newRig(t, "version=1")
	r.conf.Options = []byte(`{"greeting": "hi"}`)
	r.conf.Limits.StartTime = 3 * time.Second
	r.start()
	pid := r.info().PID
	for words, want := range map[string]string{
		"die-at-start":        "about to die at start",
		"die-at-describe":     "Describe: ",
		"hang-at-configure":   "DeadlineExceeded",
		"refuse-at-session":   "no session today",
		"name=war":            `calls itself "war"`,
		"domain=war.$domain":  "components: that needs a restart of the server",
		"wants=list-accounts": "permissions: that needs a restart of the server",
		`schema={"type":"object","additionalProperties":false}`: "greeting",
		"protocol=9": "version",
	} {
		r.say(words + " version=2")
		if err := r.host.ReloadPlugin(t.Context(), "raw"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", words, err)
		}
		r.expect("version", "1")
	}
	if i := r.info(); i.PID != pid || i.Restarts != 0 || i.Generation != 1 || i.State != admin.PluginReady {
		t.Errorf("%+v", i)
	}
}

// TestUnwanted: a plugin is not told of what it has no use for with its options, and no later
// process may want it.
func TestUnwanted(t *testing.T) {
	r := newRig(t, "told")
	r.start()
	if reg := r.regs[0]; !slices.Equal(reg.Notices, []extension.Event{extension.BecameAvailable}) || reg.Notice == nil {
		t.Errorf("%v", reg.Notices)
	}
	r.say("told unwanted")
	if err := r.host.ReloadPlugin(t.Context(), "raw"); err != nil {
		t.Error(err)
	}
	r = newRig(t, "told unwanted")
	r.start()
	if reg := r.regs[0]; len(reg.Notices) > 0 || reg.Notice != nil {
		t.Errorf("%v", reg.Notices)
	}
	r.say("told version=2")
	if err := r.host.ReloadPlugin(t.Context(), "raw"); err == nil || !strings.Contains(err.Error(), "BECAME_AVAILABLE: that needs a restart") {
		t.Error(err)
	}
}

// pipe makes a pipe with a name: who reads it waits for who writes to it.
func pipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "go")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReloadWithOutstanding: an event that the old process does not answer in time is
// handled by the new one.
func TestReloadWithOutstanding(t *testing.T) {
	r := newRig(t, "version=1")
	r.start()
	file := pipe(t)
	waits, err := r.dispatch("k", "wait "+file)
	if err != nil {
		t.Fatal(err)
	}
	behind, err := r.dispatch("other", "behind")
	if err != nil {
		t.Fatal(err)
	}
	r.until("busy", func(i admin.PluginInfo) bool { return i.InFlight > 0 })
	r.say("version=2")
	if err := r.host.ReloadPlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if e := r.wait(waits); e.err != nil || !slices.Equal(e.texts, []string{"attempt 2 of 2"}) {
		t.Errorf("%+v", e)
	}
	if e := r.wait(behind); e.err != nil || !slices.Equal(e.texts, []string{"behind"}) {
		t.Errorf("%+v", e)
	}
	if i := r.info(); i.Restarts != 0 || i.Poisoned != 0 {
		t.Errorf("%+v", i)
	}
}

// TestActivateFails: a new process that does not begin to act, when the old one acts no more.
func TestActivateFails(t *testing.T) {
	r := newRig(t, "version=1")
	r.start()
	r.say("version=2 die-at-activate")
	if err := r.host.ReloadPlugin(t.Context(), "raw"); err == nil || !strings.Contains(err.Error(), "started again") {
		t.Error(err)
	}
	r.say("version=1")
	r.until("ready", func(i admin.PluginInfo) bool { return i.State == admin.PluginReady })
	r.expect("version", "1")
}

// TestRollBack: a new version that crashes again and again is taken back.
func TestRollBack(t *testing.T) {
	r := newRig(t, "version=1")
	r.times.backoff = time.Millisecond
	r.start()
	p := r.host.plugins[0]
	r.say("version=2")
	if err := r.host.ReloadPlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	for i := range trialCrashes {
		if e := r.ask("version"); !slices.Equal(e.texts, []string{"2"}) {
			t.Errorf("%+v", e)
		}
		if i == trialCrashes-1 {
			r.say("version=1") // what the server was started with, here
		}
		gen := r.info().Generation
		p.instances()[0].proc.Kill()
		r.until("started again", func(now admin.PluginInfo) bool { return now.Generation > gen && now.State == admin.PluginReady })
	}
	r.expect("version", "1")
	said := r.log.FilterMessage("the new version of the plugin crashed again and again: the one that ran before is back").Len()
	if err := r.regs[0].Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := p.runs.command; said != 1 || c.OnDisk || c.Program != nil {
		t.Errorf("said %d times; it runs %+v", said, c)
	}
}

// TestDisable: what comes meanwhile is answered at once; what was taken before is handled.
func TestDisable(t *testing.T) {
	r := newRig(t, "")
	r.start()
	file := pipe(t)
	waits, err := r.dispatch("k", "wait "+file)
	if err != nil {
		t.Fatal(err)
	}
	r.until("busy", func(i admin.PluginInfo) bool { return i.InFlight > 0 })
	r.times.quiet = time.Minute
	done := make(chan error, 1)
	go func() { done <- r.host.DisablePlugin(t.Context(), "raw") }()
	r.until("about to end", func(i admin.PluginInfo) bool { return i.State == admin.PluginDraining })
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if e := r.wait(waits); e.err != nil {
		t.Errorf("%+v", e)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if i := r.info(); i.State != admin.PluginDisabled || i.Restarts != 0 {
		t.Errorf("%+v", i)
	}
	if _, err := r.dispatch("k", "x"); !errors.Is(err, extension.ErrDown) {
		t.Error(err)
	}
	if err := r.host.ReloadPlugin(t.Context(), "raw"); !errors.Is(err, errDisabled) {
		t.Error(err)
	}
	if err := r.host.DisablePlugin(t.Context(), "raw"); err != nil {
		t.Error(err)
	}
	if err := r.host.EnablePlugin(t.Context(), "raw"); err != nil {
		t.Error(err)
	}
	r.expect("hello", "hello")
	if err := r.host.EnablePlugin(t.Context(), "raw"); err != nil {
		t.Error(err)
	}
}

// TestStopWithOutstanding: the end of the server answers what has no outcome.
func TestStopWithOutstanding(t *testing.T) {
	r := newRig(t, "hang-at-shutdown")
	r.times.quiet, r.times.shutdown = 50*time.Millisecond, 50*time.Millisecond
	r.start()
	var all []chan result
	for i := range 10 {
		c, err := r.dispatch(fmt.Sprint(i%2), "ignore")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if err := r.regs[0].Stop(t.Context()); err != nil {
		t.Error(err)
	}
	for _, c := range all {
		if e := r.wait(c); !errors.Is(e.err, extension.ErrDown) {
			t.Errorf("%+v", e)
		}
	}
	if err := r.host.Close(); err != nil {
		t.Error(err)
	}
}

// TestCloseWhileStarting: nobody waits for a start that hangs.
func TestCloseWhileStarting(t *testing.T) {
	r := newRig(t, "")
	r.conf.Limits.StartTime = time.Hour
	r.start()
	r.say("hang-at-describe")
	r.host.plugins[0].instances()[0].proc.Kill()
	r.until("without a process", func(i admin.PluginInfo) bool { return i.PID == 0 })
	if err := r.regs[0].Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := r.host.Close(); err != nil {
		t.Error(err)
	}
}

// TestEnableWhileDisabling: a start that is given up does not stand in the way of the next.
func TestEnableWhileDisabling(t *testing.T) {
	r := newRig(t, "")
	r.conf.Limits.StartTime = time.Minute
	r.start()
	r.say("hang-at-describe")
	r.host.plugins[0].instances()[0].proc.Kill()
	r.until("without a process", func(i admin.PluginInfo) bool { return i.PID == 0 })
	if err := r.host.DisablePlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	r.say("")
	if err := r.host.EnablePlugin(t.Context(), "raw"); err != nil {
		t.Error(err)
	}
	r.expect("hello", "hello")
}

// TestVersionTold: administrators are told of what runs, also if it came by a crash, or by a
// reload when there was no process.
func TestVersionTold(t *testing.T) {
	r := newRig(t, "version=1")
	r.times.backoff, r.times.backoffMax = time.Hour, time.Hour
	r.start()
	r.say("version=2")
	r.host.plugins[0].instances()[0].proc.Kill()
	i := r.until("ready", func(i admin.PluginInfo) bool { return i.State == admin.PluginReady && i.Generation == 2 })
	if i.Version != "2" || !strings.Contains(string(i.Manifest), `"2"`) {
		t.Errorf("%+v", i)
	}
	r.say("die-at-start")
	r.host.plugins[0].instances()[0].proc.Kill()
	r.until("without a process", func(i admin.PluginInfo) bool { return i.PID == 0 && i.Restarts >= 2 })
	r.say("version=3")
	if err := r.host.ReloadPlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	if i := r.info(); i.Version != "3" || r.host.plugins[0].observe().Reloads != 1 {
		t.Errorf("%+v", i)
	}
}

// TestCloseAnswers: who waits for a start when the host is closed is answered.
func TestCloseAnswers(t *testing.T) {
	r := newRig(t, "")
	r.conf.Limits.StartTime = time.Hour
	r.start()
	r.say("hang-at-describe")
	reply := make(chan error, 1)
	go func() { reply <- r.host.ReloadPlugin(context.Background(), "raw") }()
	r.until("being started", func(admin.PluginInfo) bool {
		return r.log.FilterMessage("the plugin is reloaded by an administrator").Len() == 1
	})
	if err := r.host.Close(); err != nil {
		t.Error(err)
	}
	if err := <-reply; !errors.Is(err, errStopped) {
		t.Error(err)
	}
}

// outsider makes of the rig's plugin a program of its own; install puts a version into its place.
func (r *rig) outsider() (install func(version string)) {
	r.t.Helper()
	if runtime.GOOS != "linux" {
		r.t.Skip("programs are kept on Linux only")
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		r.t.Fatal(err)
	}
	program := filepath.Join(r.t.TempDir(), "p")
	install = func(version string) {
		r.t.Helper()
		if err := os.WriteFile(program+".new", append(slices.Clip(self), versionMark+version...), 0o700); err != nil {
			r.t.Fatal(err)
		}
		if err := os.Rename(program+".new", program); err != nil {
			r.t.Fatal(err)
		}
	}
	r.conf.Bundled = false
	r.conf.Command = runner.Command{Path: program, Args: []string{"helper=raw", "@" + r.words}}
	return install
}

// again kills the process and waits for the next one.
func (r *rig) again() {
	r.t.Helper()
	gen := r.info().Generation
	r.host.plugins[0].instances()[0].proc.Kill()
	r.until("started again", func(now admin.PluginInfo) bool { return now.Generation > gen && now.State == admin.PluginReady })
}

// TestRollBackOfOthers: a new version of somebody else's program is taken back, too, though
// there is another file in its place. And a crash alone brings no new version.
func TestRollBackOfOthers(t *testing.T) {
	r := newRig(t, "")
	r.times.backoff = time.Millisecond
	install := r.outsider()
	install("1")
	r.start()
	install("2")
	r.again()
	r.expect("version", "1")
	if err := r.host.ReloadPlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	install("3")
	for range trialCrashes {
		r.expect("version", "2")
		r.again()
	}
	r.expect("version", "1")
	back := r.log.FilterMessage("the new version of the plugin crashed again and again: the one that ran before is back").All()
	if len(back) != 1 || back[0].ContextMap()["version"] != "2" || back[0].ContextMap()["version_before"] != "1" || r.info().Version != "1" {
		t.Errorf("%+v", back)
	}
	p := r.host.plugins[0]
	if err := os.Remove(r.conf.Command.Path); err != nil {
		t.Fatal(err)
	}
	r.again()
	r.expect("version", "1")
	if err := r.host.ReloadPlugin(t.Context(), "raw"); err == nil {
		t.Error("reloaded from nothing")
	}
	install("4")
	if err := r.host.ReloadPlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	kept := len(p.kept)
	p.mu.Unlock()
	if kept != 2 {
		t.Errorf("%d programs are kept, want 4 and 1", kept)
	}
	if err := r.regs[0].Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := r.host.Close(); err != nil || len(p.kept) != 0 {
		t.Errorf("%v, %d", err, len(p.kept))
	}
}

// TestRollBackOfOneThatCannotStart: starts that fail are like crashes.
func TestRollBackOfOneThatCannotStart(t *testing.T) {
	r := newRig(t, "")
	r.times.backoff = time.Millisecond
	install := r.outsider()
	install("1")
	r.start()
	install("2")
	if err := r.host.ReloadPlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	r.say("die-at-start=2")
	r.again()
	r.expect("version", "1")
}

// TestMemoryRevision: who begins to act is told what memory there is to go on with, and which
// domains the server answers for.
func TestMemoryRevision(t *testing.T) {
	r := newRig(t, "")
	r.start()
	r.kernel.memory.Store(7)
	r.again()
	r.kernel.memory.Store(9)
	if err := r.host.ReloadPlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"activated generation 1, memory 0", "activated generation 2, memory 7", "activated generation 3, memory 9"} {
		want += ", for [example.org rooms.example.org]"
		r.until(want, func(admin.PluginInfo) bool {
			return slices.ContainsFunc(r.host.plugins[0].ring.Last(200), func(e runner.Entry) bool { return e.Message == want })
		})
	}
}

// TestReloadChanged: options that the configuration has changed are given to a new process, and nothing is replaced where
// they are the same, or can't be used.
func TestReloadChanged(t *testing.T) {
	r := newRig(t, "tell-configuration")
	r.conf.Options = []byte(`{"greeting": "hello"}`)
	now, wrong := Configured{Options: r.conf.Options}, error(nil)
	r.opts.Now = func(string) (Configured, error) { return now, wrong }
	r.start()
	for _, step := range []struct {
		options, error string
		wrong          error
		reloads        bool
	}{
		{options: `{"greeting": "hello"}`},
		{options: `{"greeting": "hi"}`, reloads: true},
		{options: `{"greeting": "hi"}`},
		{options: `{"greeting": "rude"}`, error: "be polite"},
		{options: `{"greeting": 7}`, error: "greeting"},
		{options: `{"greeting": "hey"}`, wrong: errors.New("line 7 is wrong"), error: "line 7 is wrong"},
		{options: `{"greeting": "hey"}`, reloads: true},
	} {
		now, wrong = Configured{Options: []byte(step.options)}, step.wrong
		before := r.info().PID
		names, err := r.host.ReloadChanged(t.Context())
		if (len(names) == 1) != step.reloads || (r.info().PID != before) != step.reloads {
			t.Errorf("%s: %q were reloaded, the process was %d and is %d", step.options, names, before, r.info().PID)
		}
		if step.error == "" && err != nil || step.error != "" && (err == nil || !strings.Contains(err.Error(), step.error)) {
			t.Errorf("%s: %v, want %q", step.options, err, step.error)
		}
	}
	if !slices.ContainsFunc(r.host.plugins[0].ring.Last(200), func(e runner.Entry) bool { return strings.HasPrefix(e.Message, `options {"greeting": "hey"}`) }) {
		t.Error("the last process was not given the last options")
	}
	if err := r.host.DisablePlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	now.Options = []byte(`{"greeting": "x"}`)
	if names, err := r.host.ReloadChanged(t.Context()); len(names) > 0 || err != nil {
		t.Errorf("one that is disabled: %q, %v", names, err)
	}
}

// TestPinnedReload: a program whose digest is configured is replaced by one whose digest is
// configured now; the version of before has its own, also when it is back.
func TestPinnedReload(t *testing.T) {
	r := newRig(t, "")
	r.times.backoff = time.Millisecond
	install := r.outsider()
	program := r.conf.Command.Path
	digest := func() map[string]string {
		t.Helper()
		b, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]string{program: fmt.Sprintf("%x", sha256.Sum256(b))}
	}
	install("1")
	r.conf.Files = digest()
	configured := r.conf.Files
	var wrong error
	r.opts.Now = func(name string) (Configured, error) {
		if name != "raw" {
			t.Error(name)
		}
		return Configured{Files: configured}, wrong
	}
	r.start()
	install("2")
	if err := r.host.ReloadPlugin(t.Context(), "raw"); err == nil || !strings.Contains(err.Error(), "has SHA-256") {
		t.Error(err)
	}
	wrong = errors.New("line 7 is wrong")
	if err := r.host.ReloadPlugin(t.Context(), "raw"); !errors.Is(err, wrong) {
		t.Error(err)
	}
	r.again() // what ran, and is pinned
	r.expect("version", "1")
	configured, wrong = digest(), nil
	if err := r.host.ReloadPlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	for range trialCrashes {
		r.expect("version", "2")
		r.again()
	}
	r.expect("version", "1")
}
