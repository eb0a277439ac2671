package presence

import (
	"context"
	"crypto/rand"

	"github.com/hexmpp/hexmpp/core/roster"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// RosterIQ answers a roster get or set of the account's own client (RFC 6121
// section 2). A set may be long: it is read in the Wait.
func (p *Presence) RosterIQ(b *transport.Batch, s *session.Session, st *stanza.Stanza) transport.Wait {
	query := st.Children()[0]
	refuse := func(b *transport.Batch, err error) { s.Send(b, st.ErrorReply(rosterError(err))) }
	if query.Local != "query" {
		refuse(b, stanza.Err(stanza.BadRequest, "a roster iq holds a query"))
		return nil
	}
	if st.Type == stanza.Get {
		ver, _ := st.ChildAttr(query, "ver")
		return p.hold(b, s, func(o *outgoing, a *roster.Account) { o.get(s, a, st, ver) }, refuse)
	}
	return p.later(func(ctx context.Context, o *outgoing) {
		edit, bad := roster.ParseEdit(st.Element(query))
		if bad == nil && edit.Contact == s.JID.Bare() {
			bad = stanza.Err(stanza.NotAllowed, "an account is no contact of its own") // 2.3.3
		}
		if bad != nil {
			refuse(o.b, bad)
			return
		}
		if err := o.set(ctx, s, st, edit); err != nil {
			refuse(o.b, err)
		}
	})
}

// get returns the roster, or nothing if the client has this version (2.1.4,
// 2.6.3). From here on the session gets pushes.
func (o *outgoing) get(s *session.Session, a *roster.Account, st *stanza.Stanza, ver string) {
	s.SetInterested()
	s.Publish()
	a.Show(func(snap *roster.Snapshot) {
		reply := st.Reply(stanza.Result)
		if ver != "" && ver == snap.Ver() {
			s.Send(o.b, stanza.New(reply))
			return
		}
		s.Send(o.b, stanza.New(reply, snap.Query()))
	})
}

// set changes or removes an item (2.3 to 2.5).
func (o *outgoing) set(ctx context.Context, s *session.Session, st *stanza.Stanza, edit roster.Edit) error {
	a, err := o.p.Rosters.Hold(ctx, s.JID.Bare())
	if err != nil {
		o.p.Failed("a roster could not be read", err)
		return err
	}
	defer a.Drop()
	return a.Change(ctx, edit.Contact, func(i roster.Item) (roster.Item, error) {
		switch {
		case edit.Remove && !i.Listed:
			return i, stanza.Err(stanza.ItemNotFound, "there is no such item") // 2.5.3
		case edit.Remove:
			return roster.Item{}, nil
		}
		i.Listed = true
		i.Describe(edit.Name, edit.Groups)
		return i, nil
	}, func(before, after *roster.Item) {
		if edit.Remove {
			o.end(a, before)
		}
		o.push(a, before, after)
		s.Send(o.b, stanza.New(st.Reply(stanza.Result)))
	})
}

// end cancels the subscriptions of an item that was removed (2.5.2).
func (o *outgoing) end(a *roster.Account, was *roster.Item) {
	h := stanza.Header{Kind: stanza.Presence, From: a.Owner, To: was.Contact}
	if was.State&(roster.To|roster.PendingOut) != 0 {
		h.Type = stanza.Unsubscribe
		o.send(stanza.New(h))
	}
	if was.State.Has(roster.From) {
		o.resources(a, was.Contact, false)
	}
	if was.State&(roster.From|roster.PendingIn) != 0 {
		h.Type = stanza.Unsubscribed
		o.send(stanza.New(h))
	}
}

// push tells interested sessions of a change that clients can see (2.1.6).
func (o *outgoing) push(a *roster.Account, before, after *roster.Item) {
	if !roster.Visible(before, after) {
		return
	}
	payload := a.Snapshot().Push(after)
	for _, s := range o.p.Sessions.Sessions(a.Owner) {
		if s.Interested {
			s.Receiver.Deliver(o.b, cluster.Delivery{Stanza: stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Set, ID: rand.Text(), To: s.JID}, payload)})
		}
	}
}
