package offline

import (
	"context"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Patience is how long a message waits for what ended sessions left: then order
// yields, since storage is slow.
const Patience = 10 * time.Second

// Hold keeps messages for an account from being stored until release is called,
// and the gap of a session from being closed: a session of the account ends, and
// what it leaves comes first. release is called once.
func (o *Offline) Hold(owner jid.JID) (release func()) {
	if o.quota <= 0 {
		return func() {}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.account(owner)
	a.holds++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.unhold(a)
	}
}

// Held says whether a session of the account is just ending.
func (o *Offline) Held(owner jid.JID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.accounts[owner]
	return a != nil && a.holds > 0
}

// unhold ends a hold; o.mu is held.
func (o *Offline) unhold(a *account) {
	if a.holds--; a.holds > 0 {
		return
	}
	if a.clear != nil {
		close(a.clear)
		a.clear = nil
	}
	if a.flush != nil {
		a.again = true
		o.reads.ask(&a.read)
	}
	o.drop(a)
}

// Await waits until nothing of an account is held, for ten seconds at most.
func (o *Offline) Await(ctx context.Context, owner jid.JID) {
	o.mu.Lock()
	a := o.accounts[owner]
	if a == nil || a.holds == 0 {
		o.mu.Unlock()
		return
	}
	if a.clear == nil {
		a.clear = make(chan struct{})
	}
	clear := a.clear
	o.mu.Unlock()
	late := time.NewTimer(Patience)
	defer late.Stop()
	select {
	case <-clear:
	case <-late.C:
	case <-ctx.Done():
	}
}
