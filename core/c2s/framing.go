package c2s

import (
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// What differs between a stream that is one document and one of messages that are
// a document each (RFC 7395 3.3). Outbox.Drain ends each message; here is what is
// more than one, and the words of header and end.

func newReader(f transport.Framing, l xmlstream.Limits) *xmlstream.Reader {
	if f == transport.FramingWebSocket {
		return xmlstream.NewFrameReader(l)
	}
	return xmlstream.NewReader(l)
}

func (s *Stream) framed() bool { return s.peer.Framing == transport.FramingWebSocket }

func (s *Stream) appendHeader(dst []byte, h stream.Header) []byte {
	if s.framed() {
		return h.AppendWebSocketOpen(dst)
	}
	return h.AppendOpen(dst)
}

// last is the end of our stream (RFC 6120 4.4, RFC 7395 3.6).
func (s *Stream) last() string {
	if s.framed() {
		return "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"
	}
	return "</stream:stream>"
}
