package c2s

import (
	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/sasl"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// nsChannelBinding is the namespace of XEP-0440.
const nsChannelBinding = "urn:xmpp:sasl-cb:0"

// startTLS begins TLS (RFC 6120 5.4.2). Whatever the client sent in clear
// behind <starttls/> is dropped, so that nobody on the way can slip commands
// into the encrypted stream (5.4.3.3).
func (s *Stream) startTLS(b *transport.Batch, e *stanza.Element) {
	switch {
	case e.Local != "starttls":
		s.fail(b, stream.Err(stream.UnsupportedStanzaType, ""))
	case s.peer.TLS != nil || !s.peer.TLSAvailable: // 5.4.2.2: <failure/> and the end of the stream
		s.state = ended
		failure := "<failure xmlns='" + xmpp.NSTLS + "'/>"
		if s.framed() {
			failure += string(rune(xmlstream.EndOfMessage))
		}
		s.out.Load().Finish(b, failure+s.last())
	default:
		s.raw(b, "<proceed xmlns='"+xmpp.NSTLS+"'/>")
		s.rd.Discard()
		s.conn.StartTLS(s.domain)
	}
}

// Secured implements transport.Stream: a new stream begins, and nothing that
// came in clear is believed any more (5.4.3.3).
func (s *Stream) Secured(b *transport.Batch, t *transport.TLS) {
	if s.state == ended {
		return
	}
	s.peer.TLS = t
	s.rd = newReader(s.peer.Framing, s.srv.Limits.before())
	s.state = connected
	s.domain, s.claims = "", jid.JID{}
	s.restart()
	s.login = &login{bytes: s.login.bytes, guesses: s.login.guesses, failures: s.login.failures}
	s.srv.Log.Debug("TLS", zap.Stringer("addr", s.peer.Addr), zap.Uint16("version", t.Version))
}

// bindings returns the channel bindings of the connection, the better first.
func (s *Stream) bindings() (list []sasl.Binding) {
	t := s.peer.TLS
	if t == nil {
		return nil
	}
	if t.Exporter != nil {
		list = append(list, sasl.Binding{Type: "tls-exporter", Data: t.Exporter})
	}
	if t.EndPoint != nil {
		list = append(list, sasl.Binding{Type: "tls-server-end-point", Data: func() ([]byte, error) { return t.EndPoint, nil }})
	}
	return list
}

// plainAllowed: PLAIN is for streams that nobody can read along, and for loopback where the
// configuration allows logins without TLS.
func (s *Stream) plainAllowed() bool {
	return s.private() || s.secure() && s.peer.Addr.Addr().Unmap().IsLoopback()
}
