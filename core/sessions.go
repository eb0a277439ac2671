package core

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/core/underway"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

var _ session.Kernel = (*Kernel)(nil)

// Hold implements session.Kernel.
func (k *Kernel) Hold(s *session.Session) (release func()) { return k.offline.Hold(s.JID.Bare()) }

// Fetch implements session.Kernel.
func (k *Kernel) Fetch(s *session.Session) bool { return k.offline.Fetch(s) }

// Keeps implements session.Kernel.
func (k *Kernel) Keeps(st *stanza.Stanza) bool { return k.offline.Keeps(st) }

// Leave implements session.Kernel.
func (k *Kernel) Leave(b *transport.Batch, s *session.Session, lost []session.Lost, told func()) {
	k.presence.Leave(b, s, lost, told)
}

// Lost implements session.Kernel.
func (k *Kernel) Lost(b *transport.Batch, s *session.Session, lost []session.Lost) {
	k.router.Lost(b, s.JID, lost)
}

// Held implements session.Kernel.
func (k *Kernel) Held(s *session.Session) (bytes int64) {
	for _, e := range k.ports.Sessions.Sessions(s.JID.Bare()) {
		if other, ok := e.Receiver.(*session.Session); ok {
			bytes += other.Outbox().Large()
		}
	}
	return bytes
}

// Overflow implements session.Kernel.
func (k *Kernel) Overflow(s *session.Session) {
	k.observe.Overflowed()
	k.ports.Log.Warn("session ended: its client does not read or does not acknowledge (limits.outbox-bytes, for it or for all sessions of the account, or limits.unacknowledged is reached)", zap.Stringer("jid", s.JID))
}

// Lines implements session.Kernel.
func (k *Kernel) Lines() *underway.Underway { return k.hosts.Underway() }

// Delivered implements session.Kernel.
func (k *Kernel) Delivered(kind stanza.Kind) { k.observe.Delivered(kind) }

// Publish implements session.Kernel.
func (k *Kernel) Publish(e cluster.Entry) bool { return k.ports.Sessions.Update(e) }

// Show implements session.Kernel.
func (k *Kernel) Show(b *transport.Batch, s *session.Session, v cluster.Show) transport.Wait {
	return k.presence.Show(b, s, v)
}

// becameAvailable tells the extensions.
func (k *Kernel) becameAvailable(s jid.JID, presence *stanza.Stanza) {
	k.hosts.Notify(extension.Notice{Event: extension.BecameAvailable, Session: s, At: k.ports.Now(), Presence: presence})
}

// becameUnavailable tells the extensions.
func (k *Kernel) becameUnavailable(s jid.JID, last *stanza.Stanza) {
	k.hosts.Notify(extension.Notice{Event: extension.BecameUnavailable, Session: s, At: k.ports.Now(), Presence: last})
}

// restore stores messages that an earlier process had accepted for an account: for
// that one, and not for another that was made under its name since. What the account itself
// had sent to a far domain comes back: it may be there, and is not sent twice.
func (k *Kernel) restore(ctx context.Context, owner jid.JID, records []storage.SpoolRecord) error {
	var since *time.Time // when the account was made; for one goroutine at a time
	left := make([]offline.Left, len(records))
	for i, r := range records {
		st := r.Stanza
		if !k.registry.Hosted(st.To.Domain()) {
			st = st.ErrorReply(lostFar)
		}
		h := st.Header
		h.To = owner
		st = st.With(h)
		left[i] = offline.Left{Stanza: st, At: r.Stamp, Done: func() { k.safe.Recovered(r.ID) }, Bring: func(ctx context.Context) (*stanza.Stanza, error) {
			if since == nil {
				ctx, cancel := context.WithTimeout(ctx, lookupTime)
				defer cancel()
				account, err := k.ports.Store.Account(ctx, owner)
				if err != nil && !errors.Is(err, storage.ErrNotFound) {
					return nil, fmt.Errorf("core: restore: %w", err)
				}
				since = &account.Created
			}
			if since.After(r.Stamp) {
				return nil, nil
			}
			return st, nil
		}}
	}
	return k.offline.Restore(ctx, owner, left)
}

// lostFar is the answer to a message for a far domain that was on its way at a kill.
var lostFar = stanza.Err(stanza.RemoteServerTimeout, "the server was restarted: it is not known whether the message was delivered")

// lookupTime is how long it may take to read an account.
const lookupTime = 30 * time.Second
