package router

import (
	"context"
	"errors"
	"time"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/core/underway"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Way is the way of a message that a client has sent, or of a request. A nil Way, and one without a
// session, are those of a message that somebody else has sent.
type Way struct {
	Session *session.Session
	Asker   Asker // of a request, which has its stream wait; nil for a message

	m      *underway.Message // nil: the message is in hand
	nobody bool              // no session is given it: one before it is being stored
	waits  bool              // its commits are waited for before the next stanza

	again *again // of a stanza of before a restart; then there is nothing else
}

// Asker is the stream of a client whose requests extensions elsewhere may have.
type Asker interface {
	// Asks has the stream take nothing more of its client until answered is called,
	// by any goroutine. It is called while the request is in hand.
	Asks() (answered func())
}

// asks says whether it is the way of a client's request.
func (x *Way) asks() bool { return x != nil && x.Asker != nil }

// hold has the stream wait until over is called. Until then the request is not counted
// (XEP-0198 4), and the session is not resumed.
func (x *Way) hold(st *stanza.Stanza) (over func(b *transport.Batch)) {
	answered := x.Asker.Asks()
	var ticket func(b *transport.Batch)
	if x.Session != nil {
		ticket = x.Session.Ticket(x.number(), st.Size())
	}
	return func(b *transport.Batch) {
		if ticket != nil {
			ticket(b)
		}
		answered()
	}
}

func (x *Way) ours() bool { return x != nil && x.Session != nil && x.Asker == nil }

// busy says whether others of the same session have to go on first.
func (x *Way) busy() bool { return x.ours() && x.m == nil && x.Session.Busy() }

// ahead returns how many messages of the same session are before it whose handlers have
// still to run.
func (x *Way) ahead() int {
	if x.m != nil {
		return 0
	}
	return x.Session.Asked()
}

// number is that of the message among the stanzas of its session.
func (x *Way) number() uint32 {
	if x.m != nil {
		return x.m.N
	}
	return x.Session.Handled()
}

// message returns what stands for a message under way.
func (x *Way) message(st *stanza.Stanza, take underway.Take) *underway.Message {
	return &underway.Message{N: x.Session.Handled(), To: st.To.Bare(), Size: st.Size(), Take: take}
}

// Message takes a message that a client handed in: the Submit stage, the Deliver stage
// if it is for an account, and, with what both wrote, one commit. While that is under way
// its stream may go on with the next message; for anything else it waits until nothing
// is. So messages are handled, and given to others, in the order in which they came, and
// are in archives in this order. e is borrowed, and x until the Wait has run.
func (r *Router) Message(b *transport.Batch, e *extension.Envelope, x *Way) transport.Wait {
	if r.wanted(extension.Submit, e) {
		return r.begin(b, &passage{Passage: through(extension.Submit, e), way: *x})
	}
	return r.arrive(b, e, x)
}

// arrive takes a client's message on, behind Submit.
func (r *Router) arrive(b *transport.Batch, e *extension.Envelope, x *Way) transport.Wait {
	if e.Stanza.To.IsZero() {
		own := *e
		own.Stanza = addressed(e.Stanza)
		e = &own
	}
	account := r.hasAccount(e.Stanza)
	switch {
	case account && r.wanted(extension.Deliver, e):
		return r.begin(b, &passage{Passage: through(extension.Deliver, e), way: *x})
	case account && x.busy():
		return r.follow(b, &passage{Passage: through(extension.Deliver, e), way: *x}, nil)
	case x.busy():
		return r.follow(b, &passage{Passage: through(extension.Submit, e), way: *x}, nil)
	case account:
		return r.give(b, e, nil, x)
	}
	return r.toward(b, e, x)
}

// hasAccount says whether a message is for an account here.
func (r *Router) hasAccount(st *stanza.Stanza) bool {
	return st.To.Local() != "" && r.Registry.Hosted(st.To.Domain())
}

// proceed goes on behind the handlers: with the commit, or, where there is nothing to
// write, behind those that are under way.
func (r *Router) proceed(b *transport.Batch, p *passage) transport.Wait {
	for try := 1; ; try++ {
		switch {
		case !p.Effects.Pending() && p.way.busy():
			return r.follow(b, p, nil)
		case !p.Effects.Pending():
			return r.committed(b, p)
		case !p.way.ours() || p.way.waits || !p.Effects.Plain():
			p.way.waits = true
			return r.alone(p, r.commit(p, nil))
		}
		err := r.expect(p)
		switch {
		case err == nil:
			return nil
		case !host.Late(err) && p.way.busy():
			return r.follow(b, p, err)
		case !host.Late(err):
			return r.failed(b, p, err)
		case try == host.Tries || !r.anew(p):
			return r.alone(p, r.commit(p, err))
		}
	}
}

// alone runs w when nothing of the same session is under way any more.
func (r *Router) alone(p *passage, w transport.Wait) transport.Wait {
	if !p.way.busy() {
		return w
	}
	return func(ctx context.Context) {
		r.Hosts.Await(p.way.Session.LineIdle()) // as long as it takes: ctx is for what comes then
		w(ctx)
	}
}

// expect queues what the handlers wrote; the message is under way then.
func (r *Router) expect(p *passage) error {
	take := func(b *transport.Batch, err error) transport.Wait { return r.take(b, p, err) }
	if m := p.way.m; m != nil { // it had joined before its handlers ran
		return p.Effects.QueueFor(m, func() { m.Commit(take) })
	}
	m := p.way.message(p.Envelope.Stanza, take)
	return p.Effects.QueueFor(m, func() {
		p.way.m = m
		p.way.Session.Line().Expect(m)
	})
}

// mayAsk says whether the verdict of a handler elsewhere can be asked for ahead, of a
// message that has out ones before it whose handlers have still to run.
func (r *Router) mayAsk(p *passage, out int) bool {
	return p.Envelope.Stanza.Kind == stanza.Message && !p.way.waits && (p.sent == nil || p.sent.Effects.Empty()) && r.Pipeline.Asks(&p.Passage, out)
}

// askAhead asks for that verdict. The message is under way then, its stream may go on, and its
// handlers run when it is its turn.
func (r *Router) askAhead(b *transport.Batch, p *passage) transport.Wait {
	take := func(b *transport.Batch, _ error) transport.Wait { return r.decided(b, p) }
	m, line := p.way.m, p.way.Session.Line()
	if m == nil {
		m = p.way.message(p.Envelope.Stanza, take)
		p.way.m = m
		line.Ask(m)
	} else {
		m.Again(take)
	}
	if !r.Pipeline.Ask(&p.Passage, func() { r.Hosts.Underway().Finish([]underway.Finished{{Message: m}}) }) {
		line.Ready(b, m)
	}
	return nil
}

// decided goes on with a message whose verdict was asked for ahead: its handlers run, and
// what they write is committed.
func (r *Router) decided(b *transport.Batch, p *passage) transport.Wait {
	if p.way.m.Behind() { // what handlers see of the account is what the one before left
		p.way.m.Later()
		return nil
	}
	if r.reset(p) {
		if r.Pipeline.Run(&p.Passage); p.Outcome != pipeline.Waits {
			p.Forgo()
			p.carry()
			return r.passed(b, p)
		}
	}
	return r.consult(p)
}

// follow has a message wait for those before it, and for nothing else. err is why it is
// to go back.
func (r *Router) follow(b *transport.Batch, p *passage, err error) transport.Wait {
	p.way.m = p.way.message(p.Envelope.Stanza, func(b *transport.Batch, _ error) transport.Wait { return r.take(b, p, err) })
	p.way.Session.Line().Follow(b, p.way.m)
	return nil
}

// sends says that handlers asked for more than writes.
func (p *passage) sends() bool { return p.Effects.Sends() || p.sent != nil && p.sent.Effects.Sends() }

// take goes on with a message that was under way, behind its commit.
func (r *Router) take(b *transport.Batch, p *passage, err error) transport.Wait {
	x := &p.way
	x.nobody = false
	if err == nil && x.m.Behind() {
		// It comes behind what is being stored, and can be stored behind it, if nothing else
		// becomes of it meanwhile.
		if len(r.Sessions.Sessions(x.m.To)) > 0 || r.Offline.Held(x.m.To) || p.sends() {
			x.m.Later()
			return nil
		}
		x.nobody = true
	}
	if errors.Is(err, storage.ErrConflict) { // others of its stream may be in the archives by now
		w := r.Hosts.CatchUp(&p.Effects)
		return transport.Steps(b, func(*transport.Batch) transport.Wait { return w }, func(b *transport.Batch) transport.Wait { return r.failed(b, p, err) })
	}
	if err != nil {
		return r.failed(b, p, err)
	}
	p.Effects.Written()
	return r.committed(b, p)
}

// anew runs the handlers again that had rows which came too late. It is false if that
// has to wait: see commit.
func (r *Router) anew(p *passage) bool {
	if s := p.sent; s != nil {
		if !r.reset(s) {
			return false
		}
		if r.Pipeline.Run(&s.Passage); s.Outcome == pipeline.Waits {
			return false
		}
		d := r.join(s)
		if d == nil {
			*p = *s
			return true
		}
		p.Envelope, p.original, p.unwanted = d.Envelope, d.Envelope.Stanza, d.unwanted
	}
	if !r.reset(p) {
		return false
	}
	if !p.unwanted {
		r.Pipeline.Run(&p.Passage)
	}
	p.carry()
	return p.Outcome != pipeline.Waits
}

// reset has a passage begin once more. It is false if what handlers read of its account
// is not in memory.
func (r *Router) reset(p *passage) bool {
	p.Effects.Void()
	p.Envelope.Stanza, p.Envelope.ArchiveID = p.original, ""
	p.Passage = pipeline.Passage{Stage: p.Stage, Envelope: p.Envelope, Told: p.Told, Asked: p.Asked}
	return p.unwanted || !r.Pipeline.Missing(&p.Passage)
}

// store has a message stored that no session takes: it is under way until that is done.
// ok is false if it can't be queued: then it is to be waited for.
func (r *Router) store(b *transport.Batch, e *extension.Envelope, receipt cluster.Receipt, at time.Time, x *Way) (w transport.Wait, ok bool) {
	stored := func(b *transport.Batch, err error) transport.Wait {
		return behind(b, r.stored(b, e, err), receipt.Done)
	}
	m := x.m
	join := func() { m.Store(stored) }
	if m == nil {
		m = x.message(e.Stanza, nil)
		join = func() { x.Session.Line().Store(m, stored) }
	}
	told, ok := r.Offline.Queue(e.Stanza, at, receipt, m, join)
	if !ok && told == nil && x.nobody { // by itself it would overtake one that is queued
		told = stanza.Err(stanza.ResourceConstraint, "storage is behind; send it again later")
	}
	switch {
	case told != nil:
		return r.refuse(b, e, told), true
	case ok:
		x.m = m
	}
	return nil, ok
}

// kept says whether a message is being stored, or was: its receipt is used up then.
func (x *Way) kept() bool { return x != nil && x.m != nil && x.m.Kept() }

// stored goes on with a message behind the commit that was to store it.
func (r *Router) stored(b *transport.Batch, e *extension.Envelope, err error) transport.Wait {
	added := func(ctx context.Context) transport.Step {
		told := r.Offline.Added(ctx, e.Stanza, err)
		return func(b *transport.Batch) transport.Wait {
			if told == nil {
				return nil
			}
			return r.refuse(b, e, stanza.AsError(told))
		}
	}
	if r.Offline.Asks(err) {
		return r.Hosts.Own(func(ctx context.Context) { transport.Run(ctx, added(ctx)) })
	}
	return added(context.Background())(b)
}
