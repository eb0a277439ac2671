// Package host gives extensions what they ask of the kernel: the
// extension.Host of a handler is a transaction over storage, sends, timers and
// requests, with the permissions that the administrator granted.
//
// A Guest is one registered extension. Guest.Run and Guest.Later run a handler;
// stage handlers, of which several see one stanza, collect what they want in
// Effects, which are committed and applied once. What no stream waits for runs
// as a task (tasks.go).
package host

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hexmpp/hexmpp/core/forgery"
	"github.com/hexmpp/hexmpp/core/ids"
	"github.com/hexmpp/hexmpp/core/iq"
	"github.com/hexmpp/hexmpp/core/underway"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Bounds of what one extension may ask for.
const (
	maxRequests    = 10_000          // requests whose answer is waited for or being handled
	maxTimers      = 100_000         // timers that are set or being handled
	maxState       = 4 << 10         // bytes of state of a request or timer
	maxRequestTime = 5 * time.Minute // longest wait for an answer
	maxSends       = 4_000           // stanzas that one handler sends
)

// Router takes the stanzas that extensions send; package router is it.
type Router interface {
	// Route routes a stanza from the server or a component.
	Route(b *transport.Batch, e *extension.Envelope) transport.Wait
	// Submit takes a stanza as if a client of the account had sent it.
	Submit(b *transport.Batch, e *extension.Envelope) transport.Wait
	// Copy gives a copy of what a group is sent to a member. See Copy.
	Copy(b *transport.Batch, c *Copy) Fate
	// Far sends copies of a stanza, which has no to, to people of one far domain.
	Far(b *transport.Batch, domain string, s *stanza.Stanza, to []jid.JID) transport.Wait
	// CopyWaiting is Copy for one whose Fate was to wait, when what is resident of the
	// account was loaded. It may wait itself.
	CopyWaiting(ctx context.Context, b *transport.Batch, c *Copy) Fate
}

// Accounts is what package auth offers.
type Accounts interface {
	auth.Verifier
	auth.Accounts
}

// Rosters tells who may see the presence of an account; package roster does.
type Rosters interface {
	Subscribed(ctx context.Context, account, contact jid.JID) (bool, error)
	Known(account, contact jid.JID) bool
}

// Deps are what the host stands on.
type Deps struct {
	Domains  []string
	Store    storage.Store
	Accounts Accounts
	Rosters  Rosters
	Sessions cluster.Registry
	Log      *slog.Logger
	Now      func() time.Time
	Workers  int // handlers of events that run at once
	// Archived is observe.Kernel.Archived; it may be nil.
	Archived func(rows int, took time.Duration, err error)
	// Remote is told of extensions that run elsewhere; its functions may be nil.
	Remote observe.Remote
	// Limits of extensions, by name; those that are not there have the default ones.
	Limits map[string]Limits
	// Certificates returns that of a domain that is served. nil: there are none.
	Certificates func(domain string) (*tls.Certificate, error)
	// Keeps: at a planned stop events that have no outcome are for Guest.Save, and not answered
	// with an error.
	Keeps bool
}

// Limits bound what an extension keeps in the kernel's memory. Zero means the
// default.
type Limits struct {
	Memory       int64 // bytes of its Memory: 64 MiB
	Groups       int   // 100,000
	Members      int   // of all its groups: 500,000
	GroupMembers int   // of one of them: 20,000
}

// complete returns l with the defaults.
func (l Limits) complete() Limits {
	if l.Memory == 0 {
		l.Memory = 64 << 20
	}
	if l.Groups == 0 {
		l.Groups = 100_000
	}
	if l.Members == 0 {
		l.Members = 500_000
	}
	if l.GroupMembers == 0 {
		l.GroupMembers = 20_000
	}
	return l
}

// Hosts holds what all guests share.
type Hosts struct {
	Deps
	Forgery    *forgery.Guard // what guests and clients may not assert
	router     Router
	components map[string]bool // domains of all guests
	served     []string        // those and the hosted ones, in order; set by Start

	ctx        context.Context // ends with Stop
	cancel     context.CancelFunc
	calls      gate
	adminCalls adminCalls
	residents  *residents
	ids        *ids.IDs
	far        far
	appender   *appender
	underway   *underway.Underway
	noticed    []*Guest // filled while extensions register
	remotes    []*Guest // those that run elsewhere; the same

	// mu guards what follows, and what guests say it guards.
	mu       sync.Mutex
	tasks    tasks
	out      *Event // those that are out, the newest first
	cut      bool   // none goes out any more
	nth      uint64 // of the event that went out last
	timers   map[timerKey]*timer
	fired    map[*timer]timerKey // whose handlers have not returned
	requests map[requestKey]*request
}

// New returns Hosts that run once Start was called.
func New(d Deps) *Hosts {
	ctx, cancel := context.WithCancel(context.Background())
	components := map[string]bool{}
	h := &Hosts{
		Deps: d, components: components,
		Forgery: &forgery.Guard{Hosted: d.Domains, Component: func(domain string) bool { return components[domain] }},
		ctx:     ctx, cancel: cancel, calls: gate{idle: make(chan struct{})},
		tasks:  tasks{workers: max(1, d.Workers), idle: make(chan struct{})},
		timers: map[timerKey]*timer{}, fired: map[*timer]timerKey{}, requests: map[requestKey]*request{},
		residents:  newResidents(d.Store, d.Sessions),
		adminCalls: newAdminCalls(ctx),
		ids:        ids.New(0, d.Now),
	}
	h.Remote = h.Remote.Complete()
	h.underway = underway.New(h.Own)
	h.appender = newAppender(ctx, func(ctx context.Context, w writes) error { return h.Store.Commit(ctx, w.all()) }, d.Archived, h.underway.Finish)
	return h
}

// Underway is what messages of clients are in that wait for a commit.
func (h *Hosts) Underway() *underway.Underway { return h.underway }

// Start gives the router. No handler runs before it, and all guests are admitted.
func (h *Hosts) Start(r Router) {
	h.router = r
	h.served = append(slices.Collect(maps.Keys(h.components)), h.Domains...)
	slices.Sort(h.served)
}

// Guest is one registered extension.
type Guest struct {
	Reg     *extension.Registration
	hosts   *Hosts
	granted []extension.Permission
	domains []string // of its components
	log     *slog.Logger
	turns   turns
	memory  guestMemory
	groups  groups

	// Guarded by hosts.mu.
	requests, timers int // those that count for the bounds
	detached         detached
	notices          notices
	offers           offers
	kept             []*Event // that were out when the server stopped

	unasked    atomic.Int64 // effects under way
	adminCalls atomic.Int64 // that run
}

// NewGuest admits an extension. domains are those of its components. All are
// admitted before anything is sent.
func (h *Hosts) NewGuest(reg *extension.Registration, granted []extension.Permission, domains []string) *Guest {
	for _, d := range domains {
		h.components[d] = true
	}
	g := &Guest{Reg: reg, hosts: h, granted: granted, domains: domains, log: h.Log.With("extension", reg.Name)}
	limits := h.Limits[reg.Name].complete()
	g.memory.most = limits.Memory
	g.groups.limits = limits
	for _, key := range reg.Residents {
		h.residents.names = append(h.residents.names, residentName{reg.Name, key})
	}
	if reg.ResidentRoster != "" {
		h.residents.rosters = append(h.residents.rosters, residentName{reg.Name, reg.ResidentRoster})
	}
	if g.Elsewhere() {
		h.remotes = append(h.remotes, g)
	}
	if len(reg.Notices) > 0 {
		h.noticed = append(h.noticed, g)
	}
	return g
}

// permit returns an error that names what is missing unless p is granted.
func (g *Guest) permit(p extension.Permission) error {
	if slices.Contains(g.granted, p) {
		return nil
	}
	return fmt.Errorf("%w: %s needs %q among the Permissions of its registration", extension.ErrPermission, g.Reg.Name, p)
}

// wellFormed says whether the kernel can route what an extension sends.
func wellFormed(s *stanza.Stanza) error {
	if s == nil || s.Kind < stanza.Message || s.Kind > stanza.IQ {
		return errors.New("host: what is sent is a message, a presence or an iq")
	}
	if err := iq.Check(s); err != nil {
		return fmt.Errorf("host: an iq that is none: %s", err.Text)
	}
	return nil
}

// sendable says whether the guest may send from this address.
func (g *Guest) sendable(s *stanza.Stanza) error {
	from := s.From
	switch {
	case g.Reg.Far != nil:
		return g.fromFar(s)
	case g.owns(from):
		return nil
	case slices.Contains(g.hosts.Domains, from.Domain()) && from.IsBare() && s.To.Bare() == from:
		return g.MayEmit(s)
	}
	return fmt.Errorf("%w: %s may not send from %q: send from the server, from a domain of its components, or to an account's own sessions",
		extension.ErrPermission, g.Reg.Name, from)
}

// owns says whether the guest may send from this address to anybody: it is the
// server's, or one of a component of the guest.
func (g *Guest) owns(from jid.JID) bool {
	if g.Reg.Far != nil { // see fromFar
		return false
	}
	return from.Local() == "" && slices.Contains(g.hosts.Domains, from.Domain()) || slices.Contains(g.domains, from.Domain())
}

// carbons is the only extension that makes carbon copies.
const carbons = "carbons"

// MayEmit refuses what clients would take for a carbon copy (XEP-0280 11), of
// all guests but one.
func (g *Guest) MayEmit(s *stanza.Stanza) error {
	if g.Reg.Name == carbons || !g.hosts.Forgery.Carbon(s) {
		return nil
	}
	return fmt.Errorf("%w: %s may not send carbon copies: that is what the extension called %q does",
		extension.ErrPermission, g.Reg.Name, carbons)
}

// stripped returns what goes out of what the guest sends: a component, and whoever is far,
// asserts no more than others may. The server's own word is not doubted.
func (g *Guest) stripped(s *stanza.Stanza) *stanza.Stanza {
	if g.Reg.Far != nil || slices.Contains(g.domains, s.From.Domain()) {
		return g.hosts.Forgery.Strip(s)
	}
	return s
}

// account is the bare JID as owner in storage and for End.
func account(j jid.JID) jid.JID { return j.Bare() }
