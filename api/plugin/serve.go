package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/hexmpp/hexmpp/api/plugin/handshake"
	"github.com/hexmpp/hexmpp/api/plugin/wire"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

// Serve is a plugin's main: it serves p until the server ends it, and never returns.
//
// The arguments of the program are read: `describe` prints the manifest, as JSON. Without the
// server's environment a text says what the program is.
func Serve(p Plugin) {
	os.Exit(Main(p, os.Args[1:]))
}

// Main is Serve that returns the exit status, and is given the arguments.
func Main(p Plugin, args []string) int {
	if slices.Equal(args, []string{"describe"}) {
		if err := Describe(p, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	if os.Getenv(handshake.CookieKey) != handshake.CookieValue {
		fmt.Fprintf(os.Stderr, "%s is a plugin of hexmpp: the server starts it, if its configuration says so.\n"+
			"With the argument describe it prints its manifest.\n", filepath.Base(os.Args[0]))
		return 1
	}
	stdout, err := redirect()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	slog.SetDefault(log)
	if err := serve(p, stdout, log); err != nil {
		log.Error("the plugin ends", "error", err)
		return 1
	}
	return 0
}

// Describe writes the manifest of a plugin as JSON.
func Describe(p Plugin, w io.Writer) error {
	s, err := newServer(p, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	b, err := protojson.MarshalOptions{Multiline: true}.Marshal(s.manifest)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

// knowsVersion says whether the server speaks this contract.
func knowsVersion(versions string) bool {
	if versions == "" {
		return true
	}
	return slices.Contains(strings.Split(versions, ","), strconv.Itoa(handshake.Version))
}

// serve serves until the process is to end.
func serve(p Plugin, stdout *os.File, log *slog.Logger) error {
	if v := os.Getenv("PLUGIN_PROTOCOL_VERSIONS"); !knowsVersion(v) {
		return fmt.Errorf("plugin: the server speaks the versions %s of the contract, this plugin %d", v, handshake.Version)
	}
	if os.Getenv("PLUGIN_CLIENT_CERT") != "" {
		return errors.New("plugin: TLS between server and plugin (AutoMTLS) is not supported")
	}
	s, err := newServer(p, log)
	if err != nil {
		return err
	}
	l, err := listen(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"))
	if err != nil {
		return err
	}
	defer l.Close()

	end := make(chan error, 4) // of each of those who end the process
	s.ended = func() { end <- nil }
	go func() { end <- s.grpc.Serve(l) }()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	signal.Ignore(os.Interrupt) // of a terminal: the server gets it, too, and ends its plugins
	go func() {
		<-signals
		ctx, cancel := context.WithTimeout(context.Background(), maxEnd)
		defer cancel()
		end <- s.end(ctx)
	}()
	go func() { end <- lifeLine(os.Stdin) }()
	if _, err := fmt.Fprintf(stdout, "1|%d|unix|%s|grpc\n", handshake.Version, l.Addr()); err != nil {
		return fmt.Errorf("plugin: the handshake: %w", err)
	}
	stdout.Close()
	return <-end
}

// maxEnd bounds the end of the process.
const maxEnd = 10 * time.Second

var errServerGone = errors.New("plugin: the server is gone")

// lifeLine waits until the server is gone: then the standard input ends, which is a pipe. Of
// whatever else it may be nothing is said.
func lifeLine(stdin *os.File) error {
	info, err := stdin.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		select {}
	}
	_, _ = io.Copy(io.Discard, stdin)
	return errServerGone
}

// listen makes the socket in a folder that is the server's gift, or in one of its own.
func listen(folder string) (net.Listener, error) {
	if folder == "" {
		folder = os.TempDir()
	}
	// The name is as short as can be: a path of a socket has about 100 bytes.
	for try := range 100 {
		path := filepath.Join(folder, "p"+strconv.Itoa(os.Getpid()%1_000_000)+"."+strconv.Itoa(try))
		l, err := net.Listen("unix", path)
		if err == nil {
			return l, os.Chmod(path, 0o600)
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("plugin: the socket: %w", err)
		}
	}
	return nil, fmt.Errorf("plugin: no place for a socket in %s", folder)
}

// newGRPC returns the server, with what a connection takes kept small: there is one.
func newGRPC(s *server) *grpc.Server {
	g := grpc.NewServer(
		grpc.MaxRecvMsgSize(wire.MaxFrameBytes+64<<10),
		grpc.ReadBufferSize(16<<10), grpc.WriteBufferSize(16<<10),
		grpc.InitialWindowSize(1<<20), grpc.InitialConnWindowSize(4<<20),
		grpc.MaxHeaderListSize(64<<10),
	)
	pluginv1.RegisterPluginServer(g, s)
	s.health = health.NewServer()
	s.health.SetServingStatus("plugin", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(g, s.health)
	return g
}

// settle gives back what the start took.
func settle() { debug.FreeOSMemory() }

// room is for garbage, in bytes.
const room = 16 << 20

// tuned is for the collector: behind the start, which takes less with the setting of Go.
var tuned sync.Once
