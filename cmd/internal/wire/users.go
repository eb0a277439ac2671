package wire

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/storage/sql"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// ErrNoData: there is no database that OpenUsers could look at.
var ErrNoData = sql.ErrMissing

// OpenUsers opens the accounts of a server that does not run. The caller holds
// the lock of the data folder, and calls close at the end. A database is made
// only with create; without it, and without one, the error wraps ErrNoData.
func OpenUsers(ctx context.Context, c *config.Config, create bool, log *zap.Logger) (users admin.Users, close func() error, err error) {
	o, err := storeOptions(c)
	if err != nil {
		return nil, nil, err
	}
	o.Existing = !create
	store, err := open(ctx, o, observe.Storage{}, log)
	if err != nil {
		return nil, nil, err
	}
	accounts, err := newAuth(store, log)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return &storedUsers{c.Domains, accounts}, store.Close, nil
}

// Database says which database the configuration is about, without secrets.
func Database(c *config.Config) string {
	o, err := storeOptions(c)
	if err != nil {
		return c.Storage.Driver
	}
	return o.Name()
}

// storedUsers is admin.Users without a kernel: there are no sessions to end.
type storedUsers struct {
	domains  []string
	accounts auth.Accounts
}

func (o *storedUsers) hosted(domain string) error {
	if !slices.Contains(o.domains, domain) {
		return fmt.Errorf("%q is not a hosted domain %v", domain, o.domains)
	}
	return nil
}

// AddUser implements admin.Users.
func (o *storedUsers) AddUser(ctx context.Context, user jid.JID, password string) error {
	if err := o.hosted(user.Domain()); err != nil {
		return err
	}
	return o.accounts.Create(ctx, user, password)
}

// SetPassword implements admin.Users.
func (o *storedUsers) SetPassword(ctx context.Context, user jid.JID, password string) error {
	return o.accounts.SetPassword(ctx, user, password)
}

// RemoveUser implements admin.Users.
func (o *storedUsers) RemoveUser(ctx context.Context, user jid.JID) error {
	return o.accounts.Remove(ctx, user)
}

// User implements admin.Users.
func (o *storedUsers) User(ctx context.Context, user jid.JID) (auth.Account, error) {
	return o.accounts.Get(ctx, user)
}

// ListUsers implements admin.Users.
func (o *storedUsers) ListUsers(ctx context.Context, domain, after string, limit int) ([]auth.Account, error) {
	if err := o.hosted(domain); err != nil {
		return nil, err
	}
	return o.accounts.List(ctx, domain, after, limit)
}
