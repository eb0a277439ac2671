package caps

import (
	"container/list"
	"strings"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/core/throttle"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Bounds of the questions. What a client costs us by a new hash, it costs itself.
const (
	patience = 30 * time.Second // for an answer
	maxAsked = 10_000           // clients whose answer is waited for
	burst    = 20               // questions to the clients of one account, at once
	every    = 10 * time.Second // and then
)

// Expect notes that an iq is sent whose answer done is told: it is that of
// host.Hosts.
type Expect func(st *stanza.Stanza, timeout time.Duration, done func(b *transport.Batch, answer *stanza.Stanza)) (forget func())

// Directory finds out what clients can do. Of all that advertise a string that
// is not known, one is asked at a time, whichever: its answer counts for all if
// it has that hash, and else the next one is asked (5.4). A client is asked for
// one string at a time, and for each string once. Any goroutine may use it.
type Directory struct {
	expect Expect
	now    func() time.Time
	budget *throttle.Buckets[jid.JID] // by account

	mu    sync.Mutex // guards what follows, and all changes of slots; nobody is sent anything under it
	cache cache
	open  map[key]*question
	asked map[*Slot]*question // by the client whose answer is waited for
}

// Options of a Directory.
type Options struct {
	// Unlimited: there is no bound on how often the clients of one account are asked.
	Unlimited bool
	Now       func() time.Time
	Expect    Expect
}

// New returns a Directory that knows nothing.
func New(o Options) *Directory {
	d := &Directory{expect: o.Expect, now: o.Now, open: map[key]*question{}, asked: map[*Slot]*question{}}
	d.budget = throttle.NewBuckets[jid.JID](throttle.LimiterOptions{Disabled: o.Unlimited, Every: every, Burst: burst})
	d.cache.at = map[key]*list.Element{}
	return d
}

// Client is a session that advertises something.
type Client struct {
	JID  jid.JID // full
	Slot *Slot
	// Send sends a stanza to the client; false if it can't be reached.
	Send func(b *transport.Batch, st *stanza.Stanza) bool
}

// Seen is told of the <c/> of available presence.
func (d *Directory) Seen(b *transport.Batch, cl Client, xml string) {
	c, ok := read(xml)
	if !ok {
		return
	}
	k := c.key(cl.Slot)
	had := cl.Slot.p.Load()
	same := had != nil && had.key == k
	if same && had.features != nil {
		return
	}
	d.mu.Lock()
	if known := d.cache.get(k); known != nil {
		d.leave(cl.Slot)
		cl.Slot.p.Store(known)
		d.mu.Unlock()
		return
	}
	if same { // it is asked, or was
		d.mu.Unlock()
		return
	}
	d.leave(cl.Slot)
	q := d.wait(k, xml, waiter{cl, c.Query()})
	d.mu.Unlock()
	d.pursue(b, q)
}

// Resumed is Seen for a session that has a new connection (XEP-0198): its client
// is asked again if it did not answer on the old one.
func (d *Directory) Resumed(b *transport.Batch, cl Client, xml string) {
	d.mu.Lock()
	if had := cl.Slot.p.Load(); had != nil && had.features == nil && !d.pending(cl.Slot, had) {
		cl.Slot.p.Store(nil)
	}
	d.mu.Unlock()
	d.Seen(b, cl, xml)
}

// Forget empties the slot of a session that is not available any more; somebody
// else is asked what it was asked.
func (d *Directory) Forget(b *transport.Batch, s *Slot) {
	if s.p.Load() == nil {
		return
	}
	d.mu.Lock()
	d.leave(s)
	s.p.Store(nil)
	var next []*question
	if q := d.asked[s]; q != nil {
		q.forget()
		next = d.settle(q, nil, false)
	}
	d.mu.Unlock()
	d.pursue(b, next...)
}

// wait enters a client among those that wait; d.mu is held.
func (d *Directory) wait(k key, xml string, w waiter) *question {
	q := d.open[k]
	if q == nil {
		k = k.clone()
		q = &question{info: &info{key: k, xml: strings.Clone(xml)}, waiting: map[*Slot]waiter{}}
		d.open[k] = q
	}
	w.Slot.p.Store(q.info)
	if q.client != w.Slot {
		q.waiting[w.Slot] = w
	}
	return q
}

// pending says whether a client is asked, or waits; d.mu is held.
func (d *Directory) pending(s *Slot, had *info) bool {
	q := d.open[had.key]
	if q == nil {
		return false
	}
	_, waits := q.waiting[s]
	return waits || q.client == s
}

// leave takes a client from among those that wait; d.mu is held.
func (d *Directory) leave(s *Slot) {
	if had := s.p.Load(); had != nil && had.features == nil {
		if q := d.open[had.key]; q != nil {
			delete(q.waiting, s)
			d.close(q)
		}
	}
}

// close forgets a question that concerns nobody any more; d.mu is held.
func (d *Directory) close(q *question) {
	if q.client == nil && len(q.waiting) == 0 && d.open[q.info.key] == q {
		delete(d.open, q.info.key)
	}
}
