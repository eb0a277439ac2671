package host

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
)

// maxLeftovers is how many Waits given to Spawn may be under way.
const maxLeftovers = 100_000

// maxWorkTime bounds each handler that may wait, and each write with what
// follows it.
const maxWorkTime = 30 * time.Second

// cutOff is how long handlers may take to return once their context has ended.
const cutOff = 5 * time.Second

// tasks runs what no stream waits for: in the order that it came in, a bounded
// number at once, and beside these the notices of each extension.
type tasks struct {
	workers   int
	queue     []transport.Wait
	running   int
	beside    int // of begin
	out       int // events of guests that run elsewhere
	leftovers int
	stopping  bool          // no timer and no request begins any more
	drained   bool          // nor anything else
	idle      chan struct{} // closed when drained
}

// enqueue runs w, with the kernel's context, as soon as a worker is free. It is
// false when the tasks have ended. h.mu is held.
func (h *Hosts) enqueue(w transport.Wait) bool {
	t := &h.tasks
	switch {
	case t.drained:
		return false
	case t.running < t.workers:
		t.running++
		go h.work(w)
	default:
		t.queue = append(t.queue, w)
	}
	return true
}

// begin runs w beside the workers, which may be waiting for it. Who calls it has
// one such w at a time, or one for each stream that waits. It is false when the tasks have ended. h.mu is held.
func (h *Hosts) begin(w transport.Wait) bool {
	t := &h.tasks
	if t.drained {
		return false
	}
	t.beside++
	go func() {
		h.once(w)
		h.mu.Lock()
		defer h.mu.Unlock()
		t.beside--
		t.drain()
	}()
	return true
}

// carryOn takes a step for which no stream waits with a goroutine; what it leaves to wait
// for is done beside the workers. It is called within a task, or by a timer.
func (h *Hosts) carryOn(b *transport.Batch, step transport.Step) {
	w := step(b)
	if w == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begin(w)
}

// once runs w, unless the kernel has ended.
func (h *Hosts) once(w transport.Wait) {
	if h.ctx.Err() == nil {
		h.Own(w)(h.ctx)
	}
}

// work runs w and then others, until none is left.
func (h *Hosts) work(w transport.Wait) {
	for w != nil {
		h.once(w)
		h.mu.Lock()
		t := &h.tasks
		if len(t.queue) > 0 {
			w, t.queue[0] = t.queue[0], nil
			t.queue = t.queue[1:]
		} else {
			w = nil
			t.running--
			t.drain()
		}
		h.mu.Unlock()
	}
}

// drain notes the end of the last task of tasks that are stopping.
func (t *tasks) drain() {
	if t.stopping && t.running+t.beside+t.out == 0 && !t.drained {
		t.drained = true
		close(t.idle)
	}
}

// Spawn runs what is left to do when a session has ended, and nobody is there
// to wait for it. At most 100,000 are under way; those beyond, and those behind
// the end of Stop, are dropped with an error in the log, and it returns false.
// Timers, notices and answers to requests do not count: they have bounds of their
// own.
func (h *Hosts) Spawn(w transport.Wait) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := &h.tasks
	ok := t.leftovers < maxLeftovers && h.enqueue(func(ctx context.Context) {
		w(ctx)
		h.mu.Lock()
		defer h.mu.Unlock()
		t.leftovers--
	})
	if ok {
		t.leftovers++
		return true
	}
	h.Log.Error("what a session left to do was dropped: too much waits, or the server has ended", "waiting", t.leftovers)
	return false
}

// Tasks returns how much waits or runs.
func (h *Hosts) Tasks() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.tasks.queue) + h.tasks.running + h.tasks.beside + h.tasks.out
}

// Own makes a Wait the kernel's: its context is not that of the connection that
// waits for it, but ends with the kernel, or after 30 seconds. Whatever carries
// a stanza that was taken is to be owned: it is not lost with its sender's
// connection. nil stays nil.
func (h *Hosts) Own(w transport.Wait) transport.Wait {
	if w == nil {
		return nil
	}
	return func(context.Context) {
		ctx, cancel := context.WithTimeout(h.ctx, maxWorkTime)
		defer cancel()
		w(ctx)
	}
}

// Await waits for a channel, nil for nothing, as long as the kernel runs.
func (h *Hosts) Await(c <-chan struct{}) {
	if c == nil {
		return
	}
	select {
	case <-c:
	case <-h.ctx.Done():
	}
}

// Stop ends timers and requests, lets what is under way come to its end until
// ctx ends, and cuts off the rest; events that are out after five seconds, or after one if only peers elsewhere
// are waited for. When it returns no handler is running, and
// none will be called; but for handlers that did not return within 5 seconds of
// the end of their context, which are an error.
func (h *Hosts) Stop(ctx context.Context) error {
	h.adminCalls.stop()
	h.mu.Lock()
	h.tasks.stopping = true
	for _, t := range h.timers {
		t.stop() // what is set is for Save
	}
	for k, r := range h.requests {
		r.expiry.Stop()
		delete(h.requests, k)
	}
	for _, g := range h.remotes {
		if g.offers.clock != nil {
			g.offers.clock.Stop()
		}
	}
	h.tasks.drain()
	h.mu.Unlock()
	cut := time.AfterFunc(cutEvents, h.cutOut)
	defer cut.Stop()
	far := time.AfterFunc(cutFar, h.cutIfFar)
	defer far.Stop()
	ended := make(chan struct{})
	go func() {
		<-h.tasks.idle
		<-h.calls.shut()
		h.appender.stop()
		h.underway.Wait()
		close(ended)
	}()
	defer h.cancel()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	err := fmt.Errorf("host: handlers were cut off: %w", ctx.Err())
	h.cutOut()
	h.calls.shut()
	h.cancel()
	last := time.NewTimer(cutOff)
	defer last.Stop()
	select {
	case <-ended:
		return err
	case <-last.C:
		return errors.Join(err, fmt.Errorf("host: handlers still run %v after that", cutOff))
	}
}

// gate counts the calls of handlers, and can be shut.
type gate struct {
	n    atomic.Int64 // calls; negative when it is shut
	shot sync.Once
	once sync.Once
	idle chan struct{} // closed when it is shut and the last call has returned
}

const shutGate = math.MinInt64

// enter is false when the gate is shut; otherwise leave must follow.
func (g *gate) enter() bool {
	if g.n.Add(1) > 0 {
		return true
	}
	g.leave()
	return false
}

func (g *gate) leave() {
	if g.n.Add(-1) == shutGate {
		g.once.Do(func() { close(g.idle) })
	}
}

// shut lets nobody in any more; the channel is closed when nobody is left.
func (g *gate) shut() <-chan struct{} {
	g.shot.Do(func() {
		if g.n.Add(shutGate) == shutGate {
			g.once.Do(func() { close(g.idle) })
		}
	})
	return g.idle
}
