package offline

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Left is what a session left behind, or an earlier process: nothing comes before it,
// no quota is for it, and it is stored however often it takes.
type Left struct {
	Stanza *stanza.Stanza // to the bare JID
	At     time.Time      // when it was first received
	// Bring, if it is not nil, takes the stanza where it goes now, and returns what
	// is to be stored, nil for nothing. After an error nothing is decided, and it is
	// called again.
	Bring func(ctx context.Context) (*stanza.Stanza, error)
	// Anyway: where Bring fails for longer than bringTime, and storage does not, the
	// stanza is stored as it is, or dropped if it is none that is stored.
	Anyway bool
	// Refused, if it is not nil, is told why it can't be stored, ever.
	Refused func(ctx context.Context, err *stanza.Error)
	// Done, if it is not nil, is called when it is stored, or is not to be.
	Done func()
}

// Bounds of what is stored at once, and of what one account has in memory while
// storage fails.
const (
	leftAtOnce      = 512
	leftAtOnceBytes = 4 << 20
	maxLeft         = 20_000
)

// bringTime is how long what a session left waits for who should have a say: behind it
// all that the account is left waits, too.
const bringTime = 10 * time.Minute

// leftovers is what is to be stored for one account, in order; Offline.mu guards it.
type leftovers struct {
	queue []*leftover
	holds bool      // the account, as long as there is something, and order has not yielded; nothing is read meanwhile
	doubt bool      // some of it may be stored already
	fails int       // in a row
	since time.Time // when the first of these was
	watch chan<- error
}

// leftover is one of them. The job that stores it has all fields.
type leftover struct {
	Left
	brought bool
	anyway  bool           // Bring has failed for too long: it is called again if storage fails, too
	st      *stanza.Stanza // to be stored
	xml     []byte         // as it is stored; nil for nothing
}

// Late has something stored that a session of the account left: behind what was left
// before, and in front of what others send from now on. What fails is tried again
// until the server ends.
func (o *Offline) Late(owner jid.JID, l Left) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.account(owner)
	switch {
	case a.left.fails > 0 && len(a.left.queue) >= maxLeft:
		o.Log.Error("storage: it has failed for so long that too much waits: a message that a session left is dropped; if its sender was told that it is safe it is in the spool, and stored at the next start",
			zap.Stringer("account", owner))
	case !o.late.ask(&a.keep):
		o.Log.Error("a message that a session left was not stored: the server has ended; if its sender was told that it is safe it is in the spool, and stored at the next start",
			zap.Stringer("account", owner))
	default:
		o.append(a, l)
	}
	o.drop(a)
}

// append queues something; o.mu is held.
func (o *Offline) append(a *account, l Left) {
	if !a.left.holds && a.left.fails == 0 {
		a.left.holds = true
		a.holds++
	}
	a.left.queue = append(a.left.queue, &leftover{Left: l})
}

// keep stores what sessions of an account left.
func (o *Offline) keep(ctx context.Context, a *account) {
	var known map[identity]int // what was stored already; nil if that is not asked for
	for {
		o.mu.Lock()
		page := slices.Clone(a.left.queue[:min(len(a.left.queue), leftAtOnce)])
		if len(page) == 0 {
			o.kept(a)
			o.mu.Unlock()
			return
		}
		doubt := a.left.doubt
		anyway := a.left.fails > 0 && o.Now().Sub(a.left.since) >= bringTime
		o.mu.Unlock()
		page, failed := o.bring(ctx, page, anyway)
		var some bool
		var err error
		if doubt && known == nil {
			known, err = o.known(ctx, a.owner)
		}
		if err == nil {
			some, err = o.addAll(ctx, a.owner, page, known)
		}
		o.mu.Lock()
		o.settle(a, page, err == nil)
		again := o.outcome(a, err, failed)
		o.mu.Unlock()
		for _, l := range page {
			if l.Done != nil && (err == nil || l.xml == nil) {
				l.Done()
			}
		}
		if some && err == nil {
			o.stored(a.owner)
		}
		if !again {
			return
		}
	}
}

// bring takes a page where it goes, and returns the part of it that may be settled
// now: the rest has no room in one transaction, or the first of it has failed. anyway
// says that it has failed for too long.
func (o *Offline) bring(ctx context.Context, page []*leftover, anyway bool) ([]*leftover, error) {
	bytes := 0
	for i, l := range page {
		if !l.brought || l.anyway {
			st := l.Stanza
			if l.Bring != nil {
				var err error
				st, err = l.Bring(ctx)
				l.anyway = err != nil
				if err != nil && !(anyway && l.Anyway) {
					return page[:i], err
				}
				if err != nil {
					st = o.asItIs(l, err)
				}
			}
			l.brought, l.xml = true, nil
			if st != nil {
				l.st = Stamped(st, l.At)
				l.xml = o.encodeLeft(ctx, &l.Left, l.st)
			}
		}
		if bytes += len(l.xml); bytes > leftAtOnceBytes && i > 0 {
			return page[:i], nil
		}
	}
	return page, nil
}

// asItIs returns what is stored where nobody can say what becomes of it.
func (o *Offline) asItIs(l *leftover, err error) *stanza.Stanza {
	st := l.Stanza
	stored := st.Kind == stanza.Message && o.Fate(st) == Keep
	o.Log.Error("what an extension has to say of a message that a session left fails for too long: it is done without",
		zap.Stringer("from", st.From), zap.Stringer("account", st.To), zap.Bool("stored", stored), zap.Error(err))
	if !stored {
		return nil
	}
	return st
}

// encodeLeft returns what is to be stored; nil if it can't be, ever.
func (o *Offline) encodeLeft(ctx context.Context, l *Left, st *stanza.Stanza) []byte {
	xml, bad := o.encode(st)
	switch {
	case bad == nil:
	case l.Refused != nil:
		l.Refused(ctx, bad)
	default:
		o.Log.Error("a message of before can't be stored, and is dropped", zap.Stringer("from", st.From), zap.Stringer("account", st.To), zap.String("reason", bad.Text))
	}
	return xml
}

// addAll stores those of a page that are to be, and are not known to be stored. It says
// whether there are some.
func (o *Offline) addAll(ctx context.Context, owner jid.JID, page []*leftover, known map[identity]int) (some bool, err error) {
	var all []storage.OfflineMessage
	for _, l := range page {
		if l.xml == nil {
			continue
		}
		some = true
		if known != nil {
			if id := identify(l.st, l.At); known[id] > 0 {
				known[id]--
				continue
			}
		}
		all = append(all, storage.OfflineMessage{Stamp: l.At, XML: l.xml})
	}
	if len(all) == 0 {
		return some, nil
	}
	err = timed(ctx, func(ctx context.Context) error { return o.Store.AddOfflineAll(ctx, owner, all) })
	switch {
	case err == nil:
		for range all {
			o.Observe.Stored()
		}
	case errors.Is(err, storage.ErrNotFound): // there is no such account any more
		return false, nil
	}
	return some, err
}

// settle takes out of the queue what has its end; page is the beginning of it.
// o.mu is held.
func (o *Offline) settle(a *account, page []*leftover, stored bool) {
	rest := a.left.queue[len(page):]
	clear(a.left.queue[:len(page)]) // rest keeps the memory
	if !stored {
		var left []*leftover
		for _, l := range page {
			if l.xml != nil {
				left = append(left, l)
			}
		}
		rest = append(left, rest...)
	}
	a.left.queue = rest
}

// outcome notes what came of a page, and says whether the next one follows at once.
// o.mu is held.
func (o *Offline) outcome(a *account, stored, brought error) (again bool) {
	l := &a.left
	err := errors.Join(stored, brought)
	if err == nil {
		l.fails = 0
		return true
	}
	if l.fails++; l.fails == 1 {
		l.since = o.Now()
	}
	l.doubt = l.doubt || stored != nil
	if l.holds && o.Now().Sub(l.since) >= Patience { // what others send does not wait for ever
		l.holds = false
		o.unhold(a)
	}
	if l.watch != nil {
		l.watch <- err
		l.watch = nil
	}
	o.Log.Error("storage: what a session left can't be stored; it is tried again",
		zap.Stringer("account", a.owner), zap.Int("messages", len(l.queue)), zap.Error(err))
	o.late.later(&a.keep, backoff(l.fails))
	return false
}

// kept notes that everything is stored; o.mu is held.
func (o *Offline) kept(a *account) {
	if a.left.watch != nil {
		a.left.watch <- nil
	}
	held := a.left.holds
	a.left = leftovers{}
	if held {
		o.unhold(a)
	} else {
		o.drop(a)
	}
}
