package session

import (
	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// passage is the way of a stanza through the session's Write stage.
func (s *Session) passage(st *stanza.Stanza) pipeline.Passage {
	return pipeline.Passage{
		Stage:    extension.Write,
		Envelope: extension.Envelope{Stanza: st, Account: s.JID.Bare(), Session: s.JID},
		Marks:    s.markList(),
	}
}

// write runs the Write stage on what is to be delivered. What handlers ask for is
// done beside the stanza, which does not wait for it.
func (s *Session) write(b *transport.Batch, w *pipeline.Passage, d *cluster.Delivery) pipeline.Outcome {
	s.pipe.Run(w)
	w.Effects.Detach(b)
	d.Stanza = w.Envelope.Stanza
	if (w.Outcome == pipeline.Drop || w.Outcome == pipeline.Refused) && d.Fork != nil {
		d.Fork.Lost()
	}
	return w.Outcome
}
