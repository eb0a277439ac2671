package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin/codec"
	"github.com/hexmpp/hexmpp/api/plugin/wire"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/overlay"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// tx is what one call of a handler asked for: the Host that it is given. It belongs to
// the goroutine that runs the handler.
type tx struct {
	ctx   context.Context
	p     *process
	event *extension.RemoteEvent // nil outside of an event
	reads codec.Reads

	ops    overlay.Writes
	memory map[string]*[]byte // nil: deleted
	groups map[string]*groupView
	others codec.Effects // all effects but writes and memory
	sends  int
	puts   int // bytes that are put into memory
	err    error
}

func newTx(ctx context.Context, p *process, call codec.Call, e *extension.RemoteEvent) *tx {
	return &tx{ctx: ctx, p: p, event: e, reads: codec.Reads{Call: call}}
}

func (t *tx) host() *extension.Host {
	return &extension.Host{
		Stanzas: stanzas{t}, Store: store{t}, Archive: archive{t}, Timers: timers{t}, Memory: memory{t}, Groups: groups{t},
		Sessions: sessions{t}, Rosters: rosters{t}, Accounts: codec.Accounts{Reads: t.reads}, Secrets: t.reads, Listeners: &t.p.sockets, Certificates: t.reads,
		Domains: t.p.domains, Served: t.p.served, Now: t.p.now, Log: t.p.log,
	}
}

// readFailed is the panic of a read that can't return an error.
type readFailed struct{ err error }

// run calls fn; a panic becomes an error.
func (t *tx) run(fn func(h *extension.Host) error) error {
	err := guarded(t.p.log, t.p.reg.Name, func() error { return fn(t.host()) })
	if err == nil {
		err = t.err
	}
	return err
}

// guarded calls f; a panic becomes an error, as it does in the server.
func guarded(log *slog.Logger, name string, f func() error) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case readFailed:
			err = r.err
		default:
			log.Error("handler panicked; nothing that it asked for was applied", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = fmt.Errorf("extension %s: panic", name)
		}
	}()
	return f()
}

// asked says whether the handler has asked for anything.
func (t *tx) asked() bool { return len(t.ops) > 0 || len(t.memory) > 0 || !t.others.Empty() }

// effects returns what was asked for: writes first, then memory, then the rest in the
// order of the calls, as the kernel applies them.
func (t *tx) effects() (*codec.Effects, error) {
	if len(t.ops) == 0 && len(t.memory) == 0 {
		return &t.others, nil
	}
	x := new(codec.Effects)
	for _, op := range t.ops {
		x.Write(op)
	}
	keys := make([]string, 0, len(t.memory))
	for key := range t.memory {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if v := t.memory[key]; v == nil {
			x.Forget(key)
		} else if err := x.Remember(key, *v); err != nil {
			return nil, err
		}
	}
	x.Add(&t.others)
	return x, nil
}

func (t *tx) list() ([]*pluginv1.Effect, error) {
	x, err := t.effects()
	if err != nil {
		return nil, err
	}
	return x.List()
}

func (t *tx) permit(p extension.Permission) error {
	if slices.Contains(t.p.permissions, p) {
		return nil
	}
	return fmt.Errorf("%w: %s needs %s", extension.ErrPermission, t.p.reg.Name, p)
}

// stanzas implements extension.Stanzas.
type stanzas struct{ t *tx }

// count has a stanza asked for, unless it is one too many: then nothing of it is in the
// outcome, and the handler may go on without it.
func (x stanzas) count(ask func() error) error {
	if x.t.sends >= x.t.p.bounds.sends {
		return fmt.Errorf("%w: a handler may send %d stanzas", extension.ErrBound, x.t.p.bounds.sends)
	}
	if err := ask(); err != nil {
		return err
	}
	x.t.sends++
	return nil
}

func (x stanzas) Send(s *stanza.Stanza) error {
	return x.count(func() error { return x.t.others.Send(s) })
}

func (x stanzas) Precede(s *stanza.Stanza) error {
	if s != nil && s.Kind != stanza.Message {
		return errors.New("plugin: what goes in front of an answer is a message")
	}
	return x.count(func() error { return x.t.others.Precede(s) })
}

func (x stanzas) SendAs(account jid.JID, s *stanza.Stanza) error {
	if err := x.t.permit(extension.SendAsAccount); err != nil {
		return err
	}
	if !slices.Contains(x.t.p.domains, account.Domain()) || account.Local() == "" {
		return fmt.Errorf("%w: %s is no account of this server", extension.ErrPermission, account)
	}
	return x.count(func() error { return x.t.others.SendAs(account, s) })
}

func (x stanzas) Request(s *stanza.Stanza, timeout time.Duration, state []byte) error {
	return x.RequestFor("", s, timeout, state)
}

// checkOrder says whether something can be an ordering key.
func checkOrder(order string) error {
	if len(order) > wire.MaxKeyBytes {
		return fmt.Errorf("%w: an ordering key has at most %d bytes, this one %d", extension.ErrBound, wire.MaxKeyBytes, len(order))
	}
	return nil
}

func (x stanzas) RequestFor(order string, s *stanza.Stanza, timeout time.Duration, state []byte) error {
	if err := checkOrder(order); err != nil {
		return err
	}
	if s == nil || s.Kind != stanza.IQ || s.Type != stanza.Get && s.Type != stanza.Set || x.t.p.reg.Reply == nil {
		return errors.New("plugin: a request is an iq of type get or set, of an extension with a Reply handler")
	}
	if len(state) > maxState || timeout <= 0 || timeout > maxRequestTime {
		return fmt.Errorf("%w: a request has at most %d bytes of state and waits at most %v", extension.ErrBound, maxState, maxRequestTime)
	}
	return x.count(func() error { return x.t.others.RequestFor(order, s, timeout, slices.Clone(state)) })
}

// store implements extension.Store.
type store struct{ t *tx }

func (x store) Get(ctx context.Context, owner jid.JID, key string) (extension.Entry, bool, error) {
	owner = overlay.Owner(owner)
	if op := x.t.ops.Last(owner, key); op != nil {
		return extension.Entry{Key: key, Value: op.Value}, !op.Delete, nil
	}
	if e := x.t.event; e != nil && e.Kind == extension.Staged && e.Envelope.Account == owner && slices.Contains(x.t.p.reg.Residents, key) {
		for _, r := range e.Residents {
			if r.Key == key {
				return r, true, nil
			}
		}
		return extension.Entry{}, false, nil
	}
	e, ok, err := x.t.reads.Get(ctx, owner, key)
	if err != nil {
		err = fmt.Errorf("get %q: %w", key, err)
	}
	return e, ok, err
}

func (x store) Scan(ctx context.Context, owner jid.JID, prefix, after string, limit int) ([]extension.Entry, error) {
	owner = overlay.Owner(owner)
	stored, err := x.t.reads.Scan(ctx, owner, prefix, after, x.t.ops.Ask(limit))
	if err != nil {
		return nil, fmt.Errorf("scan %q: %w", prefix, err)
	}
	return x.t.ops.Page(owner, prefix, after, limit, stored), nil
}

func (x store) write(op storage.Op) {
	op.Owner = overlay.Owner(op.Owner)
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

// timers implements extension.Timers.
type timers struct{ t *tx }

func (x timers) Set(key string, d time.Duration, state []byte) error {
	return x.SetFor("", key, d, state)
}

func (x timers) SetFor(order, key string, d time.Duration, state []byte) error {
	if err := checkOrder(order); err != nil {
		return err
	}
	if len(state) > maxState {
		return fmt.Errorf("%w: a timer has at most %d bytes of state", extension.ErrBound, maxState)
	}
	return x.t.others.SetFor(order, key, d, slices.Clone(state))
}

func (x timers) Cancel(key string) { x.t.others.Cancel(key) }

// archive implements extension.Archive.
type archive struct{ t *tx }

func (x archive) NewID() uint64 {
	id, err := x.t.p.ids.next(x.t.ctx, x.t.reads)
	if err != nil {
		panic(readFailed{fmt.Errorf("an ID for a row: %w", err)})
	}
	return id
}

func (x archive) Append(row storage.Row) {
	row.Owner = overlay.Owner(row.Owner)
	x.t.others.Append(row)
}

func (x archive) Remove(owner jid.JID) { x.t.others.ArchiveRemove(overlay.Owner(owner)) }

func (x archive) Replace(owner jid.JID, id uint64, xml string) {
	x.t.others.Replace(overlay.Owner(owner), id, xml)
}

func (x archive) Rows(ctx context.Context, owner jid.JID, f storage.Filter, p storage.Page) ([]storage.Row, bool, error) {
	rows, more, err := x.t.reads.Rows(ctx, overlay.Owner(owner), f, p)
	own := !slices.Contains(x.t.p.domains, owner.Domain()) // or it would be an error
	for i := range rows {
		rows[i].Space, rows[i].Own = x.t.p.reg.Name, own
	}
	return rows, more, err
}

func (x archive) Count(ctx context.Context, owner jid.JID, f storage.Filter, most int) (int, bool, error) {
	return x.t.reads.Count(ctx, overlay.Owner(owner), f, most)
}

func (x archive) Between(start, end time.Time) (after, before uint64) {
	after, before, err := x.t.reads.Between(x.t.ctx, start, end)
	if err != nil {
		panic(readFailed{err})
	}
	return after, before
}

func (x archive) Expire(ctx context.Context, before time.Time, limit int) (int, error) {
	return x.t.reads.Expire(ctx, before, limit)
}

// sessions implements extension.Sessions.
type sessions struct{ t *tx }

func (x sessions) Of(account jid.JID) []extension.Session {
	list, err := x.t.reads.SessionsOf(x.t.ctx, account.Bare())
	if err != nil {
		panic(readFailed{fmt.Errorf("sessions of an account: %w", err)})
	}
	return list
}

func (x sessions) Room(session jid.JID) int {
	n, err := x.t.reads.Room(x.t.ctx, session)
	if err != nil {
		panic(readFailed{err})
	}
	return n
}

func (x sessions) End(account jid.JID, condition, text string) error {
	if err := x.t.permit(extension.ManageAccounts); err != nil {
		return err
	}
	return x.t.others.End(account.Bare(), condition, text)
}

func (x sessions) Mark(session jid.JID, name string, on bool) error {
	if !slices.ContainsFunc(x.t.p.reg.Marks, func(m extension.Mark) bool { return m.Name == name }) {
		return fmt.Errorf("plugin: %s has no mark %q in its registration", x.t.p.reg.Name, name)
	}
	return x.t.others.Mark(session, name, on)
}

func (x sessions) Release(session jid.JID) { x.t.others.Release(session) }

func (x sessions) Withdraw(account jid.JID, patterns, except []jid.JID) error {
	if err := x.t.permit(extension.TellPresence); err != nil {
		return err
	}
	return x.t.others.Withdraw(account.Bare(), patterns, except)
}

func (x sessions) Announce(account jid.JID, patterns []jid.JID) error {
	if err := x.t.permit(extension.TellPresence); err != nil {
		return err
	}
	return x.t.others.Announce(account.Bare(), patterns)
}

// rosters implements extension.Rosters.
type rosters struct{ t *tx }

func (x rosters) Subscribed(ctx context.Context, account, contact jid.JID) (bool, error) {
	if err := x.t.permit(extension.ReadRosters); err != nil {
		return false, err
	}
	return x.t.reads.Subscribed(ctx, account, contact)
}

func (x rosters) Known(account, contact jid.JID) (bool, error) {
	if err := x.t.permit(extension.ReadRosters); err != nil {
		return false, err
	}
	return x.t.reads.Known(x.t.ctx, account, contact)
}

// residentRoster says whether the account of an event has the entry that has its roster
// resident.
func (p *process) residentRoster(e *extension.RemoteEvent) bool {
	return p.reg.ResidentRoster != "" && slices.ContainsFunc(e.Residents, func(r extension.Entry) bool { return r.Key == p.reg.ResidentRoster })
}

func (x rosters) Listed(account, contact jid.JID) (bool, error) {
	if err := x.t.permit(extension.ReadRosters); err != nil {
		return false, err
	}
	if e := x.t.event; e == nil || e.Kind != extension.Staged || e.Envelope.Account != account.Bare() || !x.t.p.residentRoster(e) {
		return false, fmt.Errorf("plugin: the roster of %s is not resident", account)
	}
	return x.t.reads.Listed(x.t.ctx, account, contact)
}

// memory implements extension.Memory.
type memory struct{ t *tx }

func (x memory) Get(ctx context.Context, key string) (extension.Entry, bool, error) {
	if v, own := x.t.memory[key]; own {
		if v == nil {
			return extension.Entry{}, false, nil
		}
		return extension.Entry{Key: key, Value: *v}, true, nil
	}
	return x.t.reads.MemoryGet(ctx, key)
}

func (x memory) Scan(ctx context.Context, prefix, after string, limit int) ([]extension.Entry, error) {
	var own []overlay.Change[extension.Entry]
	for key, v := range x.t.memory {
		if !strings.HasPrefix(key, prefix) || key <= after {
			continue
		}
		c := overlay.Change[extension.Entry]{Key: key}
		if v != nil {
			c.Value = &extension.Entry{Key: key, Value: *v}
		}
		own = append(own, c)
	}
	ask := limit + len(own)
	stored, err := x.t.reads.MemoryScan(ctx, prefix, after, ask)
	if err != nil {
		return nil, err
	}
	return overlay.Page(stored, len(stored) == ask, func(e *extension.Entry) string { return e.Key }, own, limit), nil
}

func (x memory) Put(key string, value []byte) error {
	switch {
	case key == "" || len(key) > maxMemoryKey:
		return fmt.Errorf("%w: a key of Memory has 1 to %d bytes, this one %d", extension.ErrBound, maxMemoryKey, len(key))
	case len(value) > maxMemoryValue:
		return fmt.Errorf("%w: a value of Memory has at most %d bytes, this one %d", extension.ErrBound, maxMemoryValue, len(value))
	}
	n := len(key) + len(value) + memoryEntryCost
	if x.t.puts+n > maxMemoryPuts {
		return fmt.Errorf("%w: a handler puts at most %d bytes into Memory", extension.ErrBound, maxMemoryPuts)
	}
	x.t.puts += n
	x.write(key, &value)
	return nil
}

func (x memory) Delete(key string) { x.write(key, nil) }

func (x memory) write(key string, v *[]byte) {
	if x.t.memory == nil {
		x.t.memory = map[string]*[]byte{}
	}
	x.t.memory[key] = v
}
