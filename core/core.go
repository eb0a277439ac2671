// Package core is the kernel of hexmpp: streams, sessions, routing and
// presence (RFC 6120, RFC 6121), behind ports for everything else. It opens no
// socket and knows no database: New is given what plugs into its ports, and
// adapters feed the streams that NewStream returns.
package core

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"

	"github.com/hexmpp/hexmpp/core/c2s"
	"github.com/hexmpp/hexmpp/core/caps"
	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/core/presence"
	"github.com/hexmpp/hexmpp/core/registry"
	"github.com/hexmpp/hexmpp/core/roster"
	"github.com/hexmpp/hexmpp/core/router"
	"github.com/hexmpp/hexmpp/core/safe"
	"github.com/hexmpp/hexmpp/core/throttle"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// Limits bound what one client can use.
type Limits = c2s.Limits

// Options of the kernel.
type Options struct {
	Domains     []string // hosted domains, at least one; the first is the default
	TLSRequired bool     // nobody logs in on a stream that is not encrypted
	Limits      Limits
	Rosters     roster.Limits
	Offline     offline.Options
	// RefuseStrangers: who is not subscribed to an account's presence, and was not
	// sent it either, can ask its resources nothing (RFC 6121 8.5.3.1).
	RefuseStrangers bool
	Throttle        throttle.Options     // of guessed passwords
	Rates           throttle.RateOptions // of what an account sends
	Workers         int                  // event handlers of extensions that run at once; default 4 a CPU
	Version         string               // of the server, for administrators
	// Extensions bound what extensions keep in memory, by name; those that are not there
	// have the default bounds.
	Extensions map[string]ExtensionLimits
}

// ExtensionLimits bound what an extension keeps in the kernel's memory.
type ExtensionLimits = host.Limits

// Ports are what plugs into the kernel. All are needed but LoggedIn, Spool, Saved and
// SavedExtensions.
type Ports struct {
	Credentials auth.Credentials
	Verifier    auth.Verifier
	Accounts    auth.Accounts
	Store       storage.Store
	Spool       storage.Spool         // nil: what is acknowledged outlives no kill of the process
	Saved       storage.SavedSessions // nil: sessions end with the process
	// SavedExtensions is nil if what extensions have in memory ends with the process.
	SavedExtensions storage.SavedExtensions
	Sessions        cluster.Registry
	Extensions      []extension.Registration
	Order           extension.Order
	LoggedIn        func(user jid.JID, at time.Time) // after each login; must not wait
	Log             *zap.Logger
	// Certificates returns that of a domain that the server answers for, for extensions; nil: they get none.
	Certificates func(domain string) (*tls.Certificate, error)
	Observe      observe.Kernel
	Remote       observe.Remote   // of extensions that run elsewhere
	Now          func() time.Time // default time.Now
}

// Kernel is a running kernel. Its methods may be called by any goroutine.
type Kernel struct {
	options  Options
	ports    Ports
	accounts *accounts
	hosts    *host.Hosts
	registry *registry.Registry
	router   *router.Router
	presence *presence.Presence
	offline  *offline.Offline
	safe     *safe.Safe
	c2s      *c2s.Server
	observe  *observe.Kernel
	started  time.Time

	// mu guards streams and closing; empty is closed when the last stream of
	// a closing kernel is gone.
	mu      sync.Mutex
	streams map[*c2s.Stream]struct{}
	closing bool
	empty   chan struct{}
}

// New puts a kernel together. It starts nothing.
func New(o Options, p Ports) (*Kernel, error) {
	if err := prepare(&o, &p); err != nil {
		return nil, err
	}
	k := &Kernel{options: o, ports: p, observe: p.Observe.Complete(), started: p.Now(), streams: map[*c2s.Stream]struct{}{}, empty: make(chan struct{})}
	k.accounts = &accounts{
		Verifier: p.Verifier, Accounts: p.Accounts, sessions: p.Sessions, now: p.Now,
		keep: 2 * max(o.Limits.UnauthenticatedTime, time.Minute), removed: map[jid.JID]time.Time{},
	}
	rosters := roster.New(watched{p.Store, func(owner jid.JID) { k.hosts.RosterChanged(owner) }}, o.Rosters)
	k.hosts = host.New(host.Deps{
		Domains: o.Domains, Store: p.Store, Accounts: k.accounts, Rosters: rosters, Sessions: p.Sessions,
		Log: slog.New(zapslog.NewHandler(p.Log.Core())), Now: p.Now, Workers: o.Workers, Archived: k.observe.Archived, Limits: o.Extensions, Remote: p.Remote,
		Keeps: p.Saved != nil && p.SavedExtensions != nil, Certificates: p.Certificates,
	})
	k.offline = offline.New(o.Offline, offline.Deps{Store: p.Store, Sessions: p.Sessions, Log: p.Log, Now: p.Now, Observe: k.observe, Finish: k.hosts.Underway().Finish})
	k.safe = safe.New(p.Spool, p.Log)
	own := []extension.Registration{k.offline.Registration()}
	var err error
	if k.registry, err = registry.New(k.hosts, o.Domains, append(own, p.Extensions...)); err != nil {
		return nil, err
	}
	stages, err := pipeline.New(k.registry.Guests(), p.Order, pipeline.Memory{Sessions: p.Sessions, Resident: k.hosts.Resident, Copied: router.Copied})
	if err != nil {
		return nil, err
	}
	k.router = &router.Router{Registry: k.registry, Sessions: p.Sessions, Pipeline: stages, Hosts: k.hosts, Offline: k.offline, Safe: k.safe, Log: p.Log}
	k.offline.Recall = k.router.Recall
	if o.RefuseStrangers {
		k.router.Contacts, k.offline.Contacts = rosters, rosters
	}
	k.presence = &presence.Presence{
		Sessions: p.Sessions, Rosters: rosters, Offline: k.offline, Route: k.router.Route, Send: k.router.Broadcast, Recall: k.router.Recall,
		Caps: caps.New(caps.Options{Unlimited: o.Throttle.Disabled, Now: p.Now, Expect: k.hosts.Expect}),
		Came: k.becameAvailable, Gone: k.becameUnavailable, Lost: k.Lost, Spawn: k.hosts.Spawn,
		Failed: func(what string, err error) { p.Log.Error(what, zap.Error(err)) },
	}
	k.router.Presence = k.presence
	k.accounts.forget = k.hosts.Forget
	k.c2s = c2s.NewServer(c2s.Options{TLSRequired: o.TLSRequired, Limits: o.Limits}, c2s.Deps{
		Kernel: k, Senders: k.safe, Gone: k.gone, Router: k.router, Registry: k.registry, Pipeline: stages, Forgery: k.hosts.Forgery, Presence: k.presence, Sessions: p.Sessions,
		Credentials: p.Credentials, Verifier: p.Verifier, LoggedIn: p.LoggedIn, Removed: k.accounts.removedSince,
		Throttle: throttle.New(o.Throttle), Rates: throttle.NewRates(o.Rates), Full: k.safe.Full, Log: p.Log, Now: p.Now, Observe: k.observe,
	})
	return k, nil
}

func prepare(o *Options, p *Ports) error {
	if len(o.Domains) == 0 {
		return errors.New("core: no hosted domain")
	}
	o.Domains = slices.Clone(o.Domains) // they are the caller's
	for i, d := range o.Domains {
		j, err := jid.Parse(d)
		if err != nil || j.Local() != "" || !j.IsBare() {
			return fmt.Errorf("core: %q is not a domain", d)
		}
		o.Domains[i] = j.Domain()
	}
	if o.Workers <= 0 {
		o.Workers = 4 * runtime.GOMAXPROCS(0)
	}
	if p.Now == nil {
		p.Now = time.Now
	}
	if p.LoggedIn == nil {
		p.LoggedIn = func(jid.JID, time.Time) {}
	}
	return nil
}

// Start takes over what an earlier process has left, as long as that takes, and starts
// the extensions, in their order, which may take a minute; if one fails, those before
// it are stopped again.
func (k *Kernel) Start(ctx context.Context) error {
	k.hosts.Start(k.router)
	if err := k.hosts.LoadIDs(ctx); err != nil {
		return errors.Join(err, k.offline.Stop(ctx))
	}
	left, err := k.takeOver(ctx)
	if err != nil {
		return errors.Join(err, k.offline.Stop(ctx))
	}
	events, err := k.restoreExtensions(left.all)
	if err != nil {
		return errors.Join(err, k.offline.Stop(ctx))
	}
	events = k.claimed(left.sessions, events)
	for _, g := range k.registry.Guests() {
		g.Attach()
	}
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for i, g := range k.registry.Guests() {
		if err := g.StartGuest(starting); err != nil {
			return errors.Join(fmt.Errorf("extension %s: start: %w", g.Reg.Name, err), k.stop(ctx, k.registry.Guests()[:i]), k.offline.Stop(ctx))
		}
	}
	if err := k.goOn(ctx, left); err != nil {
		return err
	}
	k.resumeEvents(left.sessions, events)
	k.hosts.Resume()
	return nil
}

// How long the extensions may take to start, and to stop, all together; and what each
// part of the end has at least.
const (
	startTime = time.Minute
	stopTime  = 5 * time.Second
)

// atLeast gives a part of the end some time of its own, where ctx has less: whoever came
// before may have used all of it.
func atLeast(ctx context.Context) (context.Context, context.CancelFunc) {
	end, bounded := ctx.Deadline()
	if ctx.Err() == nil && (!bounded || time.Until(end) > stopTime) {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), stopTime)
}

// within runs a part of the end in such a time.
func within(ctx context.Context, part func(context.Context) error) error {
	ctx, cancel := atLeast(ctx)
	defer cancel()
	return part(ctx)
}

// stop waits for the end of all handlers, which are cut off when ctx ends, and
// stops extensions, the last one first.
func (k *Kernel) stop(ctx context.Context, guests []*host.Guest) error {
	errs := []error{within(ctx, k.hosts.Stop)}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	for i := len(guests) - 1; i >= 0; i-- {
		if stop := guests[i].Reg.Stop; stop != nil {
			if err := stop(ctx); err != nil {
				errs = append(errs, fmt.Errorf("extension %s: stop: %w", guests[i].Reg.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// NewStream returns the kernel's side of a client's connection.
func (k *Kernel) NewStream(peer transport.Peer, conn transport.Conn) transport.Stream {
	s := k.c2s.New(peer, conn)
	k.mu.Lock()
	k.streams[s] = struct{}{}
	closing := k.closing
	k.mu.Unlock()
	if closing {
		endStream(s)
	}
	return s
}

// leaveStream ends a stream since the server stops. A session that can be resumed
// waits for the next process, if something is saved for it.
func (k *Kernel) leaveStream(s *c2s.Stream) {
	if k.ports.Saved == nil || !s.Suspend() {
		endStream(s)
	}
}

func endStream(s *c2s.Stream) {
	var b transport.Batch
	s.End(&b, stream.Err(stream.SystemShutdown, "the server is shutting down"))
	b.Flush()
}

func (k *Kernel) gone(s *c2s.Stream) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.streams, s)
	if k.closing && len(k.streams) == 0 {
		k.closeEmpty()
	}
}

// closeEmpty closes empty once; k.mu is held.
func (k *Kernel) closeEmpty() {
	select {
	case <-k.empty:
	default:
		close(k.empty)
	}
}

// Shutdown ends all streams, waits until they are gone or ctx ends, stops the
// extensions, and saves the sessions that can be resumed; all others have ended with
// system-shutdown, behind what was queued for them (RFC 6120 4.9.3.20). What is queued
// for clients that have not read it when ctx ends goes where what ended sessions leave
// goes. Each part of the end has stopTime at least, so that it takes at most 35 seconds
// longer than ctx.
func (k *Kernel) Shutdown(ctx context.Context) error {
	k.mu.Lock()
	k.closing = true
	all := make([]*c2s.Stream, 0, len(k.streams))
	for s := range k.streams {
		all = append(all, s)
	}
	if len(all) == 0 {
		k.closeEmpty()
	}
	k.mu.Unlock()
	if k.ports.Saved != nil {
		k.c2s.Resumables.Pause()
	}
	for _, s := range all {
		k.leaveStream(s)
	}
	var late error
	select {
	case <-k.empty:
	case <-ctx.Done():
		late = fmt.Errorf("core: streams did not end in time: %w", ctx.Err())
		k.buryLate()
	}
	_ = k.hosts.Underway().Drain(ctx) // quiet says whether
	quiet, err := k.quiet(ctx)
	late = errors.Join(late, err)
	if k.ports.Saved == nil {
		k.c2s.Resumables.Stop()
	}
	err = errors.Join(late, within(ctx, k.offline.Settle), k.stop(ctx, k.registry.Guests()), within(ctx, k.offline.Stop))
	var sessions *storage.Saved
	if k.ports.Saved != nil {
		sessions = k.c2s.Resumables.Save(k.offline.Fetches)
	}
	k.saveExtensions(sessions)
	if sessions != nil {
		k.save(sessions, quiet)
	}
	return err
}

// buryLate gives up streams that have ended and whose clients do not read the rest.
func (k *Kernel) buryLate() {
	k.mu.Lock()
	late := slices.Collect(maps.Keys(k.streams))
	k.mu.Unlock()
	var b transport.Batch
	for _, s := range late {
		s.GiveUp(&b)
	}
	b.Flush()
}
