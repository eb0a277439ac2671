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
// cost one commit. nil: it is committed first, if there is something to commit.
func (r *Router) join(p *passage) *passage {
	if p.Stage != extension.Submit || p.Envelope.Stanza.Kind != stanza.Message || p.Outcome != pipeline.Pass || !p.Effects.Rows() {
		return nil
	}
	e := p.Envelope
	e.Stanza = addressed(e.Stanza)
	if to := e.Stanza.To; to.Local() == "" || !r.Registry.Hosted(to.Domain()) || !r.wanted(extension.Deliver, &e) {
		return nil
	}
	return &passage{Passage: through(extension.Deliver, &e), next: r.deliver, sent: p}
}

// commit writes what the handlers asked for, and goes on. They run again, on what
// they were shown first, where a Swap of theirs failed or a row came too late.
func (r *Router) commit(p *passage) transport.Wait {
	p.Effects.Queue()
	return r.Hosts.Own(func(ctx context.Context) {
		err := p.Effects.Commit(ctx)
		for try := 1; host.Again(err, try); try++ {
			err = r.again(ctx, p)
		}
		transport.Run(ctx, func(b *transport.Batch) transport.Wait {
			switch err = host.StoreError(err); {
			case err == nil:
				return r.committed(b, p)
			case p.ended == nil && r.unanswerable(&p.Envelope, err):
				p.void()
				return r.outcome(b, p)
			}
			p.void()
			return r.uncommitted(b, p, err)
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
		p.Envelope, p.original = d.Envelope, d.Envelope.Stanza
	}
	if err := r.rerun(ctx, p); err != nil {
		return err
	}
	if p.sent != nil {
		p.Effects.Carry(&p.sent.Effects)
	}
	return p.Effects.Commit(ctx)
}

// rerun runs the handlers on the stanza as it was, and on what is resident now.
func (r *Router) rerun(ctx context.Context, p *passage) (err error) {
	p.Effects.Void()
	p.Envelope.Stanza, p.Envelope.ArchiveID = p.original, ""
	p.Passage = pipeline.Passage{Stage: p.Stage, Envelope: p.Envelope, Told: p.Told}
	if r.Pipeline.Missing(&p.Passage) {
		if p.Resident, err = r.Hosts.LoadResident(ctx, p.Envelope.Account); err != nil {
			return err
		}
	}
	r.Pipeline.RunWaiting(ctx, &p.Passage)
	return nil
}

// committed goes on behind a commit: of two stages, with what comes of the first.
func (r *Router) committed(b *transport.Batch, p *passage) transport.Wait {
	if p.sent == nil {
		return r.leave(b, p)
	}
	r.sentCopies(b, p.sent)
	return transport.Steps(b, func(b *transport.Batch) transport.Wait { return r.leave(b, p) }, p.sent.Effects.Apply)
}
