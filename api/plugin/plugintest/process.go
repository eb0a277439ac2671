package plugintest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/hexmpp/hexmpp/api/plugin/codec"
	"github.com/hexmpp/hexmpp/api/plugin/handshake"
	"github.com/hexmpp/hexmpp/api/plugin/wire"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// maxWait bounds each step: what takes longer has failed.
const maxWait = 20 * time.Second

// Process is a plugin's process, and the server's end of what is said to it. Its methods
// fail the test; they are called on the test's goroutine.
type Process struct {
	t      testing.TB
	cmd    *exec.Cmd
	life   io.Closer // the server's end of the life-line
	log    lines
	conn   *grpc.ClientConn
	exited chan struct{} // closed when the process has ended
	status error

	// Client calls what has no method here.
	Client pluginv1.PluginClient
	// Manifest is what Describe said.
	Manifest *pluginv1.Manifest

	host     *extension.Host // for reads; nil: they are refused
	sessions []*session
	lastID   uint64
	gen      uint64
	readers  sync.WaitGroup
	outcomes chan *pluginv1.Outcome
	unasked  chan *pluginv1.Unasked
}

type session struct {
	stream pluginv1.Plugin_SessionClient
	mu     sync.Mutex // of Send
}

// lines is the log of a process.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// Log returns what the process has logged.
func (p *Process) Log() string {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	return p.log.buf.String()
}

// Start starts an executable as the server does, reads its handshake, and asks what it is. env
// is set besides what plugins find in their environment. The process ends with the test.
func Start(t testing.TB, env []string, command ...string) *Process {
	t.Helper()
	// Not TempDir: its names can be longer than what the path of a socket may be.
	folder, err := os.MkdirTemp("", "hp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	p := &Process{t: t, exited: make(chan struct{}), outcomes: make(chan *pluginv1.Outcome, 10_000), unasked: make(chan *pluginv1.Unasked, 1000)}
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Env = append([]string{
		handshake.CookieKey + "=" + handshake.CookieValue, fmt.Sprintf("PLUGIN_PROTOCOL_VERSIONS=%d", handshake.Version), "PLUGIN_UNIX_SOCKET_DIR=" + folder,
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LANG=C.UTF-8",
	}, env...)
	p.cmd.Stderr = &p.log
	life, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.life = life
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	first := make(chan string, 1)
	go func() {
		r := bufio.NewReader(stdout)
		line, _ := r.ReadString('\n')
		first <- line
		_, _ = io.Copy(&p.log, r)
		p.status = p.cmd.Wait()
		close(p.exited)
	}()
	p.connect(p.wait1(first))
	return p
}

func (p *Process) wait1(first <-chan string) string {
	p.t.Helper()
	select {
	case line := <-first:
		return line
	case <-time.After(maxWait):
		p.t.Fatalf("plugintest: no handshake line; log:\n%s", p.Log())
		return ""
	}
}

// connect reads the handshake line.
func (p *Process) connect(line string) {
	p.t.Helper()
	f := strings.Split(strings.TrimSuffix(line, "\n"), "|")
	if len(f) < 5 || f[0] != "1" || f[1] != fmt.Sprint(handshake.Version) || f[2] != "unix" || f[4] != "grpc" {
		p.t.Fatalf("plugintest: the handshake line is %q, want 1|%d|unix|PATH|grpc; log:\n%s", line, handshake.Version, p.Log())
	}
	conn, err := grpc.NewClient("unix:"+f[3], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		p.t.Fatal(err)
	}
	p.conn, p.Client = conn, pluginv1.NewPluginClient(conn)
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	h, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "plugin"}, grpc.WaitForReady(true))
	if err != nil || h.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		p.t.Fatalf("plugintest: health: %v, %v; log:\n%s", h, err, p.Log())
	}
	d, err := p.Client.Describe(ctx, &pluginv1.DescribeRequest{ServerVersion: "plugintest"})
	if err != nil {
		p.t.Fatalf("plugintest: Describe: %v", err)
	}
	p.Manifest = d.Manifest
}

// Configure configures it, and returns the problems that it has with options, a JSON
// object. Its components get the domains of their manifest, $domain being example.org.
func (p *Process) Configure(options string) []*pluginv1.Problem {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	q := &pluginv1.ConfigureRequest{
		OptionsJson: []byte(options), Domains: []string{"example.org"}, Permissions: p.Manifest.Permissions, Shards: max(1, min(2, p.Manifest.MaxShards)),
		MaxSends: 4000, MaxOutcomeBytes: 3 << 20,
	}
	for _, c := range p.Manifest.Components {
		q.Components = append(q.Components, &pluginv1.ComponentDomains{Domains: []string{strings.ReplaceAll(c.Domain, "$domain", "example.org")}})
	}
	a, err := p.Client.Configure(ctx, q)
	if err != nil {
		p.t.Fatalf("plugintest: Configure: %v", err)
	}
	if len(a.Problems) == 0 {
		p.sessions = make([]*session, q.Shards)
	}
	return a.Problems
}

// Activate opens the Sessions and makes it act. host, which may be nil, answers its reads;
// any goroutine may call it. Effects of its start are in Unasked.
func (p *Process) Activate(host *extension.Host) {
	p.t.Helper()
	p.host, p.gen = host, 1
	for i := range p.sessions {
		stream, err := p.Client.Session(context.Background())
		if err != nil {
			p.t.Fatalf("plugintest: Session: %v", err)
		}
		s := &session{stream: stream}
		p.sessions[i] = s
		p.send(s, wire.Hello(p.gen, i))
		p.readers.Go(func() { p.read(s) })
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	if _, err := p.Client.Activate(ctx, &pluginv1.ActivateRequest{Generation: p.gen, ServedDomains: p.served()}); err != nil {
		p.t.Fatalf("plugintest: Activate: %v; log:\n%s", err, p.Log())
	}
}

// served are the domains of a server that has this plugin alone.
func (p *Process) served() []string {
	domains := []string{"example.org"}
	for _, c := range p.Manifest.Components {
		domains = append(domains, strings.ReplaceAll(c.Domain, "$domain", "example.org"))
	}
	slices.Sort(domains)
	return domains
}

func (p *Process) send(s *session, f *pluginv1.KernelFrame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.Generation = p.gen
	if err := s.stream.Send(f); err != nil {
		p.t.Logf("plugintest: the session has ended: %v", err)
	}
}

// read takes what the process says until the Session ends.
func (p *Process) read(s *session) {
	for {
		f, err := s.stream.Recv()
		if err != nil {
			return
		}
		for _, o := range f.Outcomes {
			select {
			case p.outcomes <- o:
			case <-p.exited: // the test is over, or about to fail
				return
			}
		}
		out := &pluginv1.KernelFrame{Beat: 0}
		for _, u := range f.Unasked {
			select {
			case p.unasked <- u:
			case <-p.exited:
				return
			}
			out.Applied = append(out.Applied, &pluginv1.Applied{Id: u.Id})
		}
		for _, q := range f.Requests {
			out.Responses = append(out.Responses, p.answer(q))
		}
		if len(out.Applied)+len(out.Responses) > 0 {
			p.send(s, out)
		}
	}
}

func (p *Process) answer(q *pluginv1.Request) *pluginv1.Response {
	if p.host == nil {
		return &pluginv1.Response{Id: q.Id, Error: "plugintest: there is no host", ErrorKind: pluginv1.ErrorKind_ERROR_KIND_UNAVAILABLE}
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	return codec.Answer(ctx, p.host, func(n int) (ids []uint64) {
		for range n {
			ids = append(ids, p.host.Archive.NewID())
		}
		return ids
	}, q)
}

// Send sends events, each to the Session of its key, in their order. It sets their IDs, counting up
// from 1, and returns the first.
func (p *Process) Send(events ...*pluginv1.Event) (first uint64) {
	p.t.Helper()
	frames := make([]*pluginv1.KernelFrame, len(p.sessions))
	for _, e := range events {
		p.lastID++
		e.Id, e.Attempt = p.lastID, max(1, e.Attempt)
		i := wire.Shard(e.Key, len(p.sessions))
		if frames[i] == nil {
			frames[i] = &pluginv1.KernelFrame{}
		}
		frames[i].Events = append(frames[i].Events, e)
	}
	for i, f := range frames {
		if f != nil {
			p.send(p.sessions[i], f)
		}
	}
	return p.lastID - uint64(len(events)) + 1
}

// Outcome returns the next outcome that comes.
func (p *Process) Outcome() *pluginv1.Outcome {
	p.t.Helper()
	select {
	case o := <-p.outcomes:
		return o
	case <-p.exited:
		p.t.Fatalf("plugintest: the process has ended: %v; log:\n%s", p.status, p.Log())
	case <-time.After(maxWait):
		p.t.Fatalf("plugintest: no outcome comes; log:\n%s", p.Log())
	}
	return nil
}

// Unasked returns the next effects that no event asked for. They count as applied.
func (p *Process) Unasked() *pluginv1.Unasked {
	p.t.Helper()
	select {
	case u := <-p.unasked:
		return u
	case <-time.After(maxWait):
		p.t.Fatalf("plugintest: nothing comes unasked; log:\n%s", p.Log())
	}
	return nil
}

// Call asks what an administrator may ask, and returns what the process wrote. The error is a
// status of gRPC: what a call failed with is its message.
func (p *Process) Call(ctx context.Context, call string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	stream, err := p.Client.Call(ctx, &pluginv1.CallRequest{Call: call, Arguments: args})
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for {
		switch m, err := stream.Recv(); {
		case errors.Is(err, io.EOF):
			return text.String(), nil
		case err != nil:
			return text.String(), err
		default:
			text.Write(m.Text)
		}
	}
}

// Reset says that what is known of a key is void; events of it that have no outcome are to be
// sent again, with this epoch.
func (p *Process) Reset(key string, epoch uint64) {
	p.send(p.sessions[wire.Shard(key, len(p.sessions))], &pluginv1.KernelFrame{Resets: []*pluginv1.Reset{{Key: key, Epoch: epoch}}})
}

// Shutdown asks the process to end, and waits until it has. The error is that of the
// call, or of the exit status.
func (p *Process) Shutdown() error {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	if _, err := p.Client.Shutdown(ctx, &pluginv1.ShutdownRequest{}); err != nil {
		return err
	}
	return p.Wait()
}

// CloseLifeLine ends the life-line, as the end of the server does.
func (p *Process) CloseLifeLine() { _ = p.life.Close() }

// Kill kills the process.
func (p *Process) Kill() { _ = p.cmd.Process.Kill() }

// PID is that of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Wait waits for the end of the process, and returns its status as exec.Cmd does.
func (p *Process) Wait() error {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.status
	case <-time.After(maxWait):
		p.t.Fatalf("plugintest: the process does not end; log:\n%s", p.Log())
		return nil
	}
}

func (p *Process) stop() {
	_ = p.cmd.Process.Kill()
	<-p.exited
	if p.conn != nil {
		_ = p.conn.Close()
	}
	p.readers.Wait() // they log
}
