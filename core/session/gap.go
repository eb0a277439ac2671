package session

import (
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// gap is a place in the queue at which Drain stops. What is still to come in
// front of it goes to Outbox.items, stanzas of others wait behind it.
type gap struct{ behind []item }

// Hold keeps back what others send from now on, until Release: a session takes
// stanzas as soon as others can see it, but its client is told first that it
// is bound.
func (o *Outbox) Hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open()
}

// Release ends Hold: first goes out in front of what was held, and behind what
// was queued before.
func (o *Outbox) Release(b *transport.Batch, first *stanza.Stanza) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.gap == nil {
		return
	}
	o.append(b, item{stanza: first})
	o.close(b)
}

// open makes a gap behind what is queued; false if there is one, or the stream
// has ended.
func (o *Outbox) open() bool {
	if o.closed || o.gap != nil {
		return false
	}
	o.gap = &gap{}
	return true
}

// close ends the gap: what waited behind it follows.
func (o *Outbox) close(b *transport.Batch) {
	if len(o.gap.behind) > 0 {
		o.items = append(o.items, o.gap.behind...)
		o.schedule(b)
	}
	o.gap = nil
}
