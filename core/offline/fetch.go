package offline

import (
	"context"
	"slices"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// pageSize is how many messages are read at once. Each may be as long as a
// stanza may be.
const pageSize = 10

// Begin is called before a session takes messages: what others send when they
// can see that will come behind what is stored. Fetch must follow, unless the
// session ends. What the Write stage held back goes in front: it is older.
func (o *Offline) Begin(b *transport.Batch, s *session.Session) {
	if o.quota <= 0 {
		return
	}
	s.Release(b)
	o.mu.Lock()
	defer o.mu.Unlock()
	if !s.Ended() {
		o.open(b, s)
	}
}

// Fetch brings what is stored to a session that takes messages, and that others
// can see. It is false if the session takes none.
func (o *Offline) Fetch(s *session.Session) bool {
	if o.quota <= 0 {
		return false
	}
	var b transport.Batch
	defer b.Flush()
	s.Release(&b)
	o.mu.Lock()
	defer o.mu.Unlock()
	if !s.Takes() {
		return false
	}
	s.Outbox().Admit()
	a := o.open(&b, s)
	if a == nil {
		return false
	}
	a.flush.shown = a.flush.shown || a.flush.s == s
	a.again = true
	o.reads.ask(&a.read)
	return true
}

// open gives the gap to a session, unless another one has it; nil if this one
// can't have it. One that has ended has none, but what it was brought comes first: nothing is read before it has left
// (Left). One without a connection gives it up: its client may have come
// back by this one. What waits behind it there goes on waiting for a connection.
// o.mu is held.
func (o *Offline) open(b *transport.Batch, s *session.Session) *account {
	a := o.account(s.JID.Bare())
	f := a.flush
	if f != nil && (f.s == s || !f.s.Detached() && !f.s.Ended()) {
		return a
	}
	if !s.Outbox().Open(b, func() { o.woken(s) }) {
		o.drop(a)
		return nil
	}
	next := &flush{s: s}
	if f != nil {
		a.end(f.s.Outbox().TakeBack())
		if next.behind = f.behind; f.s.Ended() {
			next.behind = append(next.behind, f.s)
		}
	}
	a.flush, a.again = next, true
	return a
}

// End is called when a session takes no more messages, and others can see that,
// with the account held. What it was not sent is fetched by another one, or
// waits; it returns live messages that waited behind that, to be routed anew.
func (o *Offline) End(b *transport.Batch, s *session.Session) []session.Lost {
	if o.quota <= 0 {
		return nil
	}
	o.mu.Lock()
	ids, lost := s.Outbox().Withdraw(b)
	a := o.accounts[s.JID.Bare()]
	ends := a != nil && a.flush != nil && a.flush.s == s
	if ends {
		a.end(ids)
		o.drop(a)
	}
	o.mu.Unlock()
	if ends {
		o.stored(s.JID.Bare())
	}
	return lost
}

// Left is called when a session has ended, and the registry says that it takes
// nothing. What it did not acknowledge is fetched by another one, or waits.
func (o *Offline) Left(s *session.Session) {
	o.mu.Lock()
	a := o.accounts[s.JID.Bare()]
	if a == nil {
		o.mu.Unlock()
		return
	}
	o.collect(a, s)
	free := false
	for id, f := range a.with {
		if f != nil && f.s == s {
			a.free(id)
			free = true
		}
	}
	if f := a.flush; f != nil && f.s == s {
		a.flush, free = nil, true
	} else if f != nil && slices.Contains(f.behind, s) {
		f.behind, free = slices.DeleteFunc(f.behind, func(b *session.Session) bool { return b == s }), true
	}
	o.drop(a)
	o.mu.Unlock()
	if free {
		o.stored(s.JID.Bare())
	}
}

// Fetches says whether it is this session that is brought what is stored.
func (o *Offline) Fetches(s *session.Session) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.accounts[s.JID.Bare()]
	return a != nil && a.flush != nil && a.flush.s == s
}

// Adopt goes on with a session of an earlier process: what that had read for it is
// not read again, and, if it fetches, the rest is brought to it.
func (o *Offline) Adopt(s *session.Session, fetches bool) {
	var b transport.Batch
	defer b.Flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	ids := s.Outbox().Adopt(func() { o.woken(s) })
	if !fetches && len(ids) == 0 {
		return
	}
	a, f := o.account(s.JID.Bare()), &flush{s: s, shown: true}
	for _, id := range ids {
		a.with[id] = f
	}
	switch {
	case !fetches || s.Ended():
	case o.quota <= 0:
		s.Outbox().CloseGap(&b)
	case a.flush == nil:
		a.flush, a.again = f, true
		o.reads.ask(&a.read)
	}
	o.drop(a)
}

// Restored has somebody fetch what Restore has stored for an account.
func (o *Offline) Restored(owner jid.JID) {
	if o.quota > 0 {
		o.stored(owner)
	}
}

// end ends the flush, with those messages that were not written.
func (a *account) end(ids []uint64) {
	for _, id := range ids {
		a.free(id)
	}
	a.flush = nil
}

// free notes that a message is with no session any more, and is to be read
// again.
func (a *account) free(id uint64) {
	delete(a.with, id)
	a.after, a.again = min(a.after, id-1), true
}

// read reads what is stored for the session that has the gap, as long as it has
// room.
func (o *Offline) read(ctx context.Context, a *account) {
	for o.page(ctx, a) {
	}
}

// page reads a page. It says whether the next one may be read at once.
func (o *Offline) page(ctx context.Context, a *account) (more bool) {
	o.mu.Lock()
	f := a.flush
	if f == nil || len(f.behind) > 0 || a.left.holds || !f.s.Outbox().Room() { // unhold asks again
		o.mu.Unlock()
		return false
	}
	a.reading, a.again = true, false
	after := a.after
	o.mu.Unlock()
	var page []storage.OfflineMessage
	err := timed(ctx, func(ctx context.Context) (err error) {
		page, err = o.Store.OfflineMessages(ctx, a.owner, after, pageSize)
		return err
	})
	fresh, ok := o.claim(a, f, after, page, err)
	if !ok {
		if err != nil && ctx.Err() == nil {
			o.Log.Error("storage: messages that wait for an account can't be read: its session waits for them, and what others send waits behind; it is tried again",
				zap.Stringer("account", a.owner), zap.Error(err))
		}
		return false
	}
	var b transport.Batch
	defer b.Flush()
	messages, handled, rest := o.prepare(ctx, &b, f, fresh)
	more = o.insert(&b, a, f, messages, handled, len(page) < pageSize && len(rest) == 0)
	if len(rest) > 0 {
		o.putOff(a, f, rest)
		return false
	}
	return more
}

// putOff leaves messages for a while: nobody can say what becomes of the first, and the
// others come behind it.
func (o *Offline) putOff(a *account, f *flush, rest []storage.OfflineMessage) {
	o.mu.Lock()
	for _, m := range rest {
		if a.with[m.ID] == f {
			a.free(m.ID)
		}
	}
	waits := a.flush == f
	o.drop(a)
	o.mu.Unlock()
	if !waits { // another session has the gap, and may have asked already
		o.stored(a.owner)
		return
	}
	f.tries++
	o.reads.later(&a.read, backoff(f.tries))
}

// claim notes that what is new of a page is with f. It is false if nothing can be
// done with the page.
func (o *Offline) claim(a *account, f *flush, after uint64, page []storage.OfflineMessage, err error) (fresh []storage.OfflineMessage, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.drop(a)
	a.reading = false
	for _, m := range page {
		if _, known := a.with[m.ID]; !known {
			fresh = append(fresh, m)
		}
	}
	for _, id := range a.gone {
		delete(a.with, id)
	}
	a.gone = nil
	switch {
	case a.left.holds: // what it saw may be stored once more
		a.again = true
		return nil, false
	case a.flush != f: // it gave up the gap; whoever has it now asked for a read of its own
		a.again = true
		return nil, false
	case err != nil:
		a.again = true
		a.readErrors++
		o.reads.later(&a.read, backoff(a.readErrors))
		return nil, false
	}
	a.readErrors = 0
	if n := len(page); n > 0 && a.after == after { // else an older one is free again
		a.after = page[n-1].ID
	}
	for _, m := range fresh {
		a.with[m.ID] = f
	}
	return fresh, true
}

// prepare makes stanzas of what was stored, as they are after the stages Recall
// and Write. handled are those that end there; rest is what is to be put off. What can't
// be read, or is to wait on, stays where it is, and is left out until the session has
// ended.
func (o *Offline) prepare(ctx context.Context, b *transport.Batch, f *flush, page []storage.OfflineMessage) (messages []session.Stored, handled []uint64, rest []storage.OfflineMessage) {
	s := f.s
	for i, m := range page {
		st, err := xmlstream.ParseCanonical(m.XML)
		if err != nil {
			o.Log.Error("storage: a stored message can't be read; it is left out", zap.Stringer("account", s.JID.Bare()), zap.Uint64("id", m.ID), zap.Error(err))
			continue
		}
		e := extension.Envelope{Stanza: Stamped(st, m.Stamp), Account: s.JID.Bare(), Session: s.JID}
		undecided := false
		wait := o.Recall(b, &e, func(b *transport.Batch, st *stanza.Stanza, err error) {
			if st != nil {
				st = s.Stage(b, st)
			}
			switch {
			case st != nil:
				messages = append(messages, session.Stored{ID: m.ID, Stanza: st})
			case err == nil:
				handled = append(handled, m.ID)
			}
			undecided = Undecided(err)
		})
		if wait != nil {
			wait(ctx)
		}
		if undecided && f.tries < maxTries {
			return messages, handled, page[i:]
		}
	}
	return messages, handled, nil
}

// insert hands messages over. end says that nothing was stored behind them when
// they were read. It says whether there may be more, and is room for it.
func (o *Offline) insert(b *transport.Batch, a *account, f *flush, messages []session.Stored, handled []uint64, end bool) (more bool) {
	o.mu.Lock()
	o.receipt(a, handled)
	last := end && !a.again && a.holds == 0 && f.shown
	if a.flush != f || !f.s.Insert(b, messages, last) {
		again := a.release(f, messages)
		o.drop(a)
		o.mu.Unlock()
		if again {
			o.stored(a.owner)
		}
		return false
	}
	if last {
		a.flush = nil
		o.drop(a)
	}
	more = !last && (!end || a.again)
	o.mu.Unlock()
	return more
}

// release frees messages that f had no use for, unless that was done already:
// then it is false.
func (a *account) release(f *flush, messages []session.Stored) (freed bool) {
	for _, m := range messages {
		if a.with[m.ID] == f {
			a.free(m.ID)
			freed = true
		}
	}
	return freed
}
