package host

import (
	"context"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// Effects are what the stage handlers of one stanza asked for: written by one
// commit before the stanza goes on, applied after it. The zero value is empty.
type Effects struct{ txs []*tx }

// Collect calls a stage handler on this goroutine and keeps what it asked for.
func (fx *Effects) Collect(g *Guest, fn Handler) error {
	t, err := g.call(context.Background(), fn)
	if err == nil && (len(t.ops) > 0 || len(t.after) > 0) {
		fx.txs = append(fx.txs, t)
	}
	return err
}

// Commit writes what is to be written and was not written yet, all or nothing.
func (fx *Effects) Commit(ctx context.Context, s storage.Store) error {
	if err := storeError(s.Commit(ctx, fx.ops())); err != nil {
		return err
	}
	for _, t := range fx.txs {
		t.ops = nil
	}
	return nil
}

// Pending says whether there is something to commit.
func (fx *Effects) Pending() bool {
	for _, t := range fx.txs {
		if len(t.ops) > 0 {
			return true
		}
	}
	return false
}

func (fx *Effects) ops() (ops []storage.Op) {
	for _, t := range fx.txs {
		ops = append(ops, t.ops...)
	}
	return ops
}

// Apply does what was asked for besides writes.
func (fx *Effects) Apply(b *transport.Batch) transport.Wait {
	var waits []transport.Wait
	for _, t := range fx.txs {
		if w := t.apply(b); w != nil {
			waits = append(waits, w)
		}
	}
	return transport.Sequence(waits)
}

// Detach commits and applies without holding up anything.
func (fx *Effects) Detach(b *transport.Batch) {
	if len(fx.txs) == 0 {
		return
	}
	g := fx.txs[0].g
	if !fx.Pending() {
		if w := fx.Apply(b); w != nil {
			g.hosts.Spawn(w)
		}
		return
	}
	rest := *fx
	g.hosts.Spawn(func(ctx context.Context) {
		if err := rest.Commit(ctx, g.hosts.Store); err != nil {
			g.Log("commit of a stage handler", err)
			return
		}
		var b transport.Batch
		w := rest.Apply(&b)
		b.Flush()
		if w != nil {
			w(ctx)
		}
	})
}

// StartGuest calls the extension's Start. What it asks for is applied.
func (g *Guest) StartGuest(ctx context.Context) error {
	if g.Reg.Start == nil {
		return nil
	}
	var failed error
	g.Later(func(ctx context.Context, h *extension.Host) error { return g.Reg.Start(ctx, h) },
		func(_ *transport.Batch, err error) { failed = err })(ctx)
	return failed
}
