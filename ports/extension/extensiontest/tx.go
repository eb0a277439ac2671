package extensiontest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Bounds that package extension states, or leaves to the kernel (sends).
const (
	maxState       = 4 << 10
	maxRequestTime = 5 * time.Minute
	maxSends       = 4000
	maxRuns        = 3 // of a handler whose Swap fails
)

type handler = func(context.Context, *extension.Host) error

// run calls a handler, commits, tells done, and applies what else was asked
// for, in this order.
func (h *Harness) run(what string, inline bool, fn handler, done func(error)) {
	h.runAs(&tx{h: h, what: what, inline: inline}, fn, done)
}

// runAs is run for a handler of which kind says more.
func (h *Harness) runAs(kind *tx, fn handler, done func(error)) {
	t, err := h.transact(kind, fn)
	if err != nil {
		if se := (*stanza.Error)(nil); !errors.As(err, &se) {
			h.failed(fmt.Errorf("%s: %w", kind.what, err))
		}
		done(err)
		return
	}
	t.remember()
	for _, apply := range t.first {
		apply()
	}
	done(nil)
	for _, apply := range t.after {
		apply()
	}
}

// transact runs fn until its writes are committed.
func (h *Harness) transact(kind *tx, fn handler) (*tx, error) {
	for n := 1; ; n++ {
		t, err := h.call(kind, fn)
		if err != nil {
			return nil, err
		}
		err = h.commit(t.writes, t.removed, t.rows, t.edits)
		if !errors.Is(err, errConflict) {
			return t, err
		}
		if n == maxRuns {
			return nil, stanza.Err(stanza.ResourceConstraint, "too many changes at once")
		}
	}
}

// call calls fn once. A panic becomes an error.
func (h *Harness) call(kind *tx, fn handler) (t *tx, err error) {
	t = &tx{h: h, what: kind.what, inline: kind.inline, about: kind.about}
	defer t.closed.Store(true)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if err = fn(context.Background(), t.host()); err == nil {
		err = t.err
	}
	return t, err
}

// tx is what one call of a handler asked for; it belongs to that call.
type tx struct {
	h      *Harness
	what   string
	inline bool
	about  jid.JID // of a stage handler: whose Residents are in memory
	closed atomic.Bool

	writes  []write
	removed []jid.JID // archives, in front of rows
	rows    []storage.Row
	edits   []storage.Edit // behind rows
	first   []func()       // in front of the answer
	after   []func()
	sends   int
	err     error // of calls that return none

	remembers map[string]*extension.Entry // nil: deleted
	puts      int                         // bytes
	changes   map[string][]func(members)  // of groups, in order
}

func (t *tx) host() *extension.Host {
	return &extension.Host{
		Stanzas: stanzas{t}, Store: store{t}, Archive: archive{t}, Timers: timers{t},
		Memory: memory{t}, Groups: groups{t}, Sessions: sessions{t},
		Rosters: rosters{t}, Accounts: hostAccounts{t}, Secrets: secrets{t}, Listeners: noListeners{}, Certificates: certificates{t},
		Domains: t.h.domains, Served: t.h.served, Now: t.h.Now, Log: t.h.log(),
	}
}

// open reports a use after the call.
func (t *tx) open() {
	if t.closed.Load() {
		t.h.t.Errorf("extensiontest: %s: the Host was used after the handler had returned", t.what)
	}
}

// waits reports a call that waits in a handler that may not.
func (t *tx) waits(call string) {
	t.open()
	if t.inline {
		t.h.t.Errorf("extensiontest: %s is Inline but calls %s, which waits", t.what, call)
	}
}

func (t *tx) later(f func()) {
	t.open()
	t.after = append(t.after, f)
}

// stanzas implements extension.Stanzas.
type stanzas struct{ t *tx }

// mayMake says whether the extension may send s.
func (x stanzas) mayMake(s *stanza.Stanza) error {
	h, from := x.t.h, s.From
	switch {
	case from.IsZero():
	case h.owns(from), from.Local() == "" && h.hosted(from.Domain()), h.hosted(from.Domain()) && from.IsBare() && s.To.Bare() == from && !x.carbon(s):
		return x.count()
	}
	return fmt.Errorf("%w: %s may not send from %q", extension.ErrPermission, h.reg.Name, from)
}

// carbon says whether s is a carbon copy (XEP-0280) that another extension makes.
func (x stanzas) carbon(s *stanza.Stanza) bool {
	_, there := s.Child("urn:xmpp:carbons:2", "")
	return there && x.t.h.reg.Name != "carbons"
}

func (x stanzas) count() error {
	if x.t.sends++; x.t.sends > maxSends {
		return fmt.Errorf("%w: %d stanzas by one handler", extension.ErrBound, x.t.sends)
	}
	return nil
}

func (x stanzas) Send(s *stanza.Stanza) error {
	if err := x.mayMake(s); err != nil {
		return err
	}
	x.t.later(func() { x.t.h.record(Effect{Kind: Sent, Stanza: s}) })
	return nil
}

func (x stanzas) Precede(s *stanza.Stanza) error {
	if s.Kind != stanza.Message {
		return errors.New("extensiontest: what goes in front of an answer is a message")
	}
	if err := x.mayMake(s); err != nil {
		return err
	}
	x.t.open()
	x.t.first = append(x.t.first, func() { x.t.h.record(Effect{Kind: Preceded, Stanza: s}) })
	return nil
}

func (x stanzas) SendAs(account jid.JID, s *stanza.Stanza) error {
	h := x.t.h
	if err := h.permit(extension.SendAsAccount); err != nil {
		return err
	}
	if account.Local() == "" || !h.hosted(account.Domain()) {
		return fmt.Errorf("%w: %q is no account of this server", extension.ErrPermission, account)
	}
	if err := x.count(); err != nil {
		return err
	}
	if x.carbon(s) {
		return fmt.Errorf("%w: %s may not send carbon copies", extension.ErrPermission, h.reg.Name)
	}
	head := s.Header
	head.From = account.Bare()
	x.t.later(func() { h.record(Effect{Kind: SentAs, Stanza: s.With(head), Account: head.From}) })
	return nil
}

func (x stanzas) Request(s *stanza.Stanza, timeout time.Duration, state []byte) error {
	h := x.t.h
	if s.Kind != stanza.IQ || s.Type != stanza.Get && s.Type != stanza.Set {
		return errors.New("extensiontest: a request is an iq of type get or set")
	}
	if h.reg.Reply == nil {
		return errors.New("extensiontest: a request of an extension without Reply")
	}
	if len(state) > maxState || timeout <= 0 || timeout > maxRequestTime {
		return fmt.Errorf("%w: request with %d bytes of state and a timeout of %v", extension.ErrBound, len(state), timeout)
	}
	if err := x.mayMake(s); err != nil {
		return err
	}
	x.t.later(func() { h.request(s, timeout, state) })
	return nil
}

// RequestFor is Request: events come one after the other here.
func (x stanzas) RequestFor(_ string, s *stanza.Stanza, timeout time.Duration, state []byte) error {
	return x.Request(s, timeout, state)
}

// timers implements extension.Timers.
type timers struct{ t *tx }

func (x timers) Set(key string, d time.Duration, state []byte) error {
	h := x.t.h
	if h.reg.Timer == nil {
		return errors.New("extensiontest: a timer of an extension without Timer")
	}
	if len(state) > maxState {
		return fmt.Errorf("%w: timer with %d bytes of state", extension.ErrBound, len(state))
	}
	x.t.later(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.timers[key] = timer{h.now.Add(max(0, d)), state}
	})
	return nil
}

// SetFor is Set, see RequestFor.
func (x timers) SetFor(_, key string, d time.Duration, state []byte) error {
	return x.Set(key, d, state)
}

func (x timers) Cancel(key string) {
	x.t.later(func() {
		x.t.h.mu.Lock()
		defer x.t.h.mu.Unlock()
		delete(x.t.h.timers, key)
	})
}

// noListeners implements extension.Listeners: nothing is listened on in tests.
type noListeners struct{}

func (noListeners) Get(string) ([]net.Listener, error) { return nil, nil }

// secrets implements extension.Secrets.
type secrets struct{ t *tx }

func (x secrets) Secret(_ context.Context, name string) ([]byte, error) {
	x.t.waits("Secrets.Secret")
	return x.t.h.secret(name), nil
}
