package router

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Lost decides what becomes of a stanza that a session did not bring to its
// client. This is the one rule for it; no setting changes it:
//
//   - chat and normal messages go to the bare JID, as new ones would but for the
//     Deliver stage, which they have passed (Recall sees them instead), and with a
//     stamp of their time: to
//     other sessions, or into storage, in front of what comes later; unless
//     another session has a copy, or may still get it;
//   - an iq get or set is answered with service-unavailable;
//   - everything else is dropped: groupchat (the room has its history), headlines,
//     errors, answers, presence (subscription requests are roster state).
//
// What came from storage is not lost: it is stored still.
func (r *Router) Lost(b *transport.Batch, to jid.JID, l session.Lost) transport.Wait {
	st := l.Stanza
	e := &extension.Envelope{Stanza: st, Account: to.Bare()}
	switch {
	case st.Kind == stanza.IQ:
		if st.Type == stanza.Get || st.Type == stanza.Set {
			return r.refuse(b, e, stanza.Err(stanza.ServiceUnavailable, ""))
		}
		return nil
	case st.Kind == stanza.Presence, st.Type == stanza.GroupChat, st.Type == stanza.Headline, st.Type == stanza.TypeError:
		return nil
	case l.Fork != nil && (!l.Fork.Lost() || l.Fork.Message == nil):
		return nil
	case l.Fork != nil:
		st = l.Fork.Message // this may have been a copy of it
	}
	var receipt cluster.Receipt
	at := l.At
	if l.Fork != nil && l.Fork.Receipt.Spool != nil {
		receipt = l.Fork.Receipt
		at = receipt.At
	}
	if at.IsZero() { // nobody noted it: without stream management nothing waits for long
		at = r.Offline.Now()
	}
	h := st.Header
	h.To = to.Bare()
	e.Stanza = offline.Stamped(st.With(h), at)
	if !r.wanted(extension.Recall, e) {
		return r.relay(b, e, at, receipt)
	}
	goesOn := false // it has waited: somebody may have been blocked since
	w := r.stage(b, extension.Recall, e, func(b *transport.Batch, e *extension.Envelope) transport.Wait {
		goesOn = true
		own := *e // relay may keep it
		return r.relay(b, &own, at, receipt)
	})
	return behind(b, w, func() {
		if !goesOn {
			receipt.Done()
		}
	})
}

// relay takes a message that a session left to the bare JID.
func (r *Router) relay(b *transport.Batch, e *extension.Envelope, at time.Time, receipt cluster.Receipt) transport.Wait {
	switch {
	case r.taken(b, e, r.Sessions.Sessions(e.Stanza.To.Bare()), nil, receipt, true):
	case !r.Offline.Enabled():
		return behind(b, r.undelivered(b, e, receipt), receipt.Done)
	case !r.Offline.Late(e.Stanza.To, func() { r.late(e, at); receipt.Done() }):
		r.Log.Error("a message that a session left was dropped: the server has ended", zap.Stringer("account", e.Stanza.To))
	}
	return nil
}

// late stores what a session left when no other one takes it.
func (r *Router) late(e *extension.Envelope, at time.Time) {
	add := func(ctx context.Context, st *stanza.Stanza) error { return r.Offline.AddLeft(ctx, st, at) }
	r.Hosts.Own(func(ctx context.Context) {
		transport.Run(ctx, func(b *transport.Batch) transport.Wait {
			return r.behindUndelivered(b, e, func(b *transport.Batch, e *extension.Envelope) transport.Wait { return r.keep(b, e, add) })
		})
	})(context.Background())
}
