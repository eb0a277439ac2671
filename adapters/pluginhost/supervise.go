package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/pluginhost/runner"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// supervisor is what the supervising goroutine of a plugin knows, and how others speak
// to it. Fields behind "its own" are that goroutine's.
type supervisor struct {
	ctx      context.Context // of starts; ends when the plugin stops
	hurry    context.CancelFunc
	over     chan struct{} // closed when the plugin is closed: its goroutines end
	work     sync.WaitGroup
	commands chan command
	launched chan launched // the end of a start

	closing sync.Once
	running bool // its goroutines were started; set by first

	// its own
	standby *instance // started, and does not act yet
	pending *pending  // a start that is under way
	retry   *time.Timer
	crashes []time.Time // within the window
	runs    version     // what is started again behind a crash
	trial   *trial
	phase   phase
}

// version is what can be started.
type version struct {
	command runner.Command
	exact   bool // it is what ran, whatever is on the disk now
	name    string
	conf    Configured // for it
}

// dyingTime is how long a process may take to be gone when its streams have ended.
const dyingTime = 200 * time.Millisecond

type phase uint8

const (
	waiting  phase = iota // for the kernel to start
	acting                // or about to
	disabled              // by an administrator
	failed                // and tried again after a long time
	stopped               // the kernel has stopped
)

// pending is a start that is under way, in a goroutine of its own.
type pending struct {
	reload bool
	cancel context.CancelFunc
	ended  bool         // cancelled
	reply  []chan error // who waits for it
}

type launched struct {
	in  *instance
	err error
}

// trial is a new version that has not proved itself yet.
type trial struct {
	until   time.Time
	crashes int // and starts that failed
	back    version
}

type commandKind uint8

const (
	begin commandKind = iota + 1 // the kernel starts the extension
	reload
	enable
	disable
	halt // the kernel stops the extension
)

type command struct {
	kind  commandKind
	reply chan error // takes one without waiting
}

var (
	errStopped  = errors.New("the server is stopping")
	errNever    = errors.New("it could not be started with the server, which does not know what it answers for: mend what is wrong, and restart the server")
	errDisabled = errors.New("it is disabled; hexmpp plugin enable starts it")
	errHangs    = errors.New("and is killed")
	errBusy     = errors.New("it is being started or reloaded just now")
)

func (s *supervisor) init() {
	s.ctx, s.hurry = context.WithCancel(context.Background())
	s.over, s.commands, s.launched = make(chan struct{}), make(chan command), make(chan launched, 1)
	s.retry = time.NewTimer(time.Hour)
	s.retry.Stop()
}

// begin is Registration.Start.
func (p *plugin) begin(ctx context.Context, _ *extension.Host) error { return p.command(ctx, begin) }

// halt is Registration.Stop.
func (p *plugin) halt(ctx context.Context) error { return p.command(ctx, halt) }

// command has the supervisor do something.
func (p *plugin) command(ctx context.Context, kind commandKind) error {
	if kind == halt {
		p.hurry()
	}
	if !p.running {
		return errNever
	}
	c := command{kind, make(chan error, 1)}
	select {
	case p.commands <- c:
	case <-p.over:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-c.reply:
		return err
	case <-p.over:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends all that there is of the plugin.
func (p *plugin) close() {
	p.closing.Do(func() {
		p.hurry()
		if p.running {
			_ = p.command(context.Background(), halt)
		}
		close(p.over)
		p.work.Wait()
		select {
		case l := <-p.launched: // a start that came to its end when nobody took it any more
			if l.in != nil {
				p.retire(l.in, false)
				l.in.kill()
			}
		default:
		}
		p.runs, p.trial = version{}, nil
		p.sweep()
	})
	p.answers.work.Wait()
}

// say notes a state, for administrators.
func (p *plugin) say(state admin.PluginState, detail string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told.state, p.told.detail = state, detail
}

// supervise runs until the plugin is closed.
func (p *plugin) supervise() {
	clock := time.NewTicker(p.host.times.watch)
	defer clock.Stop()
	for {
		var died <-chan struct{}
		if in := p.current(); in != nil {
			died = in.failed
		}
		select {
		case c := <-p.commands:
			p.obey(c)
		case l := <-p.launched:
			p.started(l)
		case <-died:
			p.lost()
		case <-p.retry.C:
			if p.phase == failed || p.phase == acting {
				p.launch(false, nil)
			}
		case <-clock.C:
			p.look()
		case <-p.over:
			return
		}
	}
}

// current is the process whose end matters.
func (p *plugin) current() *instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.acting != nil {
		return p.acting
	}
	return p.standby
}

// obey does what it is told. Who asked for a start is answered at its end.
func (p *plugin) obey(c command) {
	switch {
	case c.kind == halt:
		p.stop()
		c.reply <- nil
	case p.phase == stopped:
		c.reply <- errStopped
	case c.kind == begin:
		p.beginFirst(c)
	case p.phase == waiting:
		c.reply <- errors.New("the server is starting")
	case c.kind == disable:
		p.log.Info("the plugin is disabled by an administrator")
		p.disable()
		c.reply <- nil
	case c.kind == enable:
		p.enable(c)
	case c.kind == reload:
		p.reload(c)
	}
}

// beginFirst has the first process act. One that has died meanwhile is replaced.
func (p *plugin) beginFirst(c command) {
	p.phase = acting
	if in := p.standby; in != nil {
		p.standby = nil
		err := p.activate(in)
		if err == nil {
			c.reply <- nil
			return
		}
		if p.conf.Bundled {
			p.retire(in, false)
			in.kill()
			c.reply <- err
			return
		}
		p.crashed(in, err)
		c.reply <- nil
		return
	}
	if p.conf.Bundled {
		p.launch(false, c.reply)
		return
	}
	p.launch(false, nil)
	c.reply <- nil
}

func (p *plugin) enable(c command) {
	p.crashes = nil
	switch {
	case p.current() != nil:
		c.reply <- nil
	case p.pending != nil:
		p.phase = acting
		p.pending.reply = append(p.pending.reply, c.reply)
	default:
		p.log.Info("the plugin is enabled by an administrator")
		p.phase = acting
		p.say(admin.PluginStarting, "")
		p.launch(false, c.reply)
	}
}

func (p *plugin) reload(c command) {
	switch {
	case p.phase == disabled:
		c.reply <- errDisabled
	case p.pending != nil:
		c.reply <- errBusy
	default:
		p.log.Info("the plugin is reloaded by an administrator")
		if p.phase == failed {
			p.phase = acting
		}
		p.crashes = nil
		p.launch(true, c.reply)
	}
}

// crashed clears up after a process that has ended, or has to, and plans the next one.
func (p *plugin) crashed(in *instance, why error) {
	p.say(admin.PluginStarting, why.Error())
	if !errors.Is(why, errHangs) { // the streams of a process end before it has ended
		t := time.NewTimer(dyingTime)
		select {
		case <-in.proc.Done():
		case <-t.C:
		}
		t.Stop()
	}
	in.proc.Kill()
	in.pumpsEnd()
	p.retire(in, true)
	if exit := in.proc.Exit(); exit.Reason != runner.Stopped {
		why = fmt.Errorf("the process %s", exit)
	}
	if !in.ready.IsZero() && time.Since(in.ready) >= p.host.times.steady {
		p.crashes = nil
	}
	p.count(why)
}

// try counts a crash, or a start that failed, of a version that has not proved itself, and
// takes it back when there were too many.
func (p *plugin) try(why error) {
	t := p.trial
	if t == nil {
		return
	}
	t.crashes++
	fields := []zap.Field{zap.Error(why), zap.Int("crashes", t.crashes), zap.String("version", p.runs.name), zap.String("version_before", t.back.name)}
	switch {
	case time.Now().After(t.until):
		p.trial = nil
	case t.crashes < trialCrashes:
	case t.back.exact:
		p.runs, p.trial, p.crashes = t.back, nil, nil
		p.log.Error("the new version of the plugin crashed again and again: the one that ran before is back", fields...)
	default:
		p.trial = nil
		p.log.Error("the new version of the plugin crashed again and again, and what ran before was not kept, as a script is not: put the old files back, and reload the plugin", fields...)
	}
}

// count notes that a process ended or could not be started, and plans the next one.
func (p *plugin) count(why error) {
	p.try(why)
	defer p.sweep()
	t := p.host.times
	now := time.Now()
	p.crashes = append(slices.DeleteFunc(p.crashes, func(at time.Time) bool { return now.Sub(at) > t.window }), now)
	again := p.pending == nil // else one is on its way
	n := len(p.crashes)
	if p.phase == failed || n >= maxCrashes {
		p.phase = failed
		p.step(func(now time.Time) {
			p.machine.GiveUp(now)
			p.told.restarts++
			p.told.lastExit = why.Error()
			p.told.state, p.told.detail = admin.PluginFailed, fmt.Sprintf("%v; it is tried again every %s, or with hexmpp plugin enable %[3]s; hexmpp plugin reload %[3]s starts another version", why, t.failed, p.conf.Name)
		})
		p.log.Error("the plugin has failed: what it answers for is answered with service-unavailable", zap.Error(why), zap.Int("crashes", n), zap.Duration("next_try", t.failed))
		if again {
			p.retry.Reset(t.failed)
		}
		return
	}
	wait := time.Duration(0)
	if n > 1 {
		wait = min(t.backoff<<(n-2), t.backoffMax)
		wait = wait/2 + rand.N(wait/2+1)
	}
	p.step(func(time.Time) {
		p.told.restarts++
		p.told.lastExit = why.Error()
		p.told.state, p.told.detail = admin.PluginStarting, why.Error()
	})
	p.log.Warn("the plugin's process is gone, and is started again", zap.Error(why), zap.Int("crashes", n), zap.Duration("wait", wait))
	if again {
		p.retry.Reset(wait)
	}
}
