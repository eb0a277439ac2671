package presence

import (
	"slices"

	"github.com/hexmpp/hexmpp/core/roster"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// direct handles directed presence (RFC 6121 4.6): it is routed, and whoever
// got it is told of the session's end.
func (p *Presence) direct(b *transport.Batch, s *session.Session, e *extension.Envelope) (transport.Wait, *stanza.Error) {
	refused := false
	w := s.Tell(b, func() transport.Wait {
		if refused = !s.Direct(e.Stanza.To, e.Stanza.Type == ""); refused {
			return nil
		}
		return p.Route(b, e)
	})
	if refused {
		return nil, stanza.Err(stanza.ResourceConstraint, "directed presence to too many addresses")
	}
	return w, nil
}

// tellDirected passes unavailable presence on to the targets of directed
// presence (4.6.3), but for the subscribers, if they were told already.
func (o *outgoing) tellDirected(r *roster.Account, st *stanza.Stanza, targets []jid.JID, told bool) {
	for _, target := range others(r, targets, told) {
		o.send(to(st, target))
	}
}

// others returns the targets of directed presence in order, without those who are
// subscribed if subscribers are told.
func others(r *roster.Account, targets []jid.JID, told bool) []jid.JID {
	slices.SortFunc(targets, cmpJID)
	if !told || r == nil {
		return targets
	}
	return slices.DeleteFunc(targets, func(target jid.JID) bool { return r.Snapshot().Get(target.Bare()).State.Has(roster.From) })
}

func cmpJID(a, b jid.JID) int {
	switch {
	case a.String() < b.String():
		return -1
	case a.String() > b.String():
		return 1
	}
	return 0
}
