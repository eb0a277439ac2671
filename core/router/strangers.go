package router

import (
	"context"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Contacts tells who may see the presence of an account; package roster does.
type Contacts interface {
	// Subscribed says whether a contact may. It may wait.
	Subscribed(ctx context.Context, account, contact jid.JID) (bool, error)
	// Known is Subscribed as far as it can be told without waiting.
	Known(account, contact jid.JID) bool
}

// strange says whether a stanza is a request that is refused unless the recipient
// shares its presence with the sender (RFC 6121 8.5.3.1): privacy.strangers is
// refuse, and neither the account itself, nor a contact that is known without
// waiting, nor this server or a service of it is the sender. Who speaks through a
// service, as the occupants of a room do, is not the service.
func (r *Router) strange(st *stanza.Stanza) bool {
	request := st.Kind == stanza.IQ && (st.Type == stanza.Get || st.Type == stanza.Set)
	if r.Contacts == nil || !request || r.Contacts.Known(st.To, st.From) {
		return false
	}
	from := st.From
	ours := r.Registry.Hosted(from.Domain()) || r.Registry.Component(from.Domain()) != nil
	return from.Local() != "" || !ours
}

// fromStranger gives a request to the session that it is addressed to if that one
// has sent its presence to the sender, or the sender turns out to be a contact.
// All others get the answer that they would get if there were no such session, no
// such resource or no such account, and storage is read for all of them.
func (r *Router) fromStranger(b *transport.Batch, e *extension.Envelope) transport.Wait {
	if r.hand(b, cluster.Delivery{Stanza: e.Stanza, Stranger: true}) {
		return nil
	}
	original := *e // e is borrowed
	return r.Hosts.Own(func(ctx context.Context) {
		st := original.Stanza
		subscribed, err := r.Contacts.Subscribed(ctx, st.To, st.From)
		if err != nil {
			r.Log.Error("a request of a stranger was refused: the roster could not be read", zap.Error(err))
		}
		transport.Run(ctx, func(b *transport.Batch) transport.Wait {
			if subscribed && r.hand(b, cluster.Delivery{Stanza: st}) {
				return nil
			}
			return r.refuse(b, &original, stanza.Err(stanza.ServiceUnavailable, ""))
		})
	})
}
