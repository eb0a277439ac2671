//go:build unix

package pluginhost

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/api/plugin/wire"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// TestCrash: a process that dies with an event is replaced, and the event is handled by
// the next one.
func TestCrash(t *testing.T) {
	r := newRig(t, "")
	r.start()
	r.expect("die-once "+filepath.Join(t.TempDir(), "done"), "alive at attempt 2")
	r.expect("hello", "hello")
	i := r.info()
	if i.State != admin.PluginReady || i.Generation != 2 || i.Restarts != 1 || i.LastExit != "the process exited with status 9" {
		t.Errorf("%+v", i)
	}
}

// TestPoison: an event that three processes died of is given up, and the log says whose it
// was; events of others are handled.
func TestPoison(t *testing.T) {
	r := newRig(t, "")
	r.start()
	poison, err := r.dispatch("p", "die")
	if err != nil {
		t.Fatal(err)
	}
	var others []chan result
	for i := range 20 {
		c, err := r.dispatch(fmt.Sprint("k", i%5), fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, c)
	}
	var told *stanza.Error
	if e := r.wait(poison); !errors.As(e.err, &told) || told.Condition != stanza.InternalServerError {
		t.Errorf("%+v", e)
	}
	for i, c := range others {
		if e := r.wait(c); e.err != nil || !slices.Equal(e.texts, []string{fmt.Sprint(i)}) {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if i := r.info(); i.Restarts != 3 || i.Poisoned != 1 {
		t.Errorf("%+v", i)
	}
	logged := r.log.FilterMessage("an event was given up: processes of the plugin died while they handled it").All()
	if len(logged) != 1 || logged[0].ContextMap()["from"] != "romeo@a.test/orchard" {
		t.Errorf("%v", logged)
	}
}

// TestFails: one that crashes again and again has failed. Senders are told at once, and an
// administrator can start it again.
func TestFails(t *testing.T) {
	r := newRig(t, "")
	r.times.backoff = time.Millisecond
	r.start()
	r.say("die-at-activate")
	for range 5 { // of which the first goes to the process that is well
		if e := r.ask("die"); e.err == nil {
			t.Errorf("%+v", e)
		}
		if r.info().State == admin.PluginFailed {
			break
		}
	}
	i := r.until("failed", func(i admin.PluginInfo) bool { return i.State == admin.PluginFailed })
	if i.Restarts != maxCrashes || !strings.Contains(i.Detail, "hexmpp plugin enable raw") || i.PID != 0 {
		t.Errorf("%+v", i)
	}
	if _, err := r.dispatch("k", "x"); !errors.Is(err, extension.ErrDown) {
		t.Error(err)
	}
	if err := r.host.EnablePlugin(t.Context(), "raw"); err == nil {
		t.Error("it was enabled")
	}
	r.say("")
	if err := r.host.EnablePlugin(t.Context(), "raw"); err != nil {
		t.Error(err)
	}
	r.expect("hello", "hello")
	if i := r.info(); i.State != admin.PluginReady || i.Detail != "" {
		t.Errorf("%+v", i)
	}
}

// TestFailedIsTriedAgain: after a while, without anybody's help.
func TestFailedIsTriedAgain(t *testing.T) {
	r := newRig(t, "")
	r.times.backoff, r.times.failed = time.Millisecond, 10*time.Millisecond
	r.start()
	r.say("die-at-configure")
	r.host.plugins[0].instances()[0].proc.Kill()
	r.until("failed", func(i admin.PluginInfo) bool { return i.State == admin.PluginFailed })
	r.say("")
	r.until("ready", func(i admin.PluginInfo) bool { return i.State == admin.PluginReady })
	r.expect("hello", "hello")
}

// TestGrace: without a process events wait for a while, and then are answered.
func TestGrace(t *testing.T) {
	r := newRig(t, "")
	r.conf.Limits.GraceTime = 50 * time.Millisecond
	r.times.backoff, r.times.backoffMax = time.Hour, time.Hour
	r.start()
	r.say("die-at-start")
	if e := r.ask("die"); !errors.Is(e.err, extension.ErrDown) {
		t.Errorf("%+v", e)
	}
	if i := r.info(); i.State != admin.PluginStarting || i.Detail == "" || i.Refused != 1 {
		t.Errorf("%+v", i)
	}
}

// TestHangs: a process that gives no sign of life, or sits on an event, is killed, and its
// event is handled by the next one.
func TestHangs(t *testing.T) {
	for _, c := range []struct{ text, why string }{
		{"freeze", "no sign of life"},
		{"stop-process", "no sign of life"},
		{"ignore", "has an event for"},
	} {
		t.Run(c.text, func(t *testing.T) {
			r := newRig(t, "")
			r.times.watch, r.times.beat, r.times.late, r.times.beatLimit, r.times.eventLimit = 10*time.Millisecond, 50*time.Millisecond, 200*time.Millisecond, time.Second, time.Minute
			if c.text == "ignore" {
				r.times.eventLimit = time.Second
			}
			r.start()
			bad, err := r.dispatch("k", c.text)
			if err != nil {
				t.Fatal(err)
			}
			r.until("degraded", func(i admin.PluginInfo) bool { return i.State == admin.PluginDegraded })
			var told *stanza.Error
			if e := r.wait(bad); !errors.As(e.err, &told) { // after three processes
				t.Errorf("%+v", e)
			}
			r.expect("hello", "hello")
			if i := r.info(); i.Poisoned != 1 || i.Restarts != 3 || !strings.Contains(i.LastExit, c.why) || !strings.Contains(i.LastExit, "is killed") {
				t.Errorf("%+v", i)
			}
		})
	}
}

// TestWrongOutcomes: nothing of an outcome that breaks a rule is done; its sender is told,
// and the plugin goes on.
func TestWrongOutcomes(t *testing.T) {
	r := newRig(t, "")
	r.start()
	for text, want := range map[string]string{
		"ill-formed":     "effects[0].send.stanza.content",
		"forge":          "may not be sent from",
		"flood":          "bound",
		"large":          "internal-server-error",
		"unknown-effect": "effects[0]",
		"fail":           "it did not work",
	} {
		if e := r.ask(text); e.err == nil || len(e.texts) > 0 || !strings.Contains(e.err.Error(), want) {
			t.Errorf("%s: %q, %v, want %s", text, e.texts, e.err, want)
		}
		r.expect("hello", "hello")
	}
	if i := r.info(); i.Restarts != 0 {
		t.Errorf("%+v", i)
	}
}

// TestWrongOutcomeInARun: behind an outcome that can't be read nothing is applied, since the plugin
// believes that it was done.
func TestWrongOutcomeInARun(t *testing.T) {
	r := newRig(t, "")
	p := newPlugin(&Host{log: zap.NewNop()}, r.conf)
	p.kernel = &kernel{}
	out := func(content string) *pluginv1.Outcome {
		return &pluginv1.Outcome{Effects: []*pluginv1.Effect{{What: &pluginv1.Effect_Send{Send: &pluginv1.Send{Stanza: &pluginv1.Stanza{
			Kind: pluginv1.Kind_KIND_MESSAGE, Type: "chat", From: "raw.a.test", To: romeo.String(), Content: []byte(content),
		}}}}}}
	}
	var list []wire.Action
	var owners []*owner
	for _, content := range []string{"<body>1</body>", "<no></yes>", "<body>3</body>", "<body>4</body>"} {
		o := &owner{end: make(chan result, 1)}
		owners = append(owners, o)
		e := &extension.RemoteEvent{Kind: extension.ToComponent, Key: "k", Owner: o}
		list = append(list, wire.Action{Kind: wire.ApplyOutcome, Item: &wire.Item{Key: "k", Source: &source{p: p, e: e}}, Outcome: out(content)})
	}
	ends := round{open: true}
	p.applyRun(new(transport.Batch), &ends, list)
	if len(ends.ends) != len(list) {
		t.Fatalf("%d ends", len(ends.ends))
	}
	for i, e := range ends.ends {
		if e.source != list[i].Item.Source || i == 0 && e.err != nil || i == 1 && (e.err == nil || errors.Is(e.err, extension.ErrConflict)) || i > 1 && !errors.Is(e.err, extension.ErrConflict) {
			t.Errorf("the end %d: %v", i, e.err)
		}
		if applied := len(owners[i].end) > 0; applied != (i < 2) {
			t.Errorf("%d was applied: %v", i, applied)
		}
	}
	if e := <-owners[1].end; e.err == nil || len(e.texts) > 0 {
		t.Errorf("the wrong one: %+v", e)
	}
}

// TestBreaksTheProtocol: a process that sends what the contract does not allow is ended.
func TestBreaksTheProtocol(t *testing.T) {
	r := newRig(t, "frames=2097152")
	r.times.steady = time.Hour
	r.start()
	for text, want := range map[string]string{
		"frame 3000000": "ResourceExhausted",
		"twice":         "plugin protocol",
	} {
		if e := r.ask(text); e.err == nil {
			t.Errorf("%s: %q", text, e.texts)
		}
		if i := r.info(); !strings.Contains(i.LastExit, want) {
			t.Errorf("%s: %s", text, i.LastExit)
		}
		if err := r.host.EnablePlugin(t.Context(), "raw"); err != nil {
			t.Error(err)
		}
		r.until("ready", func(i admin.PluginInfo) bool { return i.State == admin.PluginReady })
		r.expect("hello", "hello")
	}
}

// TestQueue: what has no room is refused, not waited for.
func TestQueue(t *testing.T) {
	r := newRig(t, "")
	r.conf.Limits.Queue, r.conf.Limits.InFlight = 10, 2
	r.start()
	if err := r.host.DisablePlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	if err := r.host.EnablePlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	var taken []chan result
	full := 0
	for range 100 {
		c, err := r.dispatch("k", "ignore")
		switch {
		case err == nil:
			taken = append(taken, c)
		case errors.Is(err, extension.ErrFull):
			full++
		default:
			t.Fatal(err)
		}
	}
	if full < 80 || len(taken) < 10 {
		t.Errorf("%d taken, %d refused", len(taken), full)
	}
	// The end of it all answers each of them.
	if err := r.regs[0].Stop(t.Context()); err != nil {
		t.Error(err)
	}
	for _, c := range taken {
		if e := r.wait(c); !errors.Is(e.err, extension.ErrDown) {
			t.Errorf("%+v", e)
		}
	}
}

// slow is an owner whose storage takes its time: done is told when the test says so.
type slow struct {
	applied chan string // texts
	release chan struct{}
	over    sync.WaitGroup
}

func (o *slow) Apply(_ *transport.Batch, out *extension.Outcome, done func(err error)) {
	s := &sends{}
	err := out.Err
	if err == nil && out.Effects != nil {
		err = out.Effects(&extension.Host{Stanzas: s})
	}
	o.over.Go(func() {
		<-o.release
		o.applied <- strings.Join(s.texts, " ")
		done(err)
	})
}

func (o *slow) Fail(_ *transport.Batch, err error) { o.applied <- err.Error() }

// TestNextWaitsForStorage: a process does not begin to act while what the one before asked
// for is still being written: it would read what was there before.
func TestNextWaitsForStorage(t *testing.T) {
	r := newRig(t, "")
	r.times.storage = time.Minute
	r.start()
	o := &slow{applied: make(chan string, 1), release: make(chan struct{})}
	s := stanza.Raw(stanza.Header{Kind: stanza.Message, Type: "chat", ID: "1", From: romeo, To: jid.MustParse("raw.a.test")}, "", "<body>hello</body>", nil)
	if err := r.regs[0].Remote.Dispatch(&extension.RemoteEvent{Kind: extension.ToComponent, Component: -1, Key: "k", At: time.Now(), Envelope: extension.Envelope{Stanza: s}, Owner: o}); err != nil {
		t.Fatal(err)
	}
	r.until("answered", func(i admin.PluginInfo) bool { return i.Events == 1 })
	r.host.plugins[0].instances()[0].proc.Kill()
	r.until("waiting", func(i admin.PluginInfo) bool { return strings.Contains(i.Detail, "waits for storage") })
	if i := r.info(); i.State != admin.PluginStarting || i.Generation != 1 {
		t.Errorf("%+v", i)
	}
	close(o.release)
	r.until("ready", func(i admin.PluginInfo) bool { return i.State == admin.PluginReady && i.Generation == 2 })
	if text := <-o.applied; text != "hello" {
		t.Error(text)
	}
	o.over.Wait()
	r.expect("x", "x")
}
