package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// The test binary is also what the tests start, see helpers.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if name, ok := strings.CutPrefix(os.Args[1], "helper="); ok {
			os.Exit(helpers[name](os.Args[2:]))
		}
	}
	goleak.VerifyTestMain(m)
}

var handshake = plugin.HandshakeConfig{MagicCookieKey: "HEXMPP_TEST_COOKIE", MagicCookieValue: "crumbs"}

// helpers are what a process is when its first argument is helper=NAME.
var helpers = map[string]func(args []string) int{
	"bare":     bare,
	"go":       goPlugin,
	"host":     host,
	"replaced": replaced,
	"guard":    guardProcess,
	"lasts":    lasts,
	"dies":     func([]string) int { fmt.Fprintln(os.Stderr, "no such module: frobnicate"); return 3 },
	"silent":   func([]string) int { fmt.Println("hello"); io.Copy(io.Discard, os.Stdin); return 0 },
	"tcp":      func([]string) int { fmt.Println("1|1|tcp|127.0.0.1:1|grpc"); io.Copy(io.Discard, os.Stdin); return 0 },
}

func helper(name string, args ...string) Command {
	return Command{Self: true, Args: append([]string{"helper=" + name}, args...)}
}

// bare is a plugin without go-plugin, as it would be in another language: a gRPC
// server with a health service, one line, and the end of standard input. Arguments
// make it behave badly.
func bare(args []string) int {
	has := map[string]bool{}
	for _, a := range args {
		has[a] = true
	}
	if has["deaf"] {
		signal.Ignore(syscall.SIGTERM)
	}
	if has["stray"] {
		fmt.Printf("loading\n\x1b[2Jmodules\n1|not a handshake|\n")
		fmt.Printf("100%%1") // and no line end
	}
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if has["mute"] || has["brief"] {
		fmt.Printf("1|1|unix|%s|grpc\n", path)
		if has["brief"] {
			return 4
		}
		io.Copy(io.Discard, os.Stdin)
		return 0
	}
	s := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(s, obedient{})
	go s.Serve(l)
	fmt.Printf("1|1|unix|%s|grpc\n", path)
	if has["stray"] {
		fmt.Println("after the handshake")
	}
	if has["deaf"] {
		select {}
	}
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// obedient does what the name of a service says.
type obedient struct {
	grpc_health_v1.UnimplementedHealthServer
}

func (obedient) Check(_ context.Context, req *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	say := func(format string, args ...any) (*grpc_health_v1.HealthCheckResponse, error) {
		return nil, status.Error(codes.OK+1000, fmt.Sprintf(format, args...))
	}
	switch do, arg, _ := strings.Cut(req.Service, " "); do {
	case plugin.GRPCServiceName:
		return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
	case "env":
		text, _ := json.Marshal(os.Environ())
		return say("%s", text)
	case "dir":
		dir, _ := os.Getwd()
		return say("%s", dir)
	case "panic":
		go panic(arg)
		select {}
	case "exit":
		os.Exit(3)
	case "write":
		fmt.Fprintln(os.Stderr, arg)
	case "flood":
		line := strings.Repeat("x", 60)
		for range 50_000 {
			fmt.Fprintln(os.Stderr, line)
		}
	case "grow":
		var all [][]byte
		for range 64 {
			b := make([]byte, 32<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			all = append(all, b)
		}
		return say("%d", len(all))
	case "fork": // a process that holds our outputs
		cmd := exec.Command("/proc/self/exe", "helper=lasts")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if arg == "session" {
			cmd.SysProcAttr = newSession()
		}
		if err := cmd.Start(); err != nil {
			return say("%v", err)
		}
		return say("%d", cmd.Process.Pid)
	}
	return &grpc_health_v1.HealthCheckResponse{}, nil
}

// order has the plugin do something, and returns what it said.
func order(t testing.TB, p *Process, what string) string {
	t.Helper()
	said, err := tell(p, what)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return said
}

func tell(p *Process, what string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	_, err := grpc_health_v1.NewHealthClient(p.Conn()).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: what})
	return status.Convert(err).Message(), ctx.Err()
}

// goPlugin is a plugin as go-plugin's own server makes it.
func goPlugin([]string) int {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: map[int]plugin.PluginSet{1: {"x": nothing{}}, 2: {"x": nothing{}}},
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			go func() { // once go-plugin has taken standard output for itself
				for os.Stdout.Fd() == 1 {
				}
				fmt.Println("printed")
				fmt.Fprintln(os.Stderr, `{"level":"INFO","msg":"logged"}`)
			}()
			return grpc.NewServer(o...)
		},
	})
	return 0
}

type nothing struct{ plugin.NetRPCUnsupportedPlugin }

func (nothing) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }
func (nothing) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.ErrUnsupported
}

// lasts ends when it is killed, and not before.
func lasts([]string) int {
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
	fmt.Println("started")
	select {}
}

func guardProcess([]string) int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if err := Guard(os.Stdin); err != nil {
		return 1
	}
	return 0
}

func newSpec(t testing.TB, c Command) Spec {
	return Spec{Name: "echo", Command: c, Folder: t.TempDir(), Handshake: handshake, Versions: []int{1}, StartTimeout: within}
}

func start(t testing.TB, r *Runner, s Spec) *Process {
	t.Helper()
	p, err := r.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func await(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(within):
		t.Fatalf("%s did not come", what)
	}
}
