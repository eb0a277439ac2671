package runner

import (
	"context"
	"errors"
	"os/exec"
	"runtime"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	goplugin "github.com/hashicorp/go-plugin/runner"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// A RunnerFunc makes go-plugin's runner of a process, see plugin.ClientConfig.
type RunnerFunc = func(hclog.Logger, *exec.Cmd, string) (goplugin.Runner, error)

// MaxMessage bounds a gRPC message from a plugin and to it, in bytes. It is more
// than gRPC's own 4 MiB and go-plugin's 2 GiB are made for; Spec.DialOptions may set
// another one.
const MaxMessage = 16 << 20

// connection is the one thing that is dispensed: the gRPC connection itself.
const connection = "connection"

// ClientConfig is how we use go-plugin: gRPC only, versions as the Spec has them,
// no environment of the server, no list of clients that a library keeps for us, no
// TLS on unix sockets, which are in a folder that nobody else can enter. Sockets get a
// folder of their own in folder.
func ClientConfig(spec *Spec, folder string, run RunnerFunc, log *zap.Logger) *plugin.ClientConfig {
	versions := map[int]plugin.PluginSet{}
	for _, v := range spec.Versions {
		versions[v] = plugin.PluginSet{connection: &conn{}}
	}
	dial := append([]grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
	}, spec.DialOptions...)
	return &plugin.ClientConfig{
		HandshakeConfig:  spec.Handshake,
		VersionedPlugins: versions,
		RunnerFunc:       run,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		GRPCDialOptions:  dial,
		StartTimeout:     spec.startTimeout(),
		SkipHostEnv:      true,
		Managed:          false,
		AutoMTLS:         runtime.GOOS == "windows",
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: folder},
		Logger:           &hclogger{log: log.With(zap.String("plugin", spec.Name))},
	}
}

// conn gives out the connection that go-plugin made. Its broker is not used.
type conn struct{ plugin.NetRPCUnsupportedPlugin }

var _ plugin.GRPCPlugin = (*conn)(nil)

func (*conn) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("the server is no plugin")
}

func (*conn) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return c, nil
}
