package presence

import (
	"github.com/hexmpp/hexmpp/core/caps"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// advertise has it found out what a client can do by its presence (XEP-0115 5.4).
// Presence without <c/> changes nothing: not each has it (8.4).
func (o *outgoing) advertise(s *session.Session, st *stanza.Stanza) {
	if c := caps.Of(st); c != "" && !s.Caps().Settled(c) {
		o.p.Caps.Seen(o.b, client(s), c)
	}
}

// Resumed is told of a session that goes on with another connection (XEP-0198): it
// keeps its capabilities, and is asked for them again if it did not answer.
func (p *Presence) Resumed(b *transport.Batch, s *session.Session) {
	st := s.Presence()
	if st == nil {
		return
	}
	if c := caps.Of(st); c != "" && !s.Caps().Settled(c) {
		p.Caps.Resumed(b, client(s), c)
	}
}

func client(s *session.Session) caps.Client {
	return caps.Client{JID: s.JID, Slot: s.Caps(), Send: s.Send}
}
