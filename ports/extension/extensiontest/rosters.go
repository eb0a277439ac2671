package extensiontest

import (
	"context"
	"fmt"
	"slices"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// subscription is one of a contact to the presence of an account.
type subscription struct{ account, contact jid.JID }

// Subscribe makes a contact one that may see the presence of an account: the
// state in the account's roster is from.
func (h *Harness) Subscribe(account, contact string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribed[subscription{jid.MustParse(account), jid.MustParse(contact)}] = true
}

// List puts a contact into the roster of an account, without a subscription.
func (h *Harness) List(account, contact string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listed[subscription{jid.MustParse(account), jid.MustParse(contact)}] = true
}

// rosters implements extension.Rosters.
type rosters struct{ t *tx }

func (x rosters) Subscribed(_ context.Context, account, contact jid.JID) (bool, error) {
	x.t.waits("Rosters.Subscribed")
	return x.subscribed(account, contact, false)
}

// Known takes the roster of an account with an available session to be in memory.
func (x rosters) Known(account, contact jid.JID) (bool, error) {
	x.t.open()
	return x.subscribed(account, contact, true)
}

func (x rosters) subscribed(account, contact jid.JID, inMemory bool) (bool, error) {
	h := x.t.h
	if err := h.permit(extension.ReadRosters); err != nil {
		return false, err
	}
	account, contact = account.Bare(), contact.Bare()
	h.mu.Lock()
	defer h.mu.Unlock()
	if inMemory && !slices.ContainsFunc(h.sessions, func(s extension.Session) bool { return s.Available && s.JID.Bare() == account }) {
		return account == contact, nil
	}
	return account == contact || h.subscribed[subscription{account, contact}], nil
}

func (x rosters) Listed(account, contact jid.JID) (bool, error) {
	x.t.open()
	h := x.t.h
	if err := h.permit(extension.ReadRosters); err != nil {
		return false, err
	}
	account, contact = account.Bare(), contact.Bare()
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, there := h.entries[entryKey{account, h.reg.ResidentRoster}]; !there || x.t.about != account {
		return false, fmt.Errorf("extensiontest: the roster of %s is not resident", account)
	}
	of := subscription{account, contact}
	return h.subscribed[of] || h.listed[of], nil
}
