package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/core/underway"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Effects are what the stage handlers of one stanza asked for: written by one
// commit before the stanza goes on, applied after it. The zero value is empty.
type Effects struct {
	txs     []*staged
	carried *Effects // of a stage before, whose rows are written with these
	queued  *pending // the writes, if their place in the order of archives is taken
}

// staged is what one stage handler asked for.
type staged struct {
	*tx
	fn       Handler // nil: it runs elsewhere
	observer bool    // the stanza does not wait for its success
}

// About is the account that a stanza in a stage is about, and what is in memory
// of it.
type About struct {
	Account  jid.JID // bare
	Resident *Resident
}

// about returns what is in memory by now: a Swap that failed may have been of it.
func (h *Hosts) about(ctx context.Context, was *About) (*About, error) {
	if was == nil {
		return nil, nil
	}
	r, err := h.LoadResident(ctx, was.Account)
	return &About{was.Account, r}, err
}

// Collect calls a stage handler on this goroutine and keeps what it asked for.
// observer says that the stanza goes on even if that can't be written.
func (fx *Effects) Collect(g *Guest, about *About, observer bool, fn Handler) error {
	t, err := g.call(context.Background(), fn, view{about: about})
	if err == nil && (!t.empty() || len(t.after) > 0) {
		fx.txs = append(fx.txs, &staged{t, fn, observer})
	}
	return err
}

// verdict is what a stage handler that runs elsewhere decided, and asked for.
type verdict struct {
	outcome *extension.Outcome
	tx      *tx
	err     error
}

// Consult dispatches an event to a stage handler that runs elsewhere, waits for its
// verdict, for so long at most, and keeps what it asked for unless check is against it.
// taken is false if the guest did not take the event. ErrDown: there is no verdict in
// time.
func (fx *Effects) Consult(ctx context.Context, g *Guest, e *Event, most time.Duration, check func(*extension.Verdict) error) (taken bool, v extension.Verdict, err error) {
	decided := make(chan verdict, 1)
	e.verdict = func(d verdict) { decided <- d }
	if err := g.Dispatch(e, e.Envelope.Origin); err != nil {
		return false, v, err
	}
	last := time.NewTimer(most)
	defer last.Stop()
	var d verdict
	select {
	case d = <-decided:
	case <-last.C:
		d = e.giveUp(decided)
	case <-ctx.Done():
		d = e.giveUp(decided)
	}
	v, err = fx.keep(e, &d, check)
	return true, v, err
}

// keep keeps what comes with a verdict.
func (fx *Effects) keep(e *Event, d *verdict, check func(*extension.Verdict) error) (v extension.Verdict, err error) {
	if d.err != nil {
		return v, d.err
	}
	v = d.outcome.Verdict
	if err := check(&v); err != nil {
		e.g.Reg.Remote.Reset(e.Key)
		return v, err
	}
	if d.asks() {
		fx.txs = append(fx.txs, &staged{tx: d.tx})
	}
	return v, nil
}

// asks says that the handler asked for something besides its verdict.
func (d *verdict) asks() bool { return d.tx != nil && (!d.tx.empty() || len(d.tx.after) > 0) }

// errNoVerdict is what becomes of an event whose verdict is not waited for any longer.
var errNoVerdict = fmt.Errorf("%w: no verdict in time", extension.ErrLate)

// Question asks a stage handler that runs elsewhere for its verdict, and holds no
// goroutine meanwhile.
type Question struct {
	Event Event
	d     verdict
}

// Put dispatches the event. Behind most, at the latest, decided is called, once, by any
// goroutine: it must not wait. It is not called after an error: the guest has not taken
// the event.
func (q *Question) Put(g *Guest, most time.Duration, decided func()) error {
	q.Event.verdict = func(d verdict) {
		q.d = d
		decided()
	}
	if err := g.Dispatch(&q.Event, q.Event.Envelope.Origin); err != nil {
		return err
	}
	q.Event.Within(most)
	return nil
}

// Err says why there is no verdict, when decided was called.
func (q *Question) Err() error { return q.d.err }

// Asks says, then, that the handler asked for something besides its verdict.
func (q *Question) Asks() bool { return q.d.asks() }

// Void says that the verdict is not used, nor is what was asked for with it.
func (q *Question) Void() {
	if q.Asks() {
		q.Event.g.Reg.Remote.Reset(q.Event.Key)
	}
}

// Decided is what Consult returns of a verdict, when decided was called.
func (fx *Effects) Decided(q *Question, check func(*extension.Verdict) error) (extension.Verdict, error) {
	return fx.keep(&q.Event, &q.d, check)
}

// giveUp waits no longer for a verdict, unless it is there.
func (e *Event) giveUp(decided <-chan verdict) verdict {
	if !e.finish() {
		return <-decided
	}
	h := e.g.hosts
	h.Remote.Ended(e.g.Reg.Name, e.Kind.String(), h.Now().Sub(e.since), errNoVerdict)
	e.ended(new(transport.Batch)) // nobody is told of that
	return verdict{err: errNoVerdict}
}

// Void says that what was asked for is not done. Handlers that run elsewhere are
// told, since they may know by heart what they asked for.
func (fx *Effects) Void() {
	for _, s := range fx.txs {
		if s.fn == nil {
			s.g.Reg.Remote.Reset(s.key)
		}
	}
}

// Carry has the rows of a stage before be written with these. See Rows.
func (fx *Effects) Carry(before *Effects) { fx.carried = before }

// Rows says that all there is to write are rows of archives, of deciders: a stage that
// follows can write them.
func (fx *Effects) Rows() bool { return fx.Plain() && fx.Pending() }

// Plain says that there is nothing to write but rows of archives, of deciders.
func (fx *Effects) Plain() bool {
	return !slices.ContainsFunc(fx.txs, func(s *staged) bool { return s.alone() || s.observer && len(s.rows) > 0 }) &&
		(fx.carried == nil || fx.carried.Plain())
}

// together returns what one commit writes: what deciders asked for and, unless these have
// rows, what observers did. Rows have their place in their archives once: they can't be
// written a second time, without the observer whose write failed. apart says that
// observers are left to be written.
func (fx *Effects) together() (w writes, observed, apart bool) {
	w, observed = fx.writes(false)
	if len(w.rows) == 0 && observed {
		w, _ = fx.writes(true)
		return w, true, false
	}
	return w, observed, observed
}

// Queue takes the place of rows in the order of their archives, if there are some,
// and has the writing begin. It does not wait. What comes too late Commit finds out.
func (fx *Effects) Queue() {
	if w, _, _ := fx.together(); len(w.rows) > 0 {
		fx.queued, _ = fx.hosts().appender.add(w)
	}
}

// Tries is how often handlers run anew at once whose rows came too late for their
// archive: somebody else's were in time, within the microseconds since the handler had
// made its ID.
const Tries = 20

// Late says that handlers are to be run again, since a row of theirs came too late for
// its archive.
func Late(err error) bool { return errors.Is(err, errLate) }

// QueueFor is Queue for a message that waits for the commit in its Line, which it joins
// by join if there is no error. Rows says that there is nothing else to write. Written
// is to be called when it is committed.
func (fx *Effects) QueueFor(m *underway.Message, join func()) error {
	w, _, _ := fx.together()
	return fx.hosts().appender.addFor(w, m, join)
}

// Written notes that everything is.
func (fx *Effects) Written() { fx.written(true) }

// Sends says that handlers asked for more than writes.
func (fx *Effects) Sends() bool {
	return slices.ContainsFunc(fx.txs, func(s *staged) bool { return len(s.after) > 0 })
}

// Commit writes what is to be written and was not written yet: all or nothing,
// but for observers, whose failure is logged and whose effects are left out.
// It returns the storage's error; if Again says so the handlers of the stage are to
// be run again.
func (fx *Effects) Commit(ctx context.Context) error {
	if !fx.Pending() {
		return nil
	}
	w, observed, apart := fx.together()
	err := fx.commit(ctx, w)
	switch {
	case err == nil && !apart:
		fx.written(true)
		return nil
	case err != nil && (apart || !observed):
		return err
	case err != nil: // Whose writes failed is not known: those of deciders by themselves.
		if w, _ = fx.writes(false); !w.empty() {
			if err := fx.hosts().commit(ctx, w); err != nil {
				return err
			}
		}
	}
	fx.written(false)
	fx.txs = slices.DeleteFunc(fx.txs, func(s *staged) bool { return s.observer && !s.settle(ctx) })
	return nil
}

// hosts is of who asked; there is one, at least.
func (fx *Effects) hosts() *Hosts {
	if len(fx.txs) == 0 {
		return fx.carried.hosts()
	}
	return fx.txs[0].g.hosts
}

// commit writes w, of which rows may be queued already.
func (fx *Effects) commit(ctx context.Context, w writes) error {
	if p := fx.queued; p != nil {
		fx.queued = nil
		return fx.hosts().await(ctx, p)
	}
	return fx.hosts().commit(ctx, w)
}

// written notes what is: all, or all of deciders, and what Carry was given.
func (fx *Effects) written(observers bool) {
	for _, s := range fx.txs {
		if observers || !s.observer {
			s.writes = writes{}
		}
	}
	if fx.carried != nil {
		fx.carried.written(true)
		fx.carried = nil
	}
}

// settle writes what one handler asked for, by itself.
func (s *staged) settle(ctx context.Context) bool {
	if s.empty() {
		return true
	}
	err := s.g.commit(ctx, &s.tx, s.fn)
	var told *stanza.Error
	switch {
	case errors.As(err, &told) && told.Condition == stanza.ItemNotFound: // the account was removed meanwhile
		return false
	case err != nil:
		s.g.log.Error("what a handler asked for was left out: its writes failed", "error", err)
		return false
	}
	s.writes = writes{}
	return true
}

// Pending says whether there is something to commit.
func (fx *Effects) Pending() bool {
	return fx.carried != nil || slices.ContainsFunc(fx.txs, func(s *staged) bool { return !s.empty() })
}

// writes returns what is to be written, with that of observers or without.
func (fx *Effects) writes(observers bool) (w writes, observed bool) {
	if fx.carried != nil {
		w, _ = fx.carried.writes(true)
	}
	for _, s := range fx.txs {
		if s.observer && !s.empty() {
			observed = true
			if !observers {
				continue
			}
		}
		w.add(&s.writes)
	}
	return w, observed
}

// Empty says that nothing was asked for.
func (fx *Effects) Empty() bool { return len(fx.txs) == 0 }

// Apply does what was asked for besides writes.
func (fx *Effects) Apply(b *transport.Batch) transport.Wait {
	steps := make([]transport.Step, len(fx.txs))
	for i, s := range fx.txs {
		steps[i] = s.apply
	}
	return transport.Steps(b, steps...)
}

// maxDetached is how much of one extension's Write handlers waits.
const maxDetached = 1_000

// Detach commits and applies without holding up anything: one after the other
// for each extension. At most 1,000 wait; what is asked for beyond is dropped
// with an error in the log, since a session's output can't wait for a disk.
func (fx *Effects) Detach(b *transport.Batch) {
	for _, s := range fx.txs {
		s.detach(b)
	}
}

func (s *staged) detach(b *transport.Batch) {
	g := s.g
	if s.empty() && !g.detaching() {
		if w := s.apply(b); w != nil {
			g.detach(w)
		}
		return
	}
	g.detach(func(ctx context.Context) {
		if s.settle(ctx) {
			transport.Run(ctx, s.apply)
		}
	})
}

// detached is what Write handlers of a guest left to do.
type detached struct {
	queue   []transport.Wait
	running bool
	full    bool // something was dropped since it was empty
}

func (g *Guest) detaching() bool {
	g.hosts.mu.Lock()
	defer g.hosts.mu.Unlock()
	return g.detached.running
}

// detach runs w behind what the guest's Write handlers left to do before.
func (g *Guest) detach(w transport.Wait) {
	g.hosts.mu.Lock()
	defer g.hosts.mu.Unlock()
	d := &g.detached
	if len(d.queue) >= maxDetached || !d.running && !g.hosts.enqueue(g.next) {
		if !d.full {
			g.log.Error("what Write handlers asked for is dropped: too much waits, or the server has ended", "waiting", len(d.queue))
		}
		d.full = true
		return
	}
	d.running = true
	d.queue = append(d.queue, w)
}

// next does the first thing that waits, and has the rest done when others had
// their turn.
func (g *Guest) next(ctx context.Context) {
	h, d := g.hosts, &g.detached
	h.mu.Lock()
	w := d.queue[0]
	d.queue[0] = nil
	d.queue = d.queue[1:]
	h.mu.Unlock()
	w(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(d.queue) == 0 || !h.enqueue(g.next) {
		*d = detached{}
	}
}
