package caps

import (
	"crypto/rand"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// question is a string that is to be found out.
type question struct {
	info    *info // without features: what the clients have in their slots meanwhile
	waiting map[*Slot]waiter
	client  *Slot // who is asked; nil: nobody is
	id      string
	forget  func()
}

type waiter struct {
	Client
	node string // as the client has it
}

// pursue asks one client for each of the questions, unless one is asked already.
func (d *Directory) pursue(b *transport.Batch, todo ...*question) {
	for len(todo) > 0 {
		q := todo[0]
		todo = todo[1:]
		if w, ask := d.choose(q); ask != nil && !w.Send(b, ask) {
			todo = append(todo, d.answered(q, ask.ID, nil)...)
		}
	}
}

// choose chooses whom to ask, nobody if ask is nil. A map is ranged over from a
// random place: no liar can stay in front of all others.
func (d *Directory) choose(q *question) (w waiter, ask *stanza.Stanza) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q.client != nil {
		return w, nil
	}
	for s, w := range q.waiting {
		if d.asked[s] != nil { // for another string: settle comes back to it
			continue
		}
		delete(q.waiting, s)
		if len(d.asked) >= maxAsked || !d.budget.Allow(w.JID.Bare(), d.now()) {
			s.p.Store(nil) // its next presence may be luckier
			continue
		}
		ask := stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, ID: rand.Text(), From: w.JID.DomainJID(), To: w.JID},
			stanza.El(nsInfo, "query", stanza.At("node", w.node)))
		d.asked[s] = q
		q.client, q.id = s, ask.ID
		q.forget = d.expect(ask, patience, func(b *transport.Batch, answer *stanza.Stanza) {
			d.pursue(b, d.answered(q, ask.ID, answer)...)
		})
		return w, ask
	}
	d.close(q)
	return w, nil
}

// answered takes the answer to a question, nil if there is none, and returns
// what is to be asked next.
func (d *Directory) answered(q *question, id string, answer *stanza.Stanza) (next []*question) {
	found, shared := judge(q.info, answer)
	d.mu.Lock()
	defer d.mu.Unlock()
	if q.id != id { // it was withdrawn
		return nil
	}
	return d.settle(q, found, shared)
}

// settle ends a question to a client, by what it turned out to be able to do, nil
// if that is not known; d.mu is held. A client that is not believed keeps an info
// without features, so that it is not asked again.
func (d *Directory) settle(q *question, found *info, shared bool) (next []*question) {
	client := q.client
	delete(d.asked, client)
	q.client, q.id, q.forget = nil, "", nil
	if found != nil {
		client.fill(q.info, found)
	}
	if shared {
		d.cache.put(found)
		for s := range q.waiting {
			s.fill(q.info, found)
		}
		clear(q.waiting)
	}
	if d.close(q); len(q.waiting) > 0 {
		next = append(next, q)
	}
	if now := client.p.Load(); now != nil && now.features == nil { // it may have changed its mind meanwhile
		if other := d.open[now.key]; other != nil && other != q {
			next = append(next, other)
		}
	}
	return next
}

// judge says what a client can do by its answer, nil if nothing is known, and
// whether that holds for all clients with the same string (5.4). An answer that is too
// long is not read.
func judge(asked *info, answer *stanza.Stanza) (found *info, shared bool) {
	if answer == nil || answer.Type != stanza.Result {
		return nil, false
	}
	query, ok := answer.Child(nsInfo, "query")
	if !ok || query.Size() > maxAnswer {
		return nil, false
	}
	a, err := Parse(answer.Element(query))
	if err != nil {
		return nil, false
	}
	hash, verifiable := algorithms[asked.key.hash]
	if verifiable && a.Ver(hash) != asked.key.ver {
		return nil, false
	}
	return &info{asked.key, a.kept(), asked.xml}, verifiable && !a.ambiguous()
}
