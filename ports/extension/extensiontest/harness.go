// Package extensiontest is a kernel made of maps, for unit tests of extensions:
// it calls the handlers of a Registration as the server would, and records what
// they asked for. Run is a suite that every registration passes.
//
// It keeps the rules that package extension states: iq handlers are found by
// payload, type and addressee; a Host is a transaction (writes, sends and
// timers are applied when a handler returns nil, reads see own writes, a Swap
// that failed runs the handler again, at most three times in all, a panic
// applies nothing); permissions and bounds are enforced. Beyond that it reports
// what a server could not see: a Host that is used after its call, a handler
// that is marked Inline and reads storage.
//
// It leaves out the routing of what is sent (it is only recorded), service
// discovery, and the order of extensions: one harness holds one registration.
package extensiontest

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Options of a Harness; the zero value is good for most tests.
type Options struct {
	// Domains are hosted; example.org and example.net if there are none.
	Domains []string
	// Granted are the permissions that the administrator gave. nil grants what
	// the registration asks for.
	Granted []extension.Permission
	// Now is the time at which the clock stands first: 2026-01-02T03:04:05Z if zero.
	Now time.Time
}

// Harness holds one registration and plays the kernel for it. Its methods may
// be called by any goroutine.
type Harness struct {
	// Accounts are the accounts of the hosted domains; there are none at first.
	Accounts *Accounts

	t       testing.TB
	reg     extension.Registration
	domains []string
	served  []string // and those of components
	granted []extension.Permission

	mu       sync.Mutex // guards what follows
	now      time.Time
	entries  map[entryKey]extension.Entry
	revision uint64
	fail     error  // what the next commits return
	before   func() // runs once, before the next commit
	sessions []extension.Session
	timers   map[string]timer
	requests []Request
	requestN int
	effects  []Effect
	errs     []error
	secrets  map[string][]byte
	rows     map[jid.JID][]storage.Row // archives
	lastID   uint64                    // of NewID
	room     int                       // of every session
	memory   map[string]extension.Entry
	moments  uint64 // revision of memory
	groups   map[string]members

	subscribed map[subscription]bool
	listed     map[subscription]bool

	certificates map[string]*tls.Certificate // of domains
}

// New checks a registration and starts it; its Stop is called at the end of
// the test. Errors of handlers that nobody took by Errors fail the test.
func New(t testing.TB, reg extension.Registration, o Options) *Harness {
	t.Helper()
	if err := Check(reg); err != nil {
		t.Fatalf("extensiontest: %v", err)
	}
	if len(o.Domains) == 0 {
		o.Domains = []string{"example.org", "example.net"}
	}
	if o.Granted == nil {
		o.Granted = reg.Permissions
	}
	if o.Now.IsZero() {
		o.Now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	}
	h := &Harness{
		t: t, reg: reg, domains: slices.Clone(o.Domains), granted: slices.Clone(o.Granted), now: o.Now,
		entries: map[entryKey]extension.Entry{}, timers: map[string]timer{}, secrets: map[string][]byte{},
		rows: map[jid.JID][]storage.Row{}, room: 4 << 20,
		subscribed: map[subscription]bool{}, listed: map[subscription]bool{},
		memory: map[string]extension.Entry{}, groups: map[string]members{}, certificates: map[string]*tls.Certificate{},
	}
	h.served = slices.Clone(h.domains)
	for _, c := range h.componentDomains() {
		h.served = append(h.served, c.domain)
	}
	slices.Sort(h.served)
	h.Accounts = newAccounts(h)
	t.Cleanup(h.finish)
	if reg.Start != nil {
		h.run("Start", false, reg.Start, func(err error) {
			if err != nil {
				t.Errorf("extensiontest: Start: %v", err)
			}
		})
	}
	return h
}

// finish stops the extension and reports errors that nobody took.
func (h *Harness) finish() {
	if h.reg.Stop != nil {
		if err := h.reg.Stop(context.Background()); err != nil {
			h.t.Errorf("extensiontest: Stop: %v", err)
		}
	}
	for _, err := range h.Errors() {
		h.t.Errorf("extensiontest: %s failed: %v", h.reg.Name, err)
	}
}

// Errors returns and forgets what the kernel would have logged: errors of
// handlers that were no answers to a peer, and panics.
func (h *Harness) Errors() []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	errs := h.errs
	h.errs = nil
	return errs
}

func (h *Harness) failed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.errs = append(h.errs, err)
}

// EffectKind says what an Effect is.
type EffectKind uint8

const (
	Answered  EffectKind = iota + 1 // the answer to the request that a handler was given
	Sent                            // Stanzas.Send
	SentAs                          // Stanzas.SendAs, by Account
	Preceded                        // Stanzas.Precede; in front of Answered
	Requested                       // Stanzas.Request
	Ended                           // Sessions.End, of Account
	Released                        // Sessions.Release, of the session Account
	Withdrawn                       // Sessions.Withdraw, of Account from Patterns but Except
	Announced                       // Sessions.Announce, of Account to Patterns
	Cast                            // a copy of Groups.Send for one member, of the group Group
)

// String names the kind, for messages of tests.
func (k EffectKind) String() string {
	names := []string{"nothing", "answered", "sent", "sent as", "preceded", "requested", "ended", "released", "withdrawn", "announced", "cast"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprint(uint8(k))
}

// Effect is something that left the extension, after its transaction was
// committed.
type Effect struct {
	Kind             EffectKind
	Stanza           *stanza.Stanza
	Account          jid.JID
	Patterns, Except []jid.JID
	Condition, Text  string // Ended: the stream error
	Group            string // Cast
}

// Effects returns and forgets what left the extension, in order.
func (h *Harness) Effects() []Effect {
	h.mu.Lock()
	defer h.mu.Unlock()
	fx := h.effects
	h.effects = nil
	return fx
}

func (h *Harness) record(e Effect) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.effects = append(h.effects, e)
}

// AddSession makes a session that Sessions.Of finds until it is ended.
func (h *Harness) AddSession(s extension.Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions = append(h.sessions, s)
}

// SetRoom says how many bytes each session takes: 4 MiB at first.
func (h *Harness) SetRoom(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.room = n
}

// Now returns the time of the harness.
func (h *Harness) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// hosted reports whether a domain is one of ours.
func (h *Harness) hosted(domain string) bool { return slices.Contains(h.domains, domain) }

// permit returns the error for a permission that was not granted.
func (h *Harness) permit(p extension.Permission) error {
	if slices.Contains(h.granted, p) {
		return nil
	}
	return fmt.Errorf("%w: extensions.%s.permissions lacks %q", extension.ErrPermission, h.reg.Name, p)
}

// testLog gives an extension's log to the test.
type testLog struct{ t testing.TB }

func (w testLog) Write(line []byte) (int, error) {
	w.t.Logf("%s", line)
	return len(line), nil
}

func (h *Harness) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(testLog{h.t}, nil)).With("extension", h.reg.Name)
}
