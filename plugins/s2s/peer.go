package s2s

import (
	"slices"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/plugins/s2s/peerstream"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// peer is a far domain: what waits for it, and over which streams it goes.
type peer struct {
	e   *Engine
	far string

	mu     sync.Mutex        // guards what follows, and links, routes and items
	routes map[string]*route // by domain of ours
	links  []*link
	events int // queued, with those that are begun
	bytes  int

	failures int           // in a row
	wait     time.Duration // the pause after the last one
	until    time.Time     // its end
	brief    int           // streams in a row that ended at once, and brought nothing
	calm     time.Time     // when there may be another one
	lastErr  error
	good     time.Time // when a stream was ready last
	dead     bool      // another one takes its place
}

// route is a pair of domains.
type route struct {
	p     *peer
	local string
	queue []*item
	link  *link // by which stream its stanzas go, nil if that is open
	alone bool  // the peer does not take it on a stream with others
}

// item is an event on its way.
type item struct {
	ev    *extension.FarEvent // nil: a stanza of the engine's own
	own   *stanza.Stanza
	local string
	size  int
	at    time.Time
	skip  uint32 // so many of its stanzas the peer has
	first uint32 // sequence number of its first stanza, once it is begun
	n     uint32 // stanzas from there
	end   int    // of what is being written: where it ends, in bytes
	old   *entry // a process of before had begun it, and it is not known yet what came of it
}

// count returns how many stanzas an event is.
func count(ev *extension.FarEvent) uint32 { return uint32(max(1, len(ev.Recipients))) }

// take queues an event. p.mu is held, as in all that follows.
func (p *peer) take(ev *extension.FarEvent) {
	it := &item{ev: ev, local: ev.Stanza.From.Domain(), size: ev.Stanza.Size() + 256, at: time.Now()}
	if ev.Attempt <= 1 {
		p.prune()
	}
	r := p.route(it.local)
	for _, l := range p.links {
		o := l.old[ev.ID]
		if o == nil {
			continue
		}
		r.assign(l)
		p.add(it)
		if o.state == begun {
			it.old = o
			r.queue = append(r.queue, it)
			if l.sess == nil && !l.inbound && l.retry == nil {
				l.connect()
			}
		} else if !p.judge(l, it, o) {
			r.queue = append(r.queue, it)
			r.kick()
		}
		return
	}
	if p.events >= p.e.options.QueueEvents || p.events > 0 && p.bytes+it.size > p.e.options.QueueBytes {
		ev.Done(&stanza.Error{Condition: stanza.ResourceConstraint, Text: "too much waits for " + p.far})
		return
	}
	p.add(it)
	r.queue = append(r.queue, it)
	r.kick()
}

func (p *peer) add(it *item) {
	p.events++
	p.bytes += it.size
}

// done answers an event. It is called before any note without the event is asked for: what it says is in front of
// that, by the ordering key.
func (p *peer) done(it *item, err error) {
	p.events--
	p.bytes -= it.size
	if it.ev != nil {
		it.ev.Done(err)
	}
}

// prune forgets what processes of before had: an event that is given for the first time comes behind all that are
// given again.
func (p *peer) prune() {
	for _, l := range p.links {
		for id := range l.old {
			if !l.waiting(id) {
				delete(l.old, id)
			}
		}
	}
}

// route returns the route of a domain of ours.
func (p *peer) route(local string) *route {
	r := p.routes[local]
	if r == nil {
		r = &route{p: p, local: local}
		p.routes[local] = r
	}
	return r
}

func (r *route) pair() peerstream.Pair { return peerstream.Pair{Local: r.local, Far: r.p.far} }

// assign has the stanzas of a route go by a link.
func (r *route) assign(l *link) {
	if r.link == l {
		return
	}
	if r.link != nil {
		r.link.routes = slices.DeleteFunc(r.link.routes, func(x *route) bool { return x == r })
	}
	r.link = l
	if l != nil {
		l.routes = append(l.routes, r)
	}
}

// kick sees to it that what waits in a route goes out.
func (r *route) kick() {
	p := r.p
	if len(r.queue) == 0 {
		return
	}
	if r.link == nil && !r.alone {
		for _, l := range p.links {
			if l.connecting || l.sess != nil && (l.phase != ready || l.sess.st.ManyPairs() || l.sess.st.May(r.pair())) {
				r.assign(l)
				break
			}
		}
	}
	if l := r.link; l != nil {
		if l.sess != nil && l.phase == ready {
			l.authorize(r)
		} else if l.sess == nil && !l.connecting && !l.inbound && l.retry == nil {
			l.connect()
		}
		return
	}
	if now := time.Now(); now.Before(p.until) && p.failures > 0 && !p.recent(now) {
		r.fail(p.lastErr)
		return
	}
	l := p.newLink(r.local)
	r.assign(l)
	l.connect()
}

// recent says whether the peer was there a moment ago: then stanzas wait for it to come back.
func (p *peer) recent(now time.Time) bool {
	return !p.good.IsZero() && now.Sub(p.good) < seconds(p.e.options.QueueTime)
}

// fail answers all that waits in a route.
func (r *route) fail(err error) {
	queue := r.queue
	r.queue = nil
	for _, it := range queue {
		r.p.done(it, answer(r.p.far, err))
	}
}

// expire answers what has waited for too long, and gives up what is not resumed.
func (p *peer) expire(now time.Time) {
	limit := seconds(p.e.options.QueueTime)
	for _, r := range p.routes {
		if r.link != nil && r.link.unresolved() {
			continue // it is in order behind what may be resumed
		}
		n := 0
		for n < len(r.queue) && now.Sub(r.queue[n].at) > limit {
			n++
		}
		for _, it := range r.queue[:n] {
			err := p.lastErr
			if err == nil {
				err = peerstream.ErrTimeout
			}
			p.done(it, answer(p.far, err))
		}
		r.queue = slices.Delete(r.queue, 0, n)
	}
	for _, l := range slices.Clone(p.links) {
		l.unasked(now, 2*seconds(p.e.options.AckTime))
		if l.sess == nil && !l.brokenAt.IsZero() && now.Sub(l.brokenAt) > seconds(p.e.options.ResumeTime) && !l.connecting {
			l.giveUp()
			l.remove()
			continue
		}
		if l.sess != nil || l.connecting || l.retry != nil {
			continue
		}
		switch {
		case l.brokenAt.IsZero() && now.Sub(l.restoredAt) > seconds(p.e.options.ResumeTime):
			l.giveUp() // nothing was sent to the domain since a process of before
			l.remove()
		case l.inbound && l.queued() && !l.unresolved() && now.Sub(l.brokenAt) > patience:
			l.giveUp()
			l.connect()
		}
	}
	if p.events == 0 && len(p.links) == 0 && now.Sub(p.until) > p.wait && now.After(p.calm) {
		p.dead = true
		p.e.mu.Lock()
		delete(p.e.peers, p.far)
		p.e.mu.Unlock()
	}
}

// patience is how long stanzas wait for a peer to resume a stream that it opened, and of which nothing is unanswered:
// then there is one of ours.
const patience = 5 * time.Second

// queued says whether something waits for a link.
func (l *link) queued() bool {
	return slices.ContainsFunc(l.routes, func(r *route) bool { return len(r.queue) > 0 })
}
