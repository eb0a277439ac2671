package host

import (
	"context"
	"fmt"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// A request that waits for its answer, by whom it was sent to and its id.
type requestKey struct {
	from, to jid.JID
	id       string
}

type request struct {
	expiry *time.Timer
	done   func(b *transport.Batch, answer *stanza.Stanza) // without both: none came in time
}

// mayRequest says whether the bound leaves room for one more request behind so
// many of the same handler. Handlers that run at once may together go a little
// beyond: what they were allowed is sent.
func (g *Guest) mayRequest(pending int) bool {
	g.hosts.mu.Lock()
	defer g.hosts.mu.Unlock()
	return g.requests+pending < maxRequests
}

// request sends an iq and notes whom its answer belongs to.
func (g *Guest) request(b *transport.Batch, s *stanza.Stanza, timeout time.Duration, state []byte, key string) transport.Wait {
	h := g.hosts
	r := &request{done: func(_ *transport.Batch, answer *stanza.Stanza) { g.reply(answer, state, key) }}
	h.mu.Lock()
	asked := h.expect(s, timeout, r)
	if asked {
		g.requests++
	}
	h.mu.Unlock()
	if !asked {
		return nil
	}
	return h.router.Route(b, &extension.Envelope{Stanza: s})
}

// Expect notes a request of the kernel itself, which the caller sends: the id is
// one that can't be guessed. done is called once, and must not wait: with the
// answer, in the turn that brought it, or with nil behind the timeout. It is not
// called behind forget, nor when the kernel has ended.
func (h *Hosts) Expect(s *stanza.Stanza, timeout time.Duration, done func(b *transport.Batch, answer *stanza.Stanza)) (forget func()) {
	r := &request{done: func(b *transport.Batch, answer *stanza.Stanza) {
		if answer == nil {
			h.late(done)
			return
		}
		done(b, answer)
	}}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expect(s, timeout, r)
	return func() {
		if h.take(requestKey{s.From, s.To, s.ID}, r) != nil {
			r.expiry.Stop()
		}
	}
}

// expect notes a request; false if requests have ended. h.mu is held.
func (h *Hosts) expect(s *stanza.Stanza, timeout time.Duration, r *request) bool {
	if h.tasks.stopping {
		return false
	}
	key := requestKey{s.From, s.To, s.ID}
	r.expiry = time.AfterFunc(timeout, func() {
		if h.take(key, r) != nil {
			r.done(nil, nil)
		}
	})
	h.requests[key] = r
	return true
}

// take removes and returns a waiting request: want, or any if that is nil.
func (h *Hosts) take(key requestKey, want *request) *request {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.requests[key]
	if r == nil || want != nil && r != want {
		return nil
	}
	delete(h.requests, key)
	return r
}

// late tells the kernel that no answer came in time.
func (h *Hosts) late(done func(b *transport.Batch, answer *stanza.Stanza)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.enqueue(func(context.Context) {
		var b transport.Batch
		done(&b, nil)
		b.Flush()
	})
}

// Answer gives an iq result or error to who asked. The router calls it for
// answers to the server, to accounts and to components; what nobody asked for is
// ignored (RFC 6120 8.2.3).
func (h *Hosts) Answer(b *transport.Batch, s *stanza.Stanza) {
	if r := h.take(requestKey{s.To, s.From, s.ID}, nil); r != nil {
		r.expiry.Stop()
		r.done(b, s)
	}
}

// reply has the Reply handler called. The request counts until that returns.
func (g *Guest) reply(answer *stanza.Stanza, state []byte, key string) {
	if g.Elsewhere() {
		g.offer(&Event{RemoteEvent: extension.RemoteEvent{
			Kind: extension.Replied, Key: key, Reply: extension.Reply{Answer: answer, State: state},
		}}, &g.requests)
		return
	}
	g.event(&g.requests, g.Later(func(ctx context.Context, host *extension.Host) error {
		return g.Reg.Reply(ctx, host, extension.Reply{Answer: answer, State: state})
	}, g.logged("reply handler")))
}

// event runs w, unless events have ended. Then count goes down by one.
func (g *Guest) event(count *int, w transport.Wait) {
	h := g.hosts
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tasks.stopping {
		return
	}
	h.enqueue(func(ctx context.Context) {
		w(ctx)
		h.mu.Lock()
		defer h.mu.Unlock()
		*count--
	})
}

// timersOf implements extension.Timers.
type timersOf struct{ t *tx }

type timerKey struct {
	g   *Guest
	key string
}

type timer struct {
	state []byte
	order string // key of its event, of guests that run elsewhere
	due   time.Time
	clock *time.Timer // nil: its time does not go on
}

func (t *timer) stop() {
	if t.clock != nil {
		t.clock.Stop()
	}
}

func (x timersOf) Set(key string, d time.Duration, state []byte) error {
	return x.SetFor("", key, d, state)
}

func (x timersOf) SetFor(order, key string, d time.Duration, state []byte) error {
	order, err := x.t.order(order)
	if err != nil {
		return err
	}
	if x.t.g.Reg.Timer == nil && !x.t.g.Elsewhere() {
		return fmt.Errorf("host: %s has no Timer handler", x.t.g.Reg.Name)
	}
	if len(state) > maxState {
		return fmt.Errorf("%w: a timer has at most %d bytes of state", extension.ErrBound, maxState)
	}
	if !x.t.g.mayTime(key, x.t.timers) {
		return fmt.Errorf("%w: an extension has at most %d timers", extension.ErrBound, maxTimers)
	}
	x.t.timers++
	x.t.later(func(*transport.Batch) transport.Wait {
		x.t.g.setTimer(timerKey{x.t.g, key}, max(0, d), state, order)
		return nil
	})
	return nil
}

func (x timersOf) Cancel(key string) {
	x.t.later(func(*transport.Batch) transport.Wait {
		h := x.t.g.hosts
		h.mu.Lock()
		defer h.mu.Unlock()
		if old := h.timers[timerKey{x.t.g, key}]; old != nil {
			old.stop()
			delete(h.timers, timerKey{x.t.g, key})
			x.t.g.timers--
		}
		return nil
	})
}

// mayTime says whether the bound leaves room for this timer behind so many of
// the same handler; see mayRequest.
func (g *Guest) mayTime(key string, pending int) bool {
	g.hosts.mu.Lock()
	defer g.hosts.mu.Unlock()
	return g.timers+pending < maxTimers || g.hosts.timers[timerKey{g, key}] != nil
}

// setTimer sets a timer, which counts until its handler has returned. Behind the end
// of events it is set for the next process (saved.go).
func (g *Guest) setTimer(key timerKey, d time.Duration, state []byte, order string) {
	h := g.hosts
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.timers[key]; old != nil {
		old.stop()
	} else {
		g.timers++
	}
	t := &timer{state: state, order: order, due: h.Now().Add(d)}
	h.timers[key] = t
	if !h.tasks.stopping {
		h.wind(key, t)
	}
}
