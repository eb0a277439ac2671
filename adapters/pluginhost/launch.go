package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/pluginhost/runner"
	"github.com/hexmpp/hexmpp/api/plugin/codec"
	"github.com/hexmpp/hexmpp/api/plugin/wire"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// first starts the first process, and asks it what it is. The error is one that stops the
// server.
func (p *plugin) first(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.conf.Limits.StartTime)
	defer cancel()
	var err error
	if p.sockets, err = bind(ctx, p.conf.Listen); err != nil {
		return err
	}
	in, err := p.start(ctx, p.configured())
	if err == nil {
		err = p.firstConfigure(ctx, in)
	}
	var config *ConfigError
	var untrue *lie
	switch {
	case err == nil:
		p.standby = in
		p.runs = in.version()
		p.running = true
		p.work.Go(p.act)
		p.work.Go(p.supervise)
		return nil
	case errors.As(err, &config):
		return err
	case errors.As(err, &untrue), p.conf.Bundled:
		return fmt.Errorf("plugin %s can't be started: %w", p.conf.Name, err)
	}
	p.sockets.close() // nobody will accept
	p.sockets = nil
	p.log.Error("the plugin can't be started; the server goes on without it", zap.Error(err))
	p.say(admin.PluginFailed, fmt.Sprintf("%v; %v", err, errNever))
	return nil
}

// firstConfigure makes what the kernel is given.
func (p *plugin) firstConfigure(ctx context.Context, in *instance) (err error) {
	defer func() {
		if err != nil {
			in.kill()
		}
	}()
	p.shards = shardsOf(in.manifest)
	in.setShards(p.shards)
	answer, err := in.configure(ctx)
	if err != nil {
		return err
	}
	reg := in.reg
	if err := errors.Join(codec.SetFeatures(reg, answer.GetStreamFeatures()), codec.DropUnwanted(reg, answer.GetUnwantedNotices())); err != nil {
		return &lie{fmt.Errorf("its answer to Configure: %w", err)}
	}
	p.unwanted = answer.GetUnwantedNotices()
	reg.Remote, reg.Start, reg.Stop = p, p.begin, p.halt
	p.callable(reg.Calls)
	p.route(reg.HTTP)
	l := p.conf.Limits
	for i := range reg.Stages {
		if h := &reg.Stages[i]; h.Class == extension.Decide {
			if h.Deadline <= 0 {
				h.Deadline = l.DecideTime
			}
			h.Deadline = min(h.Deadline, maxDecide)
		}
	}
	p.mu.Lock()
	p.machine = wire.NewKernel(wire.KernelLimits{
		Events: l.Queue, Bytes: l.QueueBytes, Credit: wire.Credit{Events: max(1, l.InFlight/p.shards), Bytes: max(64<<10, l.InFlightBytes/p.shards)},
		OutcomeBytes: maxOutcomeBytes, Run: maxRun, Grace: max(l.GraceTime, time.Millisecond),
	}, time.Now())
	p.told.manifest = in.manifest
	p.mu.Unlock()
	p.reg, p.asked = reg, in.asked
	return in.open(ctx)
}

// maxRun is how many outcomes of one key are applied together.
const maxRun = 32

// maxDecide bounds how long a plugin may have for a verdict on a stanza: the kernel takes no more.
const maxDecide = 5 * time.Second

// shardsOf is how many Sessions a plugin gets.
func shardsOf(m *pluginv1.Manifest) int {
	return int(max(1, min(m.MaxShards, defaultShards, maxShards)))
}

func (in *instance) setShards(n int) {
	in.shards = n
	in.wake = make([]chan struct{}, n)
	for i := range in.wake {
		in.wake[i] = make(chan struct{}, 1)
	}
}

// register makes of a manifest what the kernel is given, with what the configuration says;
// asked says for each component which one of the manifest it is.
func (p *plugin) register(m *pluginv1.Manifest) (reg *extension.Registration, asked []int, err error) {
	if reg, err = codec.Registration(m); err != nil {
		return nil, nil, &lie{err}
	}
	own, domains := reg.Components, p.conf.Domains
	switch {
	case len(domains) == 0:
		for i := range own {
			if d := p.stranger(own[i].Domain); d != "" {
				return nil, nil, &ConfigError{p.conf.Key + ".domains", fmt.Errorf("the plugin %s wants to be %s, which is below none of the domains of this server; to let it, write: domains: [%s]", p.conf.Name, short(d), short(d))}
			}
		}
	case len(own) == 1:
		reg.Components = nil
		for _, d := range domains {
			c := own[0]
			c.Domain = d
			reg.Components = append(reg.Components, c)
			asked = append(asked, 0)
		}
		return reg, asked, p.granted(reg.Permissions)
	case len(domains) == len(own):
		for i := range own {
			own[i].Domain = domains[i]
		}
	default:
		return nil, nil, &ConfigError{p.conf.Key + ".domains", fmt.Errorf("the plugin %s answers for %d domains, and there are %d here", p.conf.Name, len(own), len(domains))}
	}
	for i := range own {
		asked = append(asked, i)
	}
	return reg, asked, p.granted(reg.Permissions)
}

// stranger returns a domain that a component asks for and that is not ours: below no hosted
// domain; "" if there is none. The kernel sees to hosted domains themselves.
func (p *plugin) stranger(domain string) string {
	hosted := p.host.options.Domains
	for _, d := range expand(domain, hosted) {
		if !slices.ContainsFunc(hosted, func(h string) bool { return d == h || strings.HasSuffix(d, "."+h) }) {
			return d
		}
	}
	return ""
}

// configured is what the server is started with.
func (p *plugin) configured() version {
	return version{command: p.conf.Command, conf: p.conf.configured()}
}

// onDisk is the program that is there now.
func (p *plugin) onDisk(conf Configured) version {
	c := p.conf.Command
	c.OnDisk = c.Self
	return version{command: c, conf: conf}
}

func (p *Plugin) configured() Configured { return Configured{p.Files, p.Options} }

// reread is what the configuration says now.
func (p *plugin) reread() (Configured, error) {
	if read := p.host.options.Now; read != nil {
		return read(p.conf.Name)
	}
	return p.conf.configured(), nil
}

// sweep lets go of the programs that won't be started again.
func (p *plugin) sweep() {
	if p.pending != nil {
		return // it may be one of them
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = slices.DeleteFunc(p.kept, func(k *runner.Program) bool {
		if k == p.runs.command.Program || p.trial != nil && k == p.trial.back.command.Program {
			return false
		}
		k.Close()
		return true
	})
}

// launch begins to start a process; started is told the end.
func (p *plugin) launch(fresh bool, reply chan error) {
	p.retry.Stop()
	ctx, cancel := context.WithTimeout(p.ctx, p.conf.Limits.StartTime)
	p.pending = &pending{reload: fresh, cancel: cancel}
	if reply != nil {
		p.pending.reply = append(p.pending.reply, reply)
	}
	program := p.runs
	p.work.Go(func() {
		defer cancel()
		in, err := p.prepare(ctx, program, fresh)
		p.launched <- launched{in, err}
	})
}

// prepare starts a process that can take over: on standby, configured, and well.
func (p *plugin) prepare(ctx context.Context, program version, fresh bool) (*instance, error) {
	if fresh {
		conf, err := p.reread()
		if err != nil {
			return nil, err
		}
		program = p.onDisk(conf)
	}
	in, err := p.start(ctx, program)
	if errors.Is(err, runner.ErrChanged) {
		p.log.Warn("the plugin is started from what is on the disk now", zap.Error(err))
		in, err = p.start(ctx, p.onDisk(program.conf))
	}
	if err != nil {
		return nil, err
	}
	err = func() error {
		p.mu.Lock()
		known := p.told.manifest
		p.mu.Unlock()
		if differs := compatible(known, in.manifest); differs != "" {
			return fmt.Errorf("version %s of the plugin claims something else than the one that the server was started with, in %s: that needs a restart of the server", short(in.manifest.Version), differs)
		}
		in.setShards(min(p.shards, shardsOf(in.manifest)))
		answer, err := in.configure(ctx)
		if err != nil {
			return err
		}
		for _, kind := range p.unwanted {
			if !slices.Contains(answer.GetUnwantedNotices(), kind) {
				return fmt.Errorf("version %s of the plugin wants to be told of what the one that the server was started with had no use for, %s: that needs a restart of the server", short(in.manifest.Version), kind)
			}
		}
		return in.open(ctx)
	}()
	if err != nil {
		p.retire(in, false)
		in.kill()
		return nil, err
	}
	return in, nil
}

// started is told the end of a start.
func (p *plugin) started(l launched) {
	was := p.pending
	p.pending = nil
	defer p.sweep()
	reply := func(err error) {
		for _, c := range was.reply {
			c <- err
		}
	}
	if was.ended {
		if l.in != nil {
			p.retire(l.in, false)
			p.finish(l.in)
		}
		switch p.phase {
		case acting:
		case stopped:
			reply(errStopped)
			return
		default:
			reply(errDisabled)
			return
		}
		p.launch(false, nil) // it was enabled meanwhile
		p.pending.reply = was.reply
		return
	}
	if l.err != nil {
		if was.reload && p.current() != nil {
			p.log.Warn("the plugin was not reloaded; the process of before goes on", zap.Error(l.err))
		} else {
			p.count(l.err)
		}
		reply(l.err)
		return
	}
	if p.current() != nil {
		p.step(func(now time.Time) { p.acting.conn.Pause() })
		p.cutOver(l.in, reply)
		return
	}
	p.phase = acting
	err := p.activate(l.in)
	if err != nil {
		p.crashed(l.in, err)
	} else if was.reload {
		p.noteReload()
	}
	reply(err)
}
