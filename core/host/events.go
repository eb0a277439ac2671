package host

import (
	"context"
	"crypto/rand"
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
	g      *Guest
	state  []byte
	expiry *time.Timer
}

// request sends an iq and notes whom its answer belongs to. The id is made
// here, so that no answer can be guessed.
func (g *Guest) request(b *transport.Batch, s *stanza.Stanza, timeout time.Duration, state []byte) transport.Wait {
	h := g.hosts
	head := s.Header
	head.ID = rand.Text()
	s = s.With(head)
	key := requestKey{s.From, s.To, s.ID}
	r := &request{g: g, state: state}
	h.mu.Lock()
	switch {
	case h.stopped:
		h.mu.Unlock()
		return nil
	case len(h.requests) >= maxRequests:
		h.mu.Unlock()
		g.log.Warn("too many requests wait for an answer: one was not sent", "to", s.To.String())
		h.reply(r, nil)
		return nil
	}
	r.expiry = time.AfterFunc(timeout, func() {
		if h.take(key) == r {
			h.reply(r, nil)
		}
	})
	h.requests[key] = r
	h.mu.Unlock()
	return h.router.Route(b, &extension.Envelope{Stanza: s})
}

// take removes and returns a waiting request.
func (h *Hosts) take(key requestKey) *request {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.requests[key]
	delete(h.requests, key)
	return r
}

// Answer gives an iq result or error to the extension that asked. The router
// calls it for answers to the server, to accounts and to components; what
// nobody asked for is ignored (RFC 6120 8.2.3).
func (h *Hosts) Answer(s *stanza.Stanza) {
	if r := h.take(requestKey{s.To, s.From, s.ID}); r != nil {
		r.expiry.Stop()
		h.reply(r, s)
	}
}

func (h *Hosts) reply(r *request, answer *stanza.Stanza) {
	g := r.g
	h.Spawn(g.Later(func(ctx context.Context, host *extension.Host) error {
		return g.Reg.Reply(ctx, host, extension.Reply{Answer: answer, State: r.state})
	}, func(_ *transport.Batch, err error) { g.Log("reply handler", err) }))
}

// timersOf implements extension.Timers.
type timersOf struct{ t *tx }

type timerKey struct {
	g   *Guest
	key string
}

type timer struct {
	state []byte
	clock *time.Timer
}

func (t *timer) stop() { t.clock.Stop() }

func (x timersOf) Set(key string, d time.Duration, state []byte) error {
	if x.t.g.Reg.Timer == nil {
		return fmt.Errorf("host: %s has no Timer handler", x.t.g.Reg.Name)
	}
	if len(state) > maxState {
		return fmt.Errorf("%w: a timer has at most %d bytes of state", extension.ErrBound, maxState)
	}
	x.t.later(func(*transport.Batch) transport.Wait {
		x.t.g.setTimer(timerKey{x.t.g, key}, max(0, d), state)
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
		}
		return nil
	})
}

func (g *Guest) setTimer(key timerKey, d time.Duration, state []byte) {
	h := g.hosts
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return
	}
	if old := h.timers[key]; old != nil {
		old.stop()
	} else if len(h.timers) >= maxTimers {
		g.log.Warn("too many timers are set: one was not", "key", key.key)
		return
	}
	t := &timer{state: state}
	h.timers[key] = t
	t.clock = time.AfterFunc(d, func() {
		h.mu.Lock()
		current := h.timers[key] == t
		if current {
			delete(h.timers, key)
		}
		h.mu.Unlock()
		if current {
			h.Spawn(g.Later(func(ctx context.Context, host *extension.Host) error {
				return g.Reg.Timer(ctx, host, extension.Timer{Key: key.key, State: t.state})
			}, func(_ *transport.Batch, err error) { g.Log("timer handler", err) }))
		}
	})
}
