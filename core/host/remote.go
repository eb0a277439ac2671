package host

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// A guest whose registration has a Remote runs elsewhere: its handlers are not called,
// but what happens is dispatched as an Event, and what a handler asked for comes back
// as an outcome, which is applied here as that of a handler is: one transaction, with
// the same permissions and bounds. Nobody who brings an outcome waits: what must be
// committed, or has to wait on its way, is done by a goroutine of its own, of which
// there are as many at most as events are out, and 1,000 for what no event asked for; and
// Hosts.Stop waits for all of them.

// Bounds of events that are out.
const (
	maxOutcomeBytes = 8 << 20          // that the writes of one outcome take
	maxUnasked      = 1_000            // effects of one guest that no event asked for, under way
	maxConflicts    = 10               // outcomes of one event that somebody else's writes were in front of
	maxUnavailable  = 30 * time.Second // since the dispatch: for so long outcomes wait for storage
	AnswerTime      = 30 * time.Second // what is asked is answered within
	cutEvents       = 5 * time.Second  // Stop gives them so long,
	cutFar          = time.Second      // and so long if all that are left are for far domains
)

// errOver: what comes of an event comes too late.
var errOver = errors.New("host: the event is at its end already")

// Event is what a guest that runs elsewhere is told of: the extension.Owner of it. Who
// makes one sets what RemoteEvent says of its Kind, the Key, and what follows.
type Event struct {
	extension.RemoteEvent
	// Answer tells who waits what came of it, in front of all that the outcome asks
	// for: either an outcome without an error, or an error. It is called once at most,
	// and not for an outcome that was not applied. nil: nobody is told.
	Answer func(b *transport.Batch, o *extension.Outcome, err error) transport.Wait
	// Over is called when all is done, once; it may be nil. What it sends joins b.
	Over func(b *transport.Batch)
	// Waited is closed then; it may be nil.
	Waited chan struct{}
	// Ticket is of the client's message that it is, for whom Over is called; zero for none.
	Ticket storage.SavedTicket

	g       *Guest
	view    view
	verdict func(verdict) // of a stage handler: takes the outcome instead
	nth     uint64        // of those that went out; hosts.mu guards it
	since   time.Time     // when it was dispatched: At may be older

	mu        sync.Mutex // guards what follows
	state     eventState
	expired   bool // while it was Applying: nobody waits any more
	conflicts int
	clock     *time.Timer

	before, behind *Event // of those that are out; hosts.mu guards them
}

type eventState uint8

const (
	out      eventState = iota // a Remote has it
	applying                   // an outcome is being applied
	over
)

// Elsewhere says whether the guest's handlers run elsewhere.
func (g *Guest) Elsewhere() bool { return g.Reg.Remote != nil }

// Attach gives the guest's Remote, if it has one, what may be asked of the kernel.
func (g *Guest) Attach() {
	if g.Elsewhere() {
		g.Reg.Remote.Attach(kernel{g})
	}
}

// Dispatch gives an event to the guest, and never waits. An error says that it was not
// taken, and that nothing comes of it: neither Answer nor Over is called.
func (g *Guest) Dispatch(e *Event, o extension.Origin) error {
	e.g, e.view = g, view{session: o.Session, fence: o.Fence, key: e.Key}
	e.Owner, e.since = e, g.hosts.Now()
	if e.At.IsZero() {
		e.At = e.since
	}
	if !g.hosts.track(e) {
		return fmt.Errorf("%w: the server is shutting down", extension.ErrDown)
	}
	err := g.Reg.Remote.Dispatch(&e.RemoteEvent)
	g.hosts.Remote.Dispatched(g.Reg.Name, e.Kind.String(), err)
	if err == nil {
		return nil
	}
	if !e.finish() { // it has just been given up, and answered
		return nil
	}
	e.unwatch()
	g.hosts.untrack(e)
	return err
}

// Expire gives up an event that takes too long: who waits is told, and an outcome
// that comes later is void. One that is being applied already may still be.
func (e *Event) Expire() {
	e.mu.Lock()
	if e.state != out {
		e.expired = true
		e.mu.Unlock()
		return
	}
	e.state = over
	e.mu.Unlock()
	err := error(errTimeout)
	if e.verdict != nil {
		err = errNoVerdict
	}
	e.g.hosts.Remote.Ended(e.g.Reg.Name, e.Kind.String(), e.g.hosts.Now().Sub(e.since), err)
	var b transport.Batch
	e.tell(&b, true, err, nil)
}

// errTimeout is the answer to what takes too long.
var errTimeout = stanza.Err(stanza.RemoteServerTimeout, "the service does not answer")

// Within has the event expire when it takes longer, unless it is at its end already.
func (e *Event) Within(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state != over {
		e.clock = time.AfterFunc(d, e.Expire)
	}
}

func (e *Event) unwatch() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.clock != nil {
		e.clock.Stop()
	}
}

// Apply implements extension.Owner.
func (e *Event) Apply(b *transport.Batch, o *extension.Outcome, done func(error)) {
	e.mu.Lock()
	if e.state != out {
		e.mu.Unlock()
		done(errOver)
		return
	}
	e.state = applying
	e.mu.Unlock()
	switch {
	case o.Err != nil:
		e.fail(b, false, o.Err, func(error) { done(nil) })
		return
	case o.Effects == nil && e.verdict == nil: // the answer alone
		e.conclude(b, false, nil, o, done)
		return
	}
	t, err := e.g.replay(e.view, o.Effects)
	switch {
	case err != nil:
		e.g.log.Error("an outcome was not applied", "event", e.Kind.String(), "error", err)
		told := stanza.Err(stanza.InternalServerError, "")
		if errors.Is(err, extension.ErrBound) {
			told = stanza.Err(stanza.ResourceConstraint, "")
		}
		e.fail(b, false, fmt.Errorf("%w: %w", told, err), done)
	case e.verdict != nil:
		e.verdict(verdict{o, t, nil})
		e.concluded(b)
		done(nil)
	case t.empty():
		e.conclude(b, false, t, o, done)
	default:
		go e.commit(t, o, done)
	}
}

// Fail implements extension.Owner.
func (e *Event) Fail(b *transport.Batch, err error) {
	if e.finish() {
		e.g.hosts.Remote.Ended(e.g.Reg.Name, e.Kind.String(), e.g.hosts.Now().Sub(e.since), err)
		e.tell(b, false, err, nil)
	}
}

// finish notes that the event has its end; false if it had one, or is about to.
func (e *Event) finish() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state != out {
		return false
	}
	e.state = over
	return true
}

// commit writes what an outcome wants written, and applies the rest.
func (e *Event) commit(t *tx, o *extension.Outcome, done func(error)) {
	h := e.g.hosts
	ctx, cancel := context.WithTimeout(h.ctx, maxWorkTime)
	err := h.commit(ctx, t.writes)
	cancel()
	var b transport.Batch
	switch again := e.again(err); {
	case err == nil:
		e.conclude(&b, true, t, o, done)
	case again != nil:
		h.Remote.Again(e.g.Reg.Name, again)
		done(again)
	default:
		e.fail(&b, true, StoreError(err), done)
	}
}

// again returns the error by which a Remote gives an event once more, after one of
// storage; nil if it is at its end.
func (e *Event) again(err error) error {
	again := e.outAgain(err)
	if again != nil && e.Kind != 0 {
		e.cutIf()
	}
	return again
}

func (e *Event) outAgain(err error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var again error
	switch {
	case err == nil, e.expired, e.g.hosts.ctx.Err() != nil:
	case errors.Is(err, storage.ErrConflict):
		if e.conflicts++; e.conflicts < maxConflicts {
			again = fmt.Errorf("%w: %w", extension.ErrConflict, err)
		}
	case errors.Is(err, storage.ErrUnavailable) && e.g.hosts.Now().Sub(e.since) < maxUnavailable:
		again = fmt.Errorf("%w: %w", extension.ErrUnavailable, err)
	}
	if again != nil && e.Kind != 0 {
		e.state = out
	}
	return again
}

// conclude answers, and does what an outcome asks for besides writes.
func (e *Event) conclude(b *transport.Batch, own bool, t *tx, o *extension.Outcome, done func(error)) {
	answer := func(b *transport.Batch) transport.Wait {
		if e.Answer == nil {
			return nil
		}
		return e.Answer(b, o, nil)
	}
	var w transport.Wait
	if t == nil {
		w = answer(b)
	} else {
		w = t.finish(b, nil, func(b *transport.Batch, _ error) transport.Wait { return answer(b) })
	}
	e.rest(b, own, w, e.concluded, func() { done(nil) })
}

// fail tells who waits why nothing was applied.
func (e *Event) fail(b *transport.Batch, own bool, err error, done func(error)) {
	e.mu.Lock()
	e.state = over
	e.mu.Unlock()
	e.g.hosts.Remote.Ended(e.g.Reg.Name, e.Kind.String(), e.g.hosts.Now().Sub(e.since), err)
	e.tell(b, own, err, func() { done(err) })
}

// tell answers with an error; then is called behind all that.
func (e *Event) tell(b *transport.Batch, own bool, err error, then func()) {
	var w transport.Wait
	switch {
	case e.verdict != nil:
		e.verdict(verdict{err: err})
	case e.Answer != nil && !e.unanswered(err):
		w = e.Answer(b, nil, e.senderError(err))
	case e.Answer == nil && e.Kind != 0 && !errors.Is(err, extension.ErrDown) && !errors.Is(err, extension.ErrFull):
		e.g.Log(e.Kind.String()+" handler", err)
	}
	e.rest(b, own, w, e.ended, then)
}

// rest has what is left to wait for done by a goroutine, and then the end. own says
// that the batch is flushed here, in front of that, and behind it; then is called last, and may be nil.
func (e *Event) rest(b *transport.Batch, own bool, w transport.Wait, end func(b *transport.Batch), then func()) {
	if own {
		b.Flush()
	}
	over := func(b *transport.Batch, own bool) {
		if end(b); own {
			b.Flush()
		}
		if then != nil {
			then()
		}
	}
	if w == nil {
		over(b, own)
		return
	}
	go func() {
		e.g.hosts.Own(w)(e.g.hosts.ctx)
		over(new(transport.Batch), true)
	}()
}

// concluded notes that all is applied.
func (e *Event) concluded(b *transport.Batch) {
	e.mu.Lock()
	e.state = over
	e.mu.Unlock()
	e.g.hosts.Remote.Ended(e.g.Reg.Name, e.Kind.String(), e.g.hosts.Now().Sub(e.since), nil)
	e.ended(b)
}

// ended lets go of the event.
func (e *Event) ended(b *transport.Batch) {
	e.unwatch()
	if e.Over != nil {
		e.Over(b)
	}
	if e.Waited != nil {
		close(e.Waited)
	}
	e.g.hosts.untrack(e)
}

func (e *Event) senderError(err error) error {
	if e.Kind == extension.ToFar {
		return FarError(err)
	}
	return senderError(err)
}

// senderError makes of an error what the sender is told.
func senderError(err error) error {
	var told *stanza.Error
	switch {
	case errors.As(err, &told):
		return told
	case errors.Is(err, extension.ErrFull):
		return &stanza.Error{Type: stanza.WaitType, Condition: stanza.ResourceConstraint, Text: "too much waits for the service; send it again later"}
	case errors.Is(err, extension.ErrDown):
		return &stanza.Error{Type: stanza.WaitType, Condition: stanza.ServiceUnavailable, Text: "the service is down; send it again later"}
	}
	return err
}

// Undelivered is what a sender is told of an event that was not taken.
func Undelivered(err error) *stanza.Error { return stanza.AsError(senderError(err)) }

// unanswered says that nobody is told of an error: of presence that no handler has
// seen. It may be that later presence took its place.
func (e *Event) unanswered(err error) bool {
	s := e.Stanza()
	return s != nil && s.Kind == stanza.Presence && (errors.Is(err, extension.ErrFull) || errors.Is(err, extension.ErrDown))
}

// replay has an outcome ask for what it wants; a panic becomes an error.
func (g *Guest) replay(v view, effects func(*extension.Host) error) (t *tx, err error) {
	t = &tx{g: g, view: v}
	if effects == nil {
		return t, nil
	}
	defer func() {
		if p := recover(); p != nil {
			g.log.Error("an outcome panicked; nothing of it was applied", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("extension %s: panic", g.Reg.Name)
		}
	}()
	if err = effects(t.writer()); err == nil {
		err = t.err
	}
	if n := t.size(); err == nil && n > maxOutcomeBytes {
		err = fmt.Errorf("%w: a handler writes at most %d bytes, not %d", extension.ErrBound, maxOutcomeBytes, n)
	}
	return t, err
}

// kernel implements extension.Kernel.
type kernel struct{ g *Guest }

func (k kernel) Reader() *extension.Host { return k.g.reader() }

func (k kernel) Apply(b *transport.Batch, key string, effects func(*extension.Host) error, done func(error)) {
	e := &Event{g: k.g, view: view{key: key}}
	e.Key, e.since = key, k.g.hosts.Now()
	e.Over = func(*transport.Batch) { k.g.unasked.Add(-1) }
	if k.g.unasked.Add(1) > maxUnasked {
		e.Over(b)
		done(fmt.Errorf("%w: %d effects that no event asked for are under way", extension.ErrUnavailable, maxUnasked))
		return
	}
	if !k.g.hosts.track(e) {
		e.Over(b)
		done(fmt.Errorf("%w: the server is shutting down", extension.ErrUnavailable))
		return
	}
	e.Apply(b, &extension.Outcome{Effects: effects}, func(err error) {
		if errors.Is(err, extension.ErrConflict) || errors.Is(err, extension.ErrUnavailable) {
			e.ended(new(transport.Batch)) // whoever asked may ask once more; nobody is told of it
		}
		done(err)
	})
}

func (k kernel) NewIDs(n int) []uint64 {
	all := make([]uint64, max(0, n))
	for i := range all {
		all[i] = k.g.hosts.ids.Next()
	}
	return all
}

func (k kernel) MemoryRevision() uint64 {
	m := &k.g.memory
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.entries.n == 0 {
		return 0
	}
	return m.revision
}

func (k kernel) Context() context.Context { return k.g.hosts.ctx }

// offers are replies and timers that a guest did not take yet; they count for their
// bounds.
type offers struct {
	queue []*Event
	clock *time.Timer
	pause time.Duration
}

// Between two offers of the same event.
const (
	minOffer = 100 * time.Millisecond
	maxOffer = 10 * time.Second
)

// offer dispatches a reply or a timer: again, and in order, for as long as the guest
// takes it not. count goes down by one at its end.
func (g *Guest) offer(e *Event, count *int) {
	h := g.hosts
	e.Over = func(*transport.Batch) {
		h.mu.Lock()
		defer h.mu.Unlock()
		*count--
	}
	h.mu.Lock()
	waits := len(g.offers.queue) > 0
	if waits {
		g.offers.queue = append(g.offers.queue, e)
	}
	h.mu.Unlock()
	if waits || g.Dispatch(e, extension.Origin{}) == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	g.offers.queue = append(g.offers.queue, e)
	if len(g.offers.queue) == 1 {
		g.offers.pause = minOffer
		g.offerLater()
	}
}

// offerLater has the first one offered again; h.mu is held.
func (g *Guest) offerLater() {
	if g.hosts.tasks.stopping {
		return
	}
	g.offers.clock = time.AfterFunc(g.offers.pause, g.offerAgain)
	g.offers.pause = min(2*g.offers.pause, maxOffer)
}

func (g *Guest) offerAgain() {
	h := g.hosts
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(g.offers.queue) > 0 && !h.tasks.stopping {
		e := g.offers.queue[0]
		h.mu.Unlock()
		err := g.Dispatch(e, extension.Origin{})
		h.mu.Lock()
		if err != nil {
			g.offerLater()
			return
		}
		g.offers.queue[0] = nil
		g.offers.queue = g.offers.queue[1:]
	}
	g.offers = offers{}
}
