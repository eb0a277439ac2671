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
	text := card.Append(nil, "")
	if len(text) > limit {
		return nil, tooBig(limit)
	}
	return text, nil
}

// tooBig is a policy-violation (RFC 6120 8.3.3.12), since waiting, as
// resource-constraint suggests, will not help.
func tooBig(limit int) error {
	return stanza.Err(stanza.PolicyViolation, fmt.Sprintf("A vCard has at most %d bytes.", limit))
}
