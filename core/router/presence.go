package router

import (
	"context"

	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Broadcast takes presence that the kernel sends on behalf of an account: the
// Submit stage, then Route. Whoever refuses it keeps it from that one contact, of
// which nobody is told.
func (r *Router) Broadcast(b *transport.Batch, e *extension.Envelope) transport.Wait {
	w, wanted := r.glance(e)
	if wanted {
		return r.stage(b, extension.Submit, e, r.Route)
	}
	return r.onward(b, e, &w, r.Route)
}

// SubmitPresence is Submit for presence, which goes on to next: what a client
// broadcasts has no address, and what it directs is remembered.
func (r *Router) SubmitPresence(b *transport.Batch, e *extension.Envelope, next Next) transport.Wait {
	w, wanted := r.glance(e)
	if wanted {
		return r.stage(b, extension.Submit, e, func(b *transport.Batch, e *extension.Envelope) transport.Wait {
			return r.Hosts.Own(next(b, e))
		})
	}
	return r.Hosts.Own(r.onward(b, e, &w, next))
}

// glance is wanted for presence in Submit; the Passage says what that was judged
// by, and is empty if there was nothing to judge.
func (r *Router) glance(e *extension.Envelope) (w pipeline.Passage, wanted bool) {
	if !r.Pipeline.Wants(extension.Submit, stanza.Presence) {
		return w, false
	}
	w = through(extension.Submit, e)
	return w, r.Pipeline.Missing(&w) || r.Pipeline.Concerns(&w)
}

// onward goes on behind a stage. Whoever decides on presence goes by what is
// resident of its account; if that changes while the presence is on its way, so may
// the decision, and nobody would take back what was shown.
func (r *Router) onward(b *transport.Batch, e *extension.Envelope, w *pipeline.Passage, next Next) transport.Wait {
	wait := next(b, e)
	if w.Resident == nil {
		return wait
	}
	st := w.Envelope.Stanza
	if w.Stage != extension.Submit || st.Kind != stanza.Presence || st.Type != "" || st.To.IsZero() {
		return wait
	}
	if wait == nil && r.Hosts.Resident(w.Envelope.Account) == w.Resident {
		return nil
	}
	shown := *w
	return transport.Steps(b, func(*transport.Batch) transport.Wait { return wait }, func(*transport.Batch) transport.Wait { return r.reconsider(&shown) })
}

// reconsider has presence judged again if what is resident of its account is not
// what it was judged by. If that changes once more while the contact is told that it
// is gone, somebody may have announced it in front of that: then it is announced
// behind it, as it is by then, and judged like all other presence.
func (r *Router) reconsider(w *pipeline.Passage) transport.Wait {
	if r.Hosts.Resident(w.Envelope.Account) == w.Resident {
		return nil
	}
	again := pipeline.Passage{Stage: w.Stage, Envelope: w.Envelope, Told: w.Told}
	return r.Hosts.Own(func(ctx context.Context) {
		var err error
		if again.Resident, err = r.Hosts.LoadResident(ctx, again.Envelope.Account); err == nil {
			r.Pipeline.RunWaiting(ctx, &again)
			again.Effects.Void()
			if again.Outcome == pipeline.Pass {
				return // and what handlers asked for, they asked for the first time
			}
		}
		from, to := w.Envelope.Stanza.From, w.Envelope.Stanza.To
		gone := stanza.New(stanza.Header{Kind: stanza.Presence, Type: stanza.Unavailable, From: from, To: to})
		transport.Run(ctx, func(b *transport.Batch) transport.Wait { return r.Route(b, &extension.Envelope{Stanza: gone}) })
		if s, there := r.Sessions.Session(from); there && r.Hosts.Resident(again.Envelope.Account) != again.Resident {
			transport.Run(ctx, func(b *transport.Batch) transport.Wait {
				return s.Receiver.Show(b, cluster.Show{To: jid.PatternsOf([]jid.JID{to}), Available: true})
			})
		}
	})
}
