package router

import (
	"context"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

var _ host.Router = (*Router)(nil)

// Copy gives a copy of what a group is sent to the sessions of a member, behind the
// handlers of Deliver that want copies (extension.StageHandler.Fanout). Nothing of it is
// stored, and no other session gets what was for one that is gone.
func (r *Router) Copy(b *transport.Batch, c *host.Copy) host.Fate {
	return r.copy(b, c, r.Pipeline.Run)
}

// CopyWaiting is Copy that waits for the verdicts of handlers that run elsewhere.
func (r *Router) CopyWaiting(ctx context.Context, b *transport.Batch, c *host.Copy) host.Fate {
	return r.copy(b, c, func(w *pipeline.Passage) { r.Pipeline.RunWaiting(ctx, w) })
}

// show shows a stanza to the handlers of a stage.
type show func(w *pipeline.Passage)

func (r *Router) copy(b *transport.Batch, c *host.Copy, show show) host.Fate {
	to := c.To
	if r.Registry.Far(to.Domain()) != nil {
		return host.Fate{Far: true}
	}
	if to.Local() == "" || !r.Registry.Hosted(to.Domain()) {
		return host.Fate{Onward: c.Addressed()}
	}
	if to.IsBare() {
		return r.copyToBare(b, c, show)
	}
	one, there := r.Sessions.Session(to)
	if !there {
		return ghost(c)
	}
	st, fate := r.fanOut(b, c, show)
	if st != nil && !one.Receiver.Deliver(b, cluster.Delivery{Stanza: st, To: to, Fork: c.Fork}) {
		return ghost(c)
	}
	return fate
}

// copyToBare gives a copy to the sessions that get what is sent to the bare JID. Nobody
// is told if there is none: the account has not gone.
func (r *Router) copyToBare(b *transport.Batch, c *host.Copy, show show) host.Fate {
	sessions := r.Sessions.Sessions(c.To)
	if len(sessions) == 0 {
		return host.Fate{}
	}
	st, fate := r.fanOut(b, c, show)
	if st == nil {
		return fate
	}
	to := choice{least: -128} // presence: all that are available
	if st.Kind == stanza.Message {
		to = available(st, sessions)
	}
	for i := range sessions {
		if to.has(&sessions[i]) {
			sessions[i].Receiver.Deliver(b, cluster.Delivery{Stanza: st, To: c.To, Fork: c.Fork})
		}
	}
	return fate
}

// fanOut returns what is delivered of a copy, without a to; nil if nothing is.
func (r *Router) fanOut(b *transport.Batch, c *host.Copy, show show) (*stanza.Stanza, host.Fate) {
	st := c.Stanza
	if !c.From.IsZero() && c.From != st.From {
		h := st.Header
		h.From = c.From
		st = st.With(h)
	}
	if !r.Pipeline.Wants(pipeline.Fanout, st.Kind) {
		return st, host.Fate{}
	}
	w := pipeline.Passage{Stage: pipeline.Fanout, Envelope: extension.Envelope{Stanza: st, Account: c.To.Bare()}, Resident: c.Resident}
	if w.Resident == nil && r.Pipeline.Missing(&w) {
		return nil, host.Fate{Waits: true}
	}
	if !r.Pipeline.Concerns(&w) {
		return st, host.Fate{}
	}
	shown := w // only what is concerned takes memory of its own
	return r.judge(b, c, &shown, show)
}

// judge shows a copy to the handlers.
func (r *Router) judge(b *transport.Batch, c *host.Copy, w *pipeline.Passage, show show) (*stanza.Stanza, host.Fate) {
	w.Envelope.Stanza, w.Told = c.Addressed(), pipeline.Told(c.Told)
	show(w)
	if w.Outcome == pipeline.Waits {
		c.Told = uint64(w.Told)
		return nil, host.Fate{Waits: true}
	}
	w.Effects.Detach(b)
	switch w.Outcome {
	case pipeline.Pass:
		return w.Envelope.Stanza, host.Fate{}
	case pipeline.Refused:
		return nil, host.Fate{Onward: c.Addressed().ErrorReply(w.Refusal)}
	}
	return nil, host.Fate{}
}

// ghost tells whoever a message is from that there is no such session: with a
// condition by which a room knows that an occupant is gone (XEP-0045 18.1.2). Presence
// is ignored (RFC 6121 8.5.3.2.2).
func ghost(c *host.Copy) host.Fate {
	if c.Stanza.Kind != stanza.Message {
		return host.Fate{}
	}
	return host.Fate{Onward: c.Addressed().ErrorReply(stanza.Err(stanza.RecipientUnavailable, ""))}
}
