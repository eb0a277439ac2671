package router

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// wanted says whether a handler of a stage wants a stanza, or may, once it is
// known what is resident of the account. Most go on without one, and cost no
// memory for it. e is borrowed.
func (r *Router) wanted(s extension.Stage, e *extension.Envelope) bool {
	if !r.Pipeline.Wants(s, e.Stanza.Kind) {
		return false
	}
	w := through(s, e)
	return r.Pipeline.Missing(&w) || r.Pipeline.Concerns(&w)
}

// through is the way of a stanza through a stage: on behalf of the account that
// sends it, or, behind Submit, of the one that it goes to.
func through(s extension.Stage, e *extension.Envelope) pipeline.Passage {
	w := pipeline.Passage{Stage: s, Envelope: *e}
	w.Envelope.Account, w.Envelope.ArchiveID = e.Stanza.To.Bare(), ""
	if s == extension.Submit {
		w.Envelope.Account = e.Stanza.From.Bare()
	}
	return w
}

// stage runs the handlers of a stage, commits what they wrote, and goes on
// with next. What they read of the account is loaded before; where a Swap of
// theirs failed they run again. e is borrowed.
func (r *Router) stage(b *transport.Batch, s extension.Stage, e *extension.Envelope, next Next) transport.Wait {
	return r.begin(b, &passage{Passage: through(s, e), next: next})
}

func (r *Router) begin(b *transport.Batch, p *passage) transport.Wait {
	if !p.unwanted && r.Pipeline.Missing(&p.Passage) {
		return r.alone(p, r.load(p))
	}
	return r.pass(b, p)
}

// load reads what handlers need of the account, and goes on.
func (r *Router) load(p *passage) transport.Wait {
	return r.Hosts.Own(func(ctx context.Context) {
		var err error
		p.Resident, err = r.Hosts.LoadResident(ctx, p.Envelope.Account)
		transport.Run(ctx, func(b *transport.Batch) transport.Wait {
			switch {
			case err == nil:
			case p.ended == nil && r.unanswerable(&p.Envelope, err):
				p.Resident = &host.Resident{} // handlers see none, rather than read storage once more
			default:
				return r.uncommitted(b, p, err)
			}
			return r.pass(b, p)
		})
	})
}

// passage is a stanza's way through a stage and on.
type passage struct {
	pipeline.Passage
	next     Next
	ended    ended          // instead of next, and of whatever the sender would be told; nil: it is told
	original *stanza.Stanza // as it was shown to the first handler
	sent     *passage       // Deliver: through Submit, if what was written there is committed here
	unwanted bool           // no handler wants it
	way      Way            // of a client's message; it has no next, but the one that such messages have
}

// ended is told how a stanza that waited has ended in a stage: err is nil if it was
// dropped, a *stanza.Error if a handler refused it, and any other error if nothing is
// decided: it can be taken through the stage once more.
type ended func(b *transport.Batch, err error) transport.Wait

func (r *Router) pass(b *transport.Batch, p *passage) transport.Wait {
	p.original = p.Envelope.Stanza
	if p.way.ours() && !p.unwanted {
		if out := p.way.ahead(); r.mayAsk(p, out) {
			return r.askAhead(b, p)
		} else if out > 0 { // its handlers run behind those of what is before it
			return r.alone(p, r.Hosts.Own(func(ctx context.Context) {
				transport.Run(ctx, func(b *transport.Batch) transport.Wait { return r.pass(b, p) })
			}))
		}
	}
	if !p.unwanted {
		r.Pipeline.Run(&p.Passage)
	}
	if p.Outcome == pipeline.Waits {
		return r.alone(p, r.consult(p))
	}
	p.carry()
	return r.passed(b, p)
}

// carry has what handlers of Submit have written be committed with what those of Deliver
// write.
func (p *passage) carry() {
	if p.sent != nil && p.sent.Effects.Pending() {
		p.Effects.Carry(&p.sent.Effects)
	}
}

// consult runs the handlers once more, and waits for those that run elsewhere.
func (r *Router) consult(p *passage) transport.Wait {
	return r.Hosts.Own(func(ctx context.Context) {
		err := r.rerun(ctx, p)
		p.Forgo()
		transport.Run(ctx, func(b *transport.Batch) transport.Wait {
			if err != nil {
				return r.uncommitted(b, p, err)
			}
			return r.passed(b, p)
		})
	})
}

// passed goes on with what the handlers decided, and asked for.
func (r *Router) passed(b *transport.Batch, p *passage) transport.Wait {
	if d := r.join(p); d != nil {
		return r.begin(b, d)
	}
	return r.proceed(b, p)
}

// leave goes on behind the stage, and then with what its handlers asked for.
func (r *Router) leave(b *transport.Batch, p *passage) transport.Wait {
	if p.Effects.Empty() {
		return r.outcome(b, p)
	}
	return transport.Steps(b, func(b *transport.Batch) transport.Wait { return r.outcome(b, p) }, p.Effects.Apply)
}

func (r *Router) outcome(b *transport.Batch, p *passage) transport.Wait {
	switch {
	case p.Outcome == pipeline.Refused:
		return r.reject(b, p, p.Refusal)
	case p.Outcome != pipeline.Pass && p.ended != nil:
		return p.ended(b, nil)
	case p.Outcome != pipeline.Pass:
		return nil
	case p.way.ours() && p.Stage == extension.Deliver:
		return r.give(b, &p.Envelope, p.Copy, &p.way)
	case p.way.ours():
		r.sentCopies(b, p)
		return r.arrive(b, &p.Envelope, &p.way)
	case p.Copy == nil:
		return r.onward(b, &p.Envelope, &p.Passage, p.next)
	case p.Stage == extension.Deliver:
		return r.give(b, &p.Envelope, p.Copy, nil)
	}
	r.sentCopies(b, p)
	return p.next(b, &p.Envelope)
}

// sentCopies gives the other sessions of an account their copies of what one of them
// sent, in front of whatever comes of the stanza: an error, or an answer.
func (r *Router) sentCopies(b *transport.Batch, p *passage) {
	if p.Copy != nil {
		r.copies(b, p.Copy, r.Sessions.Sessions(p.Envelope.Account), p.Envelope.Origin.Session, &cluster.Fork{}, choice{none: true})
	}
}

// broadcast says whether the kernel sends the stanza on behalf of an account:
// nobody is told that it went nowhere.
func (p *passage) broadcast() bool {
	return p.Stage == extension.Submit && p.Envelope.Stanza.Kind == stanza.Presence && p.Envelope.Origin.Session == jid.JID{}
}

// unanswerable says that nobody can be told that e was not committed: it is an
// answer itself, an error most likely, and does more good delivered.
func (r *Router) unanswerable(e *extension.Envelope, err error) bool {
	if e.Stanza.ErrorReply(stanza.AsError(err)) != nil {
		return false
	}
	r.Log.Error("storage: an answer is delivered, but was not stored", zap.Stringer("kind", e.Stanza.Kind), zap.Error(err))
	return true
}

// uncommitted tells the sender that a stanza went nowhere since what had to be
// written with it could not be.
func (r *Router) uncommitted(b *transport.Batch, p *passage, err error) transport.Wait {
	e := &p.Envelope
	if p.ended != nil {
		return p.ended(b, fmt.Errorf("not committed: %w", err))
	}
	var told *stanza.Error
	if !errors.As(err, &told) {
		r.Log.Error("storage: a stanza was refused", zap.Stringer("kind", e.Stanza.Kind), zap.Error(err))
		told = stanza.Err(stanza.InternalServerError, "")
	}
	return r.reject(b, p, told)
}

// reject tells the sender that a stage did not let a stanza pass. A client is told
// by its own server, in whatever name: no stage keeps that from it.
func (r *Router) reject(b *transport.Batch, p *passage, err *stanza.Error) transport.Wait {
	e := &p.Envelope
	switch {
	case p.ended != nil:
		return p.ended(b, err)
	case p.broadcast():
		return nil
	case p.Stage != extension.Submit:
		return r.refuse(b, e, err)
	}
	s, there := r.Sessions.Session(e.Origin.Session)
	if !there { // an extension has sent it as an account
		return r.refuse(b, e, err)
	}
	if answer := e.Stanza.ErrorReply(err); answer != nil {
		s.Receiver.Deliver(b, cluster.Delivery{Stanza: answer, To: s.JID})
	}
	return nil
}
