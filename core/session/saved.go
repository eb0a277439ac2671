package session

import (
	"context"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/core/caps"
	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/storage"
)

// Pause lets the time of sessions without a connection stand still: the server stops,
// and the next process goes on with them. It waits for those whose time is just up.
func (r *Resumables) Pause() {
	r.mu.Lock()
	r.paused = true
	r.mu.Unlock()
	for _, s := range r.all() {
		s.mu.Lock()
		s.resumption.cancel()
		s.mu.Unlock()
	}
	r.timers.Wait()
}

// Quiet waits until everything that clients sent has been handled, and is safe, or
// ctx ends. It is called when no stream reads any more. The result says whether all
// that has been handled is safe.
func (r *Resumables) Quiet(ctx context.Context) (safe bool) {
	safe = true
	for _, s := range r.all() {
		s.mu.Lock()
		busy := s.idleLocked()
		s.mu.Unlock()
		closed(ctx, busy)
		closed(ctx, s.LineIdle())
		safe = closed(ctx, s.Settled()) && safe
	}
	return safe
}

// closed waits until c is closed, or ctx ends. nil counts as closed.
func closed(ctx context.Context, c <-chan struct{}) bool {
	if c == nil {
		return true
	}
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

// Save returns what the next process needs to go on. It is called behind Pause, when
// nothing is delivered any more; the sessions are of no use afterwards. fetches says
// which of them get stored messages.
func (r *Resumables) Save(fetches func(*Session) bool) *storage.Saved {
	saved := &storage.Saved{At: r.now()}
	v := saving{forks: map[*cluster.Fork]*storage.SavedFork{}, caps: caps.Saving{}}
	for _, s := range r.all() {
		if one, ok := v.session(s); ok {
			one.Fetches = one.Gap >= 0 && fetches(s)
			saved.Sessions = append(saved.Sessions, one)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, p := range r.past {
		if r.now().Before(p.until) {
			saved.Ended = append(saved.Ended, storage.SpoolSession{ID: id, User: p.user, Handled: p.handled})
		}
	}
	return saved
}

// saving makes one SavedFork of what several sessions share.
type saving struct {
	forks map[*cluster.Fork]*storage.SavedFork
	caps  caps.Saving
}

func (v *saving) session(s *Session) (saved storage.SavedSession, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resumption
	if s.ended || r.id == "" {
		return saved, false
	}
	if s.owner != nil { // its stream did not end in time
		s.owner = nil
		r.until = r.all.now().Add(r.max)
	}
	saved = storage.SavedSession{
		JID: s.JID, ID: r.id, Max: r.max, Until: r.until,
		Handled:    s.handedOn(), // what is still in hand its client sends again, rather than that it is lost
		Interested: s.interested, Presence: s.presence, Priority: s.priority, Caps: v.caps.Of(&s.caps),
	}
	for _, t := range r.tickets {
		if int32(saved.Handled-t.n) >= 0 {
			saved.Tickets = append(saved.Tickets, storage.SavedTicket{N: t.n, Size: t.size})
		}
	}
	for to := range s.directed {
		saved.Directed = append(saved.Directed, to)
	}
	for _, m := range s.marks {
		if !m.Connection {
			saved.Marks = append(saved.Marks, m.Name)
		}
	}
	if !v.queue(&saved, s.out) {
		return saved, false
	}
	for _, it := range s.keepHeld() { // as they would be behind a resumption
		saved.Queue = append(saved.Queue, storage.SavedStanza{Stanza: it.Stanza, To: it.To, At: it.at, Fork: v.fork(it.Fork)})
	}
	return saved, true
}

// queue takes what is in an outbox; false if its stream has ended.
func (v *saving) queue(saved *storage.SavedSession, o *Outbox) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.managed == nil {
		return false
	}
	o.conn, o.scheduled = nil, false // nothing more is written
	saved.Acked, saved.Gap = o.managed.acked, -1
	v.items(saved, o.managed.kept)
	saved.Written = len(saved.Queue)
	v.items(saved, o.items[o.next:])
	if o.gap != nil {
		saved.Gap = len(saved.Queue)
		v.items(saved, o.gap.behind)
	}
	return true
}

// items adds stanzas. What belongs to a stream ends with it.
func (v *saving) items(saved *storage.SavedSession, items []item) {
	for i := range items {
		it := &items[i]
		if it.stanza == nil {
			continue
		}
		q := storage.SavedStanza{Stanza: it.stanza, To: it.to, Stored: it.id, Fork: v.fork(it.fork)}
		if it.at != 0 {
			q.At = time.Unix(0, it.at)
		}
		saved.Queue = append(saved.Queue, q)
	}
}

func (v *saving) fork(f *cluster.Fork) *storage.SavedFork {
	if f == nil {
		return nil
	}
	saved := v.forks[f]
	if saved == nil {
		saved = &storage.SavedFork{Message: f.Message, Taken: f.Taken()}
		if saved.At = f.Receipt.At; f.Receipt.Spool != nil {
			saved.Record = f.Receipt.ID
		}
		v.forks[f] = saved
	}
	return saved
}

// keepHeld returns what the Write stage holds back, for good.
func (s *Session) keepHeld() []heldItem {
	if !s.pipe.Holds() {
		return nil
	}
	h := s.holding()
	h.mu.Lock()
	defer h.mu.Unlock()
	items := h.items
	h.closed, h.items, h.bytes = true, nil, 0
	h.any.Store(false)
	return items
}

// Restoring makes sessions of what an earlier process has saved of them.
type Restoring struct {
	Resumables *Resumables
	Limits     OutboxLimits
	Pipeline   *pipeline.Pipeline
	Kernel     Kernel
	Spool      storage.Spool // nil for none

	forks   map[*storage.SavedFork]*cluster.Fork
	records map[uint64]bool // that forks have; true for those that the spool has, too
	caps    caps.Restoring
}

// Session returns a session without a connection. It takes part in routing once it
// has claimed its JID, and can be resumed behind Resumables.Return.
func (v *Restoring) Session(saved *storage.SavedSession) *Session {
	if v.forks == nil {
		v.forks, v.records, v.caps = map[*storage.SavedFork]*cluster.Fork{}, map[uint64]bool{}, caps.Restoring{}
	}
	s := New(saved.JID, nil, v.outbox(saved), v.Pipeline, v.Kernel)
	s.interested, s.presence, s.priority = saved.Interested, saved.Presence, saved.Priority
	for _, to := range saved.Directed {
		s.Direct(to, true)
	}
	for _, name := range saved.Marks {
		s.marks = append(s.marks, cluster.Mark{Name: name})
	}
	s.setMarks(s.marks)
	if saved.Presence != nil {
		v.caps.Fill(&s.caps, saved.Caps)
	}
	// The limit may be lower now; time went on meanwhile.
	r := &resumption{all: v.Resumables, id: saved.ID, max: v.Resumables.limit(saved.Max)}
	for _, t := range saved.Tickets {
		r.tickets = append(r.tickets, ticket{t.N, t.Size})
		r.ticketBytes += t.Size
	}
	r.counted(saved.Handled)
	r.until = saved.Until.Add(r.max - saved.Max)
	s.resumption = r
	return s
}

// Reached notes the count of a restored session, if that is not the saved one.
func (s *Session) Reached(handled uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resumption.counted(handled)
}

// counted notes how much the client has sent, of a restored session.
func (r *resumption) counted(handled uint32) {
	r.handled, r.told = handled, r.applied(handled)
	r.noted = r.told - 1 // the spool may have less
	r.withheld, r.reached = len(r.tickets) > 0, handled
}

// Reclaim is told of the stanzas of a restored session that extensions elsewhere still have, by
// their numbers; before the client comes. Where one of its tickets is for a stanza that is lost, the client sends
// that, and everything behind it, again: those are not to be handled a second time. It returns which are: all before it.
func (s *Session) Reclaim(has func(n uint32) bool) (before uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resumption
	i := slices.IndexFunc(r.tickets, func(t ticket) bool { return !has(t.n) })
	if i < 0 {
		return r.handled + 1
	}
	before = r.tickets[i].n
	for _, t := range r.tickets[i:] {
		r.ticketBytes -= t.size
	}
	if r.tickets = r.tickets[:i]; i == 0 {
		r.tickets = nil
	}
	r.counted(before - 1)
	return before
}

// Has says whether a session has a ticket for a stanza.
func (s *Session) Has(n uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resumption
	return r != nil && slices.ContainsFunc(r.tickets, func(t ticket) bool { return t.n == n })
}

func (v *Restoring) outbox(saved *storage.SavedSession) *Outbox {
	o := NewOutbox(nil, v.Limits)
	o.managed = &managed{acked: saved.Acked}
	for i := range saved.Queue {
		it := v.item(&saved.Queue[i])
		size := it.size()
		if it.id != 0 {
			o.takeStored()
			o.stored.count++
			o.stored.bytes += size
			size = 0
		}
		switch {
		case i < saved.Written:
			o.managed.keep(&it)
			o.managed.bytes += size
			continue
		case saved.Gap >= 0 && i >= saved.Gap:
			o.openGap()
			o.gap.behind = append(o.gap.behind, it)
		default:
			o.items = append(o.items, it)
		}
		if o.bytes += size; it.id != 0 {
			o.stored.queued++
		}
	}
	if saved.Gap >= 0 {
		o.openGap()
	}
	o.large.Store(int64(o.held()))
	o.shrunk()
	return o
}

// openGap makes a gap for stored messages, if there is none.
func (o *Outbox) openGap() {
	o.open()
	o.takeStored()
}

func (o *Outbox) takeStored() {
	if o.stored == nil {
		o.stored = &stored{}
	}
}

func (v *Restoring) item(saved *storage.SavedStanza) item {
	it := item{stanza: saved.Stanza, to: saved.To, id: saved.Stored}
	if !saved.At.IsZero() {
		it.at = saved.At.UnixNano()
	}
	if saved.Fork == nil {
		return it
	}
	it.fork = v.forks[saved.Fork]
	if it.fork == nil {
		receipt := cluster.Receipt{At: saved.Fork.At}
		if saved.Fork.Record != 0 && v.Spool != nil {
			receipt = cluster.Receipt{ID: saved.Fork.Record, At: saved.Fork.At, Spool: v.Spool}
			v.records[saved.Fork.Record] = false
		}
		it.fork = cluster.RestoreFork(saved.Fork.Message, receipt, saved.Fork.Taken)
		v.forks[saved.Fork] = it.fork
	}
	it.fork.Add()
	return it
}

// Has says whether a restored session has a message of this record of the spool on
// its way. It is asked for each record that there is, by one goroutine.
func (v *Restoring) Has(record uint64) bool {
	_, has := v.records[record]
	if has {
		v.records[record] = true
	}
	return has
}

// Match makes restored sessions and spool agree, when Has was asked for all records
// and before anything is delivered. What a client has is done, also if the spool was
// not told in time. A record that the spool does not know (its file was damaged, or is
// gone) is nobody's: the next one may get its number.
func (v *Restoring) Match() {
	for _, f := range v.forks {
		switch {
		case f.Receipt.Spool == nil:
		case !v.records[f.Receipt.ID]:
			f.Receipt = cluster.Receipt{At: f.Receipt.At}
		case f.Taken():
			f.Receipt.Done()
		}
	}
}

// Adopt returns the IDs of the stored messages that are on their way to the client
// of a restored session. For wake see Open.
func (o *Outbox) Adopt(wake func()) (ids []uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stored == nil || o.closed {
		return nil
	}
	o.stored.wake = wake
	for _, items := range [][]item{o.managed.kept, o.items[o.next:]} {
		for i := range items {
			if id := items[i].id; id != 0 {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// Return has restored sessions found by their SM-IDs. Their time stands still until
// Go.
func (r *Resumables) Return(sessions []*Session) {
	for _, s := range sessions {
		r.add(s.resumption.id, s)
	}
}

// Go lets the time of restored sessions go on, before the first client comes.
func (r *Resumables) Go(sessions []*Session) {
	for _, s := range sessions {
		s.mu.Lock()
		if !s.ended {
			s.expire()
		}
		s.mu.Unlock()
	}
}
