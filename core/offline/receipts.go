package offline

import (
	"context"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// woken is called by whoever uses a session's connection, when messages have
// arrived, there is room for more, or there is another connection.
func (o *Offline) woken(s *session.Session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.accounts[s.JID.Bare()]
	if a != nil {
		o.collect(a, s)
	}
	switch {
	case a != nil && a.flush != nil && a.flush.s == s:
		o.reads.ask(&a.read)
	case s.Outbox().HasGap() && !s.Detached():
		o.reads.ask(&job{run: func(context.Context) { o.goOn(s) }}) // not here: its connection may be calling
	}
}

// goOn closes the gap of a session that lost its connection and came back, if
// another one has taken what was stored meanwhile.
func (o *Offline) goOn(s *session.Session) {
	var b transport.Batch
	defer b.Flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.accounts[s.JID.Bare()]; a == nil || a.flush == nil || a.flush.s != s {
		s.Outbox().CloseGap(&b)
	}
}

// collect takes the receipts of a session; o.mu is held.
func (o *Offline) collect(a *account, s *session.Session) {
	ids := s.Outbox().Receipts()
	o.Observe.Fetched(len(ids))
	o.receipt(a, ids)
}

// receipt notes that messages have arrived, and are to be deleted; o.mu is held.
func (o *Offline) receipt(a *account, ids []uint64) {
	for _, id := range ids {
		a.with[id] = nil
	}
	if a.receipts = append(a.receipts, ids...); len(a.receipts) > 0 {
		o.deletes.ask(&a.delete)
	}
}

// deleteReceipts deletes what has arrived: all of it in one call, one call at a
// time. If that fails the messages are still known to have arrived.
func (o *Offline) deleteReceipts(ctx context.Context, a *account) {
	o.mu.Lock()
	ids := a.receipts
	a.receipts, a.deleting = nil, len(ids) > 0
	o.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	err := timed(ctx, func(ctx context.Context) error { return o.Store.DeleteOffline(ctx, a.owner, ids) })
	o.mu.Lock()
	defer o.mu.Unlock()
	a.deleting = false
	switch {
	case err != nil:
		a.receipts = append(ids, a.receipts...)
		a.deleteErrors++
		o.deletes.later(&a.delete, backoff(a.deleteErrors))
		o.Log.Error("storage: messages that have arrived can't be deleted: it is tried again; if the server ends before, they arrive a second time",
			zap.Stringer("account", a.owner), zap.Int("messages", len(a.receipts)), zap.Error(err))
		return
	case a.reading: // it may have begun before they were deleted
		a.gone = append(a.gone, ids...)
	default:
		for _, id := range ids {
			delete(a.with, id)
		}
	}
	a.deleteErrors = 0
	o.drop(a)
}
