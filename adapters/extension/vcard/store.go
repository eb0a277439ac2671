package vcard

import (
	"context"
	"fmt"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// load returns the vCard of an account, nil if there is none.
func load(ctx context.Context, h *extension.Host, owner jid.JID) (*stanza.Element, error) {
	e, ok, err := h.Store.Get(ctx, owner, key)
	if err != nil {
		return nil, fmt.Errorf("vcard: load the one of %s: %w", owner, err)
	}
	if !ok {
		return nil, nil
	}
	card, err := stanza.ParseElement(string(e.Value), "")
	if err != nil {
		return nil, fmt.Errorf("vcard: read the stored one of %s: %w", owner, err)
	}
	return card, nil
}

// encode returns a vCard as it is stored: XML that stands on its own. A result
// is written the same way, so that the bound on bytes holds for it, too.
func encode(card *stanza.Element, limit int) ([]byte, error) {
	if declared(card, "") > limit {
		return nil, tooBig(limit)
	}
	text := card.Append(nil, "")
	if len(text) > limit {
		return nil, tooBig(limit)
	}
	// Namespaces are declared anew where they are used. That may take more
	// declarations than are read again.
	if _, err := stanza.ParseElement(string(text), ""); err != nil {
		return nil, unreadable()
	}
	return text, nil
}

func unreadable() error {
	return stanza.Err(stanza.PolicyViolation, "The vCard has too many namespaces.")
}

// tooBig is a policy-violation (RFC 6120 8.3.3.12), since waiting, as
// resource-constraint suggests, will not help.
func tooBig(limit int) error {
	return stanza.Err(stanza.PolicyViolation, fmt.Sprintf("A vCard has at most %d bytes.", limit))
}

// declared counts the bytes of namespaces that Append will declare in e. One
// long declaration, used by thousands of short elements, would make far more of
// a stanza than the stream let in: this tells before it is written.
func declared(e *stanza.Element, scope string) int {
	n := 0
	if e.Space != scope {
		n = len(e.Space)
	}
	for _, a := range e.Attrs {
		n += len(a.Space)
	}
	for _, c := range e.Nodes {
		if c.Element != nil {
			n += declared(c.Element, e.Space)
		}
	}
	return n
}
