package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	goplugin "github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// starting is one call of Runner.Start.
type starting struct {
	runner *Runner
	spec   *Spec
	prog   *program
	sink   *sink

	child  *child      // nil until go-plugin asks for it
	base   string      // where go-plugin makes the folder
	folder string      // that it made for sockets
	out    [2]*source  // what comes by go-plugin's own way for output, which plugins in Go have
	stop   func() bool // keeps the end of the context from killing the process
}

func (s *starting) start(parent context.Context) (*Process, error) {
	ctx, cancel := context.WithTimeout(parent, s.spec.startTimeout())
	defer cancel()
	s.out = [2]*source{newSource(Stdout, s.sink), newSource(Stderr, s.sink)}
	config := ClientConfig(s.spec, s.base, func(_ hclog.Logger, cmd *exec.Cmd, folder string) (goplugin.Runner, error) {
		s.folder = folder
		return s.make(ctx, cmd.Env)
	}, s.runner.log)
	config.StartTimeout += time.Second // ours is first
	config.SyncStdout, config.SyncStderr = s.out[0], s.out[1]
	client := plugin.NewClient(config)

	conn, err := connect(ctx, client)
	if s.child != nil {
		close(s.child.connected)
	}
	if err == nil && s.stop() {
		c := s.spec.Command
		p := &Process{
			child: s.child, client: client, conn: conn, done: make(chan struct{}),
			again: c, exact: c.Program != nil || c.Self && !c.OnDisk && selfPath != "",
		}
		go s.follow(p)
		return p, nil
	}
	if s.child == nil {
		return nil, errors.Join(err, s.clear(client))
	}
	// If it is about to end by itself, its status says more than our error.
	t := time.NewTimer(ownEnd)
	defer t.Stop()
	select {
	case <-s.child.done:
	case <-t.C:
	}
	s.child.kill()
	if !s.child.await(s.child.done) {
		go func() {
			<-s.child.done
			_ = s.clear(client)
			s.runner.leave(s.child)
		}()
		return nil, errors.New("start: it was given up and killed, and does not end")
	}
	err = s.explain(parent, ctx, err)
	err = errors.Join(err, s.clear(client))
	s.runner.leave(s.child)
	return nil, err
}

// make is what go-plugin calls for a runner of its own. The end of ctx kills the
// process: go-plugin itself gives up after its time only.
func (s *starting) make(ctx context.Context, handshake []string) (goplugin.Runner, error) {
	c := newChild(s.spec, s.prog, environment(s.spec, hostEnvironment(), handshake), s.folder, s.sink, s.runner.guard, s.runner.log)
	c.held = s.runner.held
	if s.runner.patience > 0 {
		c.patience = s.runner.patience
	}
	if err := s.runner.enter(c); err != nil {
		return nil, err
	}
	s.child = c
	s.stop = context.AfterFunc(ctx, c.kill)
	return c, nil
}

// ownEnd is how long a process that can't be connected to may take to end by itself.
const ownEnd = 200 * time.Millisecond

// connect runs go-plugin's handshake, dials, and asks a first question: dialling
// alone succeeds with nobody at the other end.
func connect(ctx context.Context, client *plugin.Client) (*grpc.ClientConn, error) {
	if _, err := client.Start(); err != nil {
		return nil, err
	}
	c, err := client.Client()
	if err != nil {
		return nil, err
	}
	conn, err := c.Dispense(connection)
	if err != nil {
		return nil, err
	}
	cc := conn.(*grpc.ClientConn) // see conn.GRPCClient
	_, err = grpc_health_v1.NewHealthClient(cc).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: plugin.GRPCServiceName})
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return nil, fmt.Errorf("no connection: %w", err)
	}
	return cc, nil // healthy or not, there is a server
}

// follow waits for the end of a process that came to be a plugin.
func (s *starting) follow(p *Process) {
	<-s.child.done
	_ = s.clear(p.client) // an empty folder, at worst, which goes with the Runner's
	close(p.done)
	s.runner.leave(s.child)
}

// clear joins go-plugin's goroutines, closes the connection, and removes the
// sockets. The process has ended, so none of it waits for the plugin.
func (s *starting) clear(client *plugin.Client) error {
	client.Kill()
	for _, out := range s.out {
		out.Close()
	}
	if s.folder == "" {
		return nil
	}
	return os.RemoveAll(s.folder)
}

// explain says why a process did not come to be a plugin.
func (s *starting) explain(parent, ctx context.Context, err error) error {
	c := s.child
	switch {
	case c.ID() == "" && err != nil: // it was not even started
		return err
	case parent.Err() != nil:
		err = fmt.Errorf("start: %w", parent.Err())
	case ctx.Err() != nil:
		err = fmt.Errorf("start: %w: it did not say within %s where it listens, by a line of go-plugin's handshake on standard output, or took no connection there",
			ctx.Err(), s.spec.startTimeout())
	case c.exit.Reason != Stopped:
		err = fmt.Errorf("start: it %s before it was connected", c.exit)
	default:
		err = fmt.Errorf("start: %s", strings.Join(strings.Fields(err.Error()), " "))
	}
	return fmt.Errorf("%w; %s", err, c.lastWords())
}
