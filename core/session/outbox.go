package session

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Outbox is what waits to be written to one stream: stanzas, and bytes of the
// stream itself, in order. It is bounded in bytes, and the only queue between
// the kernel and a socket. Under stream management (XEP-0198) it is the queue
// of unacknowledged stanzas, too, and outlives the connection. Any goroutine
// may use it.
type Outbox struct {
	limits OutboxLimits

	mu        sync.Mutex
	conn      transport.Conn // nil while detached
	items     []item
	next      int // items before it are written
	bytes     int // of the items from next on
	scheduled bool
	held      bool // see Hold
	heldAt    int  // what was queued before it
	closed    bool
	managed   *managed // nil without stream management
}

// OutboxLimits bound an Outbox.
type OutboxLimits struct {
	// Bytes that are not written; under stream management twice as many,
	// together with those that are written and not acknowledged.
	Bytes int
	// Kept is how many stanzas are written ahead of their acknowledgement: the
	// rest waits. Without a connection, no more than these are taken.
	Kept int
}

// managed is the state of stream management in one direction (XEP-0198 4).
type managed struct {
	kept  []item    // written, not acknowledged, in order
	bytes int       // of them
	acked uint32    // h of the client
	asked time.Time // when <r/> was sent; zero if it is answered
}

// item is a stanza with the address that it is written to, or raw bytes.
type item struct {
	stanza *stanza.Stanza
	to     jid.JID // overrides the stanza's, unless zero
	raw    string
	fork   *cluster.Fork
	at     int64 // when it was queued, Unix nanoseconds; managed only
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
	Closed        // the stream has ended; nothing was queued
)

// Stanza queues a stanza; to overrides its address unless zero.
func (o *Outbox) Stanza(b *transport.Batch, s *stanza.Stanza, to jid.JID) Result {
	return o.push(b, item{stanza: s, to: to})
}

// Delivery queues a stanza that may have been given to other sessions, too.
func (o *Outbox) Delivery(b *transport.Batch, d cluster.Delivery) Result {
	return o.push(b, item{stanza: d.Stanza, to: d.To, fork: d.Fork})
}

// Raw queues bytes of the stream itself: headers, features, SASL, nonzas.
func (o *Outbox) Raw(b *transport.Batch, s string) Result { return o.push(b, item{raw: s}) }

func (o *Outbox) push(b *transport.Batch, it item) Result {
	n := it.size()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return Closed
	case o.full(n):
		return Full
	}
	if o.managed != nil {
		it.at = time.Now().UnixNano()
		if o.conn == nil {
			o.coalesce(&it)
		}
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
	return held > 0 && held+n > 2*o.limits.Bytes ||
		o.conn == nil && len(m.kept)+len(o.items)-o.next >= o.limits.Kept
}

// append queues behind the checks; o.mu is held. Adding to a batch calls nobody.
func (o *Outbox) append(b *transport.Batch, it item) {
	o.items = append(o.items, it)
	o.bytes += it.size()
	o.schedule(b)
}

func (o *Outbox) schedule(b *transport.Batch) {
	if !o.scheduled && !o.held && o.conn != nil {
		o.scheduled = true
		b.Add(o.conn)
	}
}

// coalesce drops what a detached session need not hold twice: of the presence
// of one full JID the last counts.
func (o *Outbox) coalesce(it *item) {
	st := it.stanza
	if st == nil || st.Kind != stanza.Presence || st.Type != "" && st.Type != stanza.Unavailable {
		return
	}
	o.items = slices.DeleteFunc(o.items, func(old item) bool {
		same := old.stanza != nil && old.stanza.Kind == stanza.Presence && old.stanza.From == st.From &&
			(old.stanza.Type == "" || old.stanza.Type == stanza.Unavailable)
		if same {
			o.bytes -= old.size()
		}
		return same
	})
}

// Finish queues the last bytes of the stream, whatever the bound, and asks the
// connection to close behind them. Nothing can be queued after it. It reports
// false if that was done before, or there is no connection.
func (o *Outbox) Finish(b *transport.Batch, last string) bool {
	o.mu.Lock()
	conn := o.conn
	if o.closed || conn == nil {
		o.closed = true
		o.mu.Unlock()
		return false
	}
	o.closed, o.held = true, false
	o.append(b, item{raw: last})
	o.mu.Unlock()
	conn.Close()
	return true
}

// Hold keeps back what is queued from now on, until Release: a session takes
// stanzas as soon as others can see it, but its client is told first that it
// is bound.
func (o *Outbox) Hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed { // what ends a stream is never held
		o.held, o.heldAt = true, len(o.items)
	}
}

// Release ends Hold: first goes out in front of what was held, and behind what
// was queued before.
func (o *Outbox) Release(b *transport.Batch, first *stanza.Stanza) {
	o.mu.Lock()
	defer o.mu.Unlock()
	it := item{stanza: first}
	if !o.held { // the stream has ended meanwhile
		return
	}
	o.items = slices.Insert(o.items, o.heldAt, it)
	o.bytes += it.size()
	o.held = false
	o.schedule(b)
}

// Lost is a stanza that no client acknowledged.
type Lost struct {
	Stanza *stanza.Stanza
	Fork   *cluster.Fork
	At     time.Time // when it was queued; zero without stream management
}

// Take ends the Outbox and returns what was not acknowledged, or, without
// stream management, not written.
func (o *Outbox) Take() (lost []Lost) {
	o.mu.Lock()
	defer o.mu.Unlock()
	keep := func(items []item) {
		for i := range items {
			if it := &items[i]; it.stanza != nil {
				l := Lost{Stanza: it.stanza, Fork: it.fork}
				if it.at != 0 {
					l.At = time.Unix(0, it.at)
				}
				lost = append(lost, l)
			}
		}
	}
	if o.managed != nil {
		keep(o.managed.kept)
	}
	keep(o.items[o.next:])
	o.items, o.next, o.bytes, o.closed, o.managed, o.conn = nil, 0, 0, true, nil, nil
	return lost
}

// askRequest asks the client to acknowledge (XEP-0198 4).
const askRequest = "<r xmlns='urn:xmpp:sm:3'/>"

// Drain appends queued output to dst until there is none or max bytes or more
// are appended: transport.Stream.Drain.
// It is asked on behalf of a connection: one that the session has left gets
// nothing.
func (o *Outbox) Drain(conn transport.Conn, dst []byte, max int) []byte {
	start := len(dst)
	o.mu.Lock()
	defer o.mu.Unlock()
	if conn != o.conn {
		return dst
	}
	end := len(o.items)
	if o.held { // what came before goes out; Release goes on
		end, o.scheduled = o.heldAt, false
	}
	for o.next < end && len(dst)-start < max {
		if o.waits() {
			o.scheduled = false // Ack goes on
			break
		}
		it := &o.items[o.next]
		n := it.size()
		if it.stanza != nil {
			dst = it.stanza.Append(dst, it.to, "")
			o.written(it, n)
		} else {
			dst = append(dst, it.raw...)
		}
		o.bytes -= n
		*it = item{}
		o.next++
	}
	o.compact()
	if m := o.managed; m != nil && m.asked.IsZero() && !o.closed && m.due(&o.limits) {
		m.asked = time.Now()
		dst = append(dst, askRequest...)
	}
	return dst
}

// waits says whether the next item has to wait for acknowledgements.
func (o *Outbox) waits() bool {
	it := &o.items[o.next]
	return o.managed != nil && it.stanza != nil && it.at != 0 && len(o.managed.kept) >= o.limits.Kept
}

// compact gives back the slots of what is written. A queue that is never quite
// empty must not grow for that.
func (o *Outbox) compact() {
	switch {
	case o.held: // heldAt is an index
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

// written notes that a stanza was handed to the connection.
func (o *Outbox) written(it *item, n int) {
	if m := o.managed; m != nil && it.at != 0 { // queued since <enable/>
		m.kept = append(m.kept, *it)
		m.bytes += n
		return
	}
	if it.fork != nil {
		it.fork.Took()
	}
}

// askAfter is how many unacknowledged stanzas make the server ask.
const askAfter = 16

func (m *managed) due(l *OutboxLimits) bool {
	return len(m.kept) >= min(askAfter, l.Kept/2) || m.bytes >= l.Bytes/2
}

// heldBytes is how much may be held back of what will be queued here.
func (o *Outbox) heldBytes() int { return min(maxHeldBytes, o.limits.Bytes/2) }

// Len returns the bytes that are queued and not written.
func (o *Outbox) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes
}

// Manage begins stream management: what is queued from now on is kept until
// the client acknowledges it. enabled is the answer to the client.
func (o *Outbox) Manage(b *transport.Batch, enabled string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.append(b, item{raw: enabled})
	o.managed = &managed{}
}

// ErrAck: the client acknowledged more than it was sent.
var ErrAck = errors.New("session: handled count too high")

// Ack takes the client's h (XEP-0198 4): a count modulo 2^32.
func (o *Outbox) Ack(b *transport.Batch, h uint32) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	err := o.ack(h)
	if err == nil && o.next < len(o.items) {
		o.schedule(b)
	}
	return err
}

func (o *Outbox) ack(h uint32) error {
	m := o.managed
	if m == nil {
		return nil
	}
	n := h - m.acked
	if uint64(n) > uint64(len(m.kept)) {
		return ErrAck
	}
	for i := range m.kept[:n] {
		m.bytes -= m.kept[i].size()
		if f := m.kept[i].fork; f != nil {
			f.Took()
		}
	}
	m.kept = slices.Delete(m.kept, 0, int(n))
	if len(m.kept) == 0 {
		m.kept = nil
	}
	m.acked, m.asked = h, time.Time{}
	return nil
}

// Ask asks the client to acknowledge what it has not, if it was not asked. It
// reports whether the answer to an earlier question has been missing for as long
// as patience.
func (o *Outbox) Ask(b *transport.Batch, patience time.Duration) (missing bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := o.managed
	if m == nil || o.closed || len(m.kept) == 0 {
		return false
	}
	if !m.asked.IsZero() {
		return time.Since(m.asked) >= patience
	}
	m.asked = time.Now()
	o.append(b, item{raw: askRequest})
	return false
}

// Detach takes the connection away: what is queued waits for the next one.
func (o *Outbox) Detach() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.conn, o.scheduled = nil, false
}

// Attach goes on with another connection: first resumed, then everything that
// h does not acknowledge, in order.
func (o *Outbox) Attach(b *transport.Batch, conn transport.Conn, h uint32, resumed string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.managed == nil {
		return errors.New("session: ended")
	}
	if err := o.ack(h); err != nil {
		return err
	}
	m := o.managed
	items := make([]item, 0, 1+len(m.kept)+len(o.items)-o.next)
	items = append(items, item{raw: resumed})
	items = append(items, m.kept...)
	for _, it := range o.items[o.next:] {
		if it.stanza != nil {
			items = append(items, it)
		}
	}
	o.items, o.next, o.bytes = items, 0, 0
	for i := range items {
		o.bytes += items[i].size()
	}
	m.kept, m.bytes, m.asked = nil, 0, time.Time{}
	o.conn, o.scheduled = conn, false
	o.schedule(b)
	return nil
}
