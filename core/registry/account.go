package registry

import (
	"context"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Service discovery of accounts by others than their owners is for those who may
// see their presence. All others learn nothing, not even that there is such an
// account (XEP-0030 8).

// contactInfo answers disco#info of another's account.
func (r *Registry) contactInfo(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	subscribed, err := h.Rosters.Subscribed(ctx, q.To, q.From)
	switch {
	case err != nil:
		return nil, err
	case !subscribed: // as any request that nobody answers
		return nil, stanza.Err(stanza.ServiceUnavailable, "")
	}
	return r.ownInfo(ctx, h, q)
}

// contactItems answers disco#items of another's account. Whoever may not see them
// is told that there are none.
func (r *Registry) contactItems(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	subscribed, err := h.Rosters.Subscribed(ctx, q.To, q.From)
	switch node := q.Attr("node"); {
	case err != nil:
		return nil, err
	case subscribed:
		return r.ownItems(ctx, h, q)
	case node != "":
		return stanza.El(NSItems, "query", stanza.At("node", node)), nil
	}
	return stanza.El(NSItems, "query"), nil
}

// resources lists what is associated with an account: its available resources
// (4.1), which whoever may ask sees in presence, too.
func resources(h *extension.Host, account jid.JID) *stanza.Element {
	q := stanza.El(NSItems, "query")
	for _, s := range h.Sessions.Of(account) {
		if s.Available {
			q.Add(stanza.El(NSItems, "item", stanza.At("jid", s.JID.String())))
		}
	}
	return q
}
