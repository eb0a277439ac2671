package host

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// ConflictRetries is how often handlers run whose Swap fails.
const ConflictRetries = 3

// Handler is a call of an extension's code.
type Handler func(ctx context.Context, h *extension.Host) error

// Done is told the outcome of a handler; the answer that it makes of it goes
// out before anything that the handler asked for, by its Wait if need be.
type Done func(b *transport.Batch, err error) transport.Wait

// Run calls fn on this goroutine and applies what it asked for. done is told
// the outcome when writes are committed and before anything else is applied.
// The Wait that is left (writes, or routes that wait) is nil if all is done.
func (g *Guest) Run(ctx context.Context, b *transport.Batch, fn Handler, done Done) transport.Wait {
	return g.run(ctx, b, view{}, fn, done)
}

// RunFor is Run on behalf of a session.
func (g *Guest) RunFor(ctx context.Context, b *transport.Batch, o extension.Origin, fn Handler, done Done) transport.Wait {
	return g.run(ctx, b, view{session: o.Session, fence: o.Fence}, fn, done)
}

func (g *Guest) run(ctx context.Context, b *transport.Batch, v view, fn Handler, done Done) transport.Wait {
	t, err := g.call(ctx, fn, v)
	if err != nil || t.empty() {
		return t.finish(b, err, done)
	}
	return g.hosts.Own(func(ctx context.Context) {
		err := g.commit(ctx, &t, fn)
		transport.Run(ctx, func(b *transport.Batch) transport.Wait { return t.finish(b, err, done) })
	})
}

// finish answers, and applies what was asked for unless the handler failed.
func (t *tx) finish(b *transport.Batch, err error, done Done) transport.Wait {
	answer := func(b *transport.Batch) transport.Wait { return done(b, err) }
	if err == nil {
		t.remember()
	}
	if err != nil || len(t.first) == 0 && len(t.after) == 0 {
		return answer(b)
	}
	return transport.Steps(b, append(t.first, answer, t.apply)...)
}

// Later is Run for a handler that may wait, in the Wait.
func (g *Guest) Later(fn Handler, done Done) transport.Wait { return g.later(view{}, fn, done) }

// Ask is Later for a request of a peer, which came in by o: what it reads of an
// account has what the guest's notices about it wrote.
func (g *Guest) Ask(o extension.Origin, fn Handler, done Done) transport.Wait {
	return g.later(view{behindNotices: true, session: o.Session, fence: o.Fence}, fn, done)
}

func (g *Guest) later(v view, fn Handler, done Done) transport.Wait {
	return g.hosts.Own(func(ctx context.Context) {
		transport.Run(ctx, func(b *transport.Batch) transport.Wait { return g.run(ctx, b, v, fn, done) })
	})
}

// StartGuest calls the extension's Start. What it asks for is applied.
func (g *Guest) StartGuest(ctx context.Context) (failed error) {
	if g.Reg.Start == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, maxWorkTime)
	defer cancel()
	transport.Run(ctx, func(b *transport.Batch) transport.Wait {
		return g.Run(ctx, b, g.Reg.Start, func(_ *transport.Batch, err error) transport.Wait {
			failed = err
			return nil
		})
	})
	return failed
}

// logged is the Done of handlers that nobody waits for.
func (g *Guest) logged(what string) Done {
	return func(_ *transport.Batch, err error) transport.Wait {
		g.Log(what, err)
		return nil
	}
}

// commit writes t; where a Swap failed it calls the handler again.
func (g *Guest) commit(ctx context.Context, t **tx, fn Handler) error {
	for try := 1; ; try++ {
		err := g.hosts.commit(ctx, (*t).writes)
		if !Again(err, try) {
			return StoreError(err)
		}
		v := (*t).view
		if v.about, err = g.hosts.about(ctx, v.about); err != nil {
			return err
		}
		again, err := g.call(ctx, fn, v)
		if err != nil {
			return err
		}
		if *t = again; again.empty() {
			return nil
		}
	}
}

// call calls a handler once; a panic becomes an error. No handler is called
// behind Hosts.Stop.
func (g *Guest) call(ctx context.Context, fn Handler, v view) (t *tx, err error) {
	t = &tx{g: g, view: v}
	if !g.hosts.calls.enter() {
		return t, stanza.Err(stanza.ServiceUnavailable, "the server is shutting down")
	}
	defer func() {
		if p := recover(); p != nil {
			g.log.Error("handler panicked; nothing that it asked for was applied", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("extension %s: panic", g.Reg.Name)
		}
		g.hosts.calls.leave()
	}()
	if err = fn(ctx, t.host()); err == nil {
		err = t.err
	}
	return t, err
}

// Log logs what a handler returned, unless it was an answer to a peer.
func (g *Guest) Log(what string, err error) {
	var se *stanza.Error
	if err != nil && !errors.As(err, &se) {
		g.log.Error(what+" failed", "error", err)
	}
}

// StoreError makes of an error of storage what the sender is told.
func StoreError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrNotFound): // the account has just been removed
		return stanza.Err(stanza.ItemNotFound, "")
	case errors.Is(err, storage.ErrConflict):
		return stanza.Err(stanza.ResourceConstraint, "too many changes at once")
	case errors.Is(err, errBehind):
		return stanza.Err(stanza.ResourceConstraint, "storage is behind; send it again later")
	}
	return fmt.Errorf("commit: %w", err)
}
