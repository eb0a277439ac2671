package offline

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/core/underway"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Bounds of what is stored by one commit, and of what waits for it.
const (
	addedAtOnce      = 512
	addedAtOnceBytes = 4 << 20
	maxAdds          = 32_768
	maxAddsBytes     = 64 << 20
)

// adder stores messages that are under way (package underway), in the order in which
// they are queued; what waits together is one commit. It has a goroutine while there is
// something to do.
type adder struct {
	o      *Offline
	ctx    context.Context // ends when stop runs out of time
	cancel context.CancelFunc

	mu       sync.Mutex // guards what follows
	queue    []*add
	bytes    int           // of what is in the queue
	done     chan struct{} // closed when the goroutine ends; nil if there is none
	stopping bool
}

// add is a message that waits.
type add struct {
	storage.OfflineAdd
	receipt cluster.Receipt
	message *underway.Message
	since   time.Time
}

func newAdder(o *Offline) *adder {
	ctx, cancel := context.WithCancel(context.Background())
	return &adder{o: o, ctx: ctx, cancel: cancel}
}

// Queue has a message stored for the account that it is addressed to, received at some
// time, when its receipt is written. join is called when it is queued: what becomes of m
// is told Added. It is not called, and ok is false, if nothing can be queued: then Add
// can do it; nor if the message can't be stored at all, as its sender is told. Nothing of
// the account is Held. It never waits.
func (o *Offline) Queue(st *stanza.Stanza, at time.Time, receipt cluster.Receipt, m *underway.Message, join func()) (told *stanza.Error, ok bool) {
	xml, bad := o.encode(st)
	if bad != nil {
		return bad, false
	}
	one := &add{storage.OfflineAdd{Owner: st.To.Bare(), Message: storage.OfflineMessage{Stamp: at, XML: xml}}, receipt, m, time.Now()}
	if receipt.Spool != nil { // a spool without room holds up those who wait for it, and nobody else
		return nil, o.safe.add(one, join)
	}
	return nil, o.adder.add(one, join)
}

// Asks says that Added waits.
func (o *Offline) Asks(err error) bool {
	return o.Contacts != nil && (errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrQuota))
}

func (a *adder) add(one *add, join func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(one.Message.XML)
	if a.stopping || len(a.queue) >= maxAdds || a.bytes+n > maxAddsBytes {
		return false
	}
	join()
	a.queue = append(a.queue, one)
	a.bytes += n
	if a.done == nil {
		a.done = make(chan struct{})
		go a.run(a.done)
	}
	return true
}

// errAddLate: it was not begun in time, and is never stored.
var errAddLate = fmt.Errorf("%w: nothing was stored: it waited for too long", storage.ErrUnavailable)

// run stores until nothing waits. It yields before each commit, so that those whose
// message came behind the last one can queue theirs.
func (a *adder) run(done chan struct{}) {
	defer close(done)
	for {
		runtime.Gosched()
		group := a.take()
		if group == nil {
			return
		}
		results := a.store(group)
		finished := make([]underway.Finished, len(group))
		for i, one := range group {
			finished[i] = underway.Finished{Message: one.message, Err: results[i]}
		}
		a.o.Finish(finished)
	}
}

// take takes what comes next; nil if nothing waits.
func (a *adder) take() (group []*add) {
	a.mu.Lock()
	defer a.mu.Unlock()
	bytes := 0
	for len(group) < min(len(a.queue), addedAtOnce) {
		n := len(a.queue[len(group)].Message.XML)
		if bytes += n; bytes > addedAtOnceBytes && len(group) > 0 {
			break
		}
		group = append(group, a.queue[len(group)])
		a.bytes -= n
	}
	clear(a.queue[:len(group)])
	if a.queue = a.queue[len(group):]; len(a.queue) == 0 {
		a.queue = nil
	}
	if len(group) == 0 {
		a.done = nil
	}
	return group
}

// store stores a group, and returns what has become of each.
func (a *adder) store(group []*add) []error {
	ctx, cancel := context.WithTimeout(a.ctx, maxTime)
	defer cancel()
	results := make([]error, len(group))
	all := make([]storage.OfflineAdd, 0, len(group))
	which := make([]int, 0, len(group))
	last := time.Now().Add(-maxTime)
	var receipt cluster.Receipt
	for i, one := range group {
		if !one.since.After(last) {
			results[i] = errAddLate
			continue
		}
		all, which = append(all, one.OfflineAdd), append(which, i)
		if one.receipt.Spool != nil && one.receipt.ID > receipt.ID {
			receipt = one.receipt
		}
	}
	if len(all) == 0 {
		return results
	}
	receipt.Written(ctx) // and with it all before
	each, err := a.o.Store.AddOfflineEach(ctx, all, a.o.quota)
	for n, i := range which {
		switch {
		case err == nil:
			results[i] = each[n]
		case len(all) > 1 && !errors.Is(err, storage.ErrUnavailable): // whose fault it was is not known
			_, results[i] = a.o.Store.AddOffline(ctx, all[n].Owner, all[n].Message, a.o.quota)
		default:
			results[i] = err
		}
	}
	return results
}

// stop lets nothing in any more, and waits until what was queued is stored, or cuts it
// off when ctx ends.
func (a *adder) stop(ctx context.Context) error {
	a.mu.Lock()
	a.stopping = true
	done := a.done
	a.mu.Unlock()
	defer a.cancel()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	a.cancel()
	last := time.NewTimer(cutOff)
	defer last.Stop()
	select {
	case <-done:
	case <-last.C:
	}
	return fmt.Errorf("offline: messages were not stored in time: %w", ctx.Err())
}
