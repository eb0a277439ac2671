package pluginhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/hexmpp/hexmpp/adapters/pluginhost/runner"
	"github.com/hexmpp/hexmpp/api/plugin/handshake"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Options of a Host.
type Options struct {
	Domains []string // hosted, the first is the default
	Version string   // of the server, for plugins
	// Data is a folder in which each plugin has one of its own, for files that outlive
	// its processes.
	Data string
	// Folder is for sockets, see runner.Options; default runner.DefaultFolder.
	Folder string
	// Guard is a command that kills processes of plugins when the server was killed, see
	// runner.Options.
	Guard runner.Command
	// XML bounds each stanza and element that a plugin sends; a zero is the default of
	// package xmlstream. It should be more than clients may send, so that what they sent can
	// be sent on.
	XML     xmlstream.Limits
	Plugins []Plugin
	// Now returns what the configuration says now: it is called at a reload, so that options can be changed, and a
	// program whose SHA-256 is configured replaced, while the server runs. nil: what held at the start.
	Now func(name string) (Configured, error)
}

// Configured is what a reload may change of a Plugin.
type Configured struct {
	Files   map[string]string
	Options []byte
}

// Plugin is what the configuration says of a plugin.
type Plugin struct {
	Name string
	// Key is where the configuration has it: "plugins.muc". What is wrong with what is
	// configured is told with its key.
	Key     string
	Bundled bool // it is part of hexmpp: a failure stops the server, and its permissions are granted unless Permissions says otherwise
	Command runner.Command
	Folder  string            // that relative paths are in
	Files   map[string]string // path to SHA-256
	// Domains take the places of those that its components ask for; empty: these.
	Domains []string
	// Permissions that are granted; nil of a bundled plugin: all that it asks for.
	Permissions []string
	Options     []byte // JSON object; empty for none
	// Listen has the addresses of its listeners. They are bound by Start, and closed by Close.
	Listen    []Listen
	Limits    Limits
	MemoryKey string // that raises Limits.Memory; "" if there is none
}

// Limits of a plugin. A zero is the default.
type Limits struct {
	Memory        int64         // bytes that its processes may have resident; no limit
	Queue         int           // events that wait; 10,000
	QueueBytes    int           // 16 MiB
	InFlight      int           // events that it was given and has not answered; 1,000
	InFlightBytes int           // 4 MiB
	GraceTime     time.Duration // that events wait while it is down; 10 s, negative for none
	StartTime     time.Duration // until it is ready to act, and as long for Activate; 10 s
	DecideTime    time.Duration // for a verdict; 250 ms
	DrainTime     time.Duration // behind a cut-over, for a process that drains; 1 hour, negative for none
	LogLines      int           // a second; 100
}

func (l Limits) complete() Limits {
	for _, n := range []struct {
		to     *int
		preset int
	}{{&l.Queue, 10_000}, {&l.QueueBytes, 16 << 20}, {&l.InFlight, 1000}, {&l.InFlightBytes, 4 << 20}, {&l.LogLines, 100}} {
		if *n.to <= 0 {
			*n.to = n.preset
		}
	}
	for _, d := range []struct {
		to     *time.Duration
		preset time.Duration
	}{{&l.GraceTime, 10 * time.Second}, {&l.StartTime, 10 * time.Second}, {&l.DecideTime, 250 * time.Millisecond}, {&l.DrainTime, time.Hour}} {
		if *d.to == 0 {
			*d.to = d.preset
		}
	}
	return l
}

// times are those that are no option; tests change them.
type times struct {
	quiet      time.Duration // that a cut-over, and a stop, wait for outstanding outcomes
	storage    time.Duration // that a process waits, before it begins to act, for what the one before asked for to be written
	shutdown   time.Duration // that Shutdown may take
	term       time.Duration // between SIGTERM and SIGKILL
	watch      time.Duration // between two looks of the watchdog
	beat       time.Duration // between two beats
	late       time.Duration // a beat has no answer, or an event no outcome while there is no other: degraded
	beatLimit  time.Duration // a beat has no answer: it is killed
	eventLimit time.Duration // an event that it can handle has no outcome: it is killed; handlers of the SDK have 30 seconds
	steady     time.Duration // it is ready for so long: crashes of before are forgotten
	window     time.Duration // in which crashes are counted
	backoff    time.Duration // the first wait
	backoffMax time.Duration
	failed     time.Duration // that one that has failed is let alone
	request    time.Duration // that an answer to a plugin's request may take
}

var usual = times{
	quiet: time.Second, storage: 10 * time.Second, shutdown: 2 * time.Second, term: 3 * time.Second,
	watch: time.Second, beat: 5 * time.Second, late: 4 * time.Second, beatLimit: 10 * time.Second, eventLimit: 45 * time.Second,
	steady: 15 * time.Second, window: time.Minute, backoff: 100 * time.Millisecond, backoffMax: 30 * time.Second,
	failed: 5 * time.Minute, request: 10 * time.Second,
}

// Crashes within a window: of one that fails, and of a new version that is taken back.
const (
	maxCrashes   = 5
	trialCrashes = 3
)

// ConfigError says that the configuration has to change before the server starts.
type ConfigError struct {
	Key string // "plugins.muc.permissions"
	Err error
}

func (e *ConfigError) Error() string { return e.Key + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// Host runs plugins. Its methods may be called by any goroutine.
type Host struct {
	options Options
	log     *zap.Logger
	runner  *runner.Runner
	times   times
	plugins []*plugin     // by name; does not change
	sockets atomic.Uint64 // made for HTTP
	close   sync.Once
	closed  error
}

var _ admin.Plugins = (*Host)(nil)

// New returns a Host. It makes the folder for sockets, and starts nothing.
func New(o Options, log *zap.Logger) (*Host, error) { return newHost(o, log, usual) }

func newHost(o Options, log *zap.Logger, t times) (*Host, error) {
	if len(o.Domains) == 0 || !filepath.IsAbs(o.Data) {
		return nil, errors.New("pluginhost: hosted domains and an absolute data folder are needed")
	}
	if o.Folder == "" {
		o.Folder = runner.DefaultFolder()
	}
	h := &Host{options: o, log: log, times: t}
	for _, c := range o.Plugins {
		if slices.ContainsFunc(h.plugins, func(p *plugin) bool { return p.conf.Name == c.Name }) {
			return nil, fmt.Errorf("pluginhost: two plugins are called %q", c.Name)
		}
		h.plugins = append(h.plugins, newPlugin(h, c))
	}
	slices.SortFunc(h.plugins, func(a, b *plugin) int { return strings.Compare(a.conf.Name, b.conf.Name) })
	var err error
	if h.runner, err = runner.New(runner.Options{Folder: o.Folder, Guard: o.Guard}, log); err != nil {
		return nil, fmt.Errorf("pluginhost: %w", err)
	}
	return h, nil
}

// Start starts a process of each plugin and asks it what it is. What the kernel is to be
// given comes back, in the order of Options.Plugins; the plugins act when the kernel
// starts them (Registration.Start). A plugin that is not bundled and can't be started is left
// out: it has failed, and is tried again with the next start of the server. What the
// configuration would have to change is a *ConfigError; with any error nothing runs any more.
func (h *Host) Start(ctx context.Context) ([]extension.Registration, error) {
	errs := make([]error, len(h.plugins))
	var wg sync.WaitGroup
	for i, p := range h.plugins {
		wg.Go(func() { errs[i] = p.first(ctx) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	var regs []extension.Registration
	for _, c := range h.options.Plugins {
		if p, err := h.find(c.Name); err == nil && p.reg != nil {
			regs = append(regs, *p.reg)
		}
	}
	return regs, nil
}

// Close ends all processes, and waits for them. It is called when the kernel has stopped
// its extensions, or has never started.
func (h *Host) Close() error {
	h.close.Do(func() {
		var wg sync.WaitGroup
		for _, p := range h.plugins {
			wg.Go(p.close)
		}
		wg.Wait()
		h.closed = h.runner.Close()
		for _, p := range h.plugins {
			p.sockets.close()
		}
	})
	return h.closed
}

func (h *Host) find(name string) (*plugin, error) {
	i := slices.IndexFunc(h.plugins, func(p *plugin) bool { return p.conf.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("%w: %q", admin.ErrNoPlugin, name)
	}
	return h.plugins[i], nil
}

// Plugins implements admin.Plugins.
func (h *Host) Plugins(context.Context) ([]admin.Plugin, error) {
	list := make([]admin.Plugin, len(h.plugins))
	for i, p := range h.plugins {
		list[i] = p.status()
	}
	return list, nil
}

// PluginInfo implements admin.Plugins.
func (h *Host) PluginInfo(_ context.Context, name string) (admin.PluginInfo, error) {
	p, err := h.find(name)
	if err != nil {
		return admin.PluginInfo{}, err
	}
	return p.info()
}

// ReloadPlugin implements admin.Plugins.
func (h *Host) ReloadPlugin(ctx context.Context, name string) error {
	return h.command(ctx, name, reload)
}

// ReloadChanged reloads the plugins whose options are others now than those of the process that acts, and returns their
// names. One that is disabled or down is left alone: what is started next has them if it is reloaded. Any goroutine may
// call it; it waits as ReloadPlugin does.
func (h *Host) ReloadChanged(ctx context.Context) (names []string, err error) {
	for _, p := range h.plugins {
		now, wrong := p.reread()
		if wrong != nil {
			if err == nil || !strings.Contains(err.Error(), wrong.Error()) { // a file that can't be read is so for all of them
				err = errors.Join(err, wrong)
			}
			continue
		}
		p.mu.Lock()
		same := p.acting == nil || bytes.Equal(p.told.options, now.Options)
		p.mu.Unlock()
		if same {
			continue
		}
		if wrong := h.command(ctx, p.conf.Name, reload); wrong != nil {
			err = errors.Join(err, wrong)
			continue
		}
		names = append(names, p.conf.Name)
	}
	return names, err
}

// EnablePlugin implements admin.Plugins.
func (h *Host) EnablePlugin(ctx context.Context, name string) error {
	return h.command(ctx, name, enable)
}

// DisablePlugin implements admin.Plugins.
func (h *Host) DisablePlugin(ctx context.Context, name string) error {
	return h.command(ctx, name, disable)
}

func (h *Host) command(ctx context.Context, name string, kind commandKind) error {
	p, err := h.find(name)
	if err != nil {
		return err
	}
	if err := p.command(ctx, kind); err != nil {
		return fmt.Errorf("plugin %s: %w", name, err)
	}
	return nil
}

// PluginLogs implements admin.Plugins.
func (h *Host) PluginLogs(ctx context.Context, name string, n int, follow bool, yield func(admin.PluginLogEntry) error) error {
	p, err := h.find(name)
	if err != nil {
		return err
	}
	if !follow {
		for _, e := range p.ring.Last(n) {
			if err := yield(logEntry(e)); err != nil {
				return err
			}
		}
		return nil
	}
	for missed, e := range p.ring.Follow(ctx, n) {
		if missed > 0 {
			if err := yield(admin.PluginLogEntry{Time: e.Time, Level: "warn", Source: runner.Kernel, Message: fmt.Sprintf("%d entries were missed here", missed)}); err != nil {
				return err
			}
		}
		if err := yield(logEntry(e)); err != nil {
			return err
		}
	}
	return nil
}

func logEntry(e runner.Entry) admin.PluginLogEntry {
	out := admin.PluginLogEntry{Time: e.Time, Level: e.Level.String(), PID: e.PID, Source: e.Source, Message: e.Message, Trace: e.Trace}
	for _, f := range e.Fields {
		out.Fields = append(out.Fields, admin.PluginLogField{Key: f.Key, Value: fmt.Sprint(f.Value)})
	}
	return out
}

// Observe tells how all plugins are, for metrics.
func (h *Host) Observe() []observe.Plugin {
	list := make([]observe.Plugin, len(h.plugins))
	for i, p := range h.plugins {
		list[i] = p.observe()
	}
	return list
}

// Describe starts a program as a plugin and asks it what it is. It needs no server, and
// checks nothing. The manifest is JSON. Relative paths of the command are in the folder.
func Describe(ctx context.Context, command runner.Command, folder, version string, log *zap.Logger) (_ []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, describeTime)
	defer cancel()
	r, err := runner.New(runner.Options{Folder: runner.DefaultFolder()}, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	proc, err := r.Start(ctx, runner.Spec{Name: "described", Command: command, Folder: folder, Handshake: cookie, Versions: []int{handshake.Version}})
	if err != nil {
		return nil, err
	}
	defer proc.Kill()
	again, _ := proc.Again()
	defer again.Program.Close()
	answer, err := pluginv1.NewPluginClient(proc.Conn()).Describe(ctx, &pluginv1.DescribeRequest{ServerVersion: version})
	if err != nil {
		return nil, fmt.Errorf("its answer to Describe: %w", said(err))
	}
	return protojson.Marshal(answer.GetManifest())
}

// describeTime is how long a plugin may take to say what it is, where no configuration
// says anything else.
const describeTime = 30 * time.Second
