package register

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// fields answers a get before login: which fields are wanted (section 3.1).
// It looks at no account: whoever is not logged in counts as not registered.
func (o *Options) fields(_ context.Context, _ *extension.Host, q extension.IQ) (*stanza.Element, error) {
	if err := o.mayRegister(q); err != nil {
		return nil, err
	}
	return stanza.El(NS, "query").Add(
		stanza.El(NS, "instructions").WithText(instructions),
		stanza.El(NS, "username"),
		stanza.El(NS, "password"),
		emptyForm(),
	), nil
}

// mayRegister returns nil if new accounts can be made on the stream of q.
func (o *Options) mayRegister(q extension.IQ) error {
	switch {
	case !o.Open: // 3.1: not supported
		return stanza.Err(stanza.ServiceUnavailable, "New accounts can't be made here by everybody.")
	case !o.safe(q): // 11
		return stanza.Err(stanza.NotAuthorized, "Encrypt the stream first.")
	}
	return nil
}

// create answers a set before login: a new account (section 3.1). What costs
// nothing is checked first, then the limit by address, then the name: so the
// limit bounds how many names can be tried, too.
func (o *Options) create(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	query := q.Payload()
	if query.Child(NS, "remove") != nil { // 3.2
		return nil, stanza.Err(stanza.UnexpectedRequest, "Log in to remove your account.")
	}
	if err := o.mayRegister(q); err != nil {
		return nil, err
	}
	d, err := read(query, formCreate)
	if err != nil {
		return nil, stanza.Err(stanza.BadRequest, err.Error())
	}
	user, err := o.acceptable(d, q.Origin.Domain)
	if err != nil {
		return nil, err
	}
	if o.Limiter != nil && !o.Limiter.Allow(q.Origin.Addr, h.Now()) {
		return nil, stanza.Err(stanza.ResourceConstraint, "Too many new accounts from your address. Try again later.")
	}
	taken := stanza.Err(stanza.Conflict, "This username is taken. Choose another one.")
	if slices.Contains(o.Reserved, user) {
		return nil, taken
	}
	switch err := h.Accounts.Create(ctx, user, d.password); {
	case errors.Is(err, auth.ErrExists):
		return nil, taken
	case errors.Is(err, auth.ErrPassword):
		return nil, unusable()
	case err != nil:
		return nil, fmt.Errorf("register: create an account: %w", err)
	}
	h.Log.Info("new account", "account", user.String(), "address", q.Origin.Addr.String())
	return nil, nil
}

// acceptable returns the account that d asks for, or not-acceptable
// (section 3.1, example 7).
func (o *Options) acceptable(d data, domain string) (jid.JID, error) {
	if d.username == "" || d.password == "" {
		return jid.JID{}, stanza.Err(stanza.NotAcceptable, "A username and a password are required.")
	}
	// jid.New refuses a whole JID in the place of a localpart.
	user, err := jid.New(d.username, domain, "")
	if err != nil {
		return jid.JID{}, stanza.Err(stanza.NotAcceptable, "This can't be a username: use letters, digits, dots, hyphens; no @ and no /.")
	}
	return user, o.longEnough(d.password)
}

// longEnough refuses short passwords.
func (o *Options) longEnough(password string) error {
	if utf8.RuneCountInString(password) < o.MinPassword {
		return stanza.Err(stanza.NotAcceptable, fmt.Sprintf("A password has at least %d characters.", o.MinPassword))
	}
	return nil
}

func unusable() error {
	return stanza.Err(stanza.NotAcceptable, "This can't be a password: it is too long or has control characters.")
}
