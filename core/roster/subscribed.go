package roster

import (
	"context"
	"fmt"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Subscribed says whether a contact, by its bare JID, may see the presence of an
// account: it is subscribed to it (the state is from or both), or is the account.
//
// To whoever may not, an account that is online, one that is offline and one that
// is not there must be the same (RFC 6121 11), also in the time that it takes. So
// a no is never given from memory, but read from storage, in all three cases.
func (r *Rosters) Subscribed(ctx context.Context, account, contact jid.JID) (bool, error) {
	if r.Known(account, contact) {
		return true, nil
	}
	state, err := r.store.Subscription(ctx, account.Bare(), contact.Bare())
	if err != nil {
		return false, fmt.Errorf("roster: subscription of %s: %w", account.Bare(), err)
	}
	return state == storage.SubFrom || state == storage.SubBoth, nil
}

// Known is Subscribed as far as it can be told without waiting: false means that
// storage must be asked.
func (r *Rosters) Known(account, contact jid.JID) bool {
	account, contact = account.Bare(), contact.Bare()
	if account == contact {
		return true
	}
	a := r.Held(account)
	return a != nil && a.Snapshot().Get(contact).State.Has(From)
}
