package wire

import (
	"errors"
	"fmt"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Kernel is the kernel's end of all processes of a plugin, one after the other: the
// queue of events, and what was sent and has no end yet. Each Item that Enqueue took
// has one end: an ApplyOutcome that was answered with Done(nil) or with an error that
// is an end, or a Fail.
type Kernel struct {
	limits  KernelLimits
	actions []Action
	conn    *Conn // the acting one

	keys     map[string]*key
	all      eventList // without end, in the order of Enqueue
	observed eventList // of those that wait
	last     map[CoalesceKey]*event
	// suspects were handled in all crashes but one that an event may be in; some of them
	// by chance. While there are any, each is sent with nothing else in flight, so that
	// the next crash names the guilty one.
	suspects []*event

	lines     map[string]*line // of late events
	late      lateList         // all of them
	lateOut   int              // how many processes have
	lateSince time.Time        // since when no process handles them, if none does

	ids        uint64 // of events
	epoch      uint64 // of all keys: the number of the last reset
	generation uint64 // the highest that acted
	inFlight   int    // on all Sessions, void ones too
	voids      int    // of these, void ones
	sent       int    // events that were sent and are still there
	sentBytes  int
	outcomes   int // bytes of those that are applied, or wait for it
	applying   int // entries of key.applies and those that are open

	down      bool // no process handles events
	downSince time.Time
	hurry     bool // there may be impatient events, which fail at the next Tick
	gaveUp    bool

	deadlines heap[*event]
	retries   heap[*key]
	stats     Stats
}

// NewKernel returns a Kernel with no process.
func NewKernel(limits KernelLimits, now time.Time) *Kernel {
	return &Kernel{
		limits:    limits.withDefaults(),
		keys:      map[string]*key{},
		all:       eventList{which: ofAll},
		observed:  eventList{which: observed},
		last:      map[CoalesceKey]*event{},
		lines:     map[string]*line{},
		late:      lateList{which: ofAllLate},
		lateSince: now,
		down:      true,
		downSince: now,
	}
}

// Enqueue takes an event. The errors wrap extension.ErrFull, or extension.ErrDown after
// GiveUp, and of an impatient one while no process handles events.
func (k *Kernel) Enqueue(it Item, now time.Time) error {
	it.Size = max(it.Size, 0)
	if it.Late {
		err := k.enqueueLate(it, now)
		if err != nil {
			k.stats.Refused++
		}
		return err
	}
	if err := k.room(&it); err != nil {
		k.stats.Refused++
		return err
	}
	k.ids++
	e := &event{item: it, id: k.ids, enqueued: now}
	y := k.key(it.Key)
	e.key = y
	e.apply = apply{key: y, event: e}
	y.events.push(e)
	if y.send == nil {
		y.send = e
	}
	k.all.push(e)
	k.stats.Enqueued++
	k.stats.Waiting++
	k.stats.WaitingBytes += it.Size
	if it.Observed {
		k.observed.push(e)
	}
	if it.Coalesce != (CoalesceKey{}) {
		k.last[it.Coalesce] = e
	}
	if y.send == e {
		k.schedule(y)
	}
	return nil
}

// room returns nil when there is room for an item, which it makes if it may.
func (k *Kernel) room(it *Item) error {
	switch {
	case k.gaveUp:
		return fmt.Errorf("plugin wire: %w", extension.ErrDown)
	case it.Impatient && k.down:
		return fmt.Errorf("plugin wire: no process yet: %w", extension.ErrDown)
	case len(it.Key) > MaxKeyBytes:
		return fmt.Errorf("plugin wire: a key of %d bytes: %w", len(it.Key), extension.ErrFull)
	}
	over := func(events, bytes int) bool { // that many less
		return k.stats.Waiting-events >= k.limits.Events || k.stats.WaitingBytes-bytes > k.limits.Bytes-it.Size
	}
	if !over(0, 0) {
		return nil
	}
	if it.Coalesce != (CoalesceKey{}) {
		if old := k.last[it.Coalesce]; old != nil && old.item.Key == it.Key && !over(1, old.item.Size) {
			k.fail(old, Coalesced, extension.ErrFull)
			return nil
		}
	}
	if over(k.observed.n, k.observed.bytes) {
		return fmt.Errorf("plugin wire: %d events, %d bytes wait: %w", k.stats.Waiting, k.stats.WaitingBytes, extension.ErrFull)
	}
	for over(0, 0) {
		k.fail(k.observed.head, Dropped, extension.ErrFull)
	}
	return nil
}

// Take appends what is to be done to into, and forgets it. To be called after each
// call of another method.
func (k *Kernel) Take(into []Action) []Action {
	into = append(into, k.actions...)
	clear(k.actions)
	k.actions = k.actions[:0]
	return into
}

func (k *Kernel) act(a Action) { k.actions = append(k.actions, a) }

// Done answers ApplyOutcome and ApplyUnasked as extension.Owner's done does: nil when
// all is applied; ErrConflict and ErrUnavailable when nothing was and the event is to
// be handled again; any other error when nothing was, and the event is at its end.
// Outcomes of one key that were handed out together are answered in that order; once
// one has an error nothing of those behind it was applied, and they are ErrConflict or
// ErrUnavailable; that is no conflict of theirs, for KernelLimits.Conflicts.
func (k *Kernel) Done(t Ticket, err error, now time.Time) {
	a := t.apply
	if a == nil || !a.open || a.times != t.times {
		return
	}
	y := a.key
	a.open = false
	behind := y.voided
	if y.open--; err != nil && y.open > 0 {
		y.barrier = true // those behind it are given again first
		y.voided = true
	} else if y.open == 0 {
		y.voided = false
	}
	k.end(y, 1)
	switch {
	case errors.Is(err, extension.ErrConflict):
		k.stats.ConflictsSeen++
	case errors.Is(err, extension.ErrUnavailable):
		k.stats.UnavailableSeen++
	}
	if a.event == nil {
		k.doneUnasked(a, err, now)
	} else {
		k.doneEvent(a.event, err, behind, now)
	}
	if err == nil && k.conn != nil && a.conn != k.conn {
		k.reset(y, false, now) // what acts now may have read before this was done
	}
	k.advance(y, now)
	k.schedule(y)
	k.settle(y)
	if k.gaveUp {
		k.failAll()
	}
}

// Applying returns how many outcomes and Unasked, of whatever process, have no end yet. Who
// lets another process act waits for 0, so that it reads what the one before asked for.
func (k *Kernel) Applying() int { return k.applying }

// doneEvent takes the answer to the outcome of an event. behind: one before it in its run was not
// applied, so it is in no conflict of its own.
func (k *Kernel) doneEvent(e *event, err error, behind bool, now time.Time) {
	y := e.key
	switch {
	case err == nil:
		y.retries = 0
		k.remove(e)
	case errors.Is(err, extension.ErrConflict):
		if !behind {
			e.conflicts++
		}
		if e.conflicts >= k.limits.Conflicts {
			k.fail(e, Conflicts, stanza.Err(stanza.ResourceConstraint, ""))
		}
		k.reset(y, false, now)
	case errors.Is(err, extension.ErrUnavailable):
		if e.unavailable.IsZero() {
			e.unavailable = now
		}
		if now.Sub(e.unavailable) >= k.limits.Grace {
			k.fail(e, Stored, extension.ErrDown)
		} else if y.place_ == 0 {
			y.retry = now.Add(k.limits.Retry << min(y.retries, 4))
			y.retries++
			k.retries.push(y)
		}
		k.reset(y, false, now)
	default:
		k.remove(e)
		k.reset(y, false, now)
	}
}

func (k *Kernel) doneUnasked(a *apply, err error, now time.Time) {
	if a.conn.closed {
		return
	}
	s := &a.conn.shards[a.shard]
	s.unaskedBytes -= a.size
	if err == nil {
		s.answer(a.unasked.GetId(), "")
		return
	}
	k.stats.UnaskedVoid++
	s.answer(a.unasked.GetId(), err.Error())
	k.reset(a.key, false, now)
}

// Reset says that what the plugin knows of the key is void: events of it that have no
// outcome applied, or under way, are given again.
func (k *Kernel) Reset(name string, now time.Time) {
	if len(name) > MaxKeyBytes {
		return
	}
	y := k.key(name)
	k.reset(y, false, now)
	k.settle(y)
	if k.gaveUp {
		k.failAll()
	}
}

// reset makes void what the process knows of a key. Events in flight are to be sent
// again, and, unless they are kept, those whose outcome waits for its turn, too.
func (k *Kernel) reset(y *key, keepAnswered bool, now time.Time) {
	k.epoch++
	y.epoch = k.epoch
	y.barrier = true
	k.stats.Resets++
	if c := k.conn; c != nil {
		if !c.shards[y.shard].reset(y.name, y.epoch) && c.broken == nil {
			c.broken = fmt.Errorf("%w: it does not read: %d resets wait for it", ErrProtocol, k.limits.Resets)
			k.act(Action{Kind: EndProcess, Conn: c, Shard: y.shard, Err: c.broken})
		}
	}
	if !keepAnswered {
		for y.applies.len() > 0 {
			a := y.applies.pop()
			k.end(y, 1)
			if a.event != nil {
				k.drop(a.event)
			} else if !a.conn.closed {
				s := &a.conn.shards[a.shard]
				s.unaskedBytes -= a.size
				k.stats.UnaskedVoid++
				s.answer(a.unasked.GetId(), "its key was reset")
			}
		}
	}
	y.answer, y.send = nil, nil
	for e := y.events.head; e != nil; {
		next := e.links[ofKey].next
		switch {
		case e.state == answered && (e.apply.open || keepAnswered):
		case e.state == answered:
			k.giveAgain(e)
		case e.state == inFlight:
			k.conn.ghosts = true
			k.land(e, now)
			k.giveAgain(e)
		}
		if y.send == nil && (e.state == returned || e.state == waiting) {
			y.send = e
		}
		if e.state == waiting {
			break // so are all behind it
		}
		e = next
	}
	k.schedule(y)
}

// giveAgain makes an event that is nowhere now one that is to be sent again; unless it
// has come to its end, or does so now.
func (k *Kernel) giveAgain(e *event) {
	k.drop(e)
	if e.void {
		e.state = returned
		k.count(e, 1)
		k.remove(e)
		return
	}
	e.state = returned
	k.count(e, 1)
	k.hurry = k.hurry || k.down && e.item.Impatient
	if e.item.Deadline > 0 && e.held >= e.item.Deadline {
		k.fail(e, Expired, extension.ErrLate)
	}
}

// drop forgets the outcome of an event.
func (k *Kernel) drop(e *event) {
	k.outcomes -= e.size
	e.outcome, e.size, e.large = nil, 0, false
}

// count counts an event that is to be sent again, or is so no more.
func (k *Kernel) count(e *event, n int) {
	k.stats.Returned += n
	if k.conn != nil {
		s := &k.conn.shards[e.key.shard]
		s.returned += n
		s.returnedBytes += n * e.item.Size
	}
}

// land takes an event out of flight; its state is the caller's.
func (k *Kernel) land(e *event, now time.Time) {
	s := &k.conn.shards[e.key.shard]
	delete(s.flying, e.id)
	s.flight.remove(e)
	e.key.flight--
	k.inFlight--
	k.stats.InFlight--
	k.stats.InFlightBytes -= e.item.Size
	if e.void {
		k.voids--
	}
	if e.duePlace != 0 {
		k.deadlines.remove(e)
		e.held += max(now.Sub(e.sent), 0)
	}
}

// advance hands out what is next to be applied of a key, when what was before is: an Unasked, or
// a run of outcomes.
func (k *Kernel) advance(y *key, now time.Time) {
	if y.open > 0 {
		return
	}
	for y.applies.len() > 0 && y.open < k.limits.Run {
		a := *y.applies.front()
		e := a.event
		if y.open > 0 && (e == nil || e.large) {
			return
		}
		y.applies.pop()
		if e != nil && e.large {
			k.end(y, 1)
			k.fail(e, TooLarge, stanza.Err(stanza.InternalServerError, ""))
			k.reset(y, false, now)
			continue
		}
		y.open++
		a.open = true
		a.times++
		act := Action{Kind: ApplyUnasked, Ticket: Ticket{apply: a, times: a.times}, Conn: a.conn, Shard: a.shard, Unasked: a.unasked}
		if e != nil {
			act.Kind, act.Item, act.Outcome, act.Attempt = ApplyOutcome, &e.item, e.outcome, e.attempts
		}
		if k.act(act); e == nil {
			return
		}
	}
}

// fail ends an event, which is not in flight unless it is to be void.
func (k *Kernel) fail(e *event, reason Reason, err error) {
	k.stats.Failed[reason]++
	var answer *stanza.Error
	if !errors.As(err, &answer) {
		err = fmt.Errorf("plugin wire: %s: %w", reason, err)
	}
	k.act(Action{Kind: Fail, Item: &e.item, Reason: reason, Attempt: e.attempts, Err: err})
	if e.state == inFlight {
		e.void = true
		k.voids++
		k.forget(e)
		return
	}
	k.remove(e)
}

// forget takes an event off all that is about its end.
func (k *Kernel) forget(e *event) {
	k.all.remove(e)
	k.trust(e)
}

// trust takes an event off the suspects.
func (k *Kernel) trust(e *event) {
	if !e.suspect {
		return
	}
	e.suspect = false
	for i, s := range k.suspects {
		if s == e {
			k.suspects = append(k.suspects[:i], k.suspects[i+1:]...)
			return
		}
	}
}

// remove takes an event that is not in flight off everything.
func (k *Kernel) remove(e *event) {
	y := e.key
	switch e.state {
	case waiting:
		k.leaveQueue(e)
	case returned:
		k.count(e, -1)
	}
	if e.state != waiting {
		k.sent--
		k.sentBytes -= e.item.Size
	}
	if !e.void {
		k.forget(e)
	}
	e.state = ended
	k.drop(e)
	if y.send == e {
		y.send = e.links[ofKey].next
	}
	y.events.remove(e)
	k.schedule(y)
	k.settle(y)
}

// leaveQueue takes an event off what is about events that were never sent.
func (k *Kernel) leaveQueue(e *event) {
	k.stats.Waiting--
	k.stats.WaitingBytes -= e.item.Size
	if e.item.Observed {
		k.observed.remove(e)
	}
	if c := e.item.Coalesce; c != (CoalesceKey{}) && k.last[c] == e {
		delete(k.last, c)
	}
}

// key returns what is known of a key, which may be nothing yet.
func (k *Kernel) key(name string) *key {
	y := k.keys[name]
	if y == nil {
		y = &key{name: name, epoch: k.epoch, events: eventList{which: ofKey}}
		if k.conn != nil {
			y.shard = Shard(name, len(k.conn.shards))
		}
		k.keys[name] = y
	}
	return y
}

// settle forgets a key of which nothing is left.
func (k *Kernel) settle(y *key) {
	if y.events.n == 0 && y.open == 0 && y.applies.len() == 0 && k.keys[y.name] == y {
		if y.place_ != 0 {
			k.retries.remove(y)
		}
		delete(k.keys, y.name)
	}
}

// schedule puts a key into the list in which it belongs now. In its list it keeps its place.
func (k *Kernel) schedule(y *key) {
	c := k.conn
	if c == nil {
		return
	}
	list := noList
	if y.barrier && y.open == 0 && y.applies.len() == 0 {
		y.barrier = false
	}
	if y.send != nil && !y.barrier && y.place_ == 0 && y.flight < k.limits.KeyEvents {
		list = fresh
		if y.send.state == returned {
			list = again
		}
	}
	if list == y.list {
		return
	}
	s := &c.shards[y.shard]
	if y.list != noList {
		s.keys[y.list].remove(y)
	}
	y.list = list
	if list != noList {
		s.keys[list].push(y)
	}
}
