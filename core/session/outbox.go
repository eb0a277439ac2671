package session

import (
	"sync"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Outbox is what waits to be written to one stream: stanzas, and bytes of the
// stream itself, in order. It is bounded in bytes, and the only queue between
// the kernel and a socket. Any goroutine may use it.
type Outbox struct {
	conn transport.Conn
	max  int // bytes

	mu        sync.Mutex
	items     []item
	next      int // items before it are written
	bytes     int // of the items from next on
	scheduled bool
	closed    bool
}

// item is a stanza with the address that it is written to, or raw bytes.
type item struct {
	stanza *stanza.Stanza
	to     jid.JID // overrides the stanza's, unless zero
	raw    string
}

func (it *item) size() int {
	if it.stanza != nil {
		return it.stanza.Size()
	}
	return len(it.raw)
}

// idleItems is how many slots an empty Outbox keeps.
const idleItems = 2

// NewOutbox returns an Outbox that writes to conn and holds at most max bytes.
func NewOutbox(conn transport.Conn, max int) *Outbox { return &Outbox{conn: conn, max: max} }

// Result of a push.
type Result uint8

const (
	Queued Result = iota
	Full          // the bound is reached; nothing was queued
	Closed        // the stream has ended; nothing was queued
)

// Stanza queues a stanza; to overrides its address unless zero.
func (o *Outbox) Stanza(b *transport.Batch, s *stanza.Stanza, to jid.JID) Result {
	return o.push(b, item{stanza: s, to: to})
}

// Raw queues bytes of the stream itself: headers, features, SASL.
func (o *Outbox) Raw(b *transport.Batch, s string) Result { return o.push(b, item{raw: s}) }

func (o *Outbox) push(b *transport.Batch, it item) Result {
	n := it.size()
	o.mu.Lock()
	switch {
	case o.closed:
		o.mu.Unlock()
		return Closed
	case o.bytes+n > o.max && o.bytes > 0:
		o.mu.Unlock()
		return Full
	}
	o.append(b, it, n)
	o.mu.Unlock()
	return Queued
}

// append queues behind the checks; o.mu is held. Adding to a batch calls nobody.
func (o *Outbox) append(b *transport.Batch, it item, n int) {
	if o.next > 0 && len(o.items) == cap(o.items) { // a queue that never runs dry must not grow for what is written
		left := copy(o.items, o.items[o.next:])
		clear(o.items[left:])
		o.items, o.next = o.items[:left], 0
	}
	o.items = append(o.items, it)
	o.bytes += n
	if !o.scheduled {
		o.scheduled = true
		b.Add(o.conn)
	}
}

// Finish queues the last bytes of the stream, whatever the bound, and asks the
// connection to close behind them. Nothing can be queued after it. It reports
// false if that was done before.
func (o *Outbox) Finish(b *transport.Batch, last string) bool {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return false
	}
	o.closed = true
	o.append(b, item{raw: last}, len(last))
	o.mu.Unlock()
	o.conn.Close()
	return true
}

// Discard drops what is queued and takes nothing more: the connection is gone.
func (o *Outbox) Discard() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.items, o.next, o.bytes, o.closed = nil, 0, 0, true
}

// Drain appends queued output to dst until there is none or max bytes or more
// are appended: transport.Stream.Drain.
func (o *Outbox) Drain(dst []byte, max int) []byte {
	start := len(dst)
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.next < len(o.items) && len(dst)-start < max {
		it := &o.items[o.next]
		if it.stanza != nil {
			dst = it.stanza.Append(dst, it.to, "")
		} else {
			dst = append(dst, it.raw...)
		}
		o.bytes -= it.size()
		*it = item{}
		o.next++
	}
	if o.next == len(o.items) {
		o.next, o.scheduled = 0, false
		if cap(o.items) > idleItems {
			o.items = nil
		} else {
			o.items = o.items[:0]
		}
	}
	return dst
}

// Len returns the bytes that are queued.
func (o *Outbox) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes
}
