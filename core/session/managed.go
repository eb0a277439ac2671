package session

import (
	"errors"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// managed is the state of stream management in one direction (XEP-0198 4).
type managed struct {
	kept     []item    // written, not acknowledged, in order
	bytes    int       // of them, but for stored ones
	messages int       // among them that would be sent again (XEP-0198 5, see asks)
	acked    uint32    // h of the client
	asked    time.Time // when <r/> was sent; zero if it is answered
}

// askRequest asks the client to acknowledge (XEP-0198 4).
const askRequest = "<r xmlns='urn:xmpp:sm:3'/>"

// waits says whether the next item has to wait for acknowledgements. At the end
// of the stream none come.
func (o *Outbox) waits() bool {
	it := &o.items[o.next]
	return o.managed != nil && !o.closed && it.stanza != nil && it.at != 0 && len(o.managed.kept) >= o.limits.Kept
}

// askAfter is how many unacknowledged stanzas make the server ask.
const askAfter = 16

// due says whether the client is to be asked: at once for a message, one question at
// a time. What a client has and did not acknowledge when it leaves is sent a second
// time, and many never acknowledge unless they are asked, not even when they leave.
func (m *managed) due(l *OutboxLimits) bool {
	return m.asked.IsZero() && (m.messages > 0 || len(m.kept) >= min(askAfter, l.Kept/2) || m.bytes >= l.Bytes/2)
}

// asks says whether the client is asked for the acknowledgement of a stanza alone:
// it is of the kind that goes to somebody else if this client never had it.
func asks(st *stanza.Stanza) bool {
	return st.Kind == stanza.Message && (st.Type == "" || st.Type == stanza.Chat || st.Type == stanza.Normal)
}

// keep notes what was written.
func (m *managed) keep(it *item) {
	m.kept = append(m.kept, *it)
	if asks(it.stanza) {
		m.messages++
	}
}

// forget drops what is kept.
func (m *managed) forget() { m.kept, m.bytes, m.messages = nil, 0, 0 }

// coalesce drops what a detached session need not hold twice: of the presence
// of one full JID the last counts.
func (o *Outbox) coalesce(it *item) {
	st := it.stanza
	if st == nil || st.Kind != stanza.Presence || st.Type != "" && st.Type != stanza.Unavailable {
		return
	}
	older := func(old item) bool {
		same := old.stanza != nil && old.stanza.Kind == stanza.Presence && old.stanza.From == st.From &&
			(old.stanza.Type == "" || old.stanza.Type == stanza.Unavailable)
		if same {
			o.bytes -= old.size()
		}
		return same
	}
	o.items = slices.DeleteFunc(o.items, older)
	if o.gap != nil {
		o.gap.behind = slices.DeleteFunc(o.gap.behind, older)
	}
}

// Manage begins stream management: what is queued from now on is kept until
// the client acknowledges it. enabled is the answer to the client. What waits
// behind a gap comes after it, and is counted by the client.
func (o *Outbox) Manage(b *transport.Batch, enabled string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.append(b, item{raw: enabled})
	o.managed = &managed{}
	if o.gap != nil {
		now := time.Now().UnixNano()
		for i := range o.gap.behind {
			o.gap.behind[i].at = now
		}
	}
}

// ErrAck: the client acknowledged more than it was sent, or less than before.
var ErrAck = errors.New("session: handled count too high")

// Ack takes the client's h (XEP-0198 4): a count modulo 2^32.
func (o *Outbox) Ack(b *transport.Batch, h uint32) error {
	o.mu.Lock()
	more, err := o.ack(h)
	if queued := o.next < len(o.items); err == nil && queued {
		o.schedule(b) // Drain asks behind it
	} else if more && (o.stored.owed() || o.managed.due(&o.limits)) {
		o.ask(b)
	}
	o.shrunk()
	wake := o.news()
	o.mu.Unlock()
	if wake != nil {
		wake()
	}
	return err
}

// Sent returns how many stanzas were written since stream management began, modulo 2^32;
// 0 without it.
func (o *Outbox) Sent() uint32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.managed == nil {
		return 0
	}
	return o.managed.acked + uint32(len(o.managed.kept))
}

// ack says whether h acknowledges more than before.
func (o *Outbox) ack(h uint32) (more bool, err error) {
	m := o.managed
	if m == nil || o.closed {
		return false, nil
	}
	n := h - m.acked
	if uint64(n) > uint64(len(m.kept)) {
		return false, ErrAck
	}
	for i := range m.kept[:n] {
		it := &m.kept[i]
		if asks(it.stanza) {
			m.messages--
		}
		switch {
		case it.id != 0:
			o.stored.acknowledged(it.id, it.size())
			continue
		case it.fork != nil:
			it.fork.Took()
		}
		m.bytes -= it.size()
	}
	m.kept = slices.Delete(m.kept, 0, int(n))
	if len(m.kept) == 0 {
		m.kept = nil
	}
	m.acked, m.asked = h, time.Time{}
	return n > 0, nil
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
	o.ask(b)
	return false
}

func (o *Outbox) ask(b *transport.Batch) {
	o.managed.asked = time.Now()
	o.append(b, item{raw: askRequest})
}

// Detach takes the connection away: what is queued waits for the next one.
func (o *Outbox) Detach() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.conn, o.scheduled = nil, false
}

// Attach goes on with another connection: first resumed, then everything that
// h does not acknowledge, in order. The gap stays where it is. Whoever calls it
// calls Wake afterwards.
func (o *Outbox) Attach(b *transport.Batch, conn transport.Conn, h uint32, resumed string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.managed == nil {
		return errors.New("session: ended")
	}
	if _, err := o.ack(h); err != nil {
		return err
	}
	m := o.managed
	items := make([]item, 0, 1+len(m.kept)+len(o.items)-o.next)
	items = append(items, item{raw: resumed})
	items = append(items, m.kept...)
	for i := range m.kept {
		if m.kept[i].id != 0 {
			o.stored.queued++
		}
	}
	for _, it := range o.items[o.next:] {
		if it.stanza != nil {
			items = append(items, it)
		} else {
			o.bytes -= it.size()
		}
	}
	o.items, o.next = items, 0
	o.bytes += m.bytes + items[0].size()
	m.forget()
	m.asked = time.Time{}
	o.conn, o.scheduled = conn, false
	o.schedule(b)
	return nil
}

// Wake tells that the Outbox has another connection (see Open). It is apart from
// Attach for those who call that with a lock held.
func (o *Outbox) Wake() {
	o.mu.Lock()
	var wake func()
	if o.stored != nil {
		wake = o.stored.wake
	}
	o.mu.Unlock()
	if wake != nil {
		wake()
	}
}
