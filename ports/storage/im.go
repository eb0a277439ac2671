package storage

import (
	"context"
	"errors"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Subscription is the state of a roster item as the client sees it (RFC 6121
// 2.1.2.5).
type Subscription string

const (
	SubNone Subscription = "none"
	SubTo   Subscription = "to"
	SubFrom Subscription = "from"
	SubBoth Subscription = "both"
)

// RosterItem is one contact of an account (RFC 6121 2.1.2). An item that is
// not in the roster as the client sees it, but of which something must be
// remembered (a request that waits for an answer, a pre-approval), is Hidden.
type RosterItem struct {
	Contact      jid.JID // bare
	Name         string
	Groups       []string // unique, not empty
	Subscription Subscription
	Ask          bool   // a request of the user waits for the contact's answer: "none + pending out", "from + pending out"
	Approved     bool   // pre-approved, RFC 6121 3.4
	Request      []byte // the contact's subscribe stanza that waits for the user's answer, as XML; nil for none ("pending in")
	Hidden       bool
}

// Roster is the roster of one account. Version grows by one with each change
// and is 0 for a roster that was never changed.
type Roster struct {
	Version uint64
	Items   []RosterItem // in byte order of Contact
}

// Rosters keeps rosters. They belong to accounts and are removed with them.
type Rosters interface {
	// Roster returns the roster of an account; an account without one, and one
	// that is not there, has an empty roster.
	Roster(ctx context.Context, owner jid.JID) (Roster, error)
	// Subscription returns the state with one contact: SubNone for whoever is not
	// in the roster, and for an account that is not there. It costs the same for
	// all of them, and for rosters of all sizes: whoever measures it learns nothing.
	Subscription(ctx context.Context, owner, contact jid.JID) (Subscription, error)
	// ChangeRoster puts and removes items in one transaction and sets the
	// version to base+1, also if there is nothing to do. An item that is not
	// there is removed without an error. ErrConflict if the version is not base
	// any more; ErrNotFound if there is no such account; ErrInvalid by
	// CheckRoster.
	ChangeRoster(ctx context.Context, owner jid.JID, base uint64, put []RosterItem, remove []jid.JID) error
}

// ErrQuota: the owner's store is full; nothing was stored, what is there stays.
var ErrQuota = errors.New("storage: quota reached")

// OfflineMessage is a message that waits for its recipient (XEP-0160).
type OfflineMessage struct {
	ID    uint64    // grows with each message of all accounts; set by AddOffline and AddOfflineAll
	Stamp time.Time // kept to the microsecond, given back in UTC
	XML   []byte    // the stanza, jabber:client declared; at most MaxValue
}

// OfflineAdd is a message for an account: see Offline.AddOfflineEach.
type OfflineAdd struct {
	Owner   jid.JID // bare
	Message OfflineMessage
}

// Offline keeps messages for accounts that are not online. They belong to
// accounts and are removed with them.
type Offline interface {
	// AddOffline stores a message, and returns its ID, if fewer than quota are
	// stored for the owner: ErrQuota; ErrNotFound if there is no such account;
	// ErrInvalid by CheckOffline.
	AddOffline(ctx context.Context, owner jid.JID, m OfflineMessage, quota int) (uint64, error)
	// AddOfflineEach is AddOffline for messages of any accounts, in order and with one
	// commit: results are those of each, nil for what is stored. After an error nothing
	// is, or, if it wraps ErrUnavailable, nobody knows. The caller bounds how much that is.
	AddOfflineEach(ctx context.Context, all []OfflineAdd, quota int) (results []error, err error)
	// AddOfflineAll stores messages that were accepted before, in order, and however
	// many are stored for the owner: all of them or none. ErrNotFound and ErrInvalid
	// are those of AddOffline. The caller bounds how much that is.
	AddOfflineAll(ctx context.Context, owner jid.JID, all []OfflineMessage) error
	// OfflineMessages returns at most limit messages behind the ID after (0 for
	// the first), in order of their IDs; none for an account that is not there.
	OfflineMessages(ctx context.Context, owner jid.JID, after uint64, limit int) ([]OfflineMessage, error)
	// DeleteOffline deletes messages of the owner; IDs that are not there are
	// skipped.
	DeleteOffline(ctx context.Context, owner jid.JID, ids []uint64) error
}
