package storage

import (
	"errors"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// SavedSessions keeps what can be resumed (XEP-0198 5) over a planned restart. The
// kernel calls Load once, before anything else, Discard once when all of it is in
// memory again, and Save once, at its end.
type SavedSessions interface {
	// Save writes everything, or nothing: it is on disk, or there is an error.
	Save(s *Saved) error
	// Load returns what was saved last; nil if there is none. What can't be read,
	// since it is damaged or of a newer version, is put aside: ErrUnreadable, which
	// says where it is. Any other error means that reading failed.
	Load() (*Saved, error)
	// Discard drops what was saved, so that no later start finds it. None is no
	// error.
	Discard() error
}

// ErrUnreadable: what was saved can't be read.
var ErrUnreadable = errors.New("storage: what was saved can't be read")

// Saved is what a planned stop leaves to the next start.
type Saved struct {
	At       time.Time // of the stop
	Sessions []SavedSession
	// Ended are sessions that can't be resumed any more, and whose count can still
	// be told.
	Ended []SpoolSession
	// Spoiled says why sessions that were saved, too, can't be read; set by Load. They
	// are among Ended.
	Spoiled []error
}

// SavedSession is a session that can be resumed.
type SavedSession struct {
	JID        jid.JID       // full
	ID         string        // SM-ID
	Max        time.Duration // how long it waits for a connection; kept to the millisecond
	Until      time.Time     // until when it waits now; kept to the millisecond
	Handled    uint32        // stanzas that its client sent, those of Tickets among them
	Acked      uint32        // stanzas that its client acknowledged
	Interested bool          // in roster pushes
	Priority   int8
	Presence   *stanza.Stanza // nil while unavailable
	Directed   []jid.JID      // whom it sent directed presence
	Marks      []string       // that outlive a connection
	Caps       *SavedCaps     // nil if they are not known; sessions may share them

	// Queue is what its client has not acknowledged, in order.
	Queue []SavedStanza
	// Written is how many of Queue, from the first on, were written to the client,
	// and are counted by it.
	Written int
	// Gap is how many of Queue stand in front of the place where stored messages
	// (XEP-0160) are inserted; -1 without such a place. Fetches says that it is this
	// session of its account that gets them.
	Gap     int
	Fetches bool

	// Tickets are stanzas of its client that extensions elsewhere have, in the order of their
	// numbers: it is told of none behind them until these are over. SavedState.Events has them.
	Tickets []SavedTicket
}

// Told is how many stanzas its client may be told of: those before the first of Tickets.
func (s *SavedSession) Told() uint32 {
	if len(s.Tickets) > 0 {
		return s.Tickets[0].N - 1
	}
	return s.Handled
}

// SavedCaps is what a client can do (XEP-0115).
type SavedCaps struct {
	XML      string   // <c/>
	Features []string // sorted
}

// SavedStanza is a stanza on its way to a client.
type SavedStanza struct {
	Stanza *stanza.Stanza
	To     jid.JID   // written instead of the stanza's to, unless zero
	At     time.Time // when it was queued, kept to the microsecond; zero if that was before stream management
	Stored uint64    // its ID in the storage of offline messages; 0 if it is not there
	Fork   *SavedFork
}

// SavedFork is what several SavedStanzas of one account may share: the message that
// they are copies of.
type SavedFork struct {
	Message *stanza.Stanza // may be the Stanza of one that shares it; nil if it is not lost with its copies
	Taken   bool           // a client has one of the copies
	Record  uint64         // of the spool; 0 for none
	At      time.Time      // when Record was received, kept to the microsecond
}
