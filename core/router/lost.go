package router

import (
	"time"

	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NSDelay is the namespace of delay stamps (XEP-0203).
const NSDelay = "urn:xmpp:delay"

// Lost decides what becomes of a stanza that a session did not bring to its
// client. This is the one rule for it; no setting changes it:
//
//   - chat and normal messages go to the bare JID, as new ones would but for the
//     Deliver stage, which they have passed, and with a stamp of their time;
//     unless another session has a copy, or may still get it;
//   - an iq get or set is answered with service-unavailable;
//   - everything else is dropped: groupchat (the room has its history), headlines,
//     errors, answers, presence (subscription requests are roster state).
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
	h := st.Header
	h.To = to.Bare()
	e.Stanza = stamped(st.With(h), to.Domain(), l.At)
	return r.deliver(b, e)
}

// stamped adds when a message was first received, unless we said so already.
// Stamps of others may be there, of a client that was offline or of a room; they
// are not ours, since core/forgery lets nobody make one in our name.
func stamped(st *stanza.Stanza, domain string, at time.Time) *stanza.Stanza {
	if at.IsZero() {
		return st
	}
	for _, c := range st.Children() {
		if c.Space == NSDelay && c.Local == "delay" {
			if from, _ := st.ChildAttr(c, "from"); from == domain {
				return st
			}
		}
	}
	return st.Patch(nil, stanza.El(NSDelay, "delay",
		stanza.At("from", domain), stanza.At("stamp", at.UTC().Format("2006-01-02T15:04:05.000Z"))))
}
