package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/roster"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// A planned restart, as docs/durability.md tells it. The order of things:
//
// At the stop streams end first, then handlers, then offline messages come to rest:
// nothing is delivered any more when the sessions are saved. Spool and database have
// what their clients sent by then, but for what extensions elsewhere have not handled. That, and what extensions have
// in memory, is saved first (saved.go), and the sessions behind it: what is saved in part is as after a kill.
//
// At the start what was saved is read, then the spool; what waits for a session that
// is back is left in the spool, everything else is stored. Sessions are there when
// the extensions start. What was saved is dropped when all of that has worked, so that
// a start that fails leaves it to the next one; and before the time of the sessions
// goes on and the first client comes, so that no later start brings back what has
// happened since. A kill behind that is one like any other: the spool still has what
// the sessions had.

// quietTime is how long what is in hand may take when all streams have ended.
const quietTime = 5 * time.Second

// quiet waits for what clients had sent, and says whether what was handled of it is
// safe. The error says that messages are still under way.
func (k *Kernel) quiet(ctx context.Context) (safe bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quietTime)
	defer cancel()
	if err = k.hosts.Underway().Drain(ctx); err != nil {
		err = fmt.Errorf("core: messages under way did not come to their end in time: %w", err)
	}
	if k.ports.Saved == nil {
		return false, err
	}
	if k.ports.Spool == nil {
		return k.c2s.Resumables.Quiet(ctx), err
	}
	var over sync.WaitGroup
	defer over.Wait()
	defer cancel()
	over.Go(func() { // a spool that has failed makes nothing safe any more
		select {
		case <-k.ports.Spool.Failed():
			cancel()
		case <-ctx.Done():
		}
	})
	return k.c2s.Resumables.Quiet(ctx), err
}

// save leaves the sessions that can be resumed to the next process.
func (k *Kernel) save(saved *storage.Saved, quiet bool) {
	if len(saved.Sessions) == 0 && len(saved.Ended) == 0 {
		return
	}
	err := errors.New("what their clients sent did not reach the disk in time")
	if quiet {
		err = k.ports.Saved.Save(saved)
	}
	if err != nil {
		k.ports.Log.Error("sessions are not kept over the restart: their clients log in anew, and get what was acknowledged and did not reach them as after a kill",
			zap.Int("sessions", len(saved.Sessions)), zap.Error(err))
		return
	}
	k.ports.Log.Info("sessions are kept over the restart", zap.Int("sessions", len(saved.Sessions)), zap.Int("stanzas", stanzas(saved)))
}

func stanzas(saved *storage.Saved) (n int) {
	for i := range saved.Sessions {
		n += len(saved.Sessions[i].Queue)
	}
	return n
}

// left is what a start takes over from the process before.
type left struct {
	all      *storage.Saved // nil for nothing
	saved    []*storage.SavedSession
	sessions []*session.Session // made of saved, in the same order
	owners   []jid.JID          // accounts for which messages of the spool were stored
}

// takeOver makes everything that an earlier process left what it was then. Nothing
// that was saved is lost if it fails, or the process ends.
func (k *Kernel) takeOver(ctx context.Context) (*left, error) {
	l := &left{}
	saved, err := k.load()
	if err != nil {
		return nil, err
	}
	if l.all = saved; saved != nil {
		if l.saved, err = k.known(ctx, saved); err != nil {
			return nil, err
		}
	}
	restoring := session.Restoring{
		Resumables: k.c2s.Resumables, Limits: k.c2s.Limits.Outbox(), Pipeline: k.router.Pipeline, Kernel: k, Spool: k.ports.Spool,
	}
	for _, s := range l.saved {
		l.sessions = append(l.sessions, restoring.Session(s))
	}
	var mu sync.Mutex
	senders, err := k.safe.Recover(ctx, restoring.Has, func(ctx context.Context, owner jid.JID, records []storage.SpoolRecord) error {
		mu.Lock()
		l.owners = append(l.owners, owner)
		mu.Unlock()
		return k.restore(ctx, owner, records)
	})
	if err != nil {
		return nil, err
	}
	restoring.Match()
	k.remember(l, saved, senders)
	if err := k.inParallel(ctx, len(l.sessions), func(ctx context.Context, i int) error { return k.holdRoster(ctx, l.sessions[i]) }); err != nil {
		return nil, err
	}
	for _, s := range l.sessions {
		k.claim(s)
	}
	if saved != nil && len(saved.Sessions) > 0 {
		k.observe.Restored(len(l.sessions))
		k.ports.Log.Info("sessions of before the restart can be resumed", zap.Int("sessions", len(l.sessions)), zap.Int("stanzas", stanzas(saved)),
			zap.Int("dropped", len(saved.Sessions)-len(l.sessions)), zap.Time("stopped", saved.At))
	}
	return l, nil
}

// load reads what was saved, nil for nothing.
func (k *Kernel) load() (*storage.Saved, error) {
	if k.ports.Saved == nil {
		return nil, nil
	}
	saved, err := k.ports.Saved.Load()
	switch {
	case errors.Is(err, storage.ErrUnreadable):
		k.ports.Log.Error("sessions of before the restart can't be resumed: their clients log in anew, and get what was acknowledged and did not reach them as after a kill",
			zap.Error(err))
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("core: %w", err)
	}
	if saved != nil {
		for _, err := range saved.Spoiled {
			k.ports.Log.Error("a session of before the restart can't be resumed: its client logs in anew, and gets what was acknowledged and did not reach it as after a kill", zap.Error(err))
		}
	}
	return saved, nil
}

// known returns the sessions whose accounts are still there: those of the time of the
// stop, and not others that were made under the same name.
func (k *Kernel) known(ctx context.Context, saved *storage.Saved) ([]*storage.SavedSession, error) {
	there := make([]bool, len(saved.Sessions))
	err := k.inParallel(ctx, len(there), func(ctx context.Context, i int) (err error) {
		there[i], err = k.hasSince(ctx, saved.Sessions[i].JID.Bare(), saved.At)
		return err
	})
	var all []*storage.SavedSession
	for i := range there {
		if there[i] {
			all = append(all, &saved.Sessions[i])
		}
	}
	return all, err
}

// hasSince says whether there is an account, and was at some time.
func (k *Kernel) hasSince(ctx context.Context, user jid.JID, at time.Time) (bool, error) {
	if k.hosted(user) != nil {
		return false, nil
	}
	a, err := k.ports.Accounts.Get(ctx, user)
	switch {
	case errors.Is(err, auth.ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("core: account of a session of before the restart: %w", err)
	}
	return !a.Created.After(at), nil
}

// remember has sessions known by their SM-IDs: those that are back, and the counts of
// others that have ended. Of the two counts that there may be the later one is true:
// what was saved may be older than a record that the disk has since, and the spool is
// told only of what a client is told, or of a message.
func (k *Kernel) remember(l *left, saved *storage.Saved, senders []storage.SpoolSession) {
	spooled := make(map[string]storage.SpoolSession, len(senders))
	for _, s := range senders {
		spooled[s.ID] = s
	}
	for i, s := range l.saved {
		if x, has := spooled[s.ID]; has {
			l.sessions[i].Reached(later(s.Handled, x.Handled))
		}
	}
	if saved != nil {
		for i := range saved.Sessions { // also those of accounts that are gone
			delete(spooled, saved.Sessions[i].ID)
		}
		for _, e := range saved.Ended {
			if s, has := spooled[e.ID]; has {
				e.Handled = later(e.Handled, s.Handled)
				delete(spooled, e.ID)
			}
			k.c2s.Resumables.Past(e.ID, e.User, e.Handled)
		}
	}
	for _, s := range senders {
		if _, has := spooled[s.ID]; has {
			k.c2s.Resumables.Past(s.ID, s.User, s.Handled)
		}
	}
	k.c2s.Resumables.Return(l.sessions)
}

// later returns the later one of two counts (XEP-0198 4: modulo 2^32).
func later(a, b uint32) uint32 {
	if int32(b-a) > 0 {
		return b
	}
	return a
}

// holdRoster gives an available session its roster: probes are answered by it.
func (k *Kernel) holdRoster(ctx context.Context, s *session.Session) error {
	if s.Presence() == nil {
		return nil
	}
	r, err := k.presence.Rosters.Hold(ctx, s.JID.Bare())
	if err != nil {
		return fmt.Errorf("core: roster of a session of before the restart: %w", err)
	}
	s.KeepRoster(r)
	return nil
}

// claim has others find a session. Nobody is told: they know it as it is.
func (k *Kernel) claim(s *session.Session) {
	fence, replaced := k.ports.Sessions.Claim(cluster.Entry{JID: s.JID, Receiver: s})
	s.Claimed(fence)
	s.Publish()
	if replaced != nil {
		var b transport.Batch
		replaced.Receiver.End(&b, stream.Err(stream.Conflict, ""))
		b.Flush()
	}
}

// exorcise tells restored sessions of those whose accounts are gone, as far as they saw
// them: nobody else will.
func (k *Kernel) exorcise(l *left) {
	if l.all == nil {
		return
	}
	var b transport.Batch
	defer b.Flush()
	back := 0 // l.saved has them in the order of l.all
	for i := range l.all.Sessions {
		ghost := &l.all.Sessions[i]
		if back < len(l.saved) && l.saved[back] == ghost {
			back++
			continue
		}
		gone := stanza.New(stanza.Header{Kind: stanza.Presence, Type: stanza.Unavailable, From: ghost.JID})
		for _, s := range l.sessions {
			if ghost.Presence != nil && s.Presence() != nil && subscribed(s, ghost.JID.Bare()) || slices.Contains(ghost.Directed, s.JID) {
				s.Deliver(&b, cluster.Delivery{Stanza: gone, To: s.JID.Bare()})
			}
		}
	}
}

// subscribed says whether a session sees the presence of an account.
func subscribed(s *session.Session, contact jid.JID) bool {
	r := s.Roster()
	if r == nil {
		return false
	}
	it := r.Snapshot().Get(contact)
	return it.State.Has(roster.To)
}

// discard drops what was saved.
func (k *Kernel) discard() error {
	var sessions, extensions error
	if k.ports.Saved != nil {
		sessions = k.ports.Saved.Discard()
	}
	if k.ports.SavedExtensions != nil {
		extensions = k.ports.SavedExtensions.Discard()
	}
	return errors.Join(sessions, extensions)
}

// goOn drops what was saved, and lets the sessions live from then on.
func (k *Kernel) goOn(ctx context.Context, l *left) error {
	if err := k.discard(); err != nil {
		return errors.Join(fmt.Errorf("core: %w", err), k.stop(ctx, k.registry.Guests()), k.offline.Stop(ctx))
	}
	for i, s := range l.sessions {
		k.offline.Adopt(s, l.saved[i].Fetches)
	}
	if len(l.sessions) > 0 {
		for _, owner := range l.owners {
			k.offline.Restored(owner)
		}
	}
	k.exorcise(l)
	k.c2s.Resumables.Go(l.sessions)
	return nil
}

// startReaders is how many accounts are looked up at once.
const startReaders = 16

// inParallel calls f for all numbers below n, some at once, and returns the first
// error.
func (k *Kernel) inParallel(ctx context.Context, n int, f func(ctx context.Context, i int) error) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, startReaders)
	var all sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		all.Go(func() {
			defer func() { <-slots }()
			if err := f(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}
