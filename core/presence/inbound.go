package presence

import (
	"context"
	"errors"
	"github.com/hexmpp/hexmpp/ports/cluster"

	"github.com/hexmpp/hexmpp/core/roster"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// maxRequest is how long a subscription request may be to be kept whole (RFC
// 6121 3.1.3); of a longer one the content is left out.
const maxRequest = 4 << 10

// inbound handles a subscription stanza to an account (RFC 6121 3.1.3, 3.1.6,
// 3.2.3, 3.3.3, A.3). It goes between bare JIDs.
func (p *Presence) inbound(st *stanza.Stanza) transport.Wait {
	h := st.Header
	h.From, h.To = h.From.Bare(), h.To.Bare()
	st = st.With(h)
	return p.later(func(ctx context.Context, o *outgoing) {
		err := o.subscribed(ctx, st)
		if err != nil && !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, roster.ErrFull) {
			p.Failed("a subscription stanza was lost: its roster could not be changed", err)
		}
	})
}

func (o *outgoing) subscribed(ctx context.Context, st *stanza.Stanza) error {
	a, err := o.p.Rosters.Hold(ctx, st.To.Clone())
	if err != nil {
		return err
	}
	defer a.Drop()
	var step roster.Step
	return a.Change(ctx, st.From.Clone(), func(i roster.Item) (roster.Item, error) {
		step = i.State.Inbound(st.Type, i.Approved)
		i.State, i.Approved = step.State, step.Approved
		switch {
		case !i.State.Has(roster.PendingIn):
			i.SetRequest("")
		case step.Pass && st.Type == stanza.Subscribe:
			i.SetRequest(formatRequest(st))
		}
		return i, nil
	}, func(before, after *roster.Item) {
		if step.Pass {
			o.deliver(st)
		}
		o.push(a, before, after)
		if before.State.Has(roster.From) && !after.State.Has(roster.From) { // 3.3.3
			o.resources(a, after.Contact, false)
		}
		if step.Reply != "" {
			o.send(stanza.New(stanza.Header{Kind: stanza.Presence, Type: step.Reply, ID: st.ID, From: st.To, To: st.From}))
		}
		if !before.State.Has(roster.From) && after.State.Has(roster.From) {
			o.resources(a, after.Contact, true)
		}
	})
}

// deliver gives a subscription stanza to the account's sessions: a request to
// the available ones (3.1.3), all else to those interested in the roster
// (3.1.6, 3.2.3, 3.3.3).
func (o *outgoing) deliver(st *stanza.Stanza) {
	for _, s := range o.p.Sessions.Sessions(st.To) {
		if st.Type == stanza.Subscribe && s.Available || st.Type != stanza.Subscribe && (s.Interested || s.Available) {
			s.Receiver.Deliver(o.b, cluster.Delivery{Stanza: st})
		}
	}
}

// resources sends the presence of the account's available resources to a
// contact, or that they are unavailable.
func (o *outgoing) resources(a *roster.Account, contact jid.JID, available bool) {
	for _, s := range o.p.Sessions.Sessions(a.Owner) {
		switch {
		case !s.Available:
		case available:
			o.send(to(s.Presence, contact))
			o.check(s, contact)
		default:
			o.send(to(unavailable(s.JID), contact))
		}
	}
}

// check tells a contact that a session is unavailable, if it is: it may have
// become so after it was looked up and before its presence was sent on.
func (o *outgoing) check(s cluster.Entry, contact jid.JID) {
	if len(o.waits) > 0 { // behind what is sent
		o.waits = append(o.waits, o.p.later(func(_ context.Context, o *outgoing) { o.check(s, contact) }))
		return
	}
	if now, there := o.p.Sessions.Session(s.JID); !there || now.Fence != s.Fence || !now.Available {
		o.send(to(unavailable(s.JID), contact))
	}
}

// formatRequest returns a request as it is kept.
func formatRequest(st *stanza.Stanza) string {
	if st.Size() > maxRequest {
		st = stanza.New(st.Header)
	}
	return string(st.Append(nil, jid.JID{}, xmpp.NSClient))
}

// parseRequest reads it again; nil if it can't be read.
func parseRequest(xml string) *stanza.Stanza {
	st, err := xmlstream.ParseCanonical([]byte(xml))
	if err != nil {
		return nil
	}
	return st
}
