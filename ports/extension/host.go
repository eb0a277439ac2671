package extension

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// ErrPermission is wrapped by a call that was not granted; the error's text
// says what is missing.
var ErrPermission = errors.New("extension: permission not granted")

// ErrBound is wrapped when an extension asks for more than its bounds allow.
var ErrBound = errors.New("extension: bound exceeded")

// Host is what one may ask of the kernel. A Host belongs to one call of a
// handler and must not be used after it.
type Host struct {
	Stanzas  Stanzas
	Store    Store
	Archive  Archive
	Timers   Timers
	Memory   Memory
	Groups   Groups
	Sessions Sessions
	Rosters  Rosters
	Accounts Accounts
	Secrets  Secrets
	// Listeners are the sockets of Registration.Listeners.
	Listeners Listeners
	// Certificates needs ReadCertificates among the Permissions.
	Certificates Certificates

	Domains []string // hosted domains, the first is the default; not to be changed
	// Served are all domains that this server answers for, in order: hosted ones, and those of
	// components, of all extensions. Not to be changed.
	Served []string
	Now    func() time.Time
	Log    *slog.Logger // has the extension's name; nobody logs what users wrote
}

// Stanzas sends. All calls are effects: applied when the handler returns nil, in
// their order. An iq that breaks RFC 6120 8.2.3 is an error.
type Stanzas interface {
	// Send sends a stanza from the server, from an address of a component of
	// this extension, or from the bare JID of an account to sessions of that
	// same account. ErrPermission for any other from, and for carbon copies (XEP-0280)
	// of any extension but carbons. Ids and delays that are not the
	// component's to give (XEP-0359, XEP-0203) are left out.
	Send(s *stanza.Stanza) error
	// Precede sends a message, from as in Send, to whoever asked the iq that is being
	// handled: it goes out in front of the answer, as the results of a query do
	// (XEP-0313 4). It passes no stage but Write, and if the client does not get it
	// nobody else does.
	Precede(s *stanza.Stanza) error
	// SendAs sends a stanza as if a client of account had: it takes the same
	// way, and asserts no more than a client may. Needs SendAsAccount.
	SendAs(account jid.JID, s *stanza.Stanza) error
	// Request sends an iq get or set; from as in Send. Its answer, or its
	// absence after timeout (at most 5 minutes), becomes a Reply with the same
	// state (at most 4 KiB). ErrBound when too many are under way (10,000). What is under
	// way when the server stops has no Reply.
	Request(s *stanza.Stanza, timeout time.Duration, state []byte) error
	// RequestFor is a Request whose Reply is an event of another ordering key (at most 8,192
	// bytes) than the handler's; "" is the handler's. It matters where handlers run by
	// ordering keys, see Registration.Forget.
	RequestFor(order string, s *stanza.Stanza, timeout time.Duration, state []byte) error
}

// Reply is the answer to a Request.
type Reply struct {
	Answer *stanza.Stanza // type result or error; nil after the timeout
	State  []byte
}

// Entry is a stored value.
type Entry struct {
	Key      string
	Value    []byte // not to be changed
	Revision uint64
}

// Store is the extension's own part of storage, by owner: the bare JID of an
// account, with which it is removed, or the zero JID for the extension itself.
// Reads see the handler's own writes. If a Swap fails at the end, the whole
// handler is run again with a new Host, three times at most; of a stage, all
// handlers that saw the stanza.
type Store interface {
	// Get returns ok == false if there is no such entry.
	Get(ctx context.Context, owner jid.JID, key string) (e Entry, ok bool, err error)
	// Scan returns at most limit entries whose key begins with prefix, in byte
	// order, starting behind the key after.
	Scan(ctx context.Context, owner jid.JID, prefix, after string, limit int) ([]Entry, error)
	Put(owner jid.JID, key string, value []byte)
	Delete(owner jid.JID, key string)
	// Swap is Put if the entry is still at revision (0: still absent). The last
	// write of a key in a handler holds, on the condition of the first: Swap, and
	// then Delete, deletes what is still at revision.
	Swap(owner jid.JID, key string, value []byte, revision uint64)
}

// Archive is the extension's archives (XEP-0313): one for each account, with which it is
// removed, and its own, which have names that are bare JIDs of its components' domains: a
// room's. One of its own is made with its first row, and there until it is removed,
// whether or not anything else has that address. The owner of an archive says which it is;
// one of a domain that is neither hosted nor a component's of this extension is an error:
// ErrPermission, which fails the handler where a call returns none. Resources do not count.
// Where rows are named, Space and Own are not used: they follow from the extension and the
// owner. What is read has them.
type Archive interface {
	// NewID returns an ID for a row: greater than all that are stored or were given
	// out. Rows are in order of their IDs; so a handler takes a new one each time
	// that it runs.
	NewID() uint64
	// Append is a write, of a row with an ID of NewID and a Stamp of when that was
	// called, or of a moment before. Those that come too late for their place in the
	// archive let the handler run again, as a Swap does. A row of an account that is
	// not there is left out. Reads do not see it. An ID that was not given out yet
	// fails the handler.
	Append(row storage.Row)
	// Remove is a write, in order with Append: it deletes an archive of the extension's
	// own, with all rows that were appended before. Nobody finds them any more once it is
	// committed; a next row makes the archive anew. Of an archive that is not there it does
	// nothing; an account's owner is an error.
	Remove(owner jid.JID)
	// Replace is a write: what a row of an archive says from now on, such as that it was taken back
	// (XEP-0424 4). Of a row that is not there it changes nothing.
	Replace(owner jid.JID, id uint64, xml string)
	// Rows and Count are those of storage.Archive.
	Rows(ctx context.Context, owner jid.JID, f storage.Filter, p storage.Page) (rows []storage.Row, more bool, err error)
	Count(ctx context.Context, owner jid.JID, f storage.Filter, most int) (n int, all bool, err error)
	// Between returns bounds of ID, for After and Before of a Filter, within which
	// all rows are that have a Stamp between two times; zero times are no bounds. A
	// Filter with Start and End alone has to look at everything.
	Between(start, end time.Time) (after, before uint64)
	// Expire deletes, at once and not as an effect, at most limit rows of before a
	// time, of all archives of the extension, the oldest of an archive first; and, in front
	// of them, what is left of archives that were removed, with accounts or by Remove. Who
	// removes archives calls it now and then, with a zero time if nothing else is to go. It
	// returns how many; less than limit says that none are left.
	Expire(ctx context.Context, before time.Time, limit int) (n int, err error)
}

// Timers are kept by the kernel; setting one is an effect, and so is its end. They
// outlive a planned restart of the server: what was due meanwhile fires at once.
type Timers interface {
	// Set makes a Timer event of this key after d; it replaces one of the same
	// key. ErrBound when too many are set (100,000).
	Set(key string, d time.Duration, state []byte) error
	// SetFor is a Set whose Timer is an event of another ordering key than the handler's, see
	// RequestFor.
	SetFor(order, key string, d time.Duration, state []byte) error
	Cancel(key string)
}

// Timer is a timer that fired.
type Timer struct {
	Key   string
	State []byte
}

// Session is a session as extensions see it.
type Session struct {
	JID       jid.JID
	Available bool
	Priority  int8
	Marks     []string // those of the extension that asks; not to be changed
	// Features are what the client says that it can do: of disco#info, verified by
	// the hash in its presence (XEP-0115), sorted. nil while that is not known: it
	// has no capabilities, is not available, or has not answered yet. Not to be changed.
	Features []string
}

// Can says whether the client is known to have a feature.
func (s *Session) Can(feature string) bool {
	_, ok := slices.BinarySearch(s.Features, feature)
	return ok
}

// Sessions looks up and changes sessions. Calls but Of and Room are effects.
type Sessions interface {
	// Of returns the sessions of an account.
	Of(account jid.JID) []Session
	// End is an effect: the sessions of the account end with the stream error
	// condition (RFC 6120 4.9.3) and text, behind what was sent to them before.
	// Needs ManageAccounts.
	End(account jid.JID, condition, text string) error
	// Mark puts a mark of the registration on a session (full JID), or takes it
	// away. A session that is gone is skipped, and so is another one that has its
	// name by now: it is the one that asks, or, if that is another, the one that had
	// the name when Mark was called.
	Mark(session jid.JID, name string, on bool) error
	// Room returns how many bytes may be queued for the client of a session before it
	// counts as one that does not read; 0 if the session is not there.
	Room(session jid.JID) int
	// Release sends what the Write stage holds back of a session; which one is as
	// for Mark.
	Release(session jid.JID)
	// Withdraw makes the account look offline to whoever sees its presence and
	// matches one of the patterns (jid.JID.Matches), but none of except: they are
	// sent unavailable presence of its sessions, which passes no Submit stage.
	// Announce is the reverse: contacts that match are sent the presence of its
	// sessions if they are subscribed, and asked for theirs if it is subscribed to
	// them. That passes Submit, so that who is still kept from it hears nothing.
	// Both need TellPresence.
	Withdraw(account jid.JID, patterns, except []jid.JID) error
	Announce(account jid.JID, patterns []jid.JID) error
}

// Rosters tells of rosters. Calls need ReadRosters; Subscribed may wait.
type Rosters interface {
	// Subscribed says whether a contact may see the presence of an account: it is
	// subscribed to it (RFC 6121 2.1.2.5: from or both), or is the account itself.
	// It is false for an account that is not there. Resources do not count. Who
	// asks for what is only for contacts must get the same answer wherever this is
	// false, or it could find out which accounts there are.
	Subscribed(ctx context.Context, account, contact jid.JID) (bool, error)
	// Known is Subscribed without waiting: true for the account itself, and for
	// contacts of an account whose roster is in memory. It is, while a session of
	// the account is available. False may mean that it is not known.
	Known(account, contact jid.JID) (bool, error)
	// Listed says whether a contact is in the roster of an account (RFC 6121 2.1), in
	// a stage handler of an extension with a ResidentRoster that the account has an
	// entry of; it is an error anywhere else. Resources do not count.
	Listed(account, contact jid.JID) (bool, error)
}

// Accounts is the port of package auth. Calls that change something take
// effect at once, outside of the handler's transaction. All need ManageAccounts; for
// Get and List ListAccounts is enough.
type Accounts interface {
	auth.Verifier
	auth.Accounts
}

// Secrets are random bytes, kept by the kernel, the same across restarts and nodes.
type Secrets interface {
	// Secret returns the 32 bytes of this name, the extension's own.
	Secret(ctx context.Context, name string) ([]byte, error)
}
