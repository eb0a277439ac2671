package host

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Bounds of the notices that wait for one extension.
const (
	maxNotices          = 100_000
	maxNoticesOfAccount = 100 // then the newest takes the place of the one before
	maxNoticeBytes      = 64 << 20
	noticeBatch         = 64 // notices whose writes share a commit
)

// notices are what a guest has still to be told: in order for each account, and the
// accounts in turns, so that one of which there is much to tell holds up no other.
type notices struct {
	ring    []jid.JID           // accounts of which something waits; the first one's turn is next
	untold  map[jid.JID]*untold // by account: what waits, or is being written
	n       int                 // that wait
	bytes   int                 // of these
	running bool
	full    bool // something was dropped since it was empty
}

// untold are the notices of an account.
type untold struct {
	queue []extension.Notice // that wait
	n     int                // with those that are being written
	done  chan struct{}      // closed when there is none; made by who waits for it
	next  []*next            // what is taken then
}

// next is a step behind notices.
type next struct {
	step  transport.Step
	clock *time.Timer
	taken bool
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
	h, q, size, account := g.hosts, &g.notices, cost(&n), n.Session.Bare()
	h.mu.Lock()
	defer h.mu.Unlock()
	u := q.untold[account]
	var last *extension.Notice // to be replaced
	if u != nil && len(u.queue) >= maxNoticesOfAccount {
		last = &u.queue[len(u.queue)-1]
		size -= cost(last)
	}
	full := last == nil && q.n >= maxNotices || q.bytes+size > maxNoticeBytes
	if full || !q.running && !h.begin(g.tell) {
		if !q.full {
			g.log.Error("notices are dropped: too many wait, or the server has ended", "waiting", q.n)
		}
		q.full = true
		return
	}
	q.running = true
	q.bytes += size
	if last != nil {
		*last = n
		return
	}
	if u == nil {
		if q.untold == nil {
			q.untold = map[jid.JID]*untold{}
		}
		u = &untold{}
		q.untold[account] = u
	}
	if len(u.queue) == 0 {
		q.ring = append(q.ring, account)
	}
	u.queue = append(u.queue, n)
	u.n++
	q.n++
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

// told notes that the notices of a batch are done, and returns what was behind them; h.mu is held.
func (q *notices) told(batch []extension.Notice) (behind []transport.Step) {
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
		for _, n := range u.next {
			if !n.taken {
				n.taken = true
				n.clock.Stop()
				behind = append(behind, n.step)
			}
		}
	}
	return behind
}

// tell tells the guest of what comes next, writes what it asks for by one commit,
// and has the rest done anew: each batch has its own time. What is asked behind the
// commit may be the guest's own question about such an account.
func (g *Guest) tell(ctx context.Context) {
	var fx Effects
	batch := g.take()
	if g.Elsewhere() {
		g.tellElsewhere(ctx, batch)
		batch = nil
	}
	for _, n := range batch {
		g.Log("notice handler", fx.Collect(g, nil, true, func(_ context.Context, host *extension.Host) error {
			return g.Reg.Notice(ctx, host, n)
		}))
	}
	g.Log("notice handler", fx.Commit(ctx))
	g.told(batch)
	transport.Run(ctx, fx.Apply)
	g.hosts.mu.Lock()
	defer g.hosts.mu.Unlock()
	if g.notices.n == 0 || !g.hosts.begin(g.tell) {
		g.notices = notices{}
	}
}

func (g *Guest) told(batch []extension.Notice) {
	g.hosts.mu.Lock()
	behind := g.notices.told(batch)
	g.hosts.mu.Unlock()
	var b transport.Batch
	for _, step := range behind {
		g.hosts.carryOn(&b, step)
	}
	b.Flush()
}

// tellElsewhere does so for a guest that runs elsewhere, and waits for the end of
// all, or of ctx.
func (g *Guest) tellElsewhere(ctx context.Context, batch []extension.Notice) {
	defer g.told(batch)
	var waited []chan struct{}
	for _, n := range batch {
		e := &Event{Waited: make(chan struct{}), RemoteEvent: extension.RemoteEvent{
			Kind: extension.Noticed, Key: AccountKey(n.Session), Notice: n,
		}}
		if err := g.dispatchSoon(ctx, e); err != nil {
			g.log.Error("notices are dropped", "notices", len(batch)-len(waited), "error", err)
			break
		}
		waited = append(waited, e.Waited)
	}
	for _, w := range waited {
		select {
		case <-w:
		case <-ctx.Done():
			return
		}
	}
}

// dispatchSoon dispatches an event, and waits for room until ctx ends.
func (g *Guest) dispatchSoon(ctx context.Context, e *Event) error {
	again := time.NewTicker(minOffer)
	defer again.Stop()
	for {
		err := g.Dispatch(e, extension.Origin{})
		if !errors.Is(err, extension.ErrFull) {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

// Behind takes a step when a guest that runs elsewhere was told of all that happened to an
// account, and all is done that it asked for then: at once, or later, and behind 30 seconds in any case; nobody waits.
func (g *Guest) Behind(b *transport.Batch, account jid.JID, step transport.Step) transport.Wait {
	if len(g.Reg.Notices) == 0 || !g.behind(account.Bare(), step) {
		return step(b)
	}
	return nil
}

// behind is false if there is nothing to be told of.
func (g *Guest) behind(account jid.JID, step transport.Step) bool {
	h := g.hosts
	h.mu.Lock()
	defer h.mu.Unlock()
	u := g.notices.untold[account]
	if u == nil {
		return false
	}
	n := &next{step: step}
	n.clock = time.AfterFunc(maxWorkTime, func() {
		h.mu.Lock()
		taken := n.taken
		n.taken = true
		h.mu.Unlock()
		if !taken {
			var b transport.Batch
			h.carryOn(&b, step)
			b.Flush()
		}
	})
	u.next = append(u.next, n)
	return true
}

// take returns the notices that come next, one of each account: two would write
// the same entry.
func (g *Guest) take() (batch []extension.Notice) {
	g.hosts.mu.Lock()
	defer g.hosts.mu.Unlock()
	q := &g.notices
	for range min(len(q.ring), noticeBatch) {
		account := q.ring[0]
		q.ring[0] = jid.JID{}
		q.ring = q.ring[1:]
		u := q.untold[account]
		n := u.queue[0]
		u.queue[0] = extension.Notice{}
		if u.queue = u.queue[1:]; len(u.queue) > 0 {
			q.ring = append(q.ring, account)
		}
		batch = append(batch, n)
		q.n--
		q.bytes -= cost(&n)
	}
	return batch
}
