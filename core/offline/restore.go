package offline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Left is a message that an earlier process had accepted, and when.
type Left struct {
	Stanza *stanza.Stanza // to the bare JID
	At     time.Time
}

// Restore stores what an earlier process had accepted for an account (package
// safe), in order and whatever the quota. What that process had stored by itself,
// and was killed before it could note that, is not stored twice. The error is
// storage's; an account that is not there any more is none.
func (o *Offline) Restore(ctx context.Context, owner jid.JID, left []Left) error {
	known, err := o.known(ctx, owner)
	if err != nil {
		return err
	}
	for _, l := range left {
		if _, stored := known[identify(l.Stanza, l.At)]; stored {
			continue
		}
		st := Stamped(l.Stanza, l.At)
		_, err := o.Store.AddOffline(ctx, owner, storage.OfflineMessage{Stamp: l.At, XML: st.Append(nil, jid.JID{}, xmpp.NSClient)}, math.MaxInt32)
		switch {
		case err == nil:
			o.Observe.Stored()
		case !errors.Is(err, storage.ErrNotFound):
			return fmt.Errorf("offline: restore: %w", err)
		}
	}
	return nil
}

// identity is what tells a message that was accepted from any other: who sent it,
// its id, and the microsecond in which it came.
type identity struct {
	from jid.JID
	id   string
	at   int64
}

func identify(st *stanza.Stanza, at time.Time) identity {
	return identity{st.From, st.ID, at.UnixMicro()}
}

// known returns what is stored for an account.
func (o *Offline) known(ctx context.Context, owner jid.JID) (map[identity]struct{}, error) {
	all := map[identity]struct{}{}
	for after := uint64(0); ; {
		page, err := o.Store.OfflineMessages(ctx, owner, after, pageSize)
		if err != nil {
			return nil, fmt.Errorf("offline: restore: %w", err)
		}
		for _, m := range page {
			after = m.ID
			if st, err := xmlstream.ParseCanonical(m.XML); err == nil {
				all[identify(st, m.Stamp)] = struct{}{}
			}
		}
		if len(page) < pageSize {
			return all, nil
		}
	}
}
