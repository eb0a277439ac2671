package router

import (
	"context"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// join returns the way of a message through Deliver, if what handlers appended to
// archives in Submit can be committed there: its sender's and its recipient's copy
// cost one commit. nil: it is committed first, if there is something to commit. What a
// client has sent goes through both stages before anything comes of it.
func (r *Router) join(p *passage) *passage {
	switch {
	case p.Stage != extension.Submit, p.Envelope.Stanza.Kind != stanza.Message, p.Outcome != pipeline.Pass:
		return nil
	case !p.Effects.Plain(), !p.way.ours() && !p.Effects.Pending():
		return nil
	}
	e := p.Envelope
	e.Stanza = addressed(e.Stanza)
	if !r.hasAccount(e.Stanza) {
		return nil
	}
	wanted := r.wanted(extension.Deliver, &e)
	if !wanted && !p.way.ours() {
		return nil
	}
	return &passage{Passage: through(extension.Deliver, &e), next: r.deliver, sent: p, unwanted: !wanted, way: p.way}
}

// commit writes what the handlers asked for, and goes on, in the Wait. They run again,
// on what they were shown first, where a Swap of theirs failed or a row came too late:
// late, if that is known already.
func (r *Router) commit(p *passage, late error) transport.Wait {
	if late == nil && !p.way.busy() {
		p.Effects.Queue()
	}
	return r.Hosts.Own(func(ctx context.Context) {
		err := late
		if err == nil {
			err = p.Effects.Commit(ctx)
		}
		for try := 1; host.Again(err, try); try++ {
			err = r.again(ctx, p)
		}
		transport.Run(ctx, func(b *transport.Batch) transport.Wait {
			if err == nil {
				return r.committed(b, p)
			}
			return r.failed(b, p, err)
		})
	})
}

// void says that nothing that the handlers asked for is done.
func (p *passage) void() {
	p.Effects.Void()
	if p.sent != nil {
		p.sent.Effects.Void()
	}
}

// failed goes on where a commit has failed.
func (r *Router) failed(b *transport.Batch, p *passage, err error) transport.Wait {
	err = host.StoreError(err)
	p.void()
	if p.ended == nil && r.unanswerable(&p.Envelope, err) {
		return r.outcome(b, p)
	}
	return r.uncommitted(b, p, err)
}

// again runs the handlers and commits. Those of Submit may have another mind by now:
// then that stage is all there is for the time being.
func (r *Router) again(ctx context.Context, p *passage) error {
	if p.sent != nil {
		if err := r.rerun(ctx, p.sent); err != nil {
			return err
		}
		d := r.join(p.sent)
		if d == nil {
			*p = *p.sent
			return p.Effects.Commit(ctx)
		}
		p.Envelope, p.original, p.unwanted = d.Envelope, d.Envelope.Stanza, d.unwanted
	}
	if err := r.rerun(ctx, p); err != nil {
		return err
	}
	return p.Effects.Commit(ctx)
}

// rerun runs the handlers on the stanza as it was, and on what is resident now.
func (r *Router) rerun(ctx context.Context, p *passage) (err error) {
	if !r.reset(p) {
		if p.Resident, err = r.Hosts.LoadResident(ctx, p.Envelope.Account); err != nil {
			return err
		}
	}
	if !p.unwanted {
		r.Pipeline.RunWaiting(ctx, &p.Passage)
	}
	p.carry()
	return nil
}

// committed goes on behind a commit, or where there was nothing to write: of two stages,
// with what comes of the first.
func (r *Router) committed(b *transport.Batch, p *passage) transport.Wait {
	p.way.waits = p.way.waits || p.sends()
	if p.sent == nil {
		return r.leave(b, p)
	}
	r.sentCopies(b, p.sent)
	if p.sent.Effects.Empty() {
		return r.leave(b, p)
	}
	return transport.Steps(b, func(b *transport.Batch) transport.Wait { return r.leave(b, p) }, p.sent.Effects.Apply)
}
