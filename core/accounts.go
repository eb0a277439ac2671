package core

import (
	"context"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// accounts is the port of package auth as the kernel gives it on. It notes
// which accounts were removed: a client that had logged in, but not yet bound a
// resource, would otherwise outlive its account.
type accounts struct {
	auth.Verifier
	auth.Accounts
	sessions cluster.Registry
	now      func() time.Time
	keep     time.Duration // longer than a login may take
	forget   func(jid.JID) // drops what is in memory of an account

	mu      sync.Mutex
	removed map[jid.JID]time.Time
}

// Remove removes the account. Whoever binds a resource of it after this is
// refused; sessions that are bound are the caller's to end.
func (a *accounts) Remove(ctx context.Context, user jid.JID) error {
	err := a.Accounts.Remove(ctx, user)
	a.forget(user) // after an error nobody knows what is stored
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	for j, at := range a.removed {
		if now.Sub(at) > a.keep {
			delete(a.removed, j)
		}
	}
	a.removed[user.Bare().Clone()] = now
	return nil
}

// removedSince says whether the account was removed after a login at that time.
func (a *accounts) removedSince(user jid.JID, login time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.removed[user]
	return ok && !at.Before(login)
}

// end ends the sessions of an account that was removed.
func (a *accounts) end(user jid.JID) {
	var b transport.Batch
	for _, s := range a.sessions.Sessions(user.Bare()) {
		s.Receiver.End(&b, stream.Err(stream.NotAuthorized, "the account was removed"))
	}
	b.Flush()
}

// watched is a store of rosters that tells of each change.
type watched struct {
	storage.Rosters
	changed func(owner jid.JID)
}

func (w watched) ChangeRoster(ctx context.Context, owner jid.JID, base uint64, put []storage.RosterItem, remove []jid.JID) error {
	defer w.changed(owner) // after an error nobody knows what is stored
	return w.Rosters.ChangeRoster(ctx, owner, base, put, remove)
}
