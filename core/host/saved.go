package host

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// What extensions keep in memory goes over a planned restart: Save behind Stop,
// Restore before Start of the extensions, and Resume behind it. So do stanzas that a
// component elsewhere has, and answers to requests, if they have no outcome five seconds behind the
// end of the streams: the router takes these stanzas to their components once more, before anybody
// can send another one. Whatever somebody waits for has ended by then: a verdict, a request to the server or to an
// account. Notices, and what observers are told, are dropped.

// Save returns what the guest has in memory, groups and timers, and events; ok is false if it has
// nothing. No handler runs any more.
func (g *Guest) Save() (s storage.SavedExtension, ok bool) {
	s.Name = g.Reg.Name
	m := &g.memory
	m.mu.RLock()
	s.Revision = m.revision
	for key, e := range m.entries.from("") {
		s.Memory = append(s.Memory, storage.SavedValue{Key: key, Value: e.value, Revision: e.revision})
	}
	m.mu.RUnlock()
	gs := &g.groups
	gs.mu.Lock()
	for name, gr := range gs.named {
		if gr.members.n == 0 {
			continue
		}
		saved := storage.SavedGroup{Name: name}
		for _, one := range gr.members.from("") {
			saved.Members = append(saved.Members, storage.SavedMember(*one))
		}
		s.Groups = append(s.Groups, saved)
	}
	gs.mu.Unlock()
	s.Timers = g.savedTimers()
	slices.SortFunc(s.Groups, func(a, b storage.SavedGroup) int { return cmp.Compare(a.Name, b.Name) })
	s.Events = g.savedEvents()
	return s, s.Revision > 0 || len(s.Groups) > 0 || len(s.Timers) > 0 || len(s.Events) > 0
}

// keeps says whether an event without an outcome is for the next process.
func (e *Event) keeps() bool {
	if !e.g.hosts.Keeps {
		return false
	}
	switch e.Kind {
	case extension.ToComponent, extension.ItemsAsked, extension.Replied:
		return true
	case extension.Asked:
		return e.Component >= 0
	}
	return false
}

// savedEvents returns those that had been given to the guest, in the order in which they
// were, and behind them the answers that it did not take.
func (g *Guest) savedEvents() (all []storage.SavedEvent) {
	h := g.hosts
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.SortFunc(g.kept, func(a, b *Event) int { return cmp.Compare(a.nth, b.nth) })
	for _, e := range g.kept {
		all = append(all, e.saved())
	}
	for _, e := range g.offers.queue {
		if e.Kind == extension.Replied && h.Keeps {
			all = append(all, e.saved())
		}
	}
	return all
}

func (e *Event) saved() storage.SavedEvent {
	s := storage.SavedEvent{At: e.At, Stanza: e.Stanza(), Ticket: e.Ticket}
	switch o := e.Envelope.Origin; e.Kind {
	case extension.Replied:
		s.Reply, s.Order, s.State = true, e.Key, e.Reply.State
	case extension.Asked, extension.ItemsAsked:
		o = e.IQ.Origin
		fallthrough
	default:
		s.Origin = storage.SavedOrigin{Session: o.Session, Domain: o.Domain, Addr: o.Addr, Secure: o.Secure}
	}
	return s
}

// Replied has the guest told of an answer that an earlier process has saved. It is called
// behind Start of the extensions.
func (g *Guest) Replied(s *storage.SavedEvent) {
	if g.Reg.Reply == nil && !g.Elsewhere() {
		g.log.Warn("an answer of before the restart is dropped: the extension has no handler for it any more")
		return
	}
	g.hosts.mu.Lock()
	g.requests++
	g.hosts.mu.Unlock()
	g.reply(s.Stanza, s.State, s.Order)
}

// savedTimers returns those that have not fired, and those whose handler was not
// called. Of one key the later one counts.
func (g *Guest) savedTimers() (all []storage.SavedTimer) {
	h := g.hosts
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, t := range h.timers {
		if key.g == g {
			all = append(all, storage.SavedTimer{Key: key.key, Due: t.due, Order: t.order, State: t.state})
		}
	}
	for t, key := range h.fired {
		if key.g == g && h.timers[key] == nil {
			all = append(all, storage.SavedTimer{Key: key.key, Due: t.due, Order: t.order, State: t.state})
		}
	}
	slices.SortFunc(all, func(a, b storage.SavedTimer) int { return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.Key, b.Key)) })
	return all
}

// Restore takes over what an earlier process has saved of the guest. It is called
// once, before the extensions start.
func (g *Guest) Restore(s *storage.SavedExtension) {
	m := &g.memory
	m.mu.Lock()
	m.revision = s.Revision
	for i := range s.Memory {
		v := &s.Memory[i]
		m.put(v.Key, &memoryEntry{value: v.Value, revision: v.Revision})
	}
	m.mu.Unlock()
	for i := range s.Groups {
		g.restoreGroup(&s.Groups[i])
	}
	if len(s.Timers) > 0 && g.Reg.Timer == nil && !g.Elsewhere() {
		g.log.Warn("timers of before the restart are dropped: the extension has no handler for them any more", "timers", len(s.Timers))
		return
	}
	h := g.hosts
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range s.Timers {
		t := &s.Timers[i]
		h.timers[timerKey{g, t.Key}] = &timer{state: t.State, order: t.Order, due: t.Due}
		g.timers++
	}
}

func (g *Guest) restoreGroup(s *storage.SavedGroup) {
	gs := &g.groups
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gr := &group{name: s.Name}
	dropped := 0
	for i := range s.Members {
		m := extension.Member(s.Members[i])
		if !m.From.IsZero() && g.mayCast(m.From) != nil {
			dropped++
			continue
		}
		gs.change(gr, &groupOp{join: &m})
	}
	if dropped > 0 {
		g.log.Warn("members of a group of before the restart are dropped: their copies would be from an address that the extension may not send from any more", "members", dropped)
	}
	if gr.members.n == 0 {
		return
	}
	if gs.named == nil {
		gs.named = map[string]*group{}
	}
	gs.named[s.Name] = gr
}

// Resume lets the time of timers that were restored go on.
func (h *Hosts) Resume() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, t := range h.timers {
		if t.clock == nil {
			h.wind(key, t)
		}
	}
}

// wind has a timer fire when it is due. h.mu is held.
func (h *Hosts) wind(key timerKey, t *timer) {
	t.clock = time.AfterFunc(max(0, t.due.Sub(h.Now())), func() { h.fire(key, t) })
}

// fire has the handler of a timer called. Behind the end of events the timer stays, for
// Save.
func (h *Hosts) fire(key timerKey, t *timer) {
	g := key.g
	h.mu.Lock()
	if h.timers[key] != t || h.tasks.stopping {
		h.mu.Unlock()
		return
	}
	delete(h.timers, key)
	h.fired[t] = key
	if g.Elsewhere() {
		h.mu.Unlock()
		g.offer(g.firing(key.key, t), &g.timers)
		return
	}
	defer h.mu.Unlock()
	called := false
	w := g.Later(func(ctx context.Context, host *extension.Host) error {
		called = true
		return g.Reg.Timer(ctx, host, extension.Timer{Key: key.key, State: t.state})
	}, g.logged("timer handler"))
	h.enqueue(func(ctx context.Context) {
		w(ctx)
		h.mu.Lock()
		defer h.mu.Unlock()
		g.timers--
		if called {
			delete(h.fired, t)
		}
	})
}

// firing is the event of a timer, of a guest that runs elsewhere. What ends since the
// kernel does was not handled.
func (g *Guest) firing(key string, t *timer) *Event {
	return &Event{
		RemoteEvent: extension.RemoteEvent{Kind: extension.Fired, Key: t.order, Timer: extension.Timer{Key: key, State: t.state}},
		Answer: func(_ *transport.Batch, _ *extension.Outcome, err error) transport.Wait {
			g.hosts.mu.Lock()
			if err == nil || !g.hosts.tasks.stopping {
				delete(g.hosts.fired, t)
			}
			g.hosts.mu.Unlock()
			g.Log("timer handler", err)
			return nil
		},
	}
}

// Holdings are how much of the kernel's memory an extension holds.
type Holdings struct {
	Groups, Members, Entries int
	MemoryBytes              int64
	Timers                   int  // that are set, or whose handler runs
	Used                     bool // it has, or had, something
}

// Holdings returns what the guest holds now.
func (g *Guest) Holdings() (now Holdings) {
	gs, m := &g.groups, &g.memory
	gs.mu.Lock()
	now.Groups, now.Members, now.Used = gs.filled, gs.members, gs.named != nil
	gs.mu.Unlock()
	m.mu.RLock()
	now.Entries, now.MemoryBytes = m.entries.n, m.bytes
	now.Used = now.Used || m.revision > 0
	m.mu.RUnlock()
	g.hosts.mu.Lock()
	now.Timers = g.timers
	g.hosts.mu.Unlock()
	now.Used = now.Used || now.Timers > 0
	return now
}
