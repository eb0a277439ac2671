package host

import (
	"context"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// accounts implements extension.Accounts: the port of package auth for guests
// with the permission ManageAccounts, or, to read, ListAccounts. Its calls take
// effect at once.
type accounts struct{ g *Guest }

// granted returns the accounts if the guest may use them.
func (x accounts) granted() (Accounts, error) {
	return x.g.hosts.Accounts, x.g.permit(extension.ManageAccounts)
}

// listed returns the accounts if the guest may look at them.
func (x accounts) listed() (Accounts, error) {
	if x.g.permit(extension.ManageAccounts) == nil {
		return x.g.hosts.Accounts, nil
	}
	return x.g.hosts.Accounts, x.g.permit(extension.ListAccounts)
}

func (x accounts) VerifyPassword(ctx context.Context, user jid.JID, password string) error {
	a, err := x.granted()
	if err != nil {
		return err
	}
	return a.VerifyPassword(ctx, user, password)
}

func (x accounts) Create(ctx context.Context, user jid.JID, password string) error {
	a, err := x.granted()
	if err != nil {
		return err
	}
	return a.Create(ctx, user, password)
}

func (x accounts) SetPassword(ctx context.Context, user jid.JID, password string) error {
	a, err := x.granted()
	if err != nil {
		return err
	}
	return a.SetPassword(ctx, user, password)
}

func (x accounts) Remove(ctx context.Context, user jid.JID) error {
	a, err := x.granted()
	if err != nil {
		return err
	}
	return a.Remove(ctx, user)
}

func (x accounts) Get(ctx context.Context, user jid.JID) (auth.Account, error) {
	a, err := x.listed()
	if err != nil {
		return auth.Account{}, err
	}
	return a.Get(ctx, user)
}

func (x accounts) List(ctx context.Context, domain, after string, limit int) ([]auth.Account, error) {
	a, err := x.listed()
	if err != nil {
		return nil, err
	}
	return a.List(ctx, domain, after, limit)
}
