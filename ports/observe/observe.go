// Package observe is the port for whoever counts and times what the server does:
// structs of functions, like net/http/httptrace. A nil function means that nobody
// listens. They may be called by any goroutine, with locks held and on the hottest
// paths: they must not wait.
package observe

import (
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// ChannelBinding is told of a login as not-authorized that failed by its channel
// binding: of a client that tries one mechanism after the other, not of a wrong
// password.
const ChannelBinding = "channel-binding"

// Kernel is told what the kernel does.
type Kernel struct {
	// Received: a client handed in a stanza. Delivered: a session took one.
	Received, Delivered func(k stanza.Kind)
	// LoggedIn: a login has succeeded. LoginFailed: it failed, with the SASL
	// condition (RFC 6120 6.5), or with ChannelBinding.
	LoggedIn    func()
	LoginFailed func(condition string)
	// Resumed: a client asked to resume a session (XEP-0198 5).
	Resumed func(ok bool)
	// Restored: so many sessions of the process before can be resumed.
	Restored func(sessions int)
	// Overflowed: a session ended since its client did not read, or did not
	// acknowledge.
	Overflowed func()
	// Stored: a message was stored for an account that is offline (XEP-0160).
	// Fetched: so many stored ones have arrived, and are to be deleted. NotStored:
	// one was refused that should have been stored.
	Stored    func()
	Fetched   func(n int)
	NotStored func(why Reason)
	// Paused: a connection is not read for a time, since its account has sent more
	// than it may: "bytes" or "stanzas".
	Paused func(limit string, d time.Duration)
	// Refused: a stanza of a client was answered with an error of type wait, for the
	// account sends too many ("rate"), or the server can't keep it safe ("disk").
	Refused func(reason string)
	// Archived: so many rows of archives shared a commit that took so long, and failed
	// or not.
	Archived func(rows int, took time.Duration, err error)
}

// Reason says why a message was not stored.
type Reason string

const (
	OverQuota     Reason = "quota"   // as many wait for the account as may
	TooLong       Reason = "size"    // for storage
	StorageFailed Reason = "storage" // there is an error in the log
)

// Complete returns k with functions that do nothing for those that are nil.
func (k Kernel) Complete() *Kernel {
	if k.Received == nil {
		k.Received = func(stanza.Kind) {}
	}
	if k.Delivered == nil {
		k.Delivered = func(stanza.Kind) {}
	}
	if k.LoggedIn == nil {
		k.LoggedIn = func() {}
	}
	if k.LoginFailed == nil {
		k.LoginFailed = func(string) {}
	}
	if k.Resumed == nil {
		k.Resumed = func(bool) {}
	}
	if k.Restored == nil {
		k.Restored = func(int) {}
	}
	if k.Overflowed == nil {
		k.Overflowed = func() {}
	}
	if k.Stored == nil {
		k.Stored = func() {}
	}
	if k.Fetched == nil {
		k.Fetched = func(int) {}
	}
	if k.NotStored == nil {
		k.NotStored = func(Reason) {}
	}
	if k.Paused == nil {
		k.Paused = func(string, time.Duration) {}
	}
	if k.Refused == nil {
		k.Refused = func(string) {}
	}
	if k.Archived == nil {
		k.Archived = func(int, time.Duration, error) {}
	}
	return &k
}

// Remote is told of extensions that run in processes of their own, by name. kind is an
// extension.EventKind as text.
type Remote struct {
	// Dispatched: an event was given to an extension. An error says that it took it not.
	Dispatched func(name, kind string, err error)
	// Ended: an event is at its end, so long after that. nil: its outcome was applied;
	// else nothing was.
	Ended func(name, kind string, took time.Duration, err error)
	// Again: an outcome was not applied, and the event is handled again.
	Again func(name string, why error)
	// Missed: a stanza got no verdict in time. Skipped: a handler was not asked, since
	// it had missed too many.
	Missed, Skipped func(name string)
	// Broke: a handler is not asked for a while, or, false, again.
	Broke func(name string, open bool)
}

// Complete returns r with functions that do nothing for those that are nil.
func (r Remote) Complete() Remote {
	if r.Dispatched == nil {
		r.Dispatched = func(string, string, error) {}
	}
	if r.Ended == nil {
		r.Ended = func(string, string, time.Duration, error) {}
	}
	if r.Again == nil {
		r.Again = func(string, error) {}
	}
	if r.Missed == nil {
		r.Missed = func(string) {}
	}
	if r.Skipped == nil {
		r.Skipped = func(string) {}
	}
	if r.Broke == nil {
		r.Broke = func(string, bool) {}
	}
	return r
}

// Connections is told what the adapter of connections does with those that come
// too fast, or are too many.
type Connections struct {
	// Delayed: one is served after a time.
	Delayed func(d time.Duration)
	// Refused: one was closed at once; limit is the key of the configuration.
	Refused func(limit string)
}

// Complete returns c with functions that do nothing for those that are nil.
func (c Connections) Complete() *Connections {
	if c.Delayed == nil {
		c.Delayed = func(time.Duration) {}
	}
	if c.Refused == nil {
		c.Refused = func(string) {}
	}
	return &c
}

// Storage is told what a storage adapter does.
type Storage struct {
	// Committed: a transaction with so many writes took so long, and failed or
	// not.
	Committed func(writes int, took time.Duration, err error)
}

// Gauges are what can be asked of the kernel at any time; it costs little.
type Gauges struct {
	Streams   int // client streams, logged in or not
	Sessions  int // bound resources
	Resumable int // sessions that can be resumed (XEP-0198), attached or not
	Resting   int // streams that are not read for a while, since their accounts send too fast
	Tasks     int // what waits or runs that no stream waits for
	Underway  int // messages of clients that are accepted, and wait for a commit

	// Of the spool: messages that were accepted and that no client has acknowledged
	// yet, and the bytes of its log. 0 without one.
	SpoolRecords int
	SpoolBytes   int64

	Extensions []Extension // those that have, or had, something in the kernel's memory
}

// Extension is what an extension has in the kernel's memory.
type Extension struct {
	Name            string
	Groups, Members int // of its groups, and members of all of them
	MemoryEntries   int // of its memory
	MemoryBytes     int64
	Timers          int // that are set, or whose handlers run
}
