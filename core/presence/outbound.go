package presence

import (
	"context"
	"errors"

	"github.com/hexmpp/hexmpp/core/roster"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// outbound handles a subscription stanza that a client sent (RFC 6121 3.1.2,
// 3.2.2, 3.3.2, 3.4, A.2). st is from the bare JID; it goes to a bare JID. The
// roster is changed and committed before the stanza leaves.
func (p *Presence) outbound(s *session.Session, st *stanza.Stanza) transport.Wait {
	st = to(st, st.To.Bare())
	return p.later(func(ctx context.Context, o *outgoing) {
		if err := o.subscription(ctx, st); err != nil {
			h := st.Header
			h.From = s.JID // the error is for this session
			s.Send(o.b, st.With(h).ErrorReply(rosterError(err)))
		}
	})
}

func (o *outgoing) subscription(ctx context.Context, st *stanza.Stanza) error {
	a, err := o.p.Rosters.Hold(ctx, st.From)
	if err != nil {
		o.p.Failed("a roster could not be read", err)
		return err
	}
	defer a.Drop()
	var step roster.Step
	return a.Change(ctx, st.To.Clone(), func(i roster.Item) (roster.Item, error) {
		step = i.State.Outbound(st.Type, i.Approved)
		i.State, i.Approved = step.State, step.Approved
		if !i.State.Has(roster.PendingIn) {
			i.SetRequest("")
		}
		if st.Type == stanza.Subscribe || st.Type == stanza.Subscribed && (step.Pass || step.Approved) {
			i.Listed = true
		}
		return i, nil
	}, func(before, after *roster.Item) {
		if before.State.Has(roster.From) && !after.State.Has(roster.From) { // while the contact is still subscribed (3.2.2)
			o.resources(a, after.Contact, false)
		}
		if step.Pass {
			o.send(st)
		}
		o.push(a, before, after)
		if !before.State.Has(roster.From) && after.State.Has(roster.From) { // 3.1.5
			o.resources(a, after.Contact, true)
		}
	})
}

// rosterError maps what changing a roster failed with.
func rosterError(err error) *stanza.Error {
	if errors.Is(err, roster.ErrFull) {
		return stanza.Err(stanza.ResourceConstraint, "the roster is full")
	}
	return stanza.AsError(err)
}
