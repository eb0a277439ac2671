package pluginhost

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// cutOver puts a process in the place of the one that acts, which is paused.
func (p *plugin) cutOver(in *instance, reply func(error)) {
	p.say(admin.PluginDraining, "another process takes over")
	old := p.acting
	if !p.await(context.Background(), old, p.host.times.quiet) {
		// What it has not answered is given to the next one.
		old.proc.Kill()
		old.pumpsEnd()
	}
	p.retire(old, false)
	back := p.runs
	if p.trial != nil {
		back = p.trial.back // what ran has not proved itself either
	}
	err := p.activate(in)
	if err != nil {
		p.finish(old)
		p.trial = nil // it is not that one which crashes
		p.crashed(in, err)
		reply(fmt.Errorf("the new process did not start to act: %w; the version of before is started again", err))
		return
	}
	p.relieve(old)
	p.noteReload()
	p.trial = &trial{until: time.Now().Add(p.host.times.window), back: back}
	p.log.Info("another process of the plugin has taken over", zap.Int("pid", in.proc.PID()), zap.Int("pid_before", old.proc.PID()), zap.String("version", in.manifest.Version))
	reply(nil)
}

func (p *plugin) noteReload() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told.reloads++
}

// await waits until nothing is outstanding of who acts, which is paused or gone, and nothing is
// being applied; for a while, or until in has failed or ctx ended.
func (p *plugin) await(ctx context.Context, in *instance, most time.Duration) bool {
	quiet := make(chan struct{})
	p.step(func(time.Time) { p.quiet = quiet })
	limit := time.NewTimer(most)
	defer limit.Stop()
	select {
	case <-quiet:
		return true
	case <-in.failed:
	case <-limit.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quiet = nil
	return false
}

// step calls the machine and does what it says.
func (p *plugin) step(f func(now time.Time)) {
	p.mu.Lock()
	f(time.Now())
	p.after()
	p.mu.Unlock()
	var b transport.Batch
	p.settle(&b)
	b.Flush()
}

// activate makes a process the one that acts. It is still there, and not acting, if that
// fails: the caller retires it.
func (p *plugin) activate(in *instance) error {
	p.mu.Lock()
	applying := p.machine.Applying()
	p.mu.Unlock()
	if applying > 0 {
		p.say(admin.PluginStarting, "it waits for storage, where what the process before it asked for is still being written")
		if !p.await(p.ctx, in, p.host.times.storage) {
			p.log.Warn("a process of the plugin starts to act though what the one before asked for is not written yet: storage is slow")
		}
	}
	var err error
	p.step(func(now time.Time) {
		if err = p.machine.Attach(in.conn, now); err == nil {
			p.acting = in
			p.told.generation, p.told.manifest, p.told.options = in.generation, in.manifest, in.conf.Options
		}
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(p.ctx, p.conf.Limits.StartTime)
	defer cancel()
	if _, err := in.client.Activate(ctx, &pluginv1.ActivateRequest{
		Generation: in.generation, MemoryRevision: p.kernel.MemoryRevision(), ServedDomains: p.kernel.Reader().Served,
	}); err != nil {
		select {
		case <-in.failed:
			return fmt.Errorf("its answer to Activate: %w", in.cause)
		default:
		}
		return fmt.Errorf("its answer to Activate: %w", said(err))
	}
	in.ready = time.Now()
	p.runs = in.version()
	p.step(func(now time.Time) {
		in.conn.Start(now)
		p.told.state, p.told.detail = admin.PluginReady, ""
	})
	p.web.point(in)
	p.log.Info("the plugin is ready", zap.Int("pid", in.proc.PID()), zap.Uint64("generation", in.generation), zap.String("version", in.manifest.Version))
	return nil
}

// retire closes the Sessions of a process: it acts no more. What it was given and has
// not answered is kept for the next one.
func (p *plugin) retire(in *instance, crashed bool) {
	p.web.leave(in, crashed)
	p.step2(func(now time.Time) {
		if in.conn == nil {
			return
		}
		in.conn.Close(crashed, now)
		p.live = slices.DeleteFunc(p.live, func(other *instance) bool { return other == in })
		if p.acting == in {
			p.acting = nil
		}
	})
}

// step2 is step, where there may be no machine yet.
func (p *plugin) step2(f func(now time.Time)) {
	p.mu.Lock()
	there := p.machine != nil
	p.mu.Unlock()
	if there {
		p.step(f)
	}
}

// finish ends a process that has been retired, in the background.
func (p *plugin) finish(in *instance) { p.work.Go(in.end) }

// lost handles the end of the process that acts, or is to.
func (p *plugin) lost() {
	in := p.current()
	if in == p.standby {
		p.standby = nil
		p.retire(in, false)
		in.kill()
		p.log.Warn("the process of the plugin ended before the server was started", zap.Error(in.cause))
		return
	}
	p.crashed(in, in.cause)
}

// disable stops the plugin until it is enabled.
func (p *plugin) disable() {
	p.phase = disabled
	p.quit(admin.PluginDisabled, "an administrator stopped it; hexmpp plugin enable starts it")
}

// stop stops the plugin with the kernel.
func (p *plugin) stop() {
	if p.phase == stopped {
		return
	}
	p.phase = stopped
	p.quit(admin.PluginDisabled, "the server is stopping")
}

// quit lets the process come to an end with what it has, and answers what is left.
func (p *plugin) quit(state admin.PluginState, detail string) {
	p.retry.Stop()
	p.hasten()
	if p.pending != nil {
		p.pending.cancel()
		p.pending.ended = true
	}
	in := p.current()
	if in != nil && in != p.standby {
		p.say(admin.PluginDraining, "it is about to end")
		p.step(func(time.Time) { in.conn.Pause() })
		p.await(context.Background(), in, p.host.times.quiet)
	}
	p.standby = nil
	if in != nil {
		p.retire(in, false)
	}
	p.step(func(now time.Time) {
		p.machine.GiveUp(now)
		p.told.state, p.told.detail = state, detail
	})
	if in != nil {
		p.finish(in)
	}
}
