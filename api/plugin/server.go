package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/hexmpp/hexmpp/api/plugin/codec"
	"github.com/hexmpp/hexmpp/api/plugin/garbage"
	"github.com/hexmpp/hexmpp/api/plugin/wire"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

// server is the gRPC service: the life of the process.
type server struct {
	pluginv1.UnimplementedPluginServer
	p        Plugin
	log      *slog.Logger
	manifest *pluginv1.Manifest
	grpc     *grpc.Server
	health   *health.Server
	ended    func() // the process is to end now; may be nil

	mu      sync.Mutex // guards what follows
	process *process   // nil before Configure
	active  bool
	ending  bool
}

// newServer makes a server that is not served yet.
func newServer(p Plugin, log *slog.Logger) (*server, error) {
	if p.New == nil {
		return nil, errors.New("plugin: there is no New")
	}
	m, err := manifest(&p)
	if err != nil {
		return nil, err
	}
	s := &server{p: p, log: log, manifest: m}
	s.grpc = newGRPC(s)
	return s, nil
}

// shardsOf is how many Sessions a plugin serves where it does not say.
const shardsOf = 2

// manifest describes a plugin as it is without options.
func manifest(p *Plugin) (*pluginv1.Manifest, error) {
	reg, err := p.New(nil)
	if err != nil {
		return nil, fmt.Errorf("plugin: what it is without options: %w", err)
	}
	m, err := codec.Manifest(&reg)
	if err != nil {
		return nil, fmt.Errorf("plugin: its registration can't be told: %w", err)
	}
	m.Version, m.Description = p.Version, p.Description
	if p.Schema != nil {
		if m.OptionsSchema, err = p.Schema(); err != nil {
			return nil, err
		}
	}
	m.Drains = p.Drain != nil
	m.MaxShards = uint32(p.Shards)
	if p.Shards <= 0 {
		m.MaxShards = shardsOf
	}
	return m, codec.CheckManifest(m)
}

// Describe is of the contract.
func (s *server) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	return &pluginv1.DescribeResponse{Manifest: s.manifest}, nil
}

// Configure is of the contract.
func (s *server) Configure(_ context.Context, c *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil || s.ending {
		return nil, status.Error(codes.FailedPrecondition, "it is configured already, or ending")
	}
	if n := c.MaxKernelFrameBytes; n > wire.MaxFrameBytes {
		return nil, status.Errorf(codes.InvalidArgument, "frames of %d bytes are larger than the manifest says", n)
	}
	reg, err := s.p.New(c.OptionsJson)
	if err != nil {
		problem := &pluginv1.Problem{Message: err.Error()}
		var option *OptionError
		if errors.As(err, &option) {
			problem.Path, problem.Message = option.Path, option.Err.Error()
		}
		return &pluginv1.ConfigureResponse{Problems: []*pluginv1.Problem{problem}}, nil
	}
	claims, err := codec.Manifest(&reg)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	unwanted, err := codec.Unwanted(s.manifest, &reg)
	if err == nil {
		claims.Notices = s.manifest.Notices
	}
	claims.Version, claims.Description, claims.OptionsSchema, claims.MaxShards, claims.Drains =
		s.manifest.Version, s.manifest.Description, s.manifest.OptionsSchema, s.manifest.MaxShards, s.manifest.Drains
	if !proto.Equal(claims, s.manifest) {
		return &pluginv1.ConfigureResponse{Problems: []*pluginv1.Problem{{
			Message: "with these options the plugin claims something else than it described; that is a mistake in the plugin",
		}}}, nil
	}
	open, err := inherited(c.Listeners)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	s.process = newProcess(&s.p, &reg, c, s.log)
	s.process.sockets.give(reg.Listeners, open)
	return &pluginv1.ConfigureResponse{StreamFeatures: codec.Features(reg.StreamFeatures, c.Domains), UnwantedNotices: unwanted}, nil
}

// configured returns the process.
func (s *server) configured() (*process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil || s.ending {
		return nil, status.Error(codes.FailedPrecondition, "it is not configured, or ending")
	}
	return s.process, nil
}

// Session is of the contract.
func (s *server) Session(stream pluginv1.Plugin_SessionServer) error {
	p, err := s.configured()
	if err != nil {
		return err
	}
	if err = p.session(stream); errors.Is(err, wire.ErrProtocol) {
		s.log.Error("the server broke the contract", "error", err)
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return err
}

// Activate is of the contract.
func (s *server) Activate(ctx context.Context, r *pluginv1.ActivateRequest) (*pluginv1.ActivateResponse, error) {
	p, err := s.configured()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	twice := s.active
	s.active = true
	s.mu.Unlock()
	if twice {
		return nil, status.Error(codes.FailedPrecondition, "it acts already")
	}
	p.served = r.ServedDomains // no handler runs yet
	if err := p.begin(ctx); err != nil {
		return nil, status.Error(codes.Aborted, err.Error())
	}
	if err := p.serveHTTP(p.httpSocket); err != nil {
		return nil, status.Error(codes.Aborted, err.Error())
	}
	settle()
	tuned.Do(func() { garbage.Tune(room) })
	return &pluginv1.ActivateResponse{}, nil
}

// Drain is of the contract.
func (s *server) Drain(ctx context.Context, _ *pluginv1.DrainRequest) (*pluginv1.DrainResponse, error) {
	p, err := s.configured()
	if err != nil {
		return nil, err
	}
	if !p.relieve() {
		return nil, status.Error(codes.FailedPrecondition, "it drains already")
	}
	if s.p.Drain != nil {
		ctx, cancel := p.within(ctx)
		defer cancel()
		if err := guarded(s.log, p.reg.Name, func() error { return s.p.Drain(ctx) }); err != nil {
			return nil, status.Error(codes.Aborted, err.Error())
		}
	}
	return &pluginv1.DrainResponse{}, nil
}

// Shutdown is of the contract.
func (s *server) Shutdown(ctx context.Context, _ *pluginv1.ShutdownRequest) (*pluginv1.ShutdownResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, maxEnd)
	defer cancel()
	err := s.end(ctx)
	go s.close() // behind this answer
	if err != nil {
		return nil, status.Error(codes.Aborted, err.Error())
	}
	return &pluginv1.ShutdownResponse{}, nil
}

// end ends what runs; the second time it does nothing.
func (s *server) end(ctx context.Context) error {
	s.mu.Lock()
	p, before := s.process, s.ending
	s.ending = true
	s.mu.Unlock()
	if before {
		return nil
	}
	s.health.Shutdown()
	if p == nil {
		return nil
	}
	return p.end(ctx)
}

// close closes the connection when all calls are answered, or soon.
func (s *server) close() {
	force := time.AfterFunc(time.Second, s.grpc.Stop)
	defer force.Stop()
	s.grpc.GracefulStop()
	s.mu.Lock()
	p := s.process
	s.mu.Unlock()
	if p != nil {
		p.readers.Wait()
	}
	if s.ended != nil {
		s.ended()
	}
}
