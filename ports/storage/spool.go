package storage

import (
	"context"
	"errors"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// SpoolRecord is a message that the server has accepted for an account and that
// no client has acknowledged yet.
type SpoolRecord struct {
	ID     uint64 // set by Append; grows, also across restarts
	Stamp  time.Time
	To     jid.JID // bare JID of the account that it is for, or, of one for a far domain, that sent it
	Stanza *stanza.Stanza
	// Sender is the SM-ID of the session that sent it (XEP-0198), "" for none,
	// and Handled the count of that session with this stanza.
	Sender  string
	Handled uint32
	// Light: a kill of the process is all that the record must outlive, since the
	// message is being committed elsewhere. It is written, and not synced.
	Light bool
}

// SpoolSession is what a spool knows of a sending session.
type SpoolSession struct {
	ID      string // its SM-ID
	User    jid.JID
	Handled uint32
}

// ErrSpool: the spool can't write any more, and what it holds may not be on
// disk. The process must end: what is not acknowledged is sent again.
var ErrSpool = errors.New("storage: the spool has failed")

// Spool keeps what is accepted and not yet acknowledged on the disk of the node,
// so that it outlives a kill of the process. It holds up acknowledgements, never
// a delivery. Calls but Load, Written and Close never wait and may come from any goroutine,
// with locks held.
type Spool interface {
	// Load calls f for each record of earlier processes that is not done, in
	// the order of their IDs, and returns the sessions that sent. It is called
	// once, before anything else. What can't be read is logged and left out; the error
	// is f's, the disk's, or that a newer version wrote the spool.
	Load(f func(SpoolRecord) error) ([]SpoolSession, error)
	// Append takes a record and returns its ID. The stanza has at most MaxValue bytes
	// when it is written; of one that is far longer nothing may be kept.
	Append(r SpoolRecord) uint64
	// Written waits until a record outlives a kill of the process, or ctx ends. It
	// is the one call besides Load and Close that waits.
	Written(ctx context.Context, id uint64)
	// Done: the record need not be kept any more.
	Done(id uint64)
	// Began notes who a session is; Ended that nobody will ask for it any more.
	Began(s SpoolSession)
	Ended(sender string)
	// Told notes a count that the client of a session is being told, or was told: it is
	// written soon, and never synced.
	Told(sender string, handled uint32)
	// Synced has f told, by one goroutine, up to which ID everything is on disk
	// or done. It is called once, before the first Append.
	Synced(f func(id uint64))
	// Size returns how many records are kept, and how many bytes the log has on the
	// disk.
	Size() (records int, bytes int64)
	// Full says that the disk has no room. What is appended meanwhile waits in memory,
	// and is not on disk until there is room again: whoever can should refuse it.
	Full() bool
	// Failed is closed when the spool can't write any more: ErrSpool.
	Failed() <-chan struct{}
	// Close writes what is left and ends.
	Close() error
}
