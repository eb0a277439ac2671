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
	var w transport.Wait
	refused := false
	s.Tell(b, func() {
		if refused = !s.Direct(e.Stanza.To, e.Stanza.Type == ""); !refused {
			w = p.Route(b, e)
		}
	})
	if refused {
		return nil, stanza.Err(stanza.ResourceConstraint, "directed presence to too many addresses")
	}
	return w, nil
}

// tellDirected passes unavailable presence on to the targets of directed
// presence (4.6.3), but for the subscribers, if they were told already.
func (o *outgoing) tellDirected(r *roster.Account, st *stanza.Stanza, targets []jid.JID, told bool) {
	slices.SortFunc(targets, func(a, b jid.JID) int { return cmpJID(a, b) })
	for _, target := range targets {
		if !told || r == nil || !r.Snapshot().Get(target.Bare()).State.Has(roster.From) {
			o.send(to(st, target))
		}
	}
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
