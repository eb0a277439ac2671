package host

import (
	"context"
	"slices"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Bounds of the notices that wait for one extension.
const (
	maxNotices     = 100_000
	maxNoticeBytes = 64 << 20
	noticeBatch    = 64 // notices whose writes share a commit
)

// notices are what a guest has still to be told, in order.
type notices struct {
	queue   []extension.Notice
	bytes   int
	running bool
	full    bool                // something was dropped since it was empty
	untold  map[jid.JID]*untold // by account: what waits, or is being written
}

// untold counts the notices of an account.
type untold struct {
	n    int
	done chan struct{} // closed when there is none; made by who waits for it
}

// cost is what a notice takes, about.
func cost(n *extension.Notice) int {
	const each = 256
	if n.Presence == nil {
		return each
	}
	return each + n.Presence.Size()
}

// Notify tells the extensions that asked for it of an event; nobody waits for
// them. Any goroutine may call it.
func (h *Hosts) Notify(n extension.Notice) {
	for _, g := range h.noticed {
		if slices.Contains(g.Reg.Notices, n.Event) {
			g.notify(n)
		}
	}
}

func (g *Guest) notify(n extension.Notice) {
	h, q, size := g.hosts, &g.notices, cost(&n)
	h.mu.Lock()
	defer h.mu.Unlock()
	full := len(q.queue) >= maxNotices || q.bytes+size > maxNoticeBytes
	if full || !q.running && !h.begin(g.tell) {
		if !q.full {
			g.log.Error("notices are dropped: too many wait, or the server has ended", "waiting", len(q.queue))
		}
		q.full = true
		return
	}
	q.running = true
	q.queue = append(q.queue, n)
	q.bytes += size
	account := n.Session.Bare()
	if q.untold[account] == nil {
		if q.untold == nil {
			q.untold = map[jid.JID]*untold{}
		}
		q.untold[account] = &untold{}
	}
	q.untold[account].n++
}

// caughtUp waits until the guest was told of what happened to an account, and has
// written what it asked for then, or ctx ends. Whoever saw a session leave, and
// asks the guest about its account, is answered with that. Notices wait for no
// worker, since that may be who waits here.
func (g *Guest) caughtUp(ctx context.Context, account jid.JID) {
	g.hosts.mu.Lock()
	u := g.notices.untold[account]
	if u != nil && u.done == nil {
		u.done = make(chan struct{})
	}
	g.hosts.mu.Unlock()
	if u == nil {
		return
	}
	select {
	case <-u.done:
	case <-ctx.Done():
	}
}

// told notes that the notices of a batch are done; h.mu is held.
func (q *notices) told(batch []extension.Notice) {
	for i := range batch {
		account := batch[i].Session.Bare()
		u := q.untold[account]
		if u.n--; u.n > 0 {
			continue
		}
		delete(q.untold, account)
		if u.done != nil {
			close(u.done)
		}
	}
}

// tell tells the guest of what comes next, writes what it asks for by one commit,
// and has the rest done anew: each batch has its own time. What is asked behind the
// commit may be the guest's own question about such an account.
func (g *Guest) tell(ctx context.Context) {
	var fx Effects
	batch := g.take()
	for _, n := range batch {
		g.Log("notice handler", fx.Collect(g, nil, true, func(_ context.Context, host *extension.Host) error {
			return g.Reg.Notice(ctx, host, n)
		}))
	}
	g.Log("notice handler", fx.Commit(ctx))
	g.hosts.mu.Lock()
	g.notices.told(batch)
	g.hosts.mu.Unlock()
	transport.Run(ctx, fx.Apply)
	g.hosts.mu.Lock()
	defer g.hosts.mu.Unlock()
	if len(g.notices.queue) == 0 || !g.hosts.begin(g.tell) {
		g.notices = notices{}
	}
}

// take returns the notices that come next, one of each account: two would write
// the same entry.
func (g *Guest) take() (batch []extension.Notice) {
	g.hosts.mu.Lock()
	defer g.hosts.mu.Unlock()
	q := &g.notices
	accounts := map[jid.JID]bool{}
	for len(q.queue) > 0 && len(batch) < noticeBatch {
		n := q.queue[0]
		if accounts[n.Session.Bare()] {
			break
		}
		accounts[n.Session.Bare()] = true
		batch = append(batch, n)
		q.bytes -= cost(&n)
		q.queue[0] = extension.Notice{}
		q.queue = q.queue[1:]
	}
	return batch
}
