package storage

import (
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
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
	At         time.Time // of the stop
	Extensions []SavedExtension
}

// SavedExtension is what one of them has: extension.Memory, Groups and Timers.
type SavedExtension struct {
	Name     string
	Revision uint64 // of its memory
	Memory   []SavedValue
	Groups   []SavedGroup
	Timers   []SavedTimer
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
