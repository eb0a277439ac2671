// Package storage is the port to what hexmpp keeps: accounts, rosters, offline
// messages and archives, which are real tables that an administrator can query,
// and Map, the ordered store that every extension gets. The spool joins it with
// the feature that needs it.
//
// # Rules for an implementation
//
//   - A call that changes something returns nil only when the change is
//     committed: it survives a kill of the process and a loss of power.
//   - Calls are safe for use by many goroutines. Writes of concurrent callers
//     may share one transaction on disk, but each fails or succeeds by itself.
//   - Keys are the canonical string of a JID.
//   - Names and other text (Space, names of secrets, roster items, messages of
//     archives) are UTF-8 without NUL, since not every database has other text.
//   - An error that is none of those named here is wrapped in ErrUnavailable:
//     the store could not do its work, and a retry may succeed.
//   - A cancelled context may abandon a read; a write that was handed over
//     is either committed or not, and the error says ErrUnavailable if unknown.
//
// Package storagetest is the suite that each implementation runs.
package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

var (
	// ErrNotFound: there is no such account or entry.
	ErrNotFound = errors.New("storage: not found")
	// ErrExists: the account is there already.
	ErrExists = errors.New("storage: exists")
	// ErrConflict: an entry is not at the revision that an Op expected, or a row
	// has come too late for its place in an archive.
	ErrConflict = errors.New("storage: revision conflict")
	// ErrUnavailable: disk full, database gone, lock held.
	ErrUnavailable = errors.New("storage: unavailable")
	// ErrBusy, an ErrUnavailable: too much of its kind is under way.
	ErrBusy = fmt.Errorf("%w: busy", ErrUnavailable)
)

// Key is one stored SCRAM key set of an account.
type Key struct {
	Hash       string // as ports/auth names it: "SHA-256"
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}

// Account is a row of accounts with its keys.
type Account struct {
	User      jid.JID // bare
	Created   time.Time
	LastLogin time.Time // zero: never
	Disabled  bool
	Keys      []Key
}

// Accounts keeps accounts.
type Accounts interface {
	CreateAccount(ctx context.Context, a Account) error          // ErrExists
	Account(ctx context.Context, user jid.JID) (Account, error)  // ErrNotFound
	SetKeys(ctx context.Context, user jid.JID, keys []Key) error // replaces all; ErrNotFound
	// RemoveAccount removes the account and everything that is stored with it
	// as owner, in any table, in one transaction. ErrNotFound.
	RemoveAccount(ctx context.Context, user jid.JID) error
	// ListAccounts pages through a domain in byte order of the localparts; the
	// Keys are left out.
	ListAccounts(ctx context.Context, domain, after string, limit int) ([]Account, error)
	// TouchAccounts writes last logins behind, for many accounts at once;
	// accounts that are gone are skipped.
	TouchAccounts(ctx context.Context, logins map[jid.JID]time.Time) error
}

// Entry is one value of a Map.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64 // never 0, grows with each write of this key
}

// Op is one write of a Commit.
type Op struct {
	Space string  // the extension's name; "" never
	Owner jid.JID // bare JID of the account it belongs to; zero for the extension itself
	Key   string  // at most 1,024 bytes, not empty
	Value []byte  // at most 1 MiB; ignored by a deletion
	// Delete removes the entry; removing an absent one is no error.
	Delete bool
	// If set, the entry must be at Revision (0: must be absent), else
	// ErrConflict.
	If       bool
	Revision uint64
}

// Writes are what one Commit writes.
type Writes struct {
	Ops []Op // name a key once only
	// Remove are archives of extensions' own that are removed, in front of Rows. Nobody
	// finds their rows any more; they are deleted then or later, see ExpireRows. Removing
	// one that is not there is no error.
	Remove []ArchiveKey
	Rows   []Row // those of one archive in order of their IDs
	// Edits replace what rows say, of this Commit, too; of one that is not there they do nothing.
	Edits []Edit
}

// Empty says that there is nothing to write.
func (w *Writes) Empty() bool {
	return len(w.Ops) == 0 && len(w.Remove) == 0 && len(w.Rows) == 0 && len(w.Edits) == 0
}

// Map is an ordered store of small values, by space, owner and key.
type Map interface {
	// Get returns one entry: ErrNotFound.
	Get(ctx context.Context, space string, owner jid.JID, key string) (Entry, error)
	// Scan returns at most limit entries whose key begins with prefix, in byte
	// order of their keys, starting behind the key after ("" for the first).
	Scan(ctx context.Context, space string, owner jid.JID, prefix, after string, limit int) ([]Entry, error)
	// Commit applies all ops, removes archives, appends all rows to theirs, and edits rows, or does
	// nothing. An owner that is an account of a hosted domain must
	// exist while it is written to, so that nothing is left behind by
	// RemoveAccount: ErrNotFound; but a row of an account that is not there is
	// left out, and that is no error: nobody shall find out by it. ErrConflict by
	// Op.If and by the order of an Archive; ErrInvalid by CheckWrites.
	Commit(ctx context.Context, w Writes) error
}

// Secrets keeps random bytes that must stay the same across restarts and nodes.
type Secrets interface {
	// Secret returns the secret of this name: 32 random bytes, made on first
	// use. Two callers at the same time get the same bytes.
	Secret(ctx context.Context, name string) ([]byte, error)
}

// Store is what a storage adapter brings.
type Store interface {
	Accounts
	Map
	Secrets
	Rosters
	Offline
	Archive
	// Close flushes and ends; calls after it get ErrUnavailable.
	Close() error
}
