package extensiontest

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

type timer struct {
	at    time.Time
	state []byte
}

// Request is what an extension asked and nobody answered yet.
type Request struct {
	Stanza *stanza.Stanza // with the id that the kernel gave it
	State  []byte
	until  time.Time
}

// request notes a request under a new id.
func (h *Harness) request(s *stanza.Stanza, timeout time.Duration, state []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requestN++
	head := s.Header
	head.ID = "request-" + strconv.Itoa(h.requestN)
	s = s.With(head)
	h.requests = append(h.requests, Request{s, state, h.now.Add(timeout)})
	h.effects = append(h.effects, Effect{Kind: Requested, Stanza: s})
}

// Requests returns the requests that wait for an answer, oldest first.
func (h *Harness) Requests() []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.requests)
}

// Answer gives an iq of type result or error to the extension, and reports
// whether it had asked for it: by address and id.
func (h *Harness) Answer(s *stanza.Stanza) bool {
	h.mu.Lock()
	i := slices.IndexFunc(h.requests, func(r Request) bool {
		return r.Stanza.ID == s.ID && r.Stanza.To == s.From && r.Stanza.From == s.To
	})
	if i < 0 {
		h.mu.Unlock()
		return false
	}
	r := h.requests[i]
	h.requests = slices.Delete(h.requests, i, i+1)
	h.mu.Unlock()
	h.reply(extension.Reply{Answer: s, State: r.State})
	return true
}

func (h *Harness) reply(r extension.Reply) {
	h.run("Reply", false, func(ctx context.Context, host *extension.Host) error {
		return h.reg.Reply(ctx, host, r)
	}, func(error) {})
}

// Advance moves the clock on by d, and stops on its way wherever a timer fires
// or a request runs out of time: handlers see the time that they asked for.
func (h *Harness) Advance(d time.Duration) {
	h.mu.Lock()
	end := h.now.Add(d)
	h.mu.Unlock()
	for h.step(end) {
	}
}

// step goes to the next event until end and handles it; false says that there
// was none.
func (h *Harness) step(end time.Time) bool {
	h.mu.Lock()
	at, key, request := end, "", -1
	found := false
	for k, t := range h.timers {
		if t.at.Before(at) || t.at.Equal(at) && (!found || k < key) {
			at, key, found = t.at, k, true
		}
	}
	for i, r := range h.requests {
		if r.until.Before(at) || r.until.Equal(at) && !found {
			at, request, found = r.until, i, true
		}
	}
	if at.After(h.now) {
		h.now = at
	}
	switch {
	case !found:
		h.mu.Unlock()
		return false
	case request >= 0:
		r := h.requests[request]
		h.requests = slices.Delete(h.requests, request, request+1)
		h.mu.Unlock()
		h.reply(extension.Reply{State: r.State})
	default:
		t := h.timers[key]
		delete(h.timers, key)
		h.mu.Unlock()
		h.run("Timer "+key, false, func(ctx context.Context, host *extension.Host) error {
			return h.reg.Timer(ctx, host, extension.Timer{Key: key, State: t.state})
		}, func(error) {})
	}
	return true
}

// Timers returns when each timer that is set will fire, by key.
func (h *Harness) Timers() map[string]time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := make(map[string]time.Time, len(h.timers))
	for k, t := range h.timers {
		m[k] = t.at
	}
	return m
}
