package session

import (
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Stored is a message from storage on its way to the client.
type Stored struct {
	ID     uint64
	Stanza *stanza.Stanza
}

// stored is what an Outbox knows of stored messages that it was given.
type stored struct {
	wake   func() // see Open
	queued int    // not written
	count  int    // queued, or written and not acknowledged
	bytes  int    // of count
	done   []uint64
	told   bool // of done
	hungry bool // wants to be told of room
}

// How many stored messages are on their way at a time, unacknowledged ones
// included: past one of these bounds no more are read.
const (
	storedAhead      = 64
	storedAheadBytes = 512 << 10
)

// Open makes a gap, in front of which Insert puts stored messages; what waits
// behind one that TakeBack left is older than they are, and goes on. It is false
// if the stream has ended. wake is called, without a lock, when there is room for
// more, after Room said that there is none, when there are receipts, and when the
// stream goes on with another connection. It may be called by whoever uses the
// connection, and once more than there is news.
func (o *Outbox) Open(b *transport.Batch, wake func()) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stored != nil && o.gap != nil && !o.closed {
		o.close(b)
	}
	if !o.open() {
		return false
	}
	if o.stored == nil {
		o.stored = &stored{}
	}
	o.stored.wake = wake
	return true
}

// Admit takes messages to the bare JID again, after Withdraw: as soon as others
// can see that the session takes some.
func (o *Outbox) Admit() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refuses = false
}

// Room says whether more stored messages may be inserted: all of those before
// are written, and, under stream management, most of them acknowledged.
func (o *Outbox) Room() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.stored
	if s == nil || o.closed {
		return false
	}
	s.hungry = !s.room()
	return !s.hungry
}

// Insert queues stored messages in front of the gap, which it closes if they
// are the last. It is false if the stream has ended; nothing was queued then.
func (o *Outbox) Insert(b *transport.Batch, messages []Stored, last bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.gap == nil {
		return false
	}
	for _, m := range messages {
		it := item{stanza: m.Stanza, id: m.ID}
		if o.managed != nil {
			it.at = time.Now().UnixNano()
		}
		o.items = append(o.items, it)
		o.stored.queued++
		o.stored.count++
		o.stored.bytes += it.size()
	}
	if len(messages) > 0 {
		o.schedule(b)
	}
	if last {
		o.close(b)
		o.settle()
	}
	return true
}

// TakeBack takes back the stored messages that are not written, and returns
// their IDs. The gap stays.
func (o *Outbox) TakeBack() []uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.gap == nil {
		return nil
	}
	ids, _ := o.takeBack(func(*item, bool) bool { return false })
	return ids
}

// Withdraw is TakeBack for a session that takes no more messages: it closes the
// gap, and returns also the messages to the bare JID that waited for stored
// ones. They are not for the session any more, and would come too early; so
// would those that are just on their way here, which are refused until Admit.
func (o *Outbox) Withdraw(b *transport.Batch) (ids []uint64, lost []Lost) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refuses = true
	if o.closed || o.gap == nil {
		return nil, nil
	}
	ids, aside := o.takeBack(func(it *item, behind bool) bool { return behind && it.toBare() })
	o.gap.behind = slices.DeleteFunc(o.gap.behind, func(it item) bool {
		if !it.toBare() {
			return false
		}
		aside = append(aside, it)
		o.bytes -= it.size()
		return true
	})
	o.close(b)
	o.settle()
	return ids, appendLost(nil, aside)
}

// takeBack takes stored messages out of what is not written, and what matches
// besides; behind says that it stands behind a stored one.
func (o *Outbox) takeBack(match func(it *item, behind bool) bool) (ids []uint64, aside []item) {
	left := o.items[:o.next]
	for _, it := range o.items[o.next:] {
		switch {
		case it.id != 0:
			ids = append(ids, it.id)
			o.stored.taken(it.size(), true)
		case match(&it, len(ids) > 0):
			aside = append(aside, it)
			o.bytes -= it.size()
		default:
			left = append(left, it)
		}
	}
	clear(o.items[len(left):])
	o.items = left
	return ids, aside
}

// HasGap says whether there is a gap of Open.
func (o *Outbox) HasGap() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.closed && o.gap != nil && o.stored != nil
}

// CloseGap lets what waits behind the gap follow, if there is one.
func (o *Outbox) CloseGap(b *transport.Batch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.gap == nil || o.stored == nil {
		return
	}
	o.close(b)
	o.settle()
}

// Receipts returns the IDs of messages that the client has: it acknowledged
// them, or, without stream management, they are written. Each is returned once.
func (o *Outbox) Receipts() []uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.stored
	if s == nil {
		return nil
	}
	ids := s.done
	s.done, s.told = nil, false
	o.settle()
	return ids
}

// settle forgets stored messages when all of them have come and gone.
func (o *Outbox) settle() {
	if s := o.stored; s.count == 0 && len(s.done) == 0 && (o.gap == nil || o.closed) {
		o.stored = nil
	}
}

// forgetStored drops what is known of messages without a receipt, when the
// client can't get them any more.
func (o *Outbox) forgetStored() {
	if s := o.stored; s != nil {
		s.queued, s.count, s.bytes, s.hungry = 0, 0, 0, false
	}
}

// news returns whom to tell of room or receipts, if there are any; nil for
// nobody. o.mu is held, and must not be when it is called.
func (o *Outbox) news() (wake func()) {
	s := o.stored
	if s == nil {
		return nil
	}
	room, receipts := s.hungry && s.room(), len(s.done) > 0 && !s.told
	if !room && !receipts {
		return nil
	}
	s.hungry, s.told = s.hungry && !room, len(s.done) > 0
	return s.wake
}

// room says whether more may be read.
func (s *stored) room() bool {
	return s.queued == 0 && s.count < storedAhead && s.bytes < storedAheadBytes
}

// owed says whether the client has all that it was given, and did not say so.
func (s *stored) owed() bool { return s != nil && s.count > 0 && s.queued == 0 }

// written notes that a message of n bytes was handed to the connection; it is
// kept until the client acknowledges it, or that is the receipt.
func (s *stored) written(id uint64, n int, kept bool) {
	if kept {
		s.queued--
		return
	}
	s.taken(n, true)
	s.done = append(s.done, id)
}

// acknowledged notes a receipt for a message of n bytes that was kept.
func (s *stored) acknowledged(id uint64, n int) {
	if s.count == 0 { // the stream has ended: too late
		return
	}
	s.taken(n, false)
	s.done = append(s.done, id)
}

// taken notes that a message is not on its way any more.
func (s *stored) taken(n int, queued bool) {
	s.count--
	s.bytes -= n
	if queued {
		s.queued--
	}
}
