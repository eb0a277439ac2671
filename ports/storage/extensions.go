package storage

import (
	"net/netip"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// SavedExtensions keeps what extensions have in the kernel's memory over a planned
// restart. It is called as SavedSessions is: Load once, before the extensions start,
// Discard when all of it is in memory again and they have started, and Save at the
// end, when no handler runs any more.
type SavedExtensions interface {
	// Save writes everything, or nothing: it is on disk, or there is an error.
	Save(s *SavedState) error
	// Load returns what was saved last; nil if there is none. What can't be read is put
	// aside: ErrUnreadable, which says where it is. Any other error means that reading
	// failed.
	Load() (*SavedState, error)
	// Discard drops what was saved. None is no error.
	Discard() error
}

// SavedState is what a planned stop leaves of the extensions.
type SavedState struct {
	At time.Time // of the stop
	// Sessions is Saved.At of what SavedSessions was given behind it; zero if there are none. Where that
	// is not there at the start, Events are what clients send again.
	Sessions   time.Time
	Extensions []SavedExtension
	// Spoiled, of what was loaded, says which events are left out, since they can't be read.
	Spoiled []error
}

// SavedExtension is what one of them has: extension.Memory, Groups and Timers, and what has
// happened to it and has no outcome.
type SavedExtension struct {
	Name     string
	Revision uint64 // of its memory
	Memory   []SavedValue
	Groups   []SavedGroup
	Timers   []SavedTimer
	Events   []SavedEvent // in their order
}

// SavedEvent is an event of an extension that runs elsewhere: a stanza for one of its
// components, or the answer to a request of its own.
type SavedEvent struct {
	At     time.Time      // of receipt; kept to the microsecond
	Stanza *stanza.Stanza // of an answer that did not come in time nil
	Origin SavedOrigin    // of a stanza for a component
	Ticket SavedTicket    // of one, too: of the session that sent it

	Reply bool // the answer to a request
	Order string
	State []byte
}

// SavedOrigin is extension.Origin.
type SavedOrigin struct {
	Session jid.JID // may be zero
	Domain  string
	Addr    netip.Addr
	Secure  bool
}

// SavedTicket says which stanza of which session (XEP-0198) is not acknowledged since an
// extension has it. The zero value is none.
type SavedTicket struct {
	ID string // SM-ID; not in SavedSession.Tickets, where it is the session's
	N  uint32 // the number of the stanza
	// Size is what the stanza takes, in bytes, for the bounds of a session.
	Size int
}

// SavedValue is an entry of a memory.
type SavedValue struct {
	Key      string
	Value    []byte // not to be changed
	Revision uint64
}

// SavedGroup is a group with its members.
type SavedGroup struct {
	Name    string
	Members []SavedMember
}

// SavedMember is extension.Member.
type SavedMember struct {
	JID, From jid.JID // From may be zero
	Classes   []string
}

// SavedTimer is a timer that has not fired, or whose handler was not called.
type SavedTimer struct {
	Key   string
	Due   time.Time // kept to the microsecond
	Order string    // ordering key of its event, of an extension that runs elsewhere
	State []byte
}
