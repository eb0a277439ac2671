package c2s

import (
	"context"
	"errors"

	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// element hands an element that is no stanza to the extension that claims it;
// one that nobody knows ends the stream (RFC 6120 4.9.3.24).
func (s *Stream) element(b *transport.Batch, t *xmlstream.Token) transport.Wait {
	sess := s.session.Load()
	if sess == nil || !sess.BeginElement(s) { // it has ended, or another stream has taken it over
		s.state = ended
		return nil
	}
	return s.done(sess, s.claimed(b, t, sess))
}

// claimed does so for a session that stays the same, whatever becomes of the
// stream meanwhile: a mark of this connection comes before a resumption takes
// such marks away.
func (s *Stream) claimed(b *transport.Batch, t *xmlstream.Token, sess *session.Session) transport.Wait {
	if t.Kind != xmlstream.Element {
		s.fail(b, stream.Err(stream.UnsupportedStanzaType, ""))
		return nil
	}
	claim, ok := s.srv.Registry.Element(t.Element.Space, t.Element.Local)
	if !ok {
		s.fail(b, stream.Err(stream.UnsupportedStanzaType, ""))
		return nil
	}
	e := t.Element
	return claim.Guest.RunFor(context.Background(), b, s.envelope.Origin, func(ctx context.Context, h *extension.Host) error {
		return claim.Handler.Handle(ctx, h, sess.JID, e)
	}, func(b *transport.Batch, err error) transport.Wait {
		var fault *stream.Error
		if errors.As(err, &fault) {
			sess.End(b, fault)
			return nil
		}
		claim.Guest.Log("element handler of "+e.Space, err)
		return nil
	})
}
