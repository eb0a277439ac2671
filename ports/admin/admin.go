// Package admin is the port for administration: what the command line, an
// admin socket and, later, ad-hoc commands and HTTP may ask. All of them are
// faces of this one interface.
package admin

import (
	"context"
	"time"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Session is a session as an administrator sees it.
type Session struct {
	JID       jid.JID
	Available bool
	Priority  int8
}

// Status describes the running server.
type Status struct {
	Version    string
	Started    time.Time
	Domains    []string
	Sessions   int
	Streams    int
	Goroutines int
	HeapBytes  uint64 // live heap after the last garbage collection; before the first, all that was allocated
}

// Users manages accounts of hosted domains. It works with and without a
// running server. Errors are those of package auth, and of package jid.
type Users interface {
	// AddUser makes an account; the domain must be hosted.
	AddUser(ctx context.Context, user jid.JID, password string) error
	// SetPassword replaces a password. Sessions of the account go on.
	SetPassword(ctx context.Context, user jid.JID, password string) error
	// RemoveUser removes the account with all its data and ends its sessions.
	RemoveUser(ctx context.Context, user jid.JID) error
	// User returns one account.
	User(ctx context.Context, user jid.JID) (auth.Account, error)
	// ListUsers pages through a domain as auth.Accounts.List does.
	ListUsers(ctx context.Context, domain, after string, limit int) ([]auth.Account, error)
}

// Server is what only a running server can tell or do.
type Server interface {
	Status(ctx context.Context) (Status, error)
	// Sessions returns the sessions of an account.
	Sessions(ctx context.Context, user jid.JID) ([]Session, error)
	// Reload reads again what can change at run time: certificates.
	Reload(ctx context.Context) error
}
