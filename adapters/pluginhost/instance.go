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
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/hexmpp/hexmpp/adapters/pluginhost/runner"
	"github.com/hexmpp/hexmpp/api/plugin/handshake"
	"github.com/hexmpp/hexmpp/api/plugin/wire"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// cookie is what go-plugin asks of a process before it is a plugin.
var cookie = goplugin.HandshakeConfig{MagicCookieKey: handshake.CookieKey, MagicCookieValue: handshake.CookieValue}

// Bounds that a plugin is told.
const (
	maxSends        = 4000    // stanzas of one outcome: the kernel's bound
	maxOutcomeBytes = 3 << 20 // of one outcome, encoded: a stored value fits
)

// instance is one process of a plugin, from its start to its end.
type instance struct {
	p        *plugin
	proc     *runner.Process
	client   pluginv1.PluginClient
	manifest *pluginv1.Manifest
	reg      *extension.Registration // what the manifest claims
	asked    []int                   // for each of reg.Components, which one of the manifest it is
	conf     Configured              // when it was started
	shards   int
	wake     []chan struct{} // of the writers
	http     string          // socket for its HTTP routes, "" if it has none

	ctx    context.Context // of the streams
	cancel context.CancelFunc
	pumps  sync.WaitGroup // readers and writers

	conn       *wire.Conn    // set by open; plugin.mu guards it
	generation uint64        // likewise
	alive      chan struct{} // likewise; closed, and nil then, when its Sessions have answered the first beat

	ready  time.Time // when it began to act; the supervisor's own
	beaten time.Time // when it was asked for a sign of life; the supervisor's own

	once   sync.Once
	failed chan struct{} // closed when it can't go on
	cause  error         // why; read after failed
}

// fail says that the process can't go on. The first reason counts.
func (in *instance) fail(err error) {
	in.once.Do(func() {
		in.cause = err
		close(in.failed)
	})
}

// start starts a process and asks it what it is. What the process is given, and for how
// long it may take, ends with ctx.
func (p *plugin) start(ctx context.Context, v version) (*instance, error) {
	l := p.conf.Limits
	files, names := p.sockets.files()
	proc, err := p.host.runner.Start(ctx, runner.Spec{
		Name: p.conf.Name, Command: v.command, Folder: p.conf.Folder, Files: v.conf.Files,
		Memory: l.Memory, MemoryKey: p.conf.MemoryKey,
		Handshake: cookie, Versions: []int{handshake.Version}, StartTimeout: l.StartTime, Lines: l.LogLines, Log: p.ring, Inherit: files, InheritNames: names,
		DialOptions: []grpc.DialOption{
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxFrame), grpc.MaxCallSendMsgSize(maxFrame)),
			grpc.WithInitialWindowSize(4 << 20), grpc.WithInitialConnWindowSize(16 << 20),
			grpc.WithReadBufferSize(64 << 10), grpc.WithWriteBufferSize(64 << 10),
			grpc.WithMaxHeaderListSize(64 << 10), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(),
		},
	})
	if err != nil {
		return nil, err
	}
	if again, _ := proc.Again(); again.Program != nil {
		p.mu.Lock()
		if !slices.Contains(p.kept, again.Program) {
			p.kept = append(p.kept, again.Program)
		}
		p.mu.Unlock()
	}
	in := &instance{p: p, proc: proc, conf: v.conf, client: pluginv1.NewPluginClient(proc.Conn()), failed: make(chan struct{}), alive: make(chan struct{})}
	in.ctx, in.cancel = context.WithCancel(context.Background())
	if err := in.describe(ctx); err != nil {
		in.kill()
		return nil, err
	}
	return in, nil
}

// version is what it runs.
func (in *instance) version() version {
	command, exact := in.proc.Again()
	return version{command, exact, in.manifest.Version, in.conf}
}

// describe asks for the manifest and checks it.
func (in *instance) describe(ctx context.Context) error {
	answer, err := in.client.Describe(ctx, &pluginv1.DescribeRequest{ServerVersion: in.p.host.options.Version}, grpc.MaxCallRecvMsgSize(maxManifest+64<<10))
	if err != nil {
		return fmt.Errorf("its answer to Describe: %w", said(err))
	}
	in.manifest = answer.GetManifest()
	if err := checkManifest(in.manifest, in.p.conf.Name); err != nil {
		return &lie{err}
	}
	if in.reg, in.asked, err = in.p.register(in.manifest); err != nil {
		return err
	}
	if err := in.p.listens(in.reg.Listeners); err != nil {
		return err
	}
	return in.p.checkOptions(in.manifest, in.conf.Options)
}

// lie is something in a manifest that no further try would change.
type lie struct{ error }

// Unwrap returns the cause.
func (l *lie) Unwrap() error { return l.error }

// configure gives the process its options, and sees that it is well.
func (in *instance) configure(ctx context.Context) (*pluginv1.ConfigureResponse, error) {
	p := in.p
	data := filepath.Join(p.host.options.Data, p.conf.Name)
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	options := in.conf.Options
	if len(options) == 0 {
		options = []byte("{}")
	}
	request := &pluginv1.ConfigureRequest{
		OptionsJson: options, Domains: p.host.options.Domains, Shards: uint32(in.shards),
		MaxPluginFrameBytes: uint32(frameBytes(in.manifest.MaxPluginFrameBytes)), MaxKernelFrameBytes: uint32(frameBytes(in.manifest.MaxKernelFrameBytes)),
		MaxSends: maxSends, MaxOutcomeBytes: maxOutcomeBytes, DataFolder: data, Listeners: p.sockets.told(), HttpSocket: in.httpSocket(),
	}
	for range in.manifest.Components {
		request.Components = append(request.Components, &pluginv1.ComponentDomains{})
	}
	for i, c := range in.reg.Components {
		of := request.Components[in.asked[i]]
		of.Domains = append(of.Domains, expand(c.Domain, p.host.options.Domains)...)
	}
	for _, granted := range in.reg.Permissions {
		request.Permissions = append(request.Permissions, string(granted))
	}
	answer, err := in.client.Configure(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("its answer to Configure: %w", said(err))
	}
	var problems []error
	for i, problem := range answer.GetProblems() {
		if i == maxProblems {
			break
		}
		problems = append(problems, p.wrongOption(problem.GetPath(), short(problem.GetMessage())))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return answer, in.proc.Health(ctx)
}

// peer is what the machine is told of the process.
func (in *instance) peer() wire.Peer {
	c := in.manifest.GetCredit()
	return wire.Peer{
		Generation: in.generation, Shards: in.shards, MaxFrameBytes: frameBytes(in.manifest.MaxKernelFrameBytes),
		Credit: wire.Credit{Events: int(min(c.GetEvents(), 1<<20)), Bytes: int(min(c.GetBytes(), 1<<30))},
	}
}

// kill ends the process at once, and waits until nothing of it is left. Its frames that
// have come are handled first.
func (in *instance) kill() {
	in.proc.Kill()
	in.pumpsEnd()
}

// pumpsEnd waits for readers and writers. The connection is gone, or the caller does not
// care for what comes.
func (in *instance) pumpsEnd() {
	in.cancel()
	in.pumps.Wait()
}

// end asks the process to end, and sees to it that it does. Its Sessions are closed.
func (in *instance) end() {
	t := in.p.host.times
	ctx, cancel := context.WithTimeout(context.Background(), t.shutdown)
	_, _ = in.client.Shutdown(ctx, &pluginv1.ShutdownRequest{}) // whatever it says: it has to end
	cancel()
	in.proc.Stop(context.Background(), t.term)
	in.pumpsEnd()
}

// said is an error of a plugin without the words of gRPC around it.
func said(err error) error {
	if s, ok := status.FromError(err); ok {
		return fmt.Errorf("%s (%s)", short(s.Message()), s.Code())
	}
	return err
}

// expand returns what a domain of a component stands for.
func expand(pattern string, hosted []string) []string {
	if !strings.Contains(pattern, "$domain") {
		return []string{pattern}
	}
	var list []string
	for _, d := range hosted {
		list = append(list, strings.ReplaceAll(pattern, "$domain", d))
	}
	return list
}

// granted says whether the plugin may have what it asks for.
func (p *plugin) granted(wanted []extension.Permission) error {
	if p.conf.Bundled && p.conf.Permissions == nil {
		return nil
	}
	var missing, all []string
	for _, w := range wanted {
		all = append(all, string(w))
		if !slices.Contains(p.conf.Permissions, string(w)) {
			missing = append(missing, string(w))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	for _, had := range p.conf.Permissions {
		if !slices.Contains(all, had) {
			all = append(all, had)
		}
	}
	return &ConfigError{p.conf.Key + ".permissions", fmt.Errorf("the plugin %s asks for %s, which it is not granted; this line grants it: permissions: [%s]",
		p.conf.Name, strings.Join(missing, ", "), strings.Join(all, ", "))}
}

// wrongOption is an error about an option of the plugin.
func (p *plugin) wrongOption(path, text string) error {
	key := p.conf.Key + ".options"
	if path != "" {
		key += "." + short(path)
	}
	return &ConfigError{key, errors.New(text)}
}

func (p *plugin) checkOptions(m *pluginv1.Manifest, options []byte) error {
	if len(options) == 0 {
		options = []byte("{}")
	}
	wrong, err := checkOptions(m.OptionsSchema, options)
	if err != nil {
		return &lie{fmt.Errorf("manifest: %w", err)}
	}
	if wrong != nil {
		return p.wrongOption(wrong.path, wrong.text)
	}
	return nil
}
