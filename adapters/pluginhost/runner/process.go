package runner

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// A Process is a plugin's process that has said where it listens, and a
// connection to it. Its methods may be called from any goroutine.
type Process struct {
	child  *child
	client *plugin.Client
	conn   *grpc.ClientConn
	done   chan struct{}
	again  Command
	exact  bool
}

// Conn is the connection to the plugin. It is closed after the end of the process.
func (p *Process) Conn() *grpc.ClientConn { return p.conn }

// Version is the version of the contract that the plugin chose.
func (p *Process) Version() int { return p.client.NegotiatedVersion() }

// Again returns a command that runs the same program again, whatever has its path by then.
// Its Program, if there is one, is the caller's to close, once for all processes that were
// started by it. exact is false if that can't be (a script, another system than Linux, a program that has
// executed another one): then it is the command that this process was started by.
//
// It holds for the program, not for libraries and modules that it opens by their paths.
func (p *Process) Again() (command Command, exact bool) { return p.again, p.exact }

// PID is the number of the process, also after its end.
func (p *Process) PID() int {
	pid, _ := strconv.Atoi(p.child.ID()) // it was made of a number
	return pid
}

// Done is closed when the process, and all of its group, are gone, its log was
// read to the end, and its sockets are removed.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit says how the process ended. Before Done is closed, which behind Kill is so if it does not
// end, it counts as stopped.
func (p *Process) Exit() Exit {
	select {
	case <-p.done:
		return p.child.exit
	default:
		return Exit{Code: -1, Reason: Stopped}
	}
}

// Logs is the plugin's log.
func (p *Process) Logs() *Log { return p.child.sink.ring }

// Health asks the gRPC health service of the plugin, as go-plugin has it (service
// "plugin"). nil is SERVING.
func (p *Process) Health(ctx context.Context) error {
	answer, err := grpc_health_v1.NewHealthClient(p.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: plugin.GRPCServiceName})
	if err != nil {
		return fmt.Errorf("plugin %s: health: %w", p.child.spec.Name, err)
	}
	if answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("plugin %s: health: %s", p.child.spec.Name, answer.Status)
	}
	return nil
}

// Stop ends the process: SIGTERM to its group, SIGKILL when grace is over or ctx
// has ended. It returns when Kill would. A plugin that was asked to shut down
// by its contract, and does, ends before; Stop is what follows in any case.
func (p *Process) Stop(ctx context.Context, grace time.Duration) {
	p.child.ask()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-p.done:
		return
	case <-t.C:
	case <-ctx.Done():
	}
	p.Kill()
}

// Kill ends the process and its group at once. It returns when Done is closed, or, if the
// system does not end it, 10 seconds later, with an error in the log. Nothing that is left then can be
// waited for.
func (p *Process) Kill() {
	p.child.kill()
	p.child.await(p.done)
}
