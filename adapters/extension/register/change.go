package register

import (
	"context"
	"errors"
	"fmt"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// registered answers a get after login: who one is (section 3.1, example 3).
// The password is never told; its element says that it can be changed.
func (o *Options) registered(_ context.Context, _ *extension.Host, q extension.IQ) (*stanza.Element, error) {
	account, ok := owner(q)
	if !ok { // who is not logged in here can't register here either
		return nil, stanza.Err(stanza.ServiceUnavailable, "")
	}
	answer := stanza.El(NS, "query").Add(
		stanza.El(NS, "registered"),
		stanza.El(NS, "instructions").WithText("You are registered."),
		stanza.El(NS, "username").WithText(account.Local()),
	)
	if !o.NoPasswordChange {
		answer.Add(stanza.El(NS, "password"))
	}
	return answer, nil
}

// change answers a set after login: the removal of one's account or a new
// password for it.
func (o *Options) change(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	query := q.Payload()
	if query.Child(NS, "remove") != nil {
		return nil, o.remove(ctx, h, q, query)
	}
	return nil, o.setPassword(ctx, h, q, query)
}

// remove is section 3.2. The kernel sends the result before it ends the
// sessions, since it applies what a handler asked for behind the answer.
func (o *Options) remove(ctx context.Context, h *extension.Host, q extension.IQ, query *stanza.Element) error {
	account, ok := owner(q)
	switch {
	case len(query.Elements()) != 1:
		return stanza.Err(stanza.BadRequest, "<remove/> must be alone.")
	case !ok:
		return stanza.Err(stanza.RegistrationRequired, "You have no account here.")
	case o.NoRemoval:
		return stanza.Err(stanza.NotAllowed, "Accounts can't be removed by their users.")
	}
	switch err := h.Accounts.Remove(ctx, account); {
	case errors.Is(err, auth.ErrNotFound): // another session was faster
		return stanza.Err(stanza.RegistrationRequired, "The account is gone already.")
	case err != nil:
		return fmt.Errorf("register: remove an account: %w", err)
	}
	h.Log.Info("account removed by its user", "account", account.String(), "address", q.Origin.Addr.String())
	return h.Sessions.End(account, "not-authorized", "The account was removed.")
}

// setPassword is section 3.3.
func (o *Options) setPassword(ctx context.Context, h *extension.Host, q extension.IQ, query *stanza.Element) error {
	account, ok := owner(q)
	switch {
	case !ok:
		return stanza.Err(stanza.UnexpectedRequest, "You have no account here.")
	case o.NoPasswordChange:
		return stanza.Err(stanza.NotAllowed, "Passwords can't be changed by users.")
	case !o.safe(q):
		return stanza.Err(stanza.NotAuthorized, "Encrypt the stream first.")
	}
	d, err := read(query, formChange, formCreate)
	switch {
	case err != nil:
		return stanza.Err(stanza.BadRequest, err.Error())
	case d.username == "" || d.password == "": // an empty one changes nothing
		return stanza.Err(stanza.BadRequest, "Your username and a new password are required.")
	case !names(account, d.username):
		return stanza.Err(stanza.NotAllowed, "You can change the password of your own account only.")
	}
	if err := o.longEnough(d.password); err != nil {
		return err
	}
	if err := checkOld(ctx, h, account, d.oldPassword); err != nil {
		return err
	}
	switch err := h.Accounts.SetPassword(ctx, account, d.password); {
	case errors.Is(err, auth.ErrPassword):
		return unusable()
	case errors.Is(err, auth.ErrNotFound): // removed by another session
		return stanza.Err(stanza.UnexpectedRequest, "The account is gone.")
	case err != nil:
		return fmt.Errorf("register: set a password: %w", err)
	}
	h.Log.Info("password changed by its user", "account", account.String(), "address", q.Origin.Addr.String())
	return nil
}

// names reports whether a user means account: by its localpart, or by the whole
// bare JID as in example 24.
func names(account jid.JID, username string) bool {
	if j, err := jid.New(username, account.Domain(), ""); err == nil {
		return j == account
	}
	j, err := jid.Parse(username)
	return err == nil && j == account
}

// checkOld checks the old password where the client sent it; it isn't asked for.
func checkOld(ctx context.Context, h *extension.Host, account jid.JID, old string) error {
	if old == "" {
		return nil
	}
	switch err := h.Accounts.VerifyPassword(ctx, account, old); {
	case errors.Is(err, auth.ErrDenied):
		return stanza.Err(stanza.NotAuthorized, "The old password is wrong.")
	case err != nil:
		return fmt.Errorf("register: check the old password: %w", err)
	}
	return nil
}
