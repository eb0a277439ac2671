package session

import (
	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Stored implements cluster.Receiver.
func (s *Session) Stored() bool { return s.kernel.Fetch(s) }

// Takes says whether messages to the bare JID may go to the session (RFC 6121
// 8.5.2.1.1): it is available, and its priority is not negative.
func (s *Session) Takes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended && s.presence != nil && s.priority >= 0
}

// Outbox returns the way to the client, for stored messages.
func (s *Session) Outbox() *Outbox { return s.out }

// Insert queues stored messages: see Outbox.Insert.
func (s *Session) Insert(b *transport.Batch, messages []Stored, last bool) bool {
	if !s.out.Insert(b, messages, last) {
		return false
	}
	for _, m := range messages {
		s.kernel.Delivered(m.Stanza.Kind)
	}
	return true
}

// Ended says whether the session has ended.
func (s *Session) Ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// Stage runs the Write stage for a message that is to be inserted into the
// Outbox; nil means that it ends here. It is not held back: what waited long
// enough does not wait for a better moment.
func (s *Session) Stage(b *transport.Batch, st *stanza.Stanza) *stanza.Stanza {
	if !s.pipe.Wants(extension.Write, st.Kind) {
		return st
	}
	w := s.passage(st)
	if !s.pipe.Concerns(&w) {
		return st
	}
	d := cluster.Delivery{Stanza: st}
	switch s.write(b, &w, &d) {
	case pipeline.Drop, pipeline.Refused:
		return nil
	}
	return d.Stanza
}
