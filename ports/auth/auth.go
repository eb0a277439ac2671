// Package auth is the port for sources of accounts and credentials: the
// internal one (adapters/auth/local), and later LDAP, tokens and callbacks.
//
// # Rules for an implementation
//
//   - Users are bare JIDs of a hosted domain, prepared by package jid.
//   - Passwords are prepared with the OpaqueString profile (RFC 8265 4.2) by the
//     implementation, both when they are stored and when they are compared.
//   - No answer, and no time that it takes, tells whether an account exists
//     (RFC 6120 6.5.10): Credentials gives decoy keys for an unknown user, the
//     same ones each time, and Verifier does the same work for it.
//   - Errors other than those named here mean that the source failed
//     (temporary-auth-failure), never that the password was wrong.
package auth

import (
	"context"
	"errors"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

var (
	// ErrDenied: wrong password, no such account, or the account is disabled.
	ErrDenied = errors.New("auth: denied")
	// ErrExists: an account with this name is there already.
	ErrExists = errors.New("auth: account exists")
	// ErrNotFound: there is no such account. Never shown to strangers.
	ErrNotFound = errors.New("auth: no such account")
	// ErrPassword: the password is empty, too long or has characters that
	// OpaqueString forbids.
	ErrPassword = errors.New("auth: unusable password")
)

// Hash is a hash function of SCRAM.
type Hash string

const (
	SHA1   Hash = "SHA-1"   // RFC 5802
	SHA256 Hash = "SHA-256" // RFC 7677
	SHA512 Hash = "SHA-512" // draft-melnikov-scram-sha-512, as XEP-0388 and clients use it
)

// Hashes lists every hash that accounts have keys for, the strongest first.
var Hashes = []Hash{SHA512, SHA256, SHA1}

// Keys is what SCRAM needs of an account (RFC 5802 3). It does not allow to
// log in elsewhere, but must be kept like a password hash.
type Keys struct {
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}

// Credentials gives SCRAM keys. It is asked once a login and may read storage.
type Credentials interface {
	// SCRAM returns the keys of user for h. For an unknown or disabled user it
	// returns decoys with which no proof verifies, and no error.
	SCRAM(ctx context.Context, user jid.JID, h Hash) (Keys, error)
}

// Verifier checks a password in clear (SASL PLAIN). It costs a key derivation:
// callers run it on a bounded number of goroutines, away from read paths.
type Verifier interface {
	// VerifyPassword returns nil, ErrDenied, or what failed.
	VerifyPassword(ctx context.Context, user jid.JID, password string) error
}

// Account is what is told of an account.
type Account struct {
	User      jid.JID
	Created   time.Time
	LastLogin time.Time // zero: never, or not known
	Disabled  bool
}

// Accounts manages accounts. Its calls are administrative: slow is allowed.
type Accounts interface {
	// Create makes an account: ErrExists, ErrPassword.
	Create(ctx context.Context, user jid.JID, password string) error
	// SetPassword replaces the password: ErrNotFound, ErrPassword.
	SetPassword(ctx context.Context, user jid.JID, password string) error
	// Remove removes the account with all data that is stored for it, in one
	// transaction: ErrNotFound.
	Remove(ctx context.Context, user jid.JID) error
	// Get returns one account: ErrNotFound.
	Get(ctx context.Context, user jid.JID) (Account, error)
	// List returns at most limit accounts of a domain in order of their
	// localpart, starting behind the localpart after ("" for the first page).
	List(ctx context.Context, domain, after string, limit int) ([]Account, error)
}
