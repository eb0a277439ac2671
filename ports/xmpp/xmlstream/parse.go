package xmlstream

import (
	"fmt"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// ParseStanza reads exactly one stanza from bytes that did not come from a
// stream of ours: plugins, storage, HTTP. space is the content namespace that
// is in force around it. White space around it is ignored; anything else is
// refused. An error is a *stream.Error, or wraps jid.ErrMalformed for an
// address that is none.
func ParseStanza(b []byte, space string, l Limits) (*stanza.Stanza, error) {
	return onlyStanza(ParseFrame(b, space, "", l))
}

// ParseCanonical is ParseStanza for what Stanza.Append wrote, with jabber:client
// declared, and the server has kept: whatever had been let in once is let in again,
// however large it has become.
func ParseCanonical(b []byte) (*stanza.Stanza, error) {
	return onlyStanza(ParseFrame(b, xmpp.NSClient, "", canonicalLimits))
}

func onlyStanza(t Token, err error) (*stanza.Stanza, error) {
	switch {
	case err != nil:
		return nil, err
	case t.Kind != Stanza:
		return nil, fail(stream.UnsupportedStanzaType, "message, presence or iq expected")
	case t.Malformed != "":
		return nil, fmt.Errorf("xmlstream: attribute %s: %w", t.Malformed, jid.ErrMalformed)
	}
	return t.Stanza, nil
}

// ParseFrame reads exactly one element that is a document of its own (RFC 7395
// 3.3.3): the token is a Stanza or an Element. space is the content namespace,
// in force where the element declares no default namespace; lang holds for a
// stanza without xml:lang. An error is a *stream.Error.
func ParseFrame(b []byte, space, lang string, l Limits) (Token, error) {
	if err := checkLang([]byte(lang), maxLang); err != nil {
		return Token{}, err
	}
	r := Reader{phase: open, lang: lang, limits: l.withDefaults(), in: b, scope: frameScope}
	if space != frameScope.content {
		r.scope = &scope{deflt: space, content: space, inherits: true}
	}
	t, ok, err := r.Next()
	switch {
	case err != nil:
		return Token{}, err
	case !ok || t.Kind == Close:
		r.Discard()
		return Token{}, fail(stream.NotWellFormed, "one whole element expected")
	case !allSpace(r.in):
		r.Discard()
		return Token{}, fail(stream.NotWellFormed, "something follows the element")
	}
	r.Discard()
	return t, nil
}
