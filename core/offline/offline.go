// Package offline keeps messages for accounts that no session takes messages
// for (XEP-0160), and brings them to the first session that does.
//
// What is stored, and what not, is in rule.go. store.go stores, queue.go many at once,
// fetch.go reads
// and hands over, receipts.go deletes what has arrived, hold.go and left.go let what
// a session leaves go in front of what comes later, restore.go does so with what an
// earlier process had accepted.
//
// # Order
//
// Stored messages come before live ones. A session that takes messages from now
// on gets a gap in its outbox before others can see it (Begin): stored messages
// are inserted in front of it, live ones wait behind. It is closed when storage
// has no more. Whoever has stored a message looks for a session before the
// sender's next message to the account is given to one (Added): then the gap is
// opened there and then.
//
// One session of an account has the gap. If that session ends, or takes no more
// messages, another one gets it.
//
// # Receipts
//
// A message stays in storage until the client acknowledged it (XEP-0198), or,
// without that, until it was written. Until it is deleted this process remembers
// that it is under way, so that it is not read a second time. What a session that
// has ended did not acknowledge is read again; it was never lost, and is not
// stored twice.
//
// # Locks
//
// Offline.mu guards all of this. Under it, Session.mu and Outbox.mu may be
// taken, never the reverse; storage and the code of extensions are never called
// under it.
package offline

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/core/underway"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Options of offline messages.
type Options struct {
	// Messages that wait for one account, at the most; default 1,000. Negative:
	// none are stored.
	Messages int
}

// Deps are what offline messages stand on.
type Deps struct {
	Store    storage.Offline
	Contacts Contacts // nil: everybody is told that too many messages wait
	Sessions cluster.Registry
	Log      *zap.Logger
	Now      func() time.Time
	Observe  *observe.Kernel           // complete
	Finish   func([]underway.Finished) // is told of commits that messages under way wait for
}

// Contacts tells who may see the presence of an account; package roster does.
type Contacts interface {
	Subscribed(ctx context.Context, account, contact jid.JID) (bool, error)
}

// Bounds of what runs at once, and for how long.
const (
	readers  = 16 // accounts that are read
	deleters = 8  // accounts whose receipts are written
	keepers  = 16 // accounts for which is stored what ended sessions left

	maxTime = 30 * time.Second // of a call of storage
)

// Recall takes a message through the stage Recall: see router.Router.Recall.
type Recall func(b *transport.Batch, e *extension.Envelope, then func(b *transport.Batch, st *stanza.Stanza, err error)) transport.Wait

// Undecided says of the end of a stanza in a stage that no handler has refused it, but
// one has failed, or gave no verdict: it may be taken through the stage once more.
func Undecided(err error) bool {
	var refused *stanza.Error
	return err != nil && (!errors.As(err, &refused) || refused.Condition == stanza.InternalServerError)
}

// Offline may be used by any goroutine.
type Offline struct {
	Deps
	Recall Recall // set before the first session

	quota int // 0: nothing is stored

	reads, deletes, late *pool
	adder, safe          *adder // of messages without a receipt, and of those with one

	mu       sync.Mutex
	accounts map[jid.JID]*account // those where something is under way
}

// New returns an Offline, whose work Stop ends.
func New(o Options, d Deps) *Offline {
	if o.Messages == 0 {
		o.Messages = 1000
	}
	x := &Offline{
		Deps: d, quota: max(o.Messages, 0), accounts: map[jid.JID]*account{},
		reads: newPool(readers), deletes: newPool(deleters), late: newPool(keepers),
	}
	x.adder, x.safe = newAdder(x), newAdder(x)
	return x
}

// Enabled says whether messages are stored at all.
func (o *Offline) Enabled() bool { return o.quota > 0 }

// Registration is what service discovery tells of offline messages (XEP-0160 4).
func (o *Offline) Registration() extension.Registration {
	r := extension.Registration{Name: "offline"}
	if o.Enabled() {
		r.Implements = []extension.XEP{{Number: 160, Version: "1.0.1"}, {Number: 203, Version: "2.0"}, {Number: 334, Version: "1.0.0"}}
		r.Server.Features = []string{"msgoffline"}
	}
	return r
}

// Settle waits until what is under way, and what ended sessions left, is stored, or ctx
// ends. What can't be stored is tried once more.
func (o *Offline) Settle(ctx context.Context) error {
	err := errors.Join(o.adder.stop(ctx), o.safe.stop(ctx), o.late.stop(ctx))
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, a := range o.accounts {
		n += len(a.left.queue)
	}
	if n > 0 {
		o.Log.Error("storage: messages that ended sessions left are not stored; those whose senders were told that they are safe are in the spool, and are stored at the next start",
			zap.Int("messages", n))
	}
	return err
}

// Stop ends all work: receipts are still written, as long as ctx lasts.
func (o *Offline) Stop(ctx context.Context) error {
	over, end := context.WithCancel(context.Background())
	end()
	o.reads.stop(over) // nobody is there to read for
	return errors.Join(o.adder.stop(ctx), o.safe.stop(ctx), o.late.stop(ctx), o.deletes.stop(ctx))
}

// account is what is under way for one account. Offline.mu guards it.
type account struct {
	owner jid.JID // bare

	flush   *flush            // nil if no session has the gap
	with    map[uint64]*flush // messages that were read: with its session, or nil, to be deleted
	after   uint64            // those up to it are in with, or deleted
	again   bool              // there may be more than the last read saw
	reading bool
	gone    []uint64 // deleted while reading: what is read may still have them

	receipts []uint64 // to be deleted
	deleting bool

	holds int
	clear chan struct{} // closed when holds is 0 again; nil if nobody waits
	left  leftovers

	read, delete, keep job
	readErrors         int // in a row
	deleteErrors       int
}

// flush is the time in which one session has the gap.
type flush struct {
	s     *session.Session
	shown bool // others can see that the session takes messages
	tries int  // how often a message was put off; the read job's
	// behind are sessions that had it, have ended, and have not left yet: what they were brought comes
	// first.
	behind []*session.Session
}

// maxTries is how often a session waits for handlers of the stage Recall that fail, or
// give no verdict: a quarter of a minute in all. Then it goes on without those messages.
const maxTries = 4

// account returns what is under way for an account; o.mu is held.
func (o *Offline) account(owner jid.JID) *account {
	a := o.accounts[owner]
	if a == nil {
		a = &account{owner: owner.Clone(), with: map[uint64]*flush{}}
		a.read.run = func(ctx context.Context) { o.read(ctx, a) }
		a.delete.run = func(ctx context.Context) { o.deleteReceipts(ctx, a) }
		a.keep.run = func(ctx context.Context) { o.keep(ctx, a) }
		o.accounts[a.owner] = a
	}
	return a
}

// drop forgets an account where nothing is under way any more; o.mu is held. It
// may be forgotten already, and known anew.
func (o *Offline) drop(a *account) {
	if a.flush == nil && len(a.with) == 0 && !a.reading && !a.deleting && a.holds == 0 && len(a.left.queue) == 0 && o.accounts[a.owner] == a {
		delete(o.accounts, a.owner)
	}
}

// backoff is how long to wait after n failures in a row.
func backoff(n int) time.Duration { return min(time.Second<<min(n-1, 10), time.Minute) }

// timed bounds a call of storage.
func timed(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	return call(ctx)
}
