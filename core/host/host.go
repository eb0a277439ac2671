// Package host gives extensions what they ask of the kernel: the
// extension.Host of a handler is a transaction over storage, sends, timers and
// requests, with the permissions that the administrator granted.
//
// A Guest is one registered extension. Guest.Run and Guest.Later run a handler;
// stage handlers, of which several see one stanza, collect what they want in
// Effects, which are committed and applied once.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Bounds of what one extension may ask for.
const (
	maxRequests     = 10_000          // requests that wait for their answer
	maxTimers       = 100_000         // timers that are set
	maxState        = 4 << 10         // bytes of state of a request or timer
	maxRequestTime  = 5 * time.Minute // longest wait for an answer
	maxSends        = 1_000           // stanzas that one handler sends
	maxHandlerTime  = 30 * time.Second
	conflictRetries = 3 // runs of a handler whose Swap failed
)

// Router takes the stanzas that extensions send; package router is it.
type Router interface {
	// Route routes a stanza from the server or a component.
	Route(b *transport.Batch, e *extension.Envelope) transport.Wait
	// Submit takes a stanza as if a client of the account had sent it.
	Submit(b *transport.Batch, e *extension.Envelope) transport.Wait
}

// Accounts is what package auth offers.
type Accounts interface {
	auth.Verifier
	auth.Accounts
}

// Deps are what the host stands on.
type Deps struct {
	Domains  []string
	Store    storage.Store
	Accounts Accounts
	Sessions cluster.Registry
	Log      *slog.Logger
	Now      func() time.Time
	Workers  int // handlers of events that run at once
}

// Hosts holds what all guests share.
type Hosts struct {
	Deps
	router Router

	ctx    context.Context // ends with Stop
	cancel context.CancelFunc
	slots  chan struct{}

	// mu guards what follows, and that no task starts behind Stop.
	mu       sync.Mutex
	stopped  bool
	tasks    sync.WaitGroup
	timers   map[timerKey]*timer
	requests map[requestKey]*request
}

// New returns Hosts that run once Start was called.
func New(d Deps) *Hosts {
	ctx, cancel := context.WithCancel(context.Background())
	return &Hosts{
		Deps: d, ctx: ctx, cancel: cancel, slots: make(chan struct{}, max(1, d.Workers)),
		timers: map[timerKey]*timer{}, requests: map[requestKey]*request{},
	}
}

// Start gives the router. No handler runs before it.
func (h *Hosts) Start(r Router) { h.router = r }

// Stop ends timers and requests and waits for running event handlers until ctx
// ends.
func (h *Hosts) Stop(ctx context.Context) error {
	h.mu.Lock()
	h.stopped = true
	for k, t := range h.timers {
		t.stop()
		delete(h.timers, k)
	}
	for k, r := range h.requests {
		r.expiry.Stop()
		delete(h.requests, k)
	}
	h.mu.Unlock()
	done := make(chan struct{})
	go func() { h.tasks.Wait(); close(done) }()
	select {
	case <-done:
		h.cancel()
		return nil
	case <-ctx.Done():
		h.cancel()
		<-done // handlers return soon after their context ends
		return fmt.Errorf("host: handlers were cut off: %w", ctx.Err())
	}
}

// Spawn runs an event handler on a goroutine of its own, at most Workers at
// once. How many wait is bounded by the bounds on timers and requests.
func (h *Hosts) Spawn(w transport.Wait) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return
	}
	h.tasks.Add(1)
	go func() {
		defer h.tasks.Done()
		select {
		case h.slots <- struct{}{}:
			defer func() { <-h.slots }()
			w(h.ctx)
		case <-h.ctx.Done():
		}
	}()
}

// Guest is one registered extension.
type Guest struct {
	Reg     *extension.Registration
	hosts   *Hosts
	granted []extension.Permission
	domains []string // of its components
	log     *slog.Logger
}

// NewGuest admits an extension. domains are those of its components.
func (h *Hosts) NewGuest(reg *extension.Registration, granted []extension.Permission, domains []string) *Guest {
	return &Guest{reg, h, granted, domains, h.Log.With("extension", reg.Name)}
}

// permit returns the error that names the line which would grant p.
func (g *Guest) permit(p extension.Permission) error {
	if slices.Contains(g.granted, p) {
		return nil
	}
	return fmt.Errorf("%w: %s needs %q in its registration and in extensions.%s.permissions",
		extension.ErrPermission, g.Reg.Name, p, g.Reg.Name)
}

// Handler is a call of an extension's code.
type Handler func(ctx context.Context, h *extension.Host) error

// Run calls fn on this goroutine and applies what it asked for. done is told
// the outcome when writes are committed and before anything else is applied:
// an answer comes before what else the handler sent. The Wait that is left
// (writes, or routes that wait) is nil if all is done.
func (g *Guest) Run(ctx context.Context, b *transport.Batch, fn Handler, done func(*transport.Batch, error)) transport.Wait {
	t, err := g.call(ctx, fn)
	if err != nil {
		done(b, err)
		return nil
	}
	if len(t.ops) == 0 {
		done(b, nil)
		return t.apply(b)
	}
	return func(ctx context.Context) {
		err := g.commit(ctx, &t, fn)
		var b transport.Batch
		done(&b, err)
		var rest transport.Wait
		if err == nil {
			rest = t.apply(&b)
		}
		b.Flush()
		if rest != nil {
			rest(ctx)
		}
	}
}

// Later is Run for a handler that may wait.
func (g *Guest) Later(fn Handler, done func(*transport.Batch, error)) transport.Wait {
	return func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, maxHandlerTime)
		defer cancel()
		var b transport.Batch
		rest := g.Run(ctx, &b, fn, done)
		b.Flush()
		if rest != nil {
			rest(ctx)
		}
	}
}

// commit writes t; where a Swap failed it calls the handler again.
func (g *Guest) commit(ctx context.Context, t **tx, fn Handler) error {
	for try := 1; ; try++ {
		err := g.hosts.Store.Commit(ctx, (*t).ops)
		if !errors.Is(err, storage.ErrConflict) || try == conflictRetries {
			return storeError(err)
		}
		again, err := g.call(ctx, fn)
		if err != nil {
			return err
		}
		if *t = again; len(again.ops) == 0 {
			return nil
		}
	}
}

// call calls a handler once; a panic becomes an error.
func (g *Guest) call(ctx context.Context, fn Handler) (t *tx, err error) {
	t = &tx{g: g}
	defer func() {
		if p := recover(); p != nil {
			g.log.Error("handler panicked; nothing that it asked for was applied", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("extension %s: panic", g.Reg.Name)
		}
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

// storeError maps errors of storage to what the sender is told.
func storeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrNotFound): // the account has just been removed
		return stanza.Err(stanza.ItemNotFound, "")
	case errors.Is(err, storage.ErrConflict):
		return stanza.Err(stanza.ResourceConstraint, "too many changes at once")
	}
	return fmt.Errorf("commit: %w", err)
}

// sendable says whether the guest may send from this address.
func (g *Guest) sendable(s *stanza.Stanza) error {
	from := s.From
	switch {
	case from.Local() == "" && slices.Contains(g.hosts.Domains, from.Domain()),
		slices.Contains(g.domains, from.Domain()),
		from.IsBare() && !from.IsZero() && s.To.Bare() == from:
		return nil
	}
	return fmt.Errorf("%w: %s may not send from %q: send from the server, from a domain of its components, or to an account's own sessions",
		extension.ErrPermission, g.Reg.Name, from)
}

// account is the bare JID as owner in storage and for End.
func account(j jid.JID) jid.JID { return j.Bare() }
