package host

import (
	"context"
	"sync"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// maxTurn is how many Ordered requests of one account are handled or wait: each holds
// a goroutine of those that all streams share. It has room for every client that a
// person may have.
const maxTurn = 20

// turns let the Ordered requests of one account to one extension follow one
// another, each to its end.
type turns struct {
	mu   sync.Mutex
	busy map[jid.JID]*turn // accounts whose request is handled
}

// turn is that of one account.
type turn struct {
	users int           // who has it, and who waits
	free  chan struct{} // holds a token while nobody has it
}

// take waits for the turn of an account, in the order of the calls. Who has taken it
// calls leave, once. It is false if too many wait, or ctx ends.
func (t *turns) take(ctx context.Context, account jid.JID) (leave func(), ok bool) {
	t.mu.Lock()
	one := t.busy[account]
	if one == nil {
		if t.busy == nil {
			t.busy = map[jid.JID]*turn{}
		}
		one = &turn{free: make(chan struct{}, 1)}
		one.free <- struct{}{}
		t.busy[account] = one
	}
	if one.users == maxTurn {
		t.mu.Unlock()
		return nil, false
	}
	one.users++
	t.mu.Unlock()
	select {
	case <-one.free:
		return func() {
			one.free <- struct{}{}
			t.end(account, one)
		}, true
	case <-ctx.Done():
		t.end(account, one)
		return nil, false
	}
}

// end notes that somebody does not use a turn any more.
func (t *turns) end(account jid.JID, one *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one.users--; one.users == 0 {
		delete(t.busy, account)
	}
}

// AskInTurn is Ask for a handler that is Ordered: it has the account for itself
// until what it asked for is done. It must not be called within such a turn.
func (g *Guest) AskInTurn(account jid.JID, o extension.Origin, fn Handler, done Done) transport.Wait {
	w := g.Ask(o, fn, done)
	return g.InTurn(account, func(*transport.Batch) transport.Wait { return w }, done)
}

// InTurn takes a step, and what it leaves to wait for, in the turn of an account; done
// is told instead if too many wait for that.
func (g *Guest) InTurn(account jid.JID, step transport.Step, done Done) transport.Wait {
	return g.hosts.Own(func(ctx context.Context) {
		leave, ok := g.turns.take(ctx, account.Clone())
		if !ok {
			step = func(b *transport.Batch) transport.Wait {
				return done(b, stanza.Err(stanza.ResourceConstraint, "too many requests of this account at once"))
			}
			leave = func() {}
		}
		defer leave()
		transport.Run(ctx, step)
	})
}
