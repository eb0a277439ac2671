package pluginhost

import (
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/hexmpp/hexmpp/adapters/pluginhost/runner"
	"github.com/hexmpp/hexmpp/api/plugin/codec"
	"github.com/hexmpp/hexmpp/api/plugin/wire"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// plugin is a plugin, whatever process it has. It implements extension.Remote.
//
// Who calls the machine holds mu, and calls after then, which sees to it that frames go
// out and the clock is set. What the machine wants done is in todo. Readers and the
// actor do that in settle, without mu; several may do so at once, since of one key the
// machine has one outcome under way at a time.
type plugin struct {
	host *Host
	conf Plugin
	log  *zap.Logger
	ring *runner.Log

	// Set by first, before anybody else knows of the plugin.
	reg   *extension.Registration // nil: it was never there
	asked []int                   // for each of reg.Components, which one of the manifest it is
	// unwanted are notices of the manifest that the first process had no use for; set like reg.
	unwanted []pluginv1.NoticeKind
	shards   int
	answers  answers
	web      web
	decode   codec.Limits
	sockets  sockets // bound by first

	kernel extension.Kernel // set by Attach

	mu         sync.Mutex // guards what follows
	machine    *wire.Kernel
	todo       []wire.Action
	spare      []wire.Action // an empty slice to take the place of todo
	now        time.Time     // of the call of the machine that is under way
	live       []*instance   // with open Sessions
	quiet      chan struct{} // if it is not nil, closed when nothing is outstanding of acting, and nothing is being applied
	acting     *instance
	generation uint64    // of the process that was started last
	tickAt     time.Time // that timer is set to; zero: it is not set
	timer      *time.Timer
	told       told
	kept       []*runner.Program // that processes ran; see sweep
	draining   []*draining       // oldest first

	kick chan struct{} // of the actor
	supervisor
}

// told is what is told of a plugin. plugin.mu guards it.
type told struct {
	state      admin.PluginState
	detail     string
	manifest   *pluginv1.Manifest
	generation uint64 // of what acts, or acted last
	options    []byte // likewise
	restarts   int
	reloads    int
	lastExit   string
	handled    uint64        // events whose time is in handling
	handling   time.Duration // from when events were given to a process to their outcome
	window     [windowSize]sample
	at         int
}

// windowSize is how many samples there are: one for each look of the watchdog.
const windowSize = 10

// sample is what was counted at a moment.
type sample struct {
	at       time.Time
	handled  uint64
	handling time.Duration
}

func newPlugin(h *Host, c Plugin) *plugin {
	c.Limits = c.Limits.complete()
	p := &plugin{host: h, conf: c, log: h.log.With(zap.String("plugin", c.Name)), ring: runner.NewLog(), kick: make(chan struct{}, 1)}
	p.decode.XML = h.options.XML
	p.timer = time.NewTimer(time.Hour)
	p.timer.Stop()
	p.told.state = admin.PluginStarting
	p.web.changed = make(chan struct{})
	p.told.window[0], p.told.at = sample{at: time.Now()}, 1
	p.supervisor.init()
	return p
}

// source is an event, as the machine has it.
type source struct {
	p    *plugin
	e    *extension.RemoteEvent
	next *pluginv1.Event // for the first time that it is sent
	sent time.Time       // to a process, the last time; plugin.mu guards it
}

// Encode implements wire.Source. The machine calls it, so mu is held.
func (s *source) Encode() *pluginv1.Event {
	s.sent = s.p.now
	m := s.next
	s.next = nil
	if m == nil {
		m, _ = s.encode() // it could be made before
	}
	return m
}

func (s *source) encode() (*pluginv1.Event, error) { return codec.Event(s.p.asAsked(s.e)) }

// asAsked is an event with the index of the component in the manifest: of one that was
// given several domains the kernel has several.
func (p *plugin) asAsked(e *extension.RemoteEvent) *extension.RemoteEvent {
	c := *e
	switch {
	case (e.Kind == extension.ToComponent || e.Kind == extension.ItemsAsked) && e.Handler < len(p.asked):
		c.Handler = p.asked[e.Handler]
	case e.Kind == extension.Asked && e.Component >= 0 && e.Component < len(p.asked):
		c.Component = p.asked[e.Component]
	}
	if c.Handler == e.Handler && c.Component == e.Component {
		return e
	}
	return &c
}

// Attach implements extension.Remote.
func (p *plugin) Attach(k extension.Kernel) { p.kernel = k }

// Dispatch implements extension.Remote.
func (p *plugin) Dispatch(e *extension.RemoteEvent) error {
	s := &source{p: p, e: e}
	item := wire.Item{Key: e.Key, Size: size(e), Received: e.At, Observed: e.Observed, Impatient: e.AtOnce, Deadline: e.Deadline, Source: s}
	if x := e.Envelope.Stanza; e.Kind == extension.ToComponent && x.Kind == stanza.Presence && (x.Type == "" || x.Type == stanza.Unavailable) {
		item.Coalesce = wire.CoalesceKey{From: x.From.String(), To: x.To.String()}
	}
	if e.Kind == extension.ToFar {
		item.Late, item.ID = true, e.Far.ID
	}
	var err error
	if s.next, err = s.encode(); err != nil {
		return err
	}
	now := time.Now()
	p.mu.Lock()
	err = p.machine.Enqueue(item, now)
	p.after()
	work := len(p.todo) > 0
	p.mu.Unlock()
	if work {
		p.wakeActor()
	}
	return err
}

// size is about how much memory an event takes.
func size(e *extension.RemoteEvent) int {
	n := 768 + len(e.Key)
	if s := e.Stanza(); s != nil {
		n += len(s.Content()) + len(s.Attrs())
	}
	for i := range e.Residents {
		n += 64 + len(e.Residents[i].Key) + len(e.Residents[i].Value)
	}
	if e.Far != nil {
		for _, to := range e.Far.Recipients {
			n += 16 + len(to.String())
		}
	}
	return n + len(e.Reply.State) + len(e.Timer.State) + len(e.Timer.Key)
}

// Reset implements extension.Remote.
func (p *plugin) Reset(key string) {
	p.call(func(now time.Time) { p.machine.Reset(key, now) })
}

// call calls the machine, from a goroutine that does not act itself.
func (p *plugin) call(f func(now time.Time)) {
	p.mu.Lock()
	f(time.Now())
	p.after()
	work := len(p.todo) > 0
	p.mu.Unlock()
	if work {
		p.wakeActor()
	}
}

func (p *plugin) wakeActor() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// after is called with mu held after each call of the machine.
func (p *plugin) after() {
	p.todo = p.machine.Take(p.todo)
	for _, in := range p.live {
		for shard := range in.wake {
			if in.conn.Ready(shard) {
				in.wakeWriter(shard)
			}
		}
	}
	if next := p.machine.Next(); !next.IsZero() && (p.tickAt.IsZero() || next.Before(p.tickAt)) {
		p.tickAt = next
		p.timer.Reset(max(0, time.Until(next)))
	}
	if p.quiet != nil && (p.acting == nil || p.acting.conn.Outstanding() == 0) && p.machine.Applying() == 0 {
		close(p.quiet)
		p.quiet = nil
	}
}

// act runs until the plugin is closed: it does what is to be done when no reader is
// there to do it, and gives the machine the time.
func (p *plugin) act() {
	var b transport.Batch
	for {
		select {
		case <-p.kick:
		case <-p.timer.C:
			p.mu.Lock()
			p.tickAt = time.Time{}
			p.machine.Tick(time.Now())
			p.after()
			p.mu.Unlock()
		case <-p.over:
			return
		}
		p.settle(&b)
		b.Flush()
	}
}

// round is a list of actions that is being done. What they come to while it is open is
// told to the machine at its end, all at once, by whoever does them.
type round struct {
	mu   sync.Mutex // guards what follows
	open bool
	ends []end
}

// end is what came of an outcome.
type end struct {
	ticket wire.Ticket
	source *source // of the event, nil of effects that no event asked for
	err    error
}

// settle does what is to be done. The caller flushes b.
func (p *plugin) settle(b *transport.Batch) {
	p.mu.Lock()
	for len(p.todo) > 0 {
		list := p.todo
		p.todo, p.spare = p.spare, nil
		r := &round{open: true}
		p.mu.Unlock()
		for i := 0; i < len(list); {
			n := run(list[i:])
			if n > 1 {
				p.applyRun(b, r, list[i:i+n])
			} else {
				p.do(b, r, &list[i])
			}
			i += n
		}
		clear(list)
		r.mu.Lock()
		r.open = false
		ends := r.ends
		r.mu.Unlock()
		p.mu.Lock()
		p.spare = list[:0]
		p.finished(ends...)
	}
	p.mu.Unlock()
}

// finished tells the machine; mu is held.
func (p *plugin) finished(ends ...end) {
	if len(ends) == 0 {
		return
	}
	now := time.Now()
	for i := range ends {
		e := &ends[i]
		if e.source != nil {
			p.told.handled++
			p.told.handling += now.Sub(e.source.sent)
		}
		p.machine.Done(e.ticket, e.err, now)
	}
	p.after()
}

// do does one thing.
func (p *plugin) do(b *transport.Batch, r *round, a *wire.Action) {
	switch a.Kind {
	case wire.ApplyOutcome:
		p.apply(b, r, a)
	case wire.ApplyUnasked:
		effects, err := p.decode.Effects(a.Unasked.GetEffects())
		if err != nil {
			p.log.Warn("what the plugin asked for by itself can't be done", zap.Error(err))
			p.done(r, end{ticket: a.Ticket, err: err})
			return
		}
		p.kernel.Apply(b, a.Unasked.GetKey(), effects, p.doneOf(r, end{ticket: a.Ticket}))
	case wire.Fail:
		s := a.Item.Source.(*source)
		p.logFailure(a, s.e)
		s.e.Owner.Fail(b, a.Err)
	case wire.LateOutcome:
		p.late(b, a)
	case wire.Answer:
		p.answers.add(p, a.Ticket, a.Request)
	case wire.EndProcess:
		for _, in := range p.instances() {
			if in.conn == a.Conn {
				in.fail(a.Err)
			}
		}
	}
}

func (p *plugin) instances() []*instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*instance(nil), p.live...)
}

// apply gives an outcome to whom its event belongs to. What can't be read, or is not
// whole, is the outcome of a handler that failed.
func (p *plugin) apply(b *transport.Batch, r *round, a *wire.Action) {
	s := a.Item.Source.(*source)
	e := end{ticket: a.Ticket, source: s}
	o, err := p.decode.Outcome(a.Outcome, s.e.Kind)
	if err == nil {
		s.e.Owner.Apply(b, o, p.doneOf(r, e))
		return
	}
	// The plugin believes that it was done: its handler is to forget.
	e.err = err
	s.e.Owner.Apply(b, &extension.Outcome{Err: err}, func(error) { p.done(r, e) })
}

// late gives the outcome of a late event to whom it belongs to: that is its end.
func (p *plugin) late(b *transport.Batch, a *wire.Action) {
	s := a.Item.Source.(*source)
	o, err := p.decode.Outcome(a.Outcome, s.e.Kind)
	if err != nil {
		p.log.Warn("what the plugin says of a stanza for a far domain can't be read", zap.Error(err))
		o = &extension.Outcome{Err: err}
	}
	s.e.Owner.Apply(b, o, func(error) {})
}

// run returns how many of the first actions are outcomes of one key; 1 if the first one is something else.
func run(list []wire.Action) int {
	n := 1
	for n < len(list) && list[0].Kind == wire.ApplyOutcome && list[n].Kind == wire.ApplyOutcome && list[n].Item.Key == list[0].Item.Key {
		n++
	}
	return n
}

// applyRun is apply for outcomes of one key, in order. Behind one that can't be read nothing is applied: the
// plugin made the rest believing that it was done.
func (p *plugin) applyRun(b *transport.Batch, r *round, list []wire.Action) {
	all := make([]extension.Applied, 0, len(list))
	for i := range list {
		a := &list[i]
		s := a.Item.Source.(*source)
		e := end{ticket: a.Ticket, source: s}
		o, err := p.decode.Outcome(a.Outcome, s.e.Kind)
		if err == nil {
			all = append(all, extension.Applied{Owner: s.e.Owner, Outcome: o, Done: p.doneOf(r, e)})
			continue
		}
		e.err = err
		rest := p.again(list[i+1:])
		all = append(all, extension.Applied{Owner: s.e.Owner, Outcome: &extension.Outcome{Err: err}, Done: func(err error) {
			if errors.Is(err, extension.ErrConflict) || errors.Is(err, extension.ErrUnavailable) { // it was never its turn
				e.err = err
			}
			p.done(r, e)
			for _, e := range rest {
				p.done(r, e)
			}
		}})
		break
	}
	p.kernel.ApplyRun(b, all)
}

// again returns the ends of outcomes that are not applied, whose events are to be handled again. The list is not kept.
func (p *plugin) again(list []wire.Action) []end {
	ends := make([]end, len(list))
	for i := range list {
		ends[i] = end{ticket: list[i].Ticket, source: list[i].Item.Source.(*source), err: extension.ErrConflict}
	}
	return ends
}

func (p *plugin) doneOf(r *round, e end) func(error) {
	return func(err error) {
		e.err = err
		p.done(r, e)
	}
}

// done notes what came of an outcome, on whatever goroutine.
func (p *plugin) done(r *round, e end) {
	r.mu.Lock()
	if r.open {
		r.ends = append(r.ends, e)
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	p.call(func(time.Time) { p.finished(e) })
}

// logFailure says why an event was given up, where somebody has to do something about it.
func (p *plugin) logFailure(a *wire.Action, e *extension.RemoteEvent) {
	if a.Reason != wire.Poison && a.Reason != wire.TooLarge && a.Reason != wire.Conflicts {
		return
	}
	fields := []zap.Field{zap.Int("attempts", a.Attempt), zap.String("key", e.Key)}
	if s := e.Stanza(); s != nil {
		fields = append(fields, zap.Stringer("from", s.From), zap.Stringer("to", s.To), zap.Stringer("kind", s.Kind), zap.String("type", s.Type), zap.String("id", s.ID))
	}
	if o := e.Envelope.Origin; o.Addr.IsValid() {
		fields = append(fields, zap.Stringer("address", o.Addr))
	} else if o := e.IQ.Origin; o.Addr.IsValid() {
		fields = append(fields, zap.Stringer("address", o.Addr))
	}
	switch a.Reason {
	case wire.Poison:
		p.log.Error("an event was given up: processes of the plugin died while they handled it", fields...)
	case wire.TooLarge:
		p.log.Error("an event was given up: it, or its outcome, is larger than a frame may be", append(fields, zap.Error(a.Err))...)
	case wire.Conflicts:
		p.log.Warn("an event was given up: somebody else wrote in between, each time that the plugin handled it", fields...)
	}
}

// status tells how it is.
func (p *plugin) status() admin.Plugin {
	p.mu.Lock()
	st := &p.told
	out := admin.Plugin{Name: p.conf.Name, Bundled: p.conf.Bundled, State: st.state, Detail: st.detail, Generation: st.generation, Restarts: st.restarts}
	if st.manifest != nil {
		out.Version = st.manifest.Version
	}
	if p.machine != nil {
		m := p.machine.Stats()
		out.Queue, out.InFlight, out.Events = m.Waiting+m.Returned+m.Late-m.LateOut, m.InFlight+m.LateOut, m.Outcomes
	}
	now, then := sample{time.Now(), st.handled, st.handling}, st.window[st.at]
	for i := 0; then.at.IsZero() && i < len(st.window); i++ { // it does not run for long yet
		then = st.window[(st.at+i)%len(st.window)]
	}
	if n := now.handled - then.handled; n > 0 && now.at.After(then.at) && !then.at.IsZero() {
		out.EventsPerSecond = float64(n) / now.at.Sub(then.at).Seconds()
		out.OutcomeTime = (now.handling - then.handling) / time.Duration(n)
	}
	in := p.acting
	if in == nil && len(p.live) > 0 {
		in = p.live[0]
	}
	for _, d := range p.draining {
		out.Draining = append(out.Draining, d.in.proc.PID())
	}
	p.mu.Unlock()
	if in != nil {
		out.PID = in.proc.PID()
		// One that has just ended uses nothing.
		if u, err := in.proc.Usage(); err == nil || errors.Is(err, errors.ErrUnsupported) {
			out.Started, out.Memory = u.Started, uint64(u.RSS)
		}
	}
	return out
}

// info tells all.
func (p *plugin) info() (admin.PluginInfo, error) {
	out := admin.PluginInfo{Plugin: p.status(), Command: p.conf.Command.Args}
	if p.conf.Command.Self {
		out.Command = append([]string{"hexmpp"}, out.Command...)
	} else {
		out.Command = append([]string{p.conf.Command.Path}, out.Command...)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	st := &p.told
	out.LastExit = st.lastExit
	if p.machine != nil {
		m := p.machine.Stats()
		out.Dropped, out.Refused, out.Poisoned = m.Failed[wire.Dropped]+m.Failed[wire.Coalesced], m.Refused+m.Failed[wire.Down], m.Failed[wire.Poison]
	}
	if st.manifest == nil {
		return out, nil
	}
	out.Description = st.manifest.Description
	for _, c := range p.reg.Components {
		out.Domains = append(out.Domains, expand(c.Domain, p.host.options.Domains)...)
	}
	for _, granted := range p.reg.Permissions {
		out.Granted = append(out.Granted, string(granted))
	}
	var err error
	out.Manifest, err = protojson.Marshal(st.manifest)
	return out, err
}

// observe tells how it is, for metrics.
func (p *plugin) observe() observe.Plugin {
	s := p.status()
	out := observe.Plugin{Name: s.Name, State: string(s.State), Generation: s.Generation, Restarts: s.Restarts, Queue: s.Queue, InFlight: s.InFlight, Events: s.Events, Memory: s.Memory}
	p.mu.Lock()
	defer p.mu.Unlock()
	out.Reloads, out.Handling = p.told.reloads, p.told.handling
	if p.machine != nil {
		m := p.machine.Stats()
		out.Dropped, out.Refused, out.Poisoned, out.Stale = m.Failed[wire.Dropped]+m.Failed[wire.Coalesced], m.Refused+m.Failed[wire.Down], m.Failed[wire.Poison], m.RefusedFrames
	}
	return out
}
