package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin/codec"
	"github.com/hexmpp/hexmpp/api/plugin/wire"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// process is the I/O around the machine of package wire, and what runs the handlers.
type process struct {
	reg    *extension.Registration
	forget func(key string)
	bounds bounds
	log    *slog.Logger
	now    func() time.Time

	domains     []string
	served      []string // from Activate on
	permissions []extension.Permission

	// ctx ends when the process is to end.
	ctx    context.Context
	cancel context.CancelFunc
	// calls ends before that: it is of administrators' calls. nil inside the server, whose own contexts end.
	calls     context.Context
	stopCalls context.CancelFunc
	// relieved is closed when another process acts: the server hears nothing of this one.
	relieved chan struct{}
	tasks    sync.WaitGroup // handlers, and Forgets
	readers  sync.WaitGroup // of Sessions
	ids      idBlock
	sockets  sockets

	http       *http.Server // set by Activate; nil without routes; mu guards it
	httpSocket string
	tasksHTTP  sync.WaitGroup

	mu         sync.Mutex // guards what follows
	m          *wire.Plugin
	work       []wire.Work
	answers    map[asked]chan *pluginv1.Response
	applied    map[uint64]chan error
	running    map[*wire.Task]*handling
	turns      map[*wire.Task]chan<- begun // those that Do waits for
	forgetting map[string]chan struct{}    // closed when the Forget of the key has returned
	wake       []chan struct{}             // of each Session: its machine has something to send
	queue      []job                       // that no goroutine has taken yet
	spare      bool                        // a goroutine is about to take one
	ending     bool                        // no handler is called any more
	calling    int                         // calls of administrators that run
	handled    int                         // events since the last beat
	untidy     bool                        // there were many, and nothing was given back since
}

// asked is a request whose response is waited for; IDs are of a Session.
type asked struct {
	shard int
	id    uint64
}

func newProcess(p *Plugin, reg *extension.Registration, c *pluginv1.ConfigureRequest, log *slog.Logger) *process {
	shards := max(1, int(c.Shards))
	x := &process{
		reg: reg, forget: reg.Forget, relieved: make(chan struct{}), log: log, now: time.Now, domains: c.Domains, bounds: boundsOf(c),
		m: wire.NewPlugin(wire.PluginLimits{
			Shards: shards, Handlers: p.Handlers, FrameBytes: int(c.MaxPluginFrameBytes), OutcomeBytes: int(c.MaxOutcomeBytes),
		}),
		httpSocket: c.HttpSocket,
		answers:    map[asked]chan *pluginv1.Response{}, applied: map[uint64]chan error{},
		running: map[*wire.Task]*handling{}, turns: map[*wire.Task]chan<- begun{}, forgetting: map[string]chan struct{}{},
	}
	for range min(shards, wire.MaxShards) {
		x.wake = append(x.wake, make(chan struct{}, 1))
	}
	for _, g := range c.Permissions {
		x.permissions = append(x.permissions, extension.Permission(g))
	}
	x.ctx, x.cancel = context.WithCancel(context.WithValue(context.Background(), processKey{}, x))
	x.calls, x.stopCalls = context.WithCancel(x.ctx)
	return x
}

// session serves one Session until its stream ends. The error ends the process.
func (p *process) session(stream pluginv1.Plugin_SessionServer) error {
	f, err := stream.Recv()
	if err != nil {
		return err
	}
	p.mu.Lock()
	shard, err := p.m.Hello(f)
	p.act(shard)
	p.mu.Unlock()
	if err != nil {
		return err
	}
	defer p.sockets.close() // what is accepted now nobody would serve
	ctx, cancel := context.WithCancel(stream.Context())
	var writer sync.WaitGroup
	writer.Go(func() { p.write(ctx, shard, stream) })
	defer writer.Wait()
	defer cancel()
	failed := make(chan error, 1)
	p.readers.Go(func() { failed <- p.read(shard, stream) }) // it ends when this returns
	select {
	case err := <-failed:
		return err
	case <-p.ctx.Done():
		return nil
	}
}

// read takes frames until the stream ends.
func (p *process) read(shard int, stream pluginv1.Plugin_SessionServer) error {
	for {
		f, err := stream.Recv()
		if err != nil {
			return err
		}
		p.mu.Lock()
		err = p.m.Receive(shard, f)
		p.act(shard)
		if f.GetBeat() != 0 && shard == 0 {
			p.tidy()
		}
		p.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// write sends what the machine has, until ctx ends: all that waits at a moment is a frame.
func (p *process) write(ctx context.Context, shard int, stream pluginv1.Plugin_SessionServer) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake[shard]:
		}
		runtime.Gosched() // handlers that are about to return join the frame
		for {
			p.mu.Lock()
			f := p.m.Frame(shard)
			p.act(shard)
			p.mu.Unlock()
			if f == nil {
				break
			}
			if stream.Send(f) != nil {
				return // the stream has ended: Recv says so
			}
		}
	}
}

// busy is how many events between two beats, which are some seconds, make a plugin busy.
const busy = 500

// tidy gives memory back when a burst is over. It is called at each beat, so an idle
// process has no clock of its own. p.mu is held.
func (p *process) tidy() {
	n := p.handled
	p.handled = 0
	switch {
	case n >= busy:
		p.untidy = true
	case p.untidy && !p.ending:
		p.untidy = false
		p.tasks.Go(settle)
	}
}

// act does what the machine says after a call that was about this Session, and wakes
// those who send. p.mu is held.
func (p *process) act(shard int) {
	p.work = p.m.Take(p.work[:0])
	var left []*wire.Task // turns that nobody waits for any more
	for _, w := range p.work {
		switch w.Kind {
		case wire.Handle:
			if w.Task.Event != nil {
				p.start(w.Task)
			} else if ch := p.turns[w.Task]; ch != nil {
				delete(p.turns, w.Task)
				ch <- begun{w.Task, p.forgetting[w.Key]}
			} else {
				left = append(left, w.Task)
			}
		case wire.Cancel:
			if h := p.running[w.Task]; h != nil {
				h.cancel()
			}
		case wire.Forget:
			p.ids.stale.Store(true)
			p.startForget(w.Key)
		case wire.Responded:
			// They come of Receive alone, which is about one Session.
			if ch := p.answers[asked{shard, w.ID}]; ch != nil {
				ch <- w.Response
				delete(p.answers, asked{shard, w.ID})
			}
		case wire.WasApplied:
			if ch := p.applied[w.ID]; ch != nil {
				ch <- w.Err
				delete(p.applied, w.ID)
			}
		}
	}
	clear(p.work)
	if len(left) > 0 {
		for _, t := range left {
			_, _ = p.m.Leave(t, nil)
		}
		p.act(shard)
		return
	}
	for i := range p.wake {
		if p.m.Ready(i) {
			select {
			case p.wake[i] <- struct{}{}:
			default:
			}
		}
	}
}

// maxTime is how long a handler may take where its event says nothing.
const maxTime = 30 * time.Second

// start has a task handled. p.mu is held.
func (p *process) start(t *wire.Task) {
	if p.ending {
		return // the next process is given it
	}
	limit := maxTime
	if ms := t.Event.GetDeadlineMs(); ms != 0 {
		limit = time.Duration(ms) * time.Millisecond
	}
	h := &handling{p: p, task: t, limit: limit, deadline: time.Now().Add(limit)}
	p.running[t] = h
	p.handled++
	p.queue = append(p.queue, job{t, h, p.forgetting[t.Event.GetKey()]})
	p.worker()
}

// job is a task that waits for a goroutine. The machine bounds how many there are.
type job struct {
	task      *wire.Task
	ctx       *handling
	forgotten chan struct{} // closed when the Forget of its key has returned; nil if there is none
}

// worker sees to it that somebody takes the next job: one goroutine more is about to
// run, and no further one before it does. Those that wait for nothing go from job to job;
// while handlers wait, others take their places. p.mu is held.
func (p *process) worker() {
	if p.spare || len(p.queue) == 0 {
		return
	}
	p.spare = true
	p.tasks.Go(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.spare = false
		for len(p.queue) > 0 && !p.ending {
			j := p.queue[0]
			p.queue[0] = job{}
			p.queue = p.queue[1:]
			p.worker()
			p.mu.Unlock()
			if j.forgotten != nil {
				<-j.forgotten
			}
			if j.task.Late() {
				p.take(j.task)
				p.mu.Lock()
				delete(p.running, j.task)
				p.m.Taken(j.task)
				p.act(j.task.Shard)
				continue
			}
			o, void := p.handle(j.ctx, j.task.Event, p.caller(j.task))
			j.ctx.cancel()
			p.mu.Lock()
			delete(p.running, j.task)
			if err := p.m.Done(j.task, o); err != nil {
				p.log.Error("what a handler asked for is too much; nothing of it is done", "error", err)
				void = true
			}
			if void { // the kernel, which only knows that it failed, does not say so
				p.startForget(j.task.Event.GetKey())
			}
			p.act(j.task.Shard)
		}
	})
}

// startForget calls Registration.Forget on a goroutine of its own, in front of what comes next
// of the key. p.mu is held.
func (p *process) startForget(key string) {
	if p.forget == nil || p.ending {
		return
	}
	before, done := p.forgetting[key], make(chan struct{})
	p.forgetting[key] = done
	p.tasks.Go(func() {
		if before != nil {
			<-before
		}
		if err := guarded(p.log, p.reg.Name, func() error { p.forget(key); return nil }); err != nil {
			p.log.Error("Forget failed", "error", err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		close(done)
		if p.forgetting[key] == done {
			delete(p.forgetting, key)
		}
	})
}

// call sends a request and waits for its response; t is nil outside of an event.
func (p *process) call(ctx context.Context, t *wire.Task, q *pluginv1.Request) (*pluginv1.Response, error) {
	ch := make(chan *pluginv1.Response, 1)
	shard := 0
	if t != nil {
		shard = t.Shard
	}
	if p.isRelieved() {
		return nil, ErrRelieved
	}
	p.mu.Lock()
	id, err := p.m.Request(t, q)
	if err == nil {
		p.answers[asked{shard, id}] = ch
		p.act(shard)
	}
	p.mu.Unlock()
	switch {
	case errors.Is(err, wire.ErrFull):
		return nil, fmt.Errorf("%w: %w", extension.ErrBound, err)
	case err != nil:
		return nil, err
	}
	select {
	case r := <-ch:
		return r, nil
	case <-p.relieved:
		return nil, ErrRelieved
	case <-ctx.Done():
		p.mu.Lock()
		delete(p.answers, asked{shard, id})
		p.mu.Unlock()
		return nil, fmt.Errorf("plugin: the server has not answered: %w", context.Cause(ctx))
	}
}

// caller is call on behalf of a task.
func (p *process) caller(t *wire.Task) codec.Call {
	return func(ctx context.Context, q *pluginv1.Request) (*pluginv1.Response, error) { return p.call(ctx, t, q) }
}

// relieve notes that another process acts; false if it was noted before.
func (p *process) relieve() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isRelieved() {
		return false
	}
	close(p.relieved)
	p.sockets.close()
	return true
}

func (p *process) isRelieved() bool {
	select {
	case <-p.relieved:
		return true
	default:
		return false
	}
}

// begin calls Start and waits until what it asks for is applied.
func (p *process) begin(ctx context.Context) error {
	if p.reg.Start == nil {
		return nil
	}
	ctx, cancel := p.within(ctx)
	defer cancel()
	return p.do(ctx, "", func(h *extension.Host) error {
		return p.reg.Start(context.WithValue(ctx, turnKey{}, &inTurn{}), h)
	})
}

// within returns a context with the values of p.ctx that ends with either.
func (p *process) within(ctx context.Context) (context.Context, context.CancelFunc) {
	both, cancel := context.WithCancelCause(p.ctx)
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	return both, func() { stop(); cancel(nil) }
}

// end stops calling handlers, waits for those that run, and calls Stop. ctx bounds it.
func (p *process) end(ctx context.Context) error {
	p.mu.Lock()
	p.ending = true
	p.mu.Unlock()
	p.sockets.close()
	p.stopCalls()
	p.endHTTP(ctx)
	done := make(chan struct{})
	go func() { p.tasks.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		p.log.Warn("handlers still run at the end: they are given up")
	}
	p.cancel()
	if p.reg.Stop == nil {
		return nil
	}
	return guarded(p.log, p.reg.Name, func() error { return p.reg.Stop(ctx) })
}

// handle handles an event as it came and returns its outcome. For void see outcome.
func (p *process) handle(ctx context.Context, event *pluginv1.Event, call codec.Call) (m *pluginv1.Outcome, void bool) {
	e, err := codec.RemoteEvent(event, p.reg)
	if err != nil {
		p.log.Error("an event can't be read", "error", err)
		return codec.Failure(err), false
	}
	return p.outcome(ctx, e, call)
}

// outcome calls the handler of an event and returns its outcome. void says that it failed in
// a way that leaves what is known of its key by heart in doubt: but for a refusal of a handler
// that had asked for nothing.
func (p *process) outcome(ctx context.Context, e *extension.RemoteEvent, call codec.Call) (m *pluginv1.Outcome, void bool) {
	t := newTx(ctx, p, call, e)
	var o extension.Outcome
	o.Err = t.run(func(h *extension.Host) error { return p.dispatch(ctx, h, e, &o) })
	if o.Err != nil {
		var refusal *stanza.Error
		return codec.Failure(o.Err), !errors.As(o.Err, &refusal) || t.asked()
	}
	effects, err := t.effects()
	if err == nil {
		m, err = codec.Outcome(&o, e.Kind, effects)
	}
	if err != nil {
		return codec.Failure(err), true
	}
	return m, false
}

// errNoHandler is of an event for a handler that the registration has not.
var errNoHandler = errors.New("plugin: there is no such handler")

// dispatch calls the handler of an event.
func (p *process) dispatch(ctx context.Context, h *extension.Host, e *extension.RemoteEvent, o *extension.Outcome) (err error) {
	r := p.reg
	switch e.Kind {
	case extension.ToComponent:
		if f := r.Components[e.Handler].Handle; f != nil {
			return f(ctx, h, &e.Envelope)
		}
	case extension.ItemsAsked:
		if f := r.Components[e.Handler].Items; f != nil {
			o.Items, err = f(ctx, h, e.IQ)
			return err
		}
	case extension.Asked:
		list := r.IQ
		if e.Component >= 0 {
			list = r.Components[e.Component].IQ
		}
		if f := list[e.Handler].Handle; f != nil {
			o.Result, err = f(ctx, h, e.IQ)
			return err
		}
	case extension.Staged:
		if f := r.Stages[e.Handler].Handle; f != nil {
			o.Verdict, err = f(ctx, h, &e.Envelope)
			return err
		}
	case extension.ElementSent:
		if f := r.Elements[e.Handler].Handle; f != nil {
			return f(ctx, h, e.Session, e.Element)
		}
	case extension.Replied:
		if r.Reply != nil {
			return r.Reply(ctx, h, e.Reply)
		}
	case extension.Fired:
		if r.Timer != nil {
			return r.Timer(ctx, h, e.Timer)
		}
	case extension.Noticed:
		if r.Notice != nil {
			return r.Notice(ctx, h, e.Notice)
		}
	}
	return errNoHandler
}
