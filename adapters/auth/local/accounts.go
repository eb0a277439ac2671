package local

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Create implements auth.Accounts.
func (s *Source) Create(ctx context.Context, user jid.JID, password string) error {
	keys, err := s.newKeys(ctx, password)
	if err == nil {
		err = s.accounts.CreateAccount(ctx, storage.Account{User: user, Created: time.Now().UTC(), Keys: keys})
	}
	return outside("create "+user.String(), err)
}

// SetPassword implements auth.Accounts. The keys are new ones throughout, so a
// client that kept the old ones has to ask for the password.
func (s *Source) SetPassword(ctx context.Context, user jid.JID, password string) error {
	keys, err := s.newKeys(ctx, password)
	if err == nil {
		err = s.accounts.SetKeys(ctx, user, keys)
	}
	return outside("set password of "+user.String(), err)
}

// newKeys derives the keys of a new password, on a worker's place.
func (s *Source) newKeys(ctx context.Context, password string) ([]storage.Key, error) {
	prepared, err := prepare(password)
	if err != nil {
		return nil, err
	}
	done, err := s.work(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return deriveAll(prepared, s.options.Iterations)
}

// Remove implements auth.Accounts.
func (s *Source) Remove(ctx context.Context, user jid.JID) error {
	s.logins.forget(user)
	return outside("remove "+user.String(), s.accounts.RemoveAccount(ctx, user))
}

// Get implements auth.Accounts. The last login is right within some seconds.
func (s *Source) Get(ctx context.Context, user jid.JID) (auth.Account, error) {
	a, err := s.accounts.Account(ctx, user)
	if err != nil {
		return auth.Account{}, outside("get "+user.String(), err)
	}
	return account(a), nil
}

// List implements auth.Accounts.
func (s *Source) List(ctx context.Context, domain, after string, limit int) ([]auth.Account, error) {
	page, err := s.accounts.ListAccounts(ctx, domain, after, limit)
	if err != nil {
		return nil, outside("list "+domain, err)
	}
	all := make([]auth.Account, 0, len(page))
	for _, a := range page {
		all = append(all, account(a))
	}
	return all, nil
}

func account(a storage.Account) auth.Account {
	return auth.Account{User: a.User, Created: a.Created, LastLogin: a.LastLogin, Disabled: a.Disabled}
}

// outside gives an error its form for callers: the port's own errors for
// those of storage that have a counterpart.
func outside(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrExists):
		err = fmt.Errorf("%w: %w", auth.ErrExists, err)
	case errors.Is(err, storage.ErrNotFound):
		err = fmt.Errorf("%w: %w", auth.ErrNotFound, err)
	}
	return fmt.Errorf("auth/local: %s: %w", what, err)
}
