package offline

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Add stores a message for the account that it is addressed to, received at some
// time, and has a session fetch it if there is one by now: when it returns, nothing
// that is sent later gets in front. It waits until what ended sessions of the
// account left is stored. The error is for the sender; an account that is not there
// is none.
func (o *Offline) Add(ctx context.Context, st *stanza.Stanza, at time.Time) error {
	owner := st.To.Bare()
	o.Await(ctx, owner)
	xml, bad := o.encode(st)
	if bad != nil {
		return bad
	}
	_, err := o.Store.AddOffline(ctx, owner, storage.OfflineMessage{Stamp: at, XML: xml}, o.quota)
	return o.Added(ctx, st, err)
}

// Added goes on behind the write that was to store a message, and failed with err if that
// is not nil. It has a session fetch the message if there is one by now: when it returns,
// nothing that is sent later gets in front. The error is for the sender; an account that
// is not there is none.
func (o *Offline) Added(ctx context.Context, st *stanza.Stanza, err error) error {
	owner := st.To.Bare()
	switch {
	case err == nil:
		o.Observe.Stored()
	case errors.Is(err, storage.ErrNotFound): // as silent as an account that is offline (RFC 6121 8.5.1)
		o.told(ctx, st) // takes as long as where the store is full
		return nil
	case errors.Is(err, storage.ErrQuota):
		o.Observe.NotStored(observe.OverQuota)
		if !o.told(ctx, st) {
			return nil
		}
		return stanza.Err(stanza.ResourceConstraint, "too many messages wait for this account")
	default:
		o.Observe.NotStored(observe.StorageFailed)
		o.Log.Error("storage: a message for somebody who is offline was refused: the database does not answer, or its disk is full",
			zap.Stringer("account", owner), zap.Error(err))
		err = stanza.Err(stanza.InternalServerError, "")
	}
	o.stored(owner) // also if that is not known
	return err
}

// told says whether the sender of a message may know that there is such an account:
// only then is it told that too many messages wait for it.
func (o *Offline) told(ctx context.Context, st *stanza.Stanza) bool {
	if o.Contacts == nil {
		return true
	}
	known, err := o.Contacts.Subscribed(ctx, st.To, st.From)
	if err != nil {
		o.Log.Error("storage: it could not be read who is a contact", zap.Stringer("account", st.To), zap.Error(err))
	}
	return known
}

// encode returns a message as it is stored. The error is for the sender.
func (o *Offline) encode(st *stanza.Stanza) ([]byte, *stanza.Error) {
	xml := st.Append(nil, jid.JID{}, xmpp.NSClient)
	if len(xml) > storage.MaxValue {
		o.Observe.NotStored(observe.TooLong)
		return nil, stanza.Err(stanza.ResourceConstraint, "too long to be stored for somebody who is offline")
	}
	if _, err := xmlstream.ParseCanonical(xml); err != nil { // an extension built it
		o.Observe.NotStored(observe.TooLong)
		return nil, stanza.Err(stanza.ResourceConstraint, "it can't be stored for somebody who is offline")
	}
	return xml, nil
}

// stored has somebody fetch what was stored, or is free again, for an account.
func (o *Offline) stored(owner jid.JID) {
	o.mu.Lock()
	if a := o.accounts[owner]; a != nil && a.flush != nil {
		a.again = true
		o.reads.ask(&a.read)
		o.mu.Unlock()
		return
	}
	o.mu.Unlock()
	takes := slices.DeleteFunc(slices.Clone(o.Sessions.Sessions(owner)), func(s cluster.Entry) bool { return !s.Available || s.Priority < 0 })
	slices.SortStableFunc(takes, func(a, b cluster.Entry) int { return int(b.Priority) - int(a.Priority) })
	for _, s := range takes {
		if s.Receiver.Stored() {
			return
		}
	}
}
