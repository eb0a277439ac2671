package c2s

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/core/registry"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
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
	if claim.Guest.Elsewhere() {
		s.tellElsewhere(claim, e, sess)
		return nil
	}
	return claim.Guest.RunFor(context.Background(), b, s.envelope.Origin, func(ctx context.Context, h *extension.Host) error {
		return claim.Handler.Handle(ctx, h, sess.JID, e)
	}, func(b *transport.Batch, err error) transport.Wait {
		elementDone(b, claim, sess, err)
		return nil
	})
}

// tellElsewhere dispatches an element; nobody waits, and nobody is answered.
func (s *Stream) tellElsewhere(claim registry.Element, e *stanza.Element, sess *session.Session) {
	v := &host.Event{RemoteEvent: extension.RemoteEvent{
		Kind: extension.ElementSent, Handler: claim.Index, Key: host.AccountKey(sess.JID), Session: sess.JID, Element: e,
	}}
	v.Answer = func(b *transport.Batch, _ *extension.Outcome, err error) transport.Wait {
		elementDone(b, claim, sess, err)
		return nil
	}
	if err := claim.Guest.Dispatch(v, s.envelope.Origin); err != nil {
		s.srv.Log.Debug("an element was lost", zap.String("space", e.Space), zap.Error(err))
	}
}

// elementDone takes what a handler of elements returned.
func elementDone(b *transport.Batch, claim registry.Element, sess *session.Session, err error) {
	var fault *stream.Error
	if errors.As(err, &fault) {
		sess.End(b, fault)
		return
	}
	claim.Guest.Log("element handler of "+claim.Handler.Space, err)
}
