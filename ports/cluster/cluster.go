// Package cluster is the port to what nodes of one deployment share. Today it
// is the session registry: who is online where. The kernel never assumes that
// the session of a JID is local: it asks the registry, and delivers through
// the Receiver of the entry, wherever that leads.
//
// # Rules for an implementation
//
//   - Lookup costs what a map look-up costs, on every node: entries are
//     announced, not asked for.
//   - A full JID has one session at most. The later claim wins; its fence is
//     the greater one. Update and Release with an older fence do nothing.
//   - A Receiver's methods are never called with a lock of the registry held.
package cluster

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// Receiver is the way to a session. Any goroutine may call it.
type Receiver interface {
	// Deliver hands a stanza to the session. It never blocks. false means that
	// the session did not take it (it has just ended, or it is without a
	// connection and the stanza can't wait): the caller treats it as if the
	// session had not been there.
	Deliver(b *transport.Batch, d Delivery) bool
	// Stored tells the session that messages wait for its account in storage
	// (XEP-0160). It fetches them, unless another session of the account does so
	// already, and whatever is delivered to it from now on comes behind them. It
	// never blocks. false means that the session takes none: it is not available
	// any more, or has ended.
	Stored() bool
	// End ends the session with a stream error: conflict, when another one has
	// taken its full JID (RFC 6120 4.9.3.3). It never waits. The channel is
	// closed when whoever saw the session as available has been told that it is
	// gone: nothing of it follows after that, so a new session that waits for
	// it can't be overtaken by the end of the old one.
	End(b *transport.Batch, e *stream.Error) (gone <-chan struct{})
	// Room returns how many bytes of stanzas the session takes before it ends since
	// its client does not read.
	Room() int
	// Mark puts a mark on the session, or takes it away.
	Mark(b *transport.Batch, m Mark, on bool)
	// Release sends what the session's Write stage holds back.
	Release(b *transport.Batch)
	// Show tells others of the session. The Wait is what is left to do.
	Show(b *transport.Batch, v Show) transport.Wait
	// Features returns what the client can do by its verified capabilities
	// (XEP-0115): features of disco#info, sorted; nil while they are not known.
	// The slice is shared and must not be changed.
	Features() []string
}

// Show says who is told of a session: those who match To and not Except. Either
// whoever is subscribed to it what its presence is, or whoever was told that it is
// available that it is not.
type Show struct {
	To, Except jid.Patterns
	Available  bool
}

// Has says whether j is among them.
func (v *Show) Has(j jid.JID) bool { return v.To.Match(j) && !v.Except.Match(j) }

// Mark is a flag of an extension on a session.
type Mark struct {
	Name       string // unique among all extensions
	Connection bool   // lost when the session is resumed on another connection
}

// Delivery is a stanza on its way to a session.
type Delivery struct {
	Stanza *stanza.Stanza
	To     jid.JID // written instead of the stanza's to, unless zero
	Fork   *Fork   // shared by the copies of a message for several sessions; nil if it is for one

	// Stranger: the sender has no subscription to the account's presence. Only a
	// session that sent it directed presence takes the stanza (RFC 6121 8.5.3.1).
	Stranger bool
}

// Receipt says that a message is in a spool until a client has it; without Spool it is
// in none.
type Receipt struct {
	ID    uint64
	At    time.Time   // when the message was received
	Spool interface { // storage.Spool
		Written(ctx context.Context, id uint64)
		Done(id uint64)
	}
}

// Written waits until the message outlives a kill of the process, or ctx ends.
func (r Receipt) Written(ctx context.Context) {
	if r.Spool != nil {
		r.Spool.Written(ctx, r.ID)
	}
}

// Done tells the spool that the message need not be kept. It never waits.
func (r Receipt) Done() {
	if r.Spool != nil {
		r.Spool.Done(r.ID)
	}
}

// Fork follows a message that was given to several sessions: it is lost only if
// all of them lose it.
type Fork struct {
	// Message is what is lost then; nil for copies of what is not.
	Message *stanza.Stanza
	// Receipt is used up when a client has one of the copies.
	Receipt Receipt

	copies atomic.Int32
	taken  atomic.Bool
}

// RestoreFork returns a Fork that an earlier process had; taken says that a client
// has one of the copies. Those that there are still must be counted anew.
func RestoreFork(message *stanza.Stanza, receipt Receipt, taken bool) *Fork {
	f := &Fork{Message: message, Receipt: receipt}
	f.taken.Store(taken)
	return f
}

// Taken says whether a client has one of the copies.
func (f *Fork) Taken() bool { return f.taken.Load() }

// Add counts a copy.
func (f *Fork) Add() { f.copies.Add(1) }

// Took notes that a client has one of the copies.
func (f *Fork) Took() {
	if !f.taken.Swap(true) {
		f.Receipt.Done()
	}
}

// Lost notes that a copy was lost, and reports whether that loses the message.
func (f *Fork) Lost() bool { return f.copies.Add(-1) == 0 && !f.taken.Load() }

// Entry is one session.
type Entry struct {
	JID       jid.JID        // full
	Fence     uint64         // set by Claim
	Available bool           // has sent initial presence (RFC 6121 4.2)
	Priority  int8           // of that presence, RFC 6121 4.7.2.3
	Presence  *stanza.Stanza // last broadcast presence, nil while unavailable
	Receiver  Receiver

	// Marks are the names of the session's marks; the slice does not change.
	Marks []string

	// Interested: has asked for the roster, and gets roster pushes (RFC 6121
	// 2.2).
	Interested bool
}

// Marked says whether the session has a mark.
func (e *Entry) Marked(name string) bool { return slices.Contains(e.Marks, name) }

// Registry is the session registry.
type Registry interface {
	// Claim registers a session and returns its fence. If another session had
	// the full JID it is replaced, and returned for the caller to end.
	Claim(e Entry) (fence uint64, replaced *Entry)
	// Update replaces the entry with this JID and fence, but for the Receiver;
	// false if it is not there any more.
	Update(e Entry) bool
	// Release removes the entry with this JID and fence; false if it is not
	// there any more.
	Release(full jid.JID, fence uint64) bool
	// Sessions returns the sessions of a bare JID, in the order of their
	// claims. The slice is a snapshot and must not be changed.
	Sessions(bare jid.JID) []Entry
	// Session returns the session with this full JID.
	Session(full jid.JID) (Entry, bool)
	// Len returns how many sessions there are.
	Len() int
}
