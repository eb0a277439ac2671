package offline

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Restore stores what an earlier process had accepted for an account (package
// safe), in order and whatever the quota, many messages at once; Done of each is called
// when it is on disk. What that process had stored by itself, and was killed before it
// could note that, is not stored twice. An account that is not there any more is no
// error. After any other error, and after the end of ctx, it is tried again by and by.
func (o *Offline) Restore(ctx context.Context, owner jid.JID, left []Left) error {
	if len(left) == 0 {
		return nil
	}
	watch := make(chan error, 1)
	o.mu.Lock()
	a := o.account(owner)
	for _, l := range left {
		o.append(a, l)
	}
	a.left.doubt, a.left.watch = true, watch
	if !o.late.ask(&a.keep) {
		watch <- errors.New("it has ended")
	}
	o.mu.Unlock()
	select {
	case err := <-watch:
		if err != nil {
			return fmt.Errorf("offline: restore: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("offline: restore: %w", ctx.Err())
	}
}

// identity is what tells a message that was accepted from any other: what it says, who
// sent it, and the microsecond in which it came.
type identity struct {
	sum [sha256.Size]byte
	at  int64
}

// identify takes a message as it is stored when a session leaves it, or as it is when
// no session took it: the address and the stamp of its time make no difference.
func identify(st *stanza.Stanza, at time.Time) identity {
	h := st.Header
	h.To = h.To.Bare()
	return identity{sha256.Sum256(Stamped(st.With(h), at).Append(nil, jid.JID{}, xmpp.NSClient)), at.UnixMicro()}
}

// knownSize is how many messages known reads at once.
const knownSize = 50

// known counts what is stored for an account.
func (o *Offline) known(ctx context.Context, owner jid.JID) (map[identity]int, error) {
	all := map[identity]int{}
	for after := uint64(0); ; {
		var page []storage.OfflineMessage
		err := timed(ctx, func(ctx context.Context) (err error) {
			page, err = o.Store.OfflineMessages(ctx, owner, after, knownSize)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, m := range page {
			after = m.ID
			if st, err := xmlstream.ParseCanonical(m.XML); err == nil {
				all[identify(st, m.Stamp)]++
			}
		}
		if len(page) < knownSize {
			return all, nil
		}
	}
}
