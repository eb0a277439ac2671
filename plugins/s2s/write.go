package s2s

import (
	"fmt"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/plugins/s2s/peerstream"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// batchBytes and batchItems bound what is written at once.
const (
	batchBytes = 64 << 10
	batchItems = 256
)

// fill is Handler.Fill: it takes what waits, has it noted, and appends it. peer.mu is not held.
func (l *link) fill(s *session, dst []byte) ([]byte, bool, error) {
	p, begin := l.p, len(dst)
	p.mu.Lock()
	if l.sess != s {
		p.mu.Unlock()
		return dst, false, nil
	}
	if st := l.start; st != nil {
		dst = append(dst, st.text...)
		l.managed, l.resumable, l.id, l.sent, l.start = true, st.resumable, st.id, st.sent, nil
		l.progress = time.Now()
	}
	if l.phase != ready {
		p.mu.Unlock()
		return dst, false, nil
	}
	batch, more := l.next(s)
	if len(batch) == 0 {
		p.mu.Unlock()
		return dst, false, nil
	}
	managed := l.managed
	l.noted = true
	name, text := noteName(p.far, l.local), l.note().append(nil)
	p.mu.Unlock()

	err := p.e.deps.Kernel.Do(p.e.ctx, p.far, func(h *extension.Host) error { return h.Memory.Put(name, text) })
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.sess != s { // it was resumed on another stream meanwhile, and the batch waits again
		return dst[:begin], false, peerstream.ErrClosed
	}
	if err != nil {
		l.takeBack(batch)
		return dst[:begin], false, fmt.Errorf("s2s: what is to be written can't be noted: %w", err)
	}
	for _, it := range batch {
		switch {
		case it.own != nil:
			dst = it.own.Append(dst, jid.JID{}, "")
		case len(it.ev.Recipients) == 0:
			dst = it.ev.Stanza.Append(dst, jid.JID{}, "")
		default:
			for _, to := range it.ev.Recipients[it.skip:] {
				dst = it.ev.Stanza.Append(dst, to, "")
			}
		}
		it.end = len(dst) - begin
	}
	if managed {
		dst = append(dst, "<r xmlns='"+peerstream.NSManagement+"'/>"...)
	}
	return dst, more, nil
}

// next takes a batch of what waits, from each route in its order.
func (l *link) next(s *session) (batch []*item, more bool) {
	size := 0
	for _, r := range l.routes {
		if len(r.queue) == 0 || !s.st.May(r.pair()) {
			continue
		}
		n := 0
		for n < len(r.queue) && len(batch) < batchItems && (size == 0 || size < batchBytes) {
			it := r.queue[n]
			if it.old != nil {
				break // until it is known whether the peer has it
			}
			if it.n = 1 - min(1, it.skip); it.ev != nil {
				it.n = count(it.ev) - it.skip
			}
			it.first = l.sent + 1
			l.sent += it.n
			size += it.size * int(it.n)
			batch = append(batch, it)
			n++
		}
		clear(r.queue[:n])
		if r.queue = r.queue[n:]; len(r.queue) == 0 {
			r.queue = nil
		} else {
			more = true
		}
	}
	if len(l.begun) == 0 {
		l.progress = time.Now()
	}
	l.begun = append(l.begun, batch...)
	l.writing = batch
	return batch, more && len(batch) > 0
}

// takeBack puts what was not noted in front again.
func (l *link) takeBack(batch []*item) {
	l.begun = slices.DeleteFunc(l.begun, func(it *item) bool { return slices.Contains(batch, it) })
	l.writing = nil
	for _, it := range batch {
		l.sent -= it.n
	}
	l.requeue(batch)
}

// requeue puts items in front of their routes, in order.
func (l *link) requeue(list []*item) {
	for _, it := range slices.Backward(list) {
		r := l.p.route(it.local)
		r.queue = slices.Insert(r.queue, 0, it)
	}
}

// note says what is begun.
func (l *link) note() *note {
	n := &note{managed: l.managed, resumable: l.resumable, inbound: !l.sess.initiator, id: l.id}
	add := func(local string) {
		if !slices.Contains(n.locals, local) {
			n.locals = append(n.locals, local)
		}
	}
	for _, o := range l.old {
		n.entries = append(n.entries, *o)
	}
	for _, it := range slices.Concat(l.asked, l.begun) {
		add(it.local)
		if it.ev != nil {
			n.entries = append(n.entries, entry{id: it.ev.ID, first: it.first - it.skip, n: it.n + it.skip})
		}
	}
	return n
}

// wrote is Handler.Wrote: n bytes of what fill appended were written. A peer that acknowledges nothing counts as having
// the stanzas in them. One that was not written to its end the peer can't have: it goes out on the next stream.
func (l *link) wrote(s *session, n int) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if l.sess != s {
		return
	}
	batch := l.writing
	l.writing = nil
	whole := 0
	for whole < len(batch) && batch[whole].end <= n {
		whole++
	}
	rest := batch[whole:]
	if len(rest) > 0 && rest[0].n > 1 && n > 0 {
		rest = rest[1:] // the peer may have some of the copies
	}
	if len(rest) > 0 {
		l.takeBack(rest)
	}
	batch = batch[:whole]
	if l.managed || whole == 0 {
		return
	}
	s.moved.Store(true)
	l.begun = slices.DeleteFunc(l.begun, func(it *item) bool { return slices.Contains(batch, it) })
	now := time.Now()
	for _, it := range batch {
		if it.asks() {
			l.ask(it, now)
		} else {
			l.p.done(it, nil)
		}
	}
}
