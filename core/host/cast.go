package host

import (
	"context"
	"slices"
	"sync"

	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Turns of a group: what is asked of it is done in order. Who finds nobody has the
// turn does it at once, on its own goroutine. What has to wait, since something is to
// be read first, and what came meanwhile, is done by a goroutine of the group's, which
// waits for storage and for nothing else: so none of the handlers that wait for it can
// be in its way.

// cast is extension.Cast, checked.
type cast struct {
	plain    castStanza
	variants []variant
	only     string
	few      []jid.JID // exceptions, or
	except   map[jid.JID]struct{}
}

type variant struct {
	class string
	castStanza
}

// castStanza is a stanza of which copies are made.
type castStanza struct {
	*stanza.Stanza // without a to; nil for nothing
	fork           *cluster.Fork
}

// newCastStanza has copies that a session loses be dropped: the rule for lost messages
// (router.Lost) would take some of them to others, or into storage.
func newCastStanza(st *stanza.Stanza) castStanza {
	c := castStanza{Stanza: st}
	switch {
	case st.Kind != stanza.Message, st.Type == stanza.GroupChat, st.Type == stanza.Headline, st.Type == stanza.TypeError:
		return c
	}
	c.fork = &cluster.Fork{}
	return c
}

// to returns what a member gets; nothing if its Stanza is nil.
func (c *cast) to(m *extension.Member) (none castStanza) {
	switch {
	case c.only != "" && !slices.Contains(m.Classes, c.only), len(c.few) > 0 && slices.Contains(c.few, m.JID):
		return none
	}
	if c.except != nil {
		if _, excepted := c.except[m.JID]; excepted {
			return none
		}
	}
	for i := range c.variants {
		if v := &c.variants[i]; slices.Contains(m.Classes, v.class) {
			return v.castStanza
		}
	}
	return c.plain
}

// Copy is what one member of a group is sent.
type Copy struct {
	Stanza   *stanza.Stanza // without a to; others have it, too
	From, To jid.JID        // From is written instead of the stanza's, unless zero
	Fork     *cluster.Fork  // nil for what is dropped when it is lost
	Resident *Resident      // of the account; nil: what is in memory
	Told     uint64         // which handlers observe elsewhere, and were told: pipeline.Told
}

// Addressed returns the stanza as it goes out.
func (c *Copy) Addressed() *stanza.Stanza {
	h := c.Stanza.Header
	h.To = c.To
	if !c.From.IsZero() {
		h.From = c.From
	}
	return c.Stanza.With(h)
}

// Fate is what became of a Copy.
type Fate struct {
	// Waits: what is resident of the account is to be loaded first, or a handler that
	// runs elsewhere has to decide. Nothing was done. Not of CopyWaiting.
	Waits bool
	// Onward is to be routed: the copy itself, or an error for whoever it is from.
	Onward *stanza.Stanza
	// Far: it is for a far domain, and goes there with others, by Router.Far. Nothing was done.
	Far bool
}

// ask does what a handler asks of a group, or has it done in its turn. The Wait is
// nil if it is done.
func (g *Guest) ask(b *transport.Batch, name string, t *groupTurn) transport.Wait {
	gs := &g.groups
	gs.mu.Lock()
	gr := gs.named[name]
	if gr == nil {
		joins := slices.IndexFunc(t.ops, func(op groupOp) bool { return op.join != nil })
		if joins < 0 { // nobody is in it
			gs.mu.Unlock()
			return nil
		}
		gr = &group{name: name}
		if gs.named == nil {
			gs.named = map[string]*group{}
		}
		gs.named[name] = gr
	}
	if gr.busy {
		t.done = make(chan struct{})
		gr.queue = append(gr.queue, t)
		gs.mu.Unlock()
		return g.hosts.wait(t)
	}
	gr.busy = true
	waiting := g.advance(b, gr, t)
	if len(waiting) > 0 {
		t.done = make(chan struct{})
		gs.mu.Unlock()
		g.goOn(gr, t, waiting)
		return g.hosts.wait(t)
	}
	more := len(gr.queue) > 0
	gr.busy = more
	gs.tidy(gr)
	gs.mu.Unlock()
	if more {
		g.goOn(gr, nil, nil)
	}
	return nil
}

// advance does what is left of a turn up to a cast some of whose copies have to wait:
// it returns these. gs.mu is held, but not while copies are given.
func (g *Guest) advance(b *transport.Batch, gr *group, t *groupTurn) (waiting []Copy) {
	gs := &g.groups
	for len(t.ops) > 0 && len(waiting) == 0 {
		op := &t.ops[0]
		t.ops = t.ops[1:]
		if op.cast == nil {
			gs.change(gr, op)
			continue
		}
		gs.mu.Unlock()
		waiting = g.copies(b, gr, op.cast)
		gs.mu.Lock()
	}
	return waiting
}

// wait waits for the end of a turn.
func (h *Hosts) wait(t *groupTurn) transport.Wait {
	return h.Own(func(ctx context.Context) {
		select {
		case <-t.done:
		case <-ctx.Done():
		}
	})
}

// tidy forgets a group without members that nobody does anything in. gs.mu is held.
func (gs *groups) tidy(gr *group) {
	if !gr.busy && gr.members.n == 0 && !gr.relay.running {
		delete(gs.named, gr.name)
	}
}

// goOn has the rest of a turn, if there is one, and what waits behind it be done by a
// goroutine of the group's. At the end of the kernel, when there is none any more,
// it is done at once.
func (g *Guest) goOn(gr *group, t *groupTurn, waiting []Copy) {
	h := g.hosts
	run := func(context.Context) { g.takeTurns(gr, t, waiting) }
	h.mu.Lock()
	began := h.begin(run)
	h.mu.Unlock()
	if !began {
		run(h.ctx)
	}
}

// flushAfter is how many turns share a Batch.
const flushAfter = 8

// takeTurns does what waits until nothing does.
func (g *Guest) takeTurns(gr *group, t *groupTurn, waiting []Copy) {
	gs := &g.groups
	var b transport.Batch
	defer b.Flush()
	gs.mu.Lock()
	defer gs.mu.Unlock()
	for n := 1; ; n++ {
		for t != nil && (len(waiting) > 0 || len(t.ops) > 0) {
			if len(waiting) > 0 {
				gs.mu.Unlock()
				b.Flush() // others need not wait for storage
				g.settle(&b, gr, waiting)
				gs.mu.Lock()
			}
			waiting = g.advance(&b, gr, t)
		}
		if t != nil {
			close(t.done)
		}
		if len(gr.queue) == 0 {
			gr.busy = false
			gs.tidy(gr)
			return
		}
		t, gr.queue[0] = gr.queue[0], nil
		gr.queue = gr.queue[1:]
		if n%flushAfter == 0 {
			gs.mu.Unlock()
			b.Flush()
			gs.mu.Lock()
		}
	}
}

// copies gives members their copies, and returns those that have to wait.
func (g *Guest) copies(b *transport.Batch, gr *group, c *cast) (waiting []Copy) {
	var left []transport.Wait
	var one Copy // the memory of all of them
	var away farCopies
	for _, m := range gr.members.from("") {
		st := c.to(m)
		if st.Stanza == nil {
			continue
		}
		one = Copy{Stanza: g.copyFor(m, st.Stanza), To: m.JID, Fork: st.fork, From: m.From}
		fate := g.hosts.router.Copy(b, &one)
		switch {
		case fate.Waits:
			waiting = append(waiting, one)
		case fate.Onward != nil:
			left = g.onward(b, left, fate.Onward)
		case fate.Far:
			away.add(&one)
		}
	}
	for i := range away.all {
		if w := g.hosts.router.Far(b, away.all[i].domain, away.all[i].made(), away.whom[i]); w != nil {
			left = append(left, w)
		}
	}
	g.relay(gr, left)
	return waiting
}

// onward routes what does not end here, and adds what that leaves to do.
func (g *Guest) onward(b *transport.Batch, left []transport.Wait, st *stanza.Stanza) []transport.Wait {
	if w := g.hosts.router.Route(b, &extension.Envelope{Stanza: st}); w != nil {
		left = append(left, w)
	}
	return left
}

// settlers is how many copies of a group are waited for at once.
const settlers = 8

// settle loads what copies wait for, and gives them. b is the caller's, for what is
// routed on; the copies themselves go out at once.
func (g *Guest) settle(b *transport.Batch, gr *group, waiting []Copy) {
	h := g.hosts
	ctx, cancel := context.WithTimeout(h.ctx, maxWorkTime)
	defer cancel()
	errs, fates := make([]error, len(waiting)), make([]Fate, len(waiting))
	var all sync.WaitGroup
	slots := make(chan struct{}, settlers)
	for i := range waiting {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			one := &waiting[i]
			if one.Resident, errs[i] = h.LoadResident(ctx, one.To.Bare()); errs[i] != nil {
				return
			}
			var own transport.Batch
			fates[i] = h.router.CopyWaiting(ctx, &own, one)
			own.Flush()
		})
	}
	all.Wait()
	var left []transport.Wait
	var failed error
	for i := range waiting {
		one := &waiting[i]
		if errs[i] != nil {
			failed = errs[i]
			if one.Stanza.Kind == stanza.Message {
				fates[i].Onward = one.Addressed().ErrorReply(stanza.Err(stanza.InternalServerError, ""))
			}
		}
		if fates[i].Onward != nil {
			left = g.onward(b, left, fates[i].Onward)
		}
	}
	if failed != nil {
		g.log.Error("members of a group did not get their copies: what they have blocked, and the like, could not be read", "error", failed)
	}
	g.relay(gr, left)
}

// relay is what is left to do of copies that were routed, and of errors: it is done in
// order, and no handler waits for it, since it may be its own that is called.
type relay struct {
	queue   []transport.Wait
	running bool
}

// maxRelayed is how much of it may wait for one extension.
const maxRelayed = 100_000

func (g *Guest) relay(gr *group, left []transport.Wait) {
	if len(left) == 0 {
		return
	}
	gs, h := &g.groups, g.hosts
	gs.mu.Lock()
	defer gs.mu.Unlock()
	room := max(0, maxRelayed-gs.relayed)
	taken := left[:min(room, len(left))]
	if len(taken) > 0 && !gr.relay.running {
		h.mu.Lock()
		gr.relay.running = h.enqueue(func(ctx context.Context) { g.relayNext(ctx, gr) })
		h.mu.Unlock()
	}
	if !gr.relay.running {
		taken = nil
	}
	if dropped := len(left) - len(taken); dropped > 0 {
		if !gs.full {
			g.log.Error("copies for members of a group that are not here, or errors for the group, are dropped: too much waits, or the server has ended", "waiting", gs.relayed)
		}
		gs.full = true
	}
	gs.relayed += len(taken)
	gr.relay.queue = append(gr.relay.queue, taken...)
}

// maxRelay is how much of it is done in one go: then others have their turn.
const maxRelay = 64

func (g *Guest) relayNext(ctx context.Context, gr *group) {
	gs, h := &g.groups, g.hosts
	gs.mu.Lock()
	n := min(maxRelay, len(gr.relay.queue))
	some := gr.relay.queue[:n:n]
	gr.relay.queue = gr.relay.queue[n:]
	gs.mu.Unlock()
	for _, w := range some {
		w(ctx)
	}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.relayed -= n; gs.relayed == 0 {
		gs.full = false
	}
	if len(gr.relay.queue) > 0 {
		h.mu.Lock()
		more := h.enqueue(func(ctx context.Context) { g.relayNext(ctx, gr) })
		h.mu.Unlock()
		if more {
			return
		}
		gs.relayed -= len(gr.relay.queue)
	}
	gr.relay = relay{}
	gs.tidy(gr)
}
