package s2s

import (
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/plugins/s2s/peerstream"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// ack takes an acknowledgement, or the h of a resumption: what is up to there the peer has.
func (l *link) ack(h uint32) *stream.Error {
	last := l.sent - l.unacknowledged()
	if h-last > l.sent-last {
		return &stream.Error{Condition: stream.UndefinedCondition, App: stanza.El(peerstream.NSManagement, "handled-count-too-high", stanza.At("h", number(h)), stanza.At("send-count", number(l.sent)))}
	}
	n := 0
	for n < len(l.begun) {
		it := l.begun[n]
		if int32(h-(it.first+it.n-1)) < 0 {
			break
		}
		l.p.done(it, nil)
		n++
	}
	if n > 0 || len(l.begun) == 0 {
		l.progress = time.Now()
	}
	if n > 0 && l.sess != nil {
		l.sess.moved.Store(true)
	}
	l.begun = slices.Delete(l.begun, 0, n)
	return nil
}

// unacknowledged returns how many stanzas are.
func (l *link) unacknowledged() (n uint32) {
	for _, it := range l.begun {
		n += it.n
	}
	return n
}

// resumed is told what the peer has; the rest is sent again.
func (l *link) resumed(h uint32) *stream.Error {
	if err := l.ack(h); err != nil && !l.restored {
		l.giveUp() // or the next try would end like this one
		return err
	}
	l.restored = false
	rest := l.begun
	l.begun = nil
	for _, it := range rest {
		if has := h - it.first + 1; int32(has) > 0 { // some of its copies
			it.skip += has
		}
	}
	l.requeue(rest)
	l.sent = h
	l.settle(&h)
	return nil
}

// settle decides of what processes of before had begun: by h, or if it is nil without.
func (l *link) settle(h *uint32) {
	for id, o := range l.old {
		if o.state != begun {
			continue
		}
		switch {
		case h == nil && l.managed:
			o.state = unsure
		case h == nil:
			o.state = counted
		case int32(*h-(o.first+o.n-1)) >= 0:
			o.state = delivered
		case int32(*h-o.first) >= 0:
			o.state, o.first = partly, *h-o.first+1
		default:
			delete(l.old, id)
		}
	}
	for _, r := range l.routes {
		kept := r.queue[:0:0]
		for _, it := range r.queue {
			if o := it.old; o == nil || !l.p.judge(l, it, o) {
				kept = append(kept, it)
			}
		}
		r.queue = kept
	}
}

// judge decides of an event that a process of before had begun; false: it is to be sent.
func (p *peer) judge(l *link, it *item, o *entry) bool {
	it.old = nil
	delete(l.old, o.id)
	switch o.state {
	case delivered:
		p.done(it, nil)
	case unsure, counted:
		p.lost(it, o.state == unsure)
	case partly:
		it.skip = o.first
		return false
	default:
		return false // the peer does not have it
	}
	return true
}

// lost answers an event of which nobody knows whether the peer has it: it is not sent again.
func (p *peer) lost(it *item, acknowledges bool) {
	var err error
	if it.ev != nil {
		switch st := it.ev.Stanza; st.Kind {
		case stanza.IQ:
			err = stanza.Err(stanza.RemoteServerTimeout, "it is not known whether "+p.far+" has it")
		case stanza.Message:
			if acknowledges {
				err = stanza.Err(stanza.RemoteServerTimeout, "it is not known whether "+p.far+" has it")
			}
		}
	}
	p.done(it, err)
}

// giveUp ends what could have been resumed.
func (l *link) giveUp() {
	list := l.begun
	l.begun, l.writing = nil, nil
	for _, it := range list {
		l.p.lost(it, l.managed)
	}
	l.settle(nil)
	l.managed, l.resumable, l.restored, l.id, l.sent, l.locals, l.brokenAt = false, false, false, "", 0, nil, time.Time{}
}
