package host

import (
	"context"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// rosters implements extension.Rosters.
type rosters struct{ g *Guest }

func (x rosters) Subscribed(ctx context.Context, account, contact jid.JID) (bool, error) {
	if err := x.g.permit(extension.ReadRosters); err != nil {
		return false, err
	}
	return x.g.hosts.Rosters.Subscribed(ctx, account, contact)
}

func (x rosters) Known(account, contact jid.JID) (bool, error) {
	if err := x.g.permit(extension.ReadRosters); err != nil {
		return false, err
	}
	return x.g.hosts.Rosters.Known(account, contact), nil
}
