package plugin

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin/codec"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// Inside returns a registration that runs inside the server and is promised there what a
// process is: events of an ordering key are handled one after the other, each behind the end of
// what the one before asked for, and Forget is called. It costs more than an extension which
// runs inside as it is, so only those go this way that need it: those with a Forget.
//
// Where too much waits, events that nobody waits for are refused like all others. A handler
// that does not return holds up its key: nobody can end it.
func Inside(reg extension.Registration) extension.Registration {
	out := reg
	r := newInside(reg, false)
	out.Remote, out.Stop = r, r.stop
	return out
}

// Bounds of what waits for an extension inside the server, as of a process (limits.queue, and
// Plugin.Handlers).
const (
	insideEvents   = 10_000
	insideBytes    = 64 << 20
	insideHandlers = 64
	insideSends    = 1 << 30 // the kernel counts them
)

// inside is an extension.Remote without a process: each key has a turn after the other on one
// of a few goroutines, which end when nothing waits.
type inside struct {
	reg extension.Registration
	// through: all goes through messages of the contract, as bytes.
	through bool

	kernel extension.Kernel
	p      *process // what handlers' Hosts are made of; it has no Session
	tasks  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	keys    map[string]*insideKey
	ready   []*insideKey // whose turn comes, in order
	workers int
	n       int // events without an end
	bytes   int
	ending  bool
}

// insideKey is an ordering key with something to do.
type insideKey struct {
	name   string
	events []*extension.RemoteEvent // the first one is handled, or applied
	listed bool                     // in ready
	busy   bool                     // it has its turn, or waits for what was asked for
	forget bool                     // before the next handler

	handled  *handling // while the handler runs
	void     bool      // it was reset meanwhile
	flushing bool      // the batch of what is applied is not flushed yet
	done     bool      // it was applied meanwhile,
	err      error     // with this error
	pause    time.Duration
	clock    *time.Timer // until storage may be back
}

func newInside(reg extension.Registration, through bool) *inside {
	r := &inside{reg: reg, through: through, keys: map[string]*insideKey{}}
	r.p = &process{reg: &r.reg, forget: reg.Forget, permissions: reg.Permissions, bounds: bounds{sends: insideSends}}
	r.p.ids.single = true
	r.p.sockets.give(reg.Listeners, nil)
	return r
}

// Attach implements extension.Remote.
func (r *inside) Attach(k extension.Kernel) {
	h := k.Reader()
	r.kernel = k
	r.p.log, r.p.domains, r.p.served, r.p.now = h.Log, h.Domains, h.Served, h.Now
	r.p.ctx, r.p.cancel = context.WithCancel(k.Context())
}

// Dispatch implements extension.Remote.
func (r *inside) Dispatch(e *extension.RemoteEvent) error {
	size := eventSize(e)
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Kind == extension.ToFar { // the kernel has bounds for those, which wait for others outside
		size = 0
	}
	switch {
	case r.ending:
		return extension.ErrDown
	case e.Kind == extension.ToFar:
	case r.n >= insideEvents || r.n > 0 && r.bytes+size > insideBytes:
		return extension.ErrFull
	}
	if size > 0 {
		r.n++
		r.bytes += size
	}
	y := r.key(e.Key)
	y.events = append(y.events, e)
	r.next(y)
	return nil
}

// eventSize is about what an event holds in memory.
func eventSize(e *extension.RemoteEvent) int {
	n := 512 + len(e.Key) + len(e.Reply.State) + len(e.Timer.State)
	if s := e.Stanza(); s != nil {
		n += len(s.Content())
	}
	return n
}

// Reset implements extension.Remote.
func (r *inside) Reset(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	y := r.key(key)
	y.forget = true
	if y.handled != nil {
		y.void = true
		y.handled.cancel()
	}
	r.next(y)
}

// key returns a key. The caller sees to it that it has something to do, and calls next. r.mu
// is held by it, and by those of the following that don't say otherwise.
func (r *inside) key(name string) *insideKey {
	y := r.keys[name]
	if y == nil {
		y = &insideKey{name: name}
		r.keys[name] = y
	}
	return y
}

// next sees to it that a key has its turn, if it has something to do.
func (r *inside) next(y *insideKey) {
	switch {
	case y.busy || y.listed || r.ending:
	case len(y.events) == 0 && !y.forget:
		delete(r.keys, y.name)
	default:
		y.listed = true
		r.ready = append(r.ready, y)
		if r.workers < insideHandlers {
			r.workers++
			r.tasks.Go(r.work)
		}
	}
}

// work gives turns until nobody waits for one. r.mu is not held.
func (r *inside) work() {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.workers-- }()
	for len(r.ready) > 0 && !r.ending {
		y := r.ready[0]
		r.ready[0] = nil
		r.ready = r.ready[1:]
		y.listed, y.busy = false, true
		if y.forget {
			y.forget = false
			r.mu.Unlock()
			r.p.forgetNow(y.name)
			r.mu.Lock()
		}
		if len(y.events) > 0 && y.events[0].Kind == extension.ToFar {
			r.take(y, y.events[0])
		} else if len(y.events) > 0 {
			r.turn(y, y.events[0])
		} else {
			y.busy = false
			r.next(y)
		}
	}
}

// turn handles an event and has what its handler asks for applied.
func (r *inside) turn(y *insideKey, e *extension.RemoteEvent) {
	limit := maxTime
	if e.Deadline > 0 {
		limit = e.Deadline
	}
	ctx := &handling{p: r.p, limit: limit, deadline: time.Now().Add(limit)}
	y.handled, y.void = ctx, false
	r.mu.Unlock()

	late := time.AfterFunc(limit, func() {
		var b transport.Batch
		e.Owner.Fail(&b, extension.ErrLate)
		b.Flush()
	})
	o, void, err := r.handle(ctx, e)
	late.Stop()
	ctx.cancel()

	r.mu.Lock()
	y.handled = nil
	if y.void { // it is handled again, behind the Forget
		y.busy = false
		r.next(y)
		return
	}
	y.forget = y.forget || void
	y.flushing, y.done = true, false
	r.mu.Unlock()

	var b transport.Batch
	if err != nil {
		e.Owner.Fail(&b, err)
		r.applied(y, err)
	} else {
		e.Owner.Apply(&b, o, func(err error) { r.applied(y, err) })
	}
	b.Flush()

	r.mu.Lock()
	y.flushing = false
	if y.done {
		r.end(y)
	}
}

// take gives an event for a far domain away. The next one of its key comes behind that; what became of it is
// said later.
func (r *inside) take(y *insideKey, e *extension.RemoteEvent) {
	y.events[0] = nil
	y.events = y.events[1:]
	r.mu.Unlock()
	given, err := r.far(e)
	if err == nil {
		r.p.give(given, func(err error) { r.delivered(e, err) })
	} else {
		r.delivered(e, err)
	}
	r.mu.Lock()
	y.busy = false
	r.next(y)
}

// far returns what Far.Take is given of an event.
func (r *inside) far(e *extension.RemoteEvent) (*extension.FarEvent, error) {
	if !r.through {
		given := *e.Far
		given.Attempt, given.Received = 1, e.At
		return &given, nil
	}
	m, err := codec.Event(e)
	if err != nil {
		return nil, err
	}
	m.Attempt = 1
	if m, err = copied(m); err != nil {
		return nil, err
	}
	read, err := codec.RemoteEvent(m, &r.reg)
	return read.Far, err
}

// delivered says what became of an event for a far domain. r.mu is not held.
func (r *inside) delivered(e *extension.RemoteEvent, err error) {
	m, wrong := copied(codec.Delivered(err))
	var o *extension.Outcome
	if wrong == nil {
		o, wrong = limits.Outcome(m, e.Kind)
	}
	if wrong != nil {
		o = &extension.Outcome{Err: wrong}
	}
	var b transport.Batch
	e.Owner.Apply(&b, o, func(error) {})
	b.Flush()
}

// applied notes what came of an outcome, on whatever goroutine. What it sent goes out before the
// next event of the key is handled. r.mu is not held.
func (r *inside) applied(y *insideKey, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	y.done, y.err = true, err
	if !y.flushing {
		r.end(y)
	}
}

// Between two tries while storage is away.
const (
	minInsidePause = 100 * time.Millisecond
	maxInsidePause = 4 * time.Second
)

// end ends the turn of a key.
func (r *inside) end(y *insideKey) {
	err := y.err
	y.done, y.err = false, nil
	y.forget = y.forget || err != nil
	switch {
	case errors.Is(err, extension.ErrConflict): // once more
	case errors.Is(err, extension.ErrUnavailable):
		y.pause = min(max(2*y.pause, minInsidePause), maxInsidePause)
		if !r.ending {
			y.clock = time.AfterFunc(y.pause, func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				y.clock, y.busy = nil, false
				r.next(y)
			})
			return
		}
	default:
		y.pause = 0
		r.n--
		r.bytes -= eventSize(y.events[0])
		y.events[0] = nil
		y.events = y.events[1:]
	}
	y.busy = false
	r.next(y)
}

// handle calls the handler of an event. The error is not the handler's: something can't be
// written or read as the contract has it. void is that of process.outcome. r.mu is not held.
func (r *inside) handle(ctx context.Context, e *extension.RemoteEvent) (o *extension.Outcome, void bool, err error) {
	h := r.kernel.Reader()
	call := func(ctx context.Context, q *pluginv1.Request) (*pluginv1.Response, error) {
		return codec.Answer(ctx, h, r.kernel.NewIDs, q), nil
	}
	var m *pluginv1.Outcome
	if r.through {
		m, void, err = through(ctx, r.p, e, call)
	} else {
		shown := *e // the handler may change what it is shown
		m, void = r.p.outcome(ctx, &shown, call)
	}
	if err != nil {
		return nil, true, err
	}
	o, err = limits.Outcome(m, e.Kind)
	return o, void || err != nil, err
}

// forgetNow calls Forget.
func (p *process) forgetNow(key string) {
	if p.forget == nil {
		return
	}
	if err := guarded(p.log, p.reg.Name, func() error { p.forget(key); return nil }); err != nil {
		p.log.Error("Forget failed", "error", err)
	}
}

// stop is the registration's Stop. The kernel has ended all events before.
func (r *inside) stop(ctx context.Context) error {
	r.mu.Lock()
	r.ending = true
	for _, y := range r.keys {
		if y.clock != nil {
			y.clock.Stop()
		}
	}
	r.mu.Unlock()
	if r.p.cancel != nil {
		r.p.cancel()
	}
	ended := make(chan struct{})
	go func() { r.tasks.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		return errors.New("plugin: handlers still run at the end")
	}
	if r.reg.Stop == nil {
		return nil
	}
	return r.reg.Stop(ctx)
}
