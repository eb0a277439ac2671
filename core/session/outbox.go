package session

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Outbox is what waits to be written to one stream: stanzas, and bytes of the
// stream itself, in order. It is bounded in bytes, and the only queue between
// the kernel and a socket. Under stream management (XEP-0198) it is the queue
// of unacknowledged stanzas, too, and outlives the connection (managed.go). A
// gap in it keeps back what others send (gap.go), also while messages of before
// are read from storage (stored.go). Any goroutine may use it.
type Outbox struct {
	limits OutboxLimits
	large  atomic.Int64 // see Large

	mu        sync.Mutex
	of        *Session       // whose it is; nil before there is one
	conn      transport.Conn // nil while detached
	items     []item         // up to the gap, if there is one
	next      int            // items before it are written
	bytes     int            // of the items from next on, and of those behind the gap, but for stored ones
	scheduled bool
	closed    bool     // nothing can be queued any more
	finished  bool     // see Finish
	refuses   bool     // messages to the bare JID: see Withdraw
	managed   *managed // nil without stream management
	gap       *gap     // nil without a gap; of a closed Outbox: what is not written any more
	stored    *stored  // nil unless stored messages are on their way
}

// OutboxLimits bound an Outbox.
type OutboxLimits struct {
	// Bytes that are not written; under stream management twice as many,
	// together with those that are written and not acknowledged. Stored messages
	// do not count: no more of them are read than the client takes. All sessions of an
	// account have eight times as many together.
	Bytes int
	// Kept is how many stanzas are written ahead of their acknowledgement: the
	// rest waits. Without a connection, no more than these are taken.
	Kept int
}

// item is a stanza with the address that it is written to, or raw bytes.
type item struct {
	stanza *stanza.Stanza
	to     jid.JID // overrides the stanza's, unless zero
	raw    string
	fork   *cluster.Fork
	at     int64  // when it was queued, Unix nanoseconds; managed only
	id     uint64 // in storage; 0 if it is not stored
}

// toBare says whether an item is a message to the bare JID.
func (it *item) toBare() bool {
	return it.stanza != nil && it.stanza.Kind == stanza.Message && it.stanza.To.IsBare() && it.to.IsZero()
}

// rawCost is what an item takes besides its bytes, about.
const rawCost = 96

// size is what an item takes of the bounds. Stanza.Size counts its own.
func (it *item) size() int {
	if it.stanza != nil {
		return it.stanza.Size()
	}
	return len(it.raw) + rawCost
}

// idleItems is how many slots an empty Outbox keeps.
const idleItems = 2

// NewOutbox returns an Outbox that writes to conn.
func NewOutbox(conn transport.Conn, l OutboxLimits) *Outbox { return &Outbox{conn: conn, limits: l} }

// Result of a push.
type Result uint8

const (
	Queued Result = iota
	Full          // a bound is reached; nothing was queued
	Closed        // the stream has ended, or takes no such stanza; nothing was queued
)

// Stanza queues a stanza; to overrides its address unless zero.
func (o *Outbox) Stanza(b *transport.Batch, s *stanza.Stanza, to jid.JID) Result {
	return o.push(b, item{stanza: s, to: to})
}

// Delivery queues a stanza that may have been given to other sessions, too.
func (o *Outbox) Delivery(b *transport.Batch, d cluster.Delivery) Result {
	return o.push(b, item{stanza: d.Stanza, to: d.To, fork: d.Fork})
}

// Raw queues bytes of the stream itself: headers, features, SASL, nonzas. They
// do not wait behind a gap: no stanza depends on them.
func (o *Outbox) Raw(b *transport.Batch, s string) Result { return o.push(b, item{raw: s}) }

func (o *Outbox) push(b *transport.Batch, it item) Result {
	n := it.size()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed, o.refuses && it.toBare():
		return Closed
	case o.full(n), o.crowded(n):
		return Full
	}
	if o.managed != nil {
		it.at = time.Now().UnixNano()
		if o.conn == nil {
			o.coalesce(&it)
		}
	}
	if o.gap != nil && it.stanza != nil {
		o.gap.behind = append(o.gap.behind, it)
		o.bytes += n
		return Queued
	}
	o.append(b, it)
	return Queued
}

// full says whether n bytes more are too many. A single stanza always fits.
func (o *Outbox) full(n int) bool {
	m := o.managed
	if m == nil {
		return o.bytes > 0 && o.bytes+n > o.limits.Bytes
	}
	held := o.bytes + m.bytes
	return held > 0 && held+n > 2*o.limits.Bytes || o.conn == nil && o.waiting() >= o.limits.Kept
}

// waiting returns how many items there are that the client has not got, but for
// stored ones.
func (o *Outbox) waiting() int {
	n := len(o.managed.kept) + len(o.items) - o.next
	if o.gap != nil {
		n += len(o.gap.behind)
	}
	if o.stored != nil {
		n -= o.stored.count
	}
	return n
}

// append queues behind the checks; o.mu is held. Adding to a batch calls nobody.
func (o *Outbox) append(b *transport.Batch, it item) {
	o.items = append(o.items, it)
	o.bytes += it.size()
	o.schedule(b)
}

func (o *Outbox) schedule(b *transport.Batch) {
	if !o.scheduled && o.conn != nil {
		o.scheduled = true
		b.Add(o.conn)
	}
}

// Finish queues the last bytes of the stream, whatever the bound, and asks the
// connection to close behind them. Nothing can be queued after it, and what the
// client can't get any more, or not in order, is not written: Aside returns it.
// It reports false if that was done before, or there is no connection.
func (o *Outbox) Finish(b *transport.Batch, last string) bool { return o.finish(b, last, nil) }

// Leave is Finish for a session. Under stream management Aside returns also
// messages that are kept for another one: written now they could not be
// acknowledged any more, and would come a second time, behind later ones.
func (o *Outbox) Leave(b *transport.Batch, last string, kept func(*stanza.Stanza) bool) bool {
	return o.finish(b, last, kept)
}

func (o *Outbox) finish(b *transport.Batch, last string, kept func(*stanza.Stanza) bool) bool {
	o.mu.Lock()
	conn := o.conn
	o.shut(kept)
	first := !o.finished && conn != nil
	o.finished = true
	if first {
		o.append(b, item{raw: last})
	}
	o.mu.Unlock()
	if first {
		conn.Close()
	}
	return first
}

// Lost is a stanza that no client acknowledged.
type Lost struct {
	Stanza *stanza.Stanza
	Fork   *cluster.Fork
	At     time.Time // when it was queued; zero without stream management
}

// Take ends the Outbox, whose connection is gone, and returns what was not
// acknowledged, or, without stream management, not written. What is stored is
// not among it: it is stored still.
func (o *Outbox) Take() (lost []Lost) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.managed != nil {
		lost = appendLost(lost, o.managed.kept)
	}
	lost = appendLost(lost, o.items[o.next:])
	if o.gap != nil {
		lost = appendLost(lost, o.gap.behind)
	}
	o.forgetStored()
	o.items, o.next, o.bytes, o.closed, o.managed, o.gap, o.conn = nil, 0, 0, true, nil, nil, nil
	o.shrunk()
	return lost
}

// Aside ends the Outbox while its connection is still there, and returns what
// it will not write.
func (o *Outbox) Aside() (lost []Lost) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shut(nil)
	if o.gap != nil {
		lost = appendLost(nil, o.gap.behind)
		o.gap = nil
	}
	return lost
}

// shut lets nothing in any more.
func (o *Outbox) shut(kept func(*stanza.Stanza) bool) {
	if !o.closed {
		o.closed = true
		o.setAside(kept)
		o.shrunk()
	}
}

func appendLost(lost []Lost, items []item) []Lost {
	for i := range items {
		it := &items[i]
		if it.stanza == nil || it.id != 0 {
			continue
		}
		l := Lost{Stanza: it.stanza, Fork: it.fork}
		if it.at != 0 {
			l.At = time.Unix(0, it.at)
		}
		lost = append(lost, l)
	}
	return lost
}

// setAside moves behind the gap, which nobody closes any more, what this
// connection can't bring to the client: what stands behind a stored message,
// which is not written any more, and what is not acknowledged, since no
// acknowledgement is read any more. See Leave for kept.
func (o *Outbox) setAside(kept func(*stanza.Stanza) bool) {
	var aside []item
	if m := o.managed; m != nil {
		aside = m.kept
		m.forget()
	}
	_, waiting := o.takeBack(func(it *item, behind bool) bool {
		return it.stanza != nil && (behind || kept != nil && o.managed != nil && kept(it.stanza))
	})
	aside = append(aside, waiting...)
	if o.gap != nil {
		for i := range o.gap.behind {
			o.bytes -= o.gap.behind[i].size()
		}
		aside = append(aside, o.gap.behind...)
		o.gap = nil
	}
	if len(aside) > 0 {
		o.gap = &gap{behind: aside}
	}
	o.forgetStored()
}

// Drain appends queued output to dst until there is none or max bytes or more
// are appended: transport.Stream.Drain.
// It is asked on behalf of a connection: one that the session has left gets
// nothing.
func (o *Outbox) Drain(conn transport.Conn, dst []byte, max int, f transport.Framing) []byte {
	o.mu.Lock()
	if conn != o.conn {
		o.mu.Unlock()
		return dst
	}
	dst = o.drain(dst, max, f)
	o.shrunk()
	wake := o.news()
	o.mu.Unlock()
	if wake != nil {
		wake()
	}
	return dst
}

func (o *Outbox) drain(dst []byte, max int, f transport.Framing) []byte {
	start, framed, space := len(dst), f == transport.FramingWebSocket, ""
	if framed {
		space = xmpp.NSClient // RFC 7395 3.3.3
	}
	for o.next < len(o.items) && len(dst)-start < max {
		if o.waits() {
			o.scheduled = false // Ack goes on
			break
		}
		it := &o.items[o.next]
		if it.stanza != nil {
			dst = it.stanza.Append(dst, it.to, space)
		} else {
			dst = append(dst, it.raw...)
		}
		if framed {
			dst = append(dst, xmlstream.EndOfMessage)
		}
		o.written(it)
		*it = item{}
		o.next++
	}
	o.compact()
	if m := o.managed; m != nil && !o.closed && (m.due(&o.limits) || m.asked.IsZero() && o.stored.owed()) {
		m.asked = time.Now()
		dst = append(dst, askRequest...)
		if framed {
			dst = append(dst, xmlstream.EndOfMessage)
		}
	}
	return dst
}

// compact gives back the slots of what is written. A queue that is never quite
// empty must not grow for that.
func (o *Outbox) compact() {
	switch {
	case o.next == len(o.items):
		o.next, o.scheduled = 0, false
		if cap(o.items) > idleItems {
			o.items = nil
		} else {
			o.items = o.items[:0]
		}
	case o.next >= 64 && o.next > len(o.items)/2:
		n := copy(o.items, o.items[o.next:])
		clear(o.items[n:])
		o.items, o.next = o.items[:n], 0
	}
}

// written notes that an item was handed to the connection.
func (o *Outbox) written(it *item) {
	n, m := it.size(), o.managed
	kept := m != nil && it.at != 0 && it.stanza != nil // queued since <enable/>
	if kept {
		m.keep(it)
	}
	switch {
	case it.id != 0:
		o.stored.written(it.id, n, kept)
		return
	case kept:
		m.bytes += n
	case it.fork != nil:
		it.fork.Took()
	}
	o.bytes -= n
}

// heldBytes is how much may be held back of what will be queued here.
func (o *Outbox) heldBytes() int { return min(maxHeldBytes, o.limits.Bytes/2) }

// Len returns the bytes that are queued and not written, but for stored
// messages.
func (o *Outbox) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes
}
