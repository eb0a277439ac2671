package pluginhost

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"google.golang.org/grpc"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/transport"
)

type stream = grpc.BidiStreamingClient[pluginv1.KernelFrame, pluginv1.PluginFrame]

// open opens the Sessions, on standby: nothing goes out but hellos and beats until the
// machine is told otherwise. It returns when each of them has answered a beat.
func (in *instance) open(ctx context.Context) error {
	p, alive := in.p, in.alive
	streams := make([]stream, in.shards)
	// A server may take fewer streams at a time than that: then a call waits for its turn.
	bounded := context.AfterFunc(ctx, in.cancel)
	defer bounded()
	for i := range streams {
		var err error
		streams[i], err = in.client.Session(in.ctx, grpc.MaxCallRecvMsgSize(frameBytes(in.manifest.MaxPluginFrameBytes)))
		if err != nil {
			return fmt.Errorf("session %d of %d: %w", i, in.shards, said(err))
		}
	}
	if !bounded() {
		return fmt.Errorf("its Sessions: %w", ctx.Err())
	}
	p.mu.Lock()
	p.generation++
	in.generation = p.generation
	var err error
	if in.conn, err = p.machine.Open(in.peer()); err == nil {
		p.live = append(p.live, in)
		in.conn.Beat(time.Now())
		p.after()
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	for i, s := range streams {
		in.pumps.Go(func() { in.read(i, s) })
		in.pumps.Go(func() { in.write(i, s) })
	}
	select {
	case <-alive:
		return nil
	case <-in.failed:
		return in.cause
	case <-in.proc.Done():
		return fmt.Errorf("the process %s", in.proc.Exit())
	case <-ctx.Done():
		return fmt.Errorf("its Sessions answer no beat: %w", ctx.Err())
	}
}

func (in *instance) wakeWriter(shard int) {
	select {
	case in.wake[shard] <- struct{}{}:
	default:
	}
}

// read takes frames until the stream ends.
func (in *instance) read(shard int, s stream) {
	p := in.p
	var b transport.Batch
	for {
		f, err := s.Recv()
		if err != nil {
			in.fail(fmt.Errorf("session %d ended: %w", shard, said(err)))
			return
		}
		now := time.Now()
		p.mu.Lock()
		err = in.conn.Receive(shard, f, now)
		if in.alive != nil && in.conn.Watch().Beat.IsZero() {
			close(in.alive)
			in.alive = nil
		}
		p.after()
		p.mu.Unlock()
		p.settle(&b)
		b.Flush()
		if err != nil {
			in.fail(err)
			return
		}
	}
}

// write sends what there is whenever there is something. What comes together while a
// frame is on its way is the next frame.
func (in *instance) write(shard int, s stream) {
	p := in.p
	for {
		select {
		case <-in.wake[shard]:
		case <-in.ctx.Done():
			return
		}
		runtime.Gosched() // who is about to dispatch joins the frame
		for {
			p.mu.Lock()
			p.now = time.Now()
			f := in.conn.Frame(shard, p.now)
			p.after()
			work := len(p.todo) > 0
			p.mu.Unlock()
			if work {
				p.wakeActor()
			}
			if f == nil {
				break
			}
			if s.Send(f) != nil {
				return // the reader is told why
			}
		}
	}
}
