package host

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// maxTurn is how many Ordered requests of one account are handled or wait. It has room
// for every client that a person may have.
const maxTurn = 20

// turns let the Ordered requests of one account to one extension follow one
// another, each to its end.
type turns struct {
	mu   sync.Mutex
	busy map[jid.JID]*turn // accounts whose request is handled
}

// turn is that of one account.
type turn struct {
	users int // who has it, and who waits
	queue []*waiter
}

// waiter waits for a turn.
type waiter struct {
	begin func(b *transport.Batch) // it has it
	clock *time.Timer              // gives it up; nil if that is done by somebody else
}

// enter asks for the turn of an account, in the order of the calls. began says that the
// caller has it at once; else begin is called when w has it, by who had it before. late, unless it is nil, is
// called instead if that takes longer than 30 seconds. Whoever has the turn calls leave, once. ok is false if too many
// wait.
func (t *turns) enter(account jid.JID, begin func(b *transport.Batch), late func()) (w *waiter, began, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.busy[account]
	switch {
	case one == nil:
		if t.busy == nil {
			t.busy = map[jid.JID]*turn{}
		}
		t.busy[account] = &turn{users: 1}
		return nil, true, true
	case one.users == maxTurn:
		return nil, false, false
	}
	w = &waiter{begin: begin}
	one.users++
	one.queue = append(one.queue, w)
	if late != nil {
		w.clock = time.AfterFunc(maxWorkTime, func() {
			if t.giveUp(account, w) {
				late()
			}
		})
	}
	return w, false, true
}

// giveUp takes a waiter away; false if it has the turn, or had it.
func (t *turns) giveUp(account jid.JID, w *waiter) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.busy[account]
	if one == nil {
		return false
	}
	i := slices.Index(one.queue, w)
	if i < 0 {
		return false
	}
	one.queue = slices.Delete(one.queue, i, i+1)
	one.users--
	return true
}

// leave gives the turn to the next one.
func (t *turns) leave(b *transport.Batch, account jid.JID) {
	t.mu.Lock()
	one := t.busy[account]
	if one.users--; one.users == 0 {
		delete(t.busy, account)
		t.mu.Unlock()
		return
	}
	next := one.queue[0]
	one.queue[0] = nil
	one.queue = one.queue[1:]
	if next.clock != nil {
		next.clock.Stop()
	}
	t.mu.Unlock()
	next.begin(b)
}

// take waits for the turn. It is false if too many wait, or ctx ends.
func (t *turns) take(ctx context.Context, account jid.JID) (ok bool) {
	began := make(chan struct{})
	w, now, ok := t.enter(account, func(*transport.Batch) { close(began) }, nil)
	if !ok || now {
		return ok
	}
	select {
	case <-began:
		return true
	case <-ctx.Done():
		return !t.giveUp(account, w)
	}
}

var errTurns = stanza.Err(stanza.ResourceConstraint, "too many requests of this account at once")

// AskInTurn is Ask for a handler that is Ordered: it has the account for itself
// until what it asked for is done. It must not be called within such a turn.
func (g *Guest) AskInTurn(account jid.JID, o extension.Origin, fn Handler, done Done) transport.Wait {
	w := g.Ask(o, fn, done)
	account = account.Clone()
	return g.hosts.Own(func(ctx context.Context) {
		if !g.turns.take(ctx, account) {
			transport.Run(ctx, func(b *transport.Batch) transport.Wait { return done(b, errTurns) })
			return
		}
		defer func() {
			var b transport.Batch
			g.turns.leave(&b, account)
			b.Flush()
		}()
		w(ctx)
	})
}

// InTurn takes a step when a guest that runs elsewhere has come to the end of what is Ordered of an
// account: at once, or later and by who was before; nobody waits. When what it began is done leave is to be called, once. done
// is told instead if too many wait for that, or it takes too long.
func (g *Guest) InTurn(b *transport.Batch, account jid.JID, step func(b *transport.Batch, leave func(b *transport.Batch)) transport.Wait, done Done) transport.Wait {
	account = account.Clone()
	begin := func(b *transport.Batch) transport.Wait {
		return step(b, func(b *transport.Batch) { g.turns.leave(b, account) })
	}
	_, now, ok := g.turns.enter(account, func(b *transport.Batch) { g.hosts.carryOn(b, begin) }, func() {
		var b transport.Batch
		g.hosts.carryOn(&b, func(b *transport.Batch) transport.Wait { return done(b, errTurns) })
		b.Flush()
	})
	switch {
	case !ok:
		return done(b, errTurns)
	case now:
		return begin(b)
	}
	return nil
}
