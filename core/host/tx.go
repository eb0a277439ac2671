package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// tx is what one call of a handler asked for. It belongs to the goroutine that
// runs the handler.
type tx struct {
	g *Guest
	view
	writes
	first []transport.Step // in front of the answer
	after []transport.Step // in the order of the calls
	sends int
	err   error // of a call that returns none, such as Put

	requests, timers int // of those that count for the guest's bounds

	remembers remembers
	grouped   grouped
}

// view says how a handler reads.
type view struct {
	about         *About  // nil but for stage handlers
	behindNotices bool    // of the account, of which others must not learn by the time that it takes
	session       jid.JID // that asks, or zero
	fence         uint64  // of that session; 0 if it is not known
	key           string  // ordering key of the event, for what comes of it; of guests that run elsewhere
}

func (t *tx) host() *extension.Host {
	h := t.g.hosts
	return &extension.Host{
		Stanzas: stanzas{t}, Store: store{t}, Archive: archive{t}, Timers: timersOf{t},
		Memory: memoryOf{t}, Groups: groupsOf{t}, Sessions: sessions{t},
		Rosters: rosters{t}, Accounts: accounts{t.g}, Secrets: secrets{t.g}, Listeners: noListeners{}, Certificates: certificates{t.g},
		Domains: h.Domains, Served: h.served, Now: h.Now, Log: t.g.log,
	}
}

// apply does what was asked for besides writes.
func (t *tx) apply(b *transport.Batch) transport.Wait {
	t.remember()
	return transport.Steps(b, t.after...)
}

func (t *tx) later(f transport.Step) { t.after = append(t.after, f) }

// stanzas implements extension.Stanzas.
type stanzas struct{ t *tx }

func (x stanzas) count() error {
	if x.t.sends++; x.t.sends > maxSends {
		return fmt.Errorf("%w: a handler may send %d stanzas", extension.ErrBound, maxSends)
	}
	return nil
}

func (x stanzas) Send(s *stanza.Stanza) error {
	if err := wellFormed(s); err != nil {
		return err
	}
	if err := x.t.g.sendable(s); err != nil {
		return err
	}
	if err := x.count(); err != nil {
		return err
	}
	s = x.t.g.stripped(s)
	x.t.later(func(b *transport.Batch) transport.Wait {
		return x.t.g.hosts.router.Route(b, &extension.Envelope{Stanza: s})
	})
	return nil
}

func (x stanzas) Precede(s *stanza.Stanza) error {
	if err := wellFormed(s); err != nil {
		return err
	}
	if s.Kind != stanza.Message {
		return errors.New("host: what goes in front of an answer is a message")
	}
	if err := x.t.g.sendable(s); err != nil {
		return err
	}
	if err := x.count(); err != nil {
		return err
	}
	s = x.t.g.stripped(s)
	x.t.first = append(x.t.first, func(b *transport.Batch) transport.Wait {
		if e, ok := x.t.g.hosts.Sessions.Session(s.To); ok {
			e.Receiver.Deliver(b, cluster.Delivery{Stanza: s, Fork: &cluster.Fork{}}) // of no message: it may be lost
			return nil
		}
		if slices.Contains(x.t.g.hosts.Domains, s.To.Domain()) {
			return nil
		}
		return x.t.g.hosts.router.Route(b, &extension.Envelope{Stanza: s})
	})
	return nil
}

func (x stanzas) SendAs(account jid.JID, s *stanza.Stanza) error {
	if err := x.t.g.permit(extension.SendAsAccount); err != nil {
		return err
	}
	if !slices.Contains(x.t.g.hosts.Domains, account.Domain()) || account.Local() == "" {
		return fmt.Errorf("%w: %s is no account of this server", extension.ErrPermission, account)
	}
	if err := wellFormed(s); err != nil {
		return err
	}
	h := s.Header
	h.From = account.Bare()
	s = x.t.g.hosts.Forgery.Strip(s.With(h))
	if err := wellFormed(s); err != nil { // the payload of an iq may be gone
		return err
	}
	if err := x.t.g.MayEmit(s); err != nil {
		return err
	}
	if err := x.count(); err != nil {
		return err
	}
	x.t.later(func(b *transport.Batch) transport.Wait {
		return x.t.g.hosts.router.Submit(b, &extension.Envelope{Stanza: s})
	})
	return nil
}

// maxOrder bounds an ordering key.
const maxOrder = 8192

// order returns the ordering key of what comes of a handler's call that names one.
func (t *tx) order(named string) (string, error) {
	switch {
	case named == "":
		return t.key, nil
	case len(named) > maxOrder:
		return "", fmt.Errorf("%w: an ordering key has at most %d bytes, this one %d", extension.ErrBound, maxOrder, len(named))
	}
	return named, nil
}

func (x stanzas) Request(s *stanza.Stanza, timeout time.Duration, state []byte) error {
	return x.RequestFor("", s, timeout, state)
}

func (x stanzas) RequestFor(order string, s *stanza.Stanza, timeout time.Duration, state []byte) error {
	t, g := x.t, x.t.g
	order, err := t.order(order)
	if err != nil {
		return err
	}
	if s == nil || s.Kind != stanza.IQ || s.Type != stanza.Get && s.Type != stanza.Set || g.Reg.Reply == nil && !g.Elsewhere() {
		return errors.New("host: a request is an iq of type get or set, of an extension with a Reply handler")
	}
	if len(state) > maxState || timeout <= 0 || timeout > maxRequestTime {
		return fmt.Errorf("%w: a request has at most %d bytes of state and waits at most %v", extension.ErrBound, maxState, maxRequestTime)
	}
	// The id is made here, so that no answer can be guessed.
	head := s.Header
	head.ID = rand.Text()
	s = s.With(head)
	if err := wellFormed(s); err != nil {
		return err
	}
	if err := g.sendable(s); err != nil {
		return err
	}
	if g.Reg.Far != nil { // the answer is for whom it is from
		return fmt.Errorf("%w: %s claims far domains, which ask for themselves", extension.ErrPermission, g.Reg.Name)
	}
	if err := x.count(); err != nil {
		return err
	}
	if !g.mayRequest(t.requests) {
		return fmt.Errorf("%w: an extension has at most %d requests under way", extension.ErrBound, maxRequests)
	}
	t.requests++
	t.later(func(b *transport.Batch) transport.Wait { return g.request(b, s, timeout, state, order) })
	return nil
}

// store implements extension.Store.
type store struct{ t *tx }

func (x store) Get(ctx context.Context, owner jid.JID, key string) (extension.Entry, bool, error) {
	owner = account(owner)
	if op := x.t.ops.Last(owner, key); op != nil {
		return extension.Entry{Key: key, Value: op.Value}, !op.Delete, nil
	}
	if a := x.t.about; a != nil && a.Account == owner && x.t.g.hosts.residents.declared(x.t.g.Reg.Name, key) {
		e, ok := a.Resident.Get(x.t.g.Reg.Name, key)
		return e, ok, nil
	}
	x.catchUp(ctx, owner)
	e, err := x.t.g.hosts.Store.Get(ctx, x.t.g.Reg.Name, owner, key)
	if errors.Is(err, storage.ErrNotFound) {
		return extension.Entry{}, false, nil
	}
	if err != nil {
		return extension.Entry{}, false, fmt.Errorf("get %q: %w", key, err)
	}
	return extension.Entry(e), true, nil
}

func (x store) Scan(ctx context.Context, owner jid.JID, prefix, after string, limit int) ([]extension.Entry, error) {
	owner = account(owner)
	x.catchUp(ctx, owner)
	stored, err := x.t.g.hosts.Store.Scan(ctx, x.t.g.Reg.Name, owner, prefix, after, x.t.ops.Ask(limit))
	if err != nil {
		return nil, fmt.Errorf("scan %q: %w", prefix, err)
	}
	list := make([]extension.Entry, len(stored))
	for i, e := range stored {
		list[i] = extension.Entry(e)
	}
	return x.t.ops.Page(owner, prefix, after, limit, list), nil
}

// catchUp waits for notices that are about an account, where the handler may.
func (x store) catchUp(ctx context.Context, owner jid.JID) {
	if x.t.behindNotices && len(x.t.g.Reg.Notices) > 0 {
		x.t.g.caughtUp(ctx, owner)
	}
}

// write buffers an op.
func (x store) write(op storage.Op) {
	op.Space = x.t.g.Reg.Name
	op.Owner = account(op.Owner)
	x.t.ops.Write(op)
}

func (x store) Put(owner jid.JID, key string, value []byte) {
	x.write(storage.Op{Owner: owner, Key: key, Value: value})
}

func (x store) Delete(owner jid.JID, key string) {
	x.write(storage.Op{Owner: owner, Key: key, Delete: true})
}

func (x store) Swap(owner jid.JID, key string, value []byte, revision uint64) {
	x.write(storage.Op{Owner: owner, Key: key, Value: value, If: true, Revision: revision})
}

// secrets implements extension.Secrets.
type secrets struct{ g *Guest }

func (x secrets) Secret(ctx context.Context, name string) ([]byte, error) {
	return x.g.hosts.Store.Secret(ctx, "extension/"+x.g.Reg.Name+"/"+name)
}

// noListeners implements extension.Listeners: what runs inside the server has none.
type noListeners struct{}

func (noListeners) Get(string) ([]net.Listener, error) { return nil, nil }
