package s2s

import (
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// maxAsked is how many requests of one stream are remembered.
const maxAsked = 64

// asks says whether an event is a request, to one address.
func (it *item) asks() bool {
	return it.ev != nil && len(it.ev.Recipients) == 0 && request(it.ev.Stanza)
}

func request(x *stanza.Stanza) bool {
	return x.Kind == stanza.IQ && (x.Type == stanza.Get || x.Type == stanza.Set)
}

// ask remembers a request that was written to a peer which acknowledges nothing: its event is answered when the peer's
// answer comes, or with an error when the connection ends before, or after twice ack-time: the connection may be dead
// without a word. What came first of too many counts as sent, like a message. p.mu is held, as in what follows.
func (l *link) ask(it *item, now time.Time) {
	it.at = now
	if l.asked = append(l.asked, it); len(l.asked) > maxAsked {
		l.p.done(l.asked[0], nil)
		l.asked = slices.Delete(l.asked, 0, 1)
	}
}

// answeredBy is told of an answer to a request.
func (p *peer) answeredBy(x *stanza.Stanza) {
	for _, l := range p.links {
		i := slices.IndexFunc(l.asked, func(it *item) bool {
			q := it.ev.Stanza
			return q.ID == x.ID && q.From == x.To && q.To == x.From
		})
		if i >= 0 {
			p.done(l.asked[i], nil)
			l.asked = slices.Delete(l.asked, i, i+1)
			return
		}
	}
}

// unasked ends requests that have waited for so long.
func (l *link) unasked(now time.Time, limit time.Duration) {
	n := 0
	for n < len(l.asked) && now.Sub(l.asked[n].at) > limit {
		l.p.lost(l.asked[n], false)
		n++
	}
	l.asked = slices.Delete(l.asked, 0, n)
}

// unanswered ends requests whose connection is gone.
func (l *link) unanswered() {
	list := l.asked
	l.asked = nil
	for _, it := range list {
		l.p.lost(it, false)
	}
}

// answers tells of the answers in a batch that came.
func (e *Engine) answers(batch []*stanza.Stanza) {
	for _, x := range batch {
		if x.Kind != stanza.IQ || request(x) {
			continue
		}
		e.mu.Lock()
		p := e.peers[x.From.Domain()]
		e.mu.Unlock()
		if p != nil {
			p.mu.Lock()
			p.answeredBy(x)
			p.mu.Unlock()
		}
	}
}
