package presence

import (
	"github.com/hexmpp/hexmpp/core/roster"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// probe asks for a contact's presence on behalf of a session that has become
// available (RFC 6121 4.3.1).
func (o *outgoing) probe(s *session.Session, contact jid.JID) {
	o.send(stanza.New(stanza.Header{Kind: stanza.Presence, Type: stanza.Probe, From: s.JID, To: contact}))
}

// probed answers a probe (4.3.2). Whoever is not subscribed learns nothing, nor
// does anybody of an account that is not there or not online: no answer in all
// three cases. An account that is online has its roster in memory.
func (o *outgoing) probed(st *stanza.Stanza) {
	owner := st.To.Bare()
	a := o.p.Rosters.Held(owner)
	if a == nil || !a.Snapshot().Get(st.From.Bare()).State.Has(roster.From) {
		return
	}
	for _, s := range o.p.Sessions.Sessions(owner) {
		switch {
		case !s.Available:
		case st.To.IsBare():
			o.send(to(s.Presence, st.From))
			o.check(s, st.From)
		case s.JID == st.To: // that it is there, no more
			o.send(stanza.New(stanza.Header{Kind: stanza.Presence, From: s.JID, To: st.From}))
		}
	}
}
