package host

import (
	"context"
	"fmt"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// rosters implements extension.Rosters.
type rosters struct{ t *tx }

func (x rosters) Subscribed(ctx context.Context, account, contact jid.JID) (bool, error) {
	if err := x.t.g.permit(extension.ReadRosters); err != nil {
		return false, err
	}
	return x.t.g.hosts.Rosters.Subscribed(ctx, account, contact)
}

func (x rosters) Known(account, contact jid.JID) (bool, error) {
	if err := x.t.g.permit(extension.ReadRosters); err != nil {
		return false, err
	}
	return x.t.g.hosts.Rosters.Known(account, contact), nil
}

func (x rosters) Listed(account, contact jid.JID) (bool, error) {
	g, about := x.t.g, x.t.about
	if err := g.permit(extension.ReadRosters); err != nil {
		return false, err
	}
	if about == nil || about.Account != account.Bare() || g.Reg.ResidentRoster == "" || !about.Resident.has(residentName{g.Reg.Name, g.Reg.ResidentRoster}) {
		return false, fmt.Errorf("host: %s: the roster of %s is not resident", g.Reg.Name, account)
	}
	_, listed := about.Resident.contacts[contact.Bare()]
	return listed, nil
}
