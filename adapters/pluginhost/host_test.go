//go:build unix

package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/hexmpp/hexmpp/adapters/pluginhost/runner"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// The test binary is also the plugin that the tests start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "helper=raw" {
		os.Exit(runRaw(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "helper=echoes" {
		os.Exit(echoes())
	}
	if len(os.Args) > 1 && os.Args[1] == "helper=listens" {
		os.Exit(listens())
	}
	if len(os.Args) > 1 && os.Args[1] == "helper=web" {
		os.Exit(serves())
	}
	goleak.VerifyTestMain(m)
}

// kernel is what a plugin finds in the place of a kernel.
type kernel struct {
	ctx     context.Context
	entries map[string]string
	memory  atomic.Uint64 // its revision
}

func (k *kernel) Reader() *extension.Host {
	return &extension.Host{Store: entries{k}, Served: []string{"example.org", "rooms.example.org"}}
}

func (k *kernel) Apply(_ *transport.Batch, _ string, effects func(h *extension.Host) error, done func(err error)) {
	done(effects(&extension.Host{}))
}

// ApplyRun applies one after the other, and nothing behind one that fails.
func (k *kernel) ApplyRun(b *transport.Batch, run []extension.Applied) {
	if len(run) == 0 {
		return
	}
	run[0].Owner.Apply(b, run[0].Outcome, func(err error) {
		run[0].Done(err)
		if err == nil {
			k.ApplyRun(b, run[1:])
			return
		}
		for _, a := range run[1:] {
			a.Done(extension.ErrConflict)
		}
	})
}

func (k *kernel) NewIDs(n int) []uint64    { return make([]uint64, n) }
func (k *kernel) MemoryRevision() uint64   { return k.memory.Load() }
func (k *kernel) Context() context.Context { return k.ctx }

type entries struct{ k *kernel }

func (e entries) Get(_ context.Context, _ jid.JID, key string) (extension.Entry, bool, error) {
	v, ok := e.k.entries[key]
	return extension.Entry{Key: key, Value: []byte(v), Revision: 1}, ok, nil
}

func (e entries) Scan(context.Context, jid.JID, string, string, int) ([]extension.Entry, error) {
	return nil, errors.New("not in this test")
}
func (entries) Put(jid.JID, string, []byte)          {}
func (entries) Delete(jid.JID, string)               {}
func (entries) Swap(jid.JID, string, []byte, uint64) {}

// sends records what is sent.
type sends struct{ texts []string }

func (s *sends) Send(x *stanza.Stanza) error {
	if x.From.Local() != "" || !strings.HasSuffix(x.From.Domain(), "raw.a.test") {
		return fmt.Errorf("%w: %s may not be sent from", extension.ErrPermission, x.From)
	}
	if len(s.texts) == 1000 {
		return extension.ErrBound
	}
	s.texts = append(s.texts, strings.TrimSuffix(strings.TrimPrefix(x.Content(), "<body>"), "</body>"))
	return nil
}
func (s *sends) Precede(*stanza.Stanza) error                        { return nil }
func (s *sends) SendAs(jid.JID, *stanza.Stanza) error                { return nil }
func (s *sends) Request(*stanza.Stanza, time.Duration, []byte) error { return nil }
func (s *sends) RequestFor(string, *stanza.Stanza, time.Duration, []byte) error {
	return nil
}

// result is the end of an event.
type result struct {
	texts []string // that were sent
	err   error    // of the handler, of the bounds, or of Fail
}

// owner is who dispatched an event. Like the kernel it tells whoever reset is to be done.
type owner struct{ end chan result }

func (o *owner) Apply(_ *transport.Batch, out *extension.Outcome, done func(err error)) {
	e := result{err: out.Err}
	if e.err == nil && out.Effects != nil {
		s := &sends{}
		e.err = out.Effects(&extension.Host{Stanzas: s})
		e.texts = s.texts
		if e.err != nil {
			e.texts = nil
			o.end <- e
			done(e.err)
			return
		}
	}
	o.end <- e
	done(nil)
}

func (o *owner) Fail(_ *transport.Batch, err error) { o.end <- result{err: err} }

// rig is a Host with the plugin raw, and what is around it.
type rig struct {
	t      *testing.T
	host   *Host
	words  string // path of the file
	conf   Plugin
	opts   Options
	times  times
	core   zapcore.Core
	log    *observer.ObservedLogs
	regs   []extension.Registration
	kernel *kernel
	cancel context.CancelFunc
	sent   int
	mu     sync.Mutex
}

// newRig prepares a Host; Start is the test's to call.
func newRig(t *testing.T, words string) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, words: filepath.Join(dir, "words"), times: usual}
	r.say(words)
	r.conf = Plugin{Name: "raw", Key: "plugins.raw", Bundled: true, Command: runner.Command{Self: true, Args: []string{"helper=raw", r.words}}, Folder: dir}
	sockets, err := os.MkdirTemp("", "h")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	r.opts = Options{Domains: []string{"a.test", "b.test"}, Version: "test", Data: filepath.Join(dir, "data"), Folder: sockets}
	r.times.term = 5 * time.Second
	return r
}

// say changes what the next process does.
func (r *rig) say(words string) {
	r.t.Helper()
	if err := os.WriteFile(r.words, []byte(words), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// prepare starts the process, not the extension.
func (r *rig) prepare() error {
	r.t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	r.core, r.log = core, logs
	r.opts.Plugins = []Plugin{r.conf}
	var err error
	if r.host, err = newHost(r.opts, zap.New(core), r.times); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.kernel, r.cancel = &kernel{ctx: ctx, entries: map[string]string{"a": "1"}}, cancel
	r.t.Cleanup(func() {
		if err := r.host.Close(); err != nil {
			r.t.Error(err)
		}
		cancel()
		if r.t.Failed() {
			for _, e := range r.log.All() {
				if !strings.HasPrefix(e.Message, "go-plugin") {
					r.t.Log(e.Level, e.Message, e.ContextMap())
				}
			}
		}
	})
	r.regs, err = r.host.Start(context.Background())
	return err
}

// start starts all, as the kernel does.
func (r *rig) start() {
	r.t.Helper()
	if err := r.prepare(); err != nil {
		r.t.Fatal(err)
	}
	if err := r.begin(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) begin() error {
	for _, reg := range r.regs {
		reg.Remote.Attach(r.kernel)
		if err := reg.Start(context.Background(), nil); err != nil {
			return err
		}
	}
	return nil
}

var romeo = jid.MustParse("romeo@a.test/orchard")

// dispatch gives the plugin a message, of which the error may be ErrFull or ErrDown.
func (r *rig) dispatch(key, text string) (chan result, error) {
	r.mu.Lock()
	r.sent++
	id := fmt.Sprint("m", r.sent)
	r.mu.Unlock()
	s := stanza.Raw(stanza.Header{Kind: stanza.Message, Type: "chat", ID: id, From: romeo, To: jid.MustParse("raw.a.test")}, "", "<body>"+text+"</body>", nil)
	o := &owner{end: make(chan result, 1)}
	err := r.regs[0].Remote.Dispatch(&extension.RemoteEvent{
		Kind: extension.ToComponent, Key: key, At: time.Now(), Component: -1, Envelope: extension.Envelope{Stanza: s}, Owner: o,
	})
	return o.end, err
}

func (r *rig) ask(text string) result {
	r.t.Helper()
	c, err := r.dispatch("k", text)
	if err != nil {
		return result{err: err}
	}
	return r.wait(c)
}

func (r *rig) wait(c chan result) result {
	r.t.Helper()
	select {
	case e := <-c:
		return e
	case <-time.After(time.Minute):
		r.t.Fatal("an event has no end")
		return result{}
	}
}

// expect asks, and wants one answer.
func (r *rig) expect(text, want string) {
	r.t.Helper()
	if e := r.ask(text); e.err != nil || !slices.Equal(e.texts, []string{want}) {
		r.t.Errorf("%q was answered with %q, %v", text, e.texts, e.err)
	}
}

func (r *rig) info() admin.PluginInfo {
	r.t.Helper()
	i, err := r.host.PluginInfo(context.Background(), "raw")
	if err != nil {
		r.t.Fatal(err)
	}
	return i
}

// until waits for a state.
func (r *rig) until(what string, is func(admin.PluginInfo) bool) admin.PluginInfo {
	r.t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for limit := time.After(time.Minute); ; {
		i := r.info()
		if is(i) {
			return i
		}
		select {
		case <-look.C:
		case <-limit:
			r.t.Fatalf("it never came to be %s: %+v", what, i)
		}
	}
}

func TestRuns(t *testing.T) {
	r := newRig(t, "stray tell-configuration")
	r.conf.Options = []byte(`{"greeting": "hello"}`)
	r.start()
	r.expect("hello", "hello")
	r.expect("read a", "a 1")
	r.expect("read b", "b ")
	i := r.info()
	if i.State != admin.PluginReady || i.Generation != 1 || i.PID == 0 || i.Events != 3 || i.Queue != 0 || i.InFlight != 0 || i.Version != "1" || i.Memory == 0 || i.OutcomeTime == 0 ||
		!slices.Equal(i.Domains, []string{"raw.a.test", "raw.b.test"}) || !strings.Contains(string(i.Manifest), `"name":`) {
		t.Errorf("%+v", i)
	}
	var words []string
	if err := r.host.PluginLogs(t.Context(), "raw", 10, false, func(e admin.PluginLogEntry) error { words = append(words, e.Message); return nil }); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"a word before the handshake", "a word behind the handshake", "activated generation 1, memory 0, for [example.org rooms.example.org]",
		`options {"greeting": "hello"} domains [a.test b.test] components [raw.a.test raw.b.test] permissions [] data raw`} {
		if !slices.Contains(words, want) {
			t.Errorf("the log lacks %q: %q", want, words)
		}
	}
	pid := i.PID
	if err := r.regs[0].Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := r.host.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
		t.Error("the process is still there")
	}
	if e := r.ask("late"); !errors.Is(e.err, extension.ErrDown) {
		t.Errorf("behind the end: %v", e.err)
	}
}
