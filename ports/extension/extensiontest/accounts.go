package extensiontest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/text/secure/precis"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// maxPassword is the longest password in bytes.
const maxPassword = 1024

// Accounts is auth.Accounts and auth.Verifier in memory, by the rules of that
// package but for those on time. Passwords are kept in clear.
type Accounts struct {
	h  *Harness
	mu sync.Mutex // guards what follows; never held while h.mu is asked for
	m  map[jid.JID]*login
	// fail is what every call returns, if it is set.
	fail error
}

type login struct {
	auth.Account
	password string
}

func newAccounts(h *Harness) *Accounts { return &Accounts{h: h, m: map[jid.JID]*login{}} }

// Fail makes every call fail with err, as a source of accounts that is down
// would, until it is called with nil.
func (a *Accounts) Fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fail = err
}

// Add makes an account or ends the test.
func (a *Accounts) Add(user, password string) jid.JID {
	a.h.t.Helper()
	j, err := jid.Parse(user)
	if err == nil {
		err = a.Create(context.Background(), j, password)
	}
	if err != nil {
		a.h.t.Fatalf("extensiontest: account %q: %v", user, err)
	}
	return j
}

func (a *Accounts) exists(user jid.JID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.m[user] != nil
}

func prepare(password string) (string, error) {
	p, err := precis.OpaqueString.String(password)
	if err != nil || len(p) > maxPassword {
		return "", auth.ErrPassword
	}
	return p, nil
}

// VerifyPassword implements auth.Verifier.
func (a *Accounts) VerifyPassword(_ context.Context, user jid.JID, password string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail != nil {
		return a.fail
	}
	p, err := prepare(password)
	if l := a.m[user]; err != nil || l == nil || l.Disabled || l.password != p {
		return auth.ErrDenied
	}
	return nil
}

// Create implements auth.Accounts.
func (a *Accounts) Create(_ context.Context, user jid.JID, password string) error {
	now := a.h.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	p, err := prepare(password)
	switch {
	case a.fail != nil:
		return a.fail
	case user.Local() == "" || !user.IsBare() || !a.h.hosted(user.Domain()):
		return fmt.Errorf("extensiontest: %q is no name of an account here", user)
	case a.m[user] != nil:
		return auth.ErrExists
	case err != nil:
		return err
	}
	a.m[user] = &login{auth.Account{User: user, Created: now}, p}
	return nil
}

// SetPassword implements auth.Accounts.
func (a *Accounts) SetPassword(_ context.Context, user jid.JID, password string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, err := prepare(password)
	switch {
	case a.fail != nil:
		return a.fail
	case a.m[user] == nil:
		return auth.ErrNotFound
	case err != nil:
		return err
	}
	a.m[user].password = p
	return nil
}

// Remove implements auth.Accounts: what the extension stored for the account
// goes with it.
func (a *Accounts) Remove(_ context.Context, user jid.JID) error {
	a.mu.Lock()
	err := a.fail
	if err == nil && a.m[user] == nil {
		err = auth.ErrNotFound
	}
	if err == nil {
		delete(a.m, user)
	}
	a.mu.Unlock()
	if err == nil {
		a.h.forget(user)
	}
	return err
}

// Get implements auth.Accounts.
func (a *Accounts) Get(_ context.Context, user jid.JID) (auth.Account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch l := a.m[user]; {
	case a.fail != nil:
		return auth.Account{}, a.fail
	case l == nil:
		return auth.Account{}, auth.ErrNotFound
	default:
		return l.Account, nil
	}
}

// List implements auth.Accounts.
func (a *Accounts) List(_ context.Context, domain, after string, limit int) ([]auth.Account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail != nil {
		return nil, a.fail
	}
	var list []auth.Account
	for user, l := range a.m {
		if user.Domain() == domain && user.Local() > after {
			list = append(list, l.Account)
		}
	}
	slices.SortFunc(list, func(x, y auth.Account) int { return cmp.Compare(x.User.Local(), y.User.Local()) })
	return list[:min(max(0, limit), len(list))], nil
}

// hostAccounts is Accounts for a handler: it asks for the permission.
type hostAccounts struct{ t *tx }

// source returns the accounts if the extension may call them.
func (x hostAccounts) source(call string) (*Accounts, error) {
	x.t.waits("Accounts." + call)
	return x.t.h.Accounts, x.t.h.permit(extension.ManageAccounts)
}

// listed is source for calls that read: who exists is nobody else's business.
func (x hostAccounts) listed(call string) (*Accounts, error) {
	x.t.waits("Accounts." + call)
	if x.t.h.permit(extension.ManageAccounts) == nil {
		return x.t.h.Accounts, nil
	}
	return x.t.h.Accounts, x.t.h.permit(extension.ListAccounts)
}

func (x hostAccounts) VerifyPassword(ctx context.Context, user jid.JID, password string) error {
	a, err := x.source("VerifyPassword")
	if err != nil {
		return err
	}
	return a.VerifyPassword(ctx, user, password)
}

func (x hostAccounts) Create(ctx context.Context, user jid.JID, password string) error {
	a, err := x.source("Create")
	if err != nil {
		return err
	}
	return a.Create(ctx, user, password)
}

func (x hostAccounts) SetPassword(ctx context.Context, user jid.JID, password string) error {
	a, err := x.source("SetPassword")
	if err != nil {
		return err
	}
	return a.SetPassword(ctx, user, password)
}

func (x hostAccounts) Remove(ctx context.Context, user jid.JID) error {
	a, err := x.source("Remove")
	if err != nil {
		return err
	}
	return a.Remove(ctx, user)
}

func (x hostAccounts) Get(ctx context.Context, user jid.JID) (auth.Account, error) {
	a, err := x.listed("Get")
	if err != nil {
		return auth.Account{}, err
	}
	return a.Get(ctx, user)
}

func (x hostAccounts) List(ctx context.Context, domain, after string, limit int) ([]auth.Account, error) {
	a, err := x.listed("List")
	if err != nil {
		return nil, err
	}
	return a.List(ctx, domain, after, limit)
}
