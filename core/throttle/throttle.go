// Package throttle slows the guessing of passwords down (RFC 6120 13.9.4), and
// limits how often an address, or an account, may do something costly (13.12).
//
// # Guessing
//
// A Throttle counts failed logins in three kinds of lanes:
//
//   - by address: one IPv4 address, or one /64 of IPv6. It covers one host that
//     tries many accounts.
//   - by account: all addresses that the account does not know, together. It
//     covers many hosts that try one account.
//   - by account and known address. An address is known to an account for some
//     time after a login succeeded from there. Such an attempt is judged by this
//     lane alone, so nobody can lock the owner out by failing elsewhere, nor a
//     neighbour behind the same address by failing at other accounts. The lane
//     never waits long, because the owner's old device with an old password
//     fails in it too.
//
// The first failures of a lane are free; then each one doubles the time between
// two attempts. A short wait holds the answer back, a longer one refuses the
// attempt. Failures are forgiven one by one as time goes by, never by a login of
// another account: an attacker with an account of his own would use that.
//
// An account that does not exist is counted like any other, so that the
// throttle does not tell which ones there are. (One thing can be seen: who
// shares an address with an owner may find it known there.)
//
// # Bounds
//
// Nothing runs by itself: records expire when they are looked at, on the time
// that the caller passes. Each table has a greatest number of records of fixed
// size. A new record in a full table takes the place of an expired one or, among
// a random sample, of the one with the least failures on it. To have his own
// record forgotten, an attacker must fill most of the table with records worse
// than it, each from an address or account of its own, each earned by as many
// failures. Known addresses come from successful logins only, a few per account.
//
// State is in memory: a restart forgets it, and each node counts for itself.
// Who owns a block larger than a /64 has as many allowances by address as it has
// /64s; by account he has one.
package throttle

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Throttle slows guessing down. Its methods may be called from any goroutine,
// take a few microseconds at most, and never wait for anything but each other.
//
// For each login, when the client's proof or password is at hand:
//
//  1. Attempt. If it is refused, do not check the password; answer
//     temporary-auth-failure, whatever was sent.
//  2. Check the password. Report at once: Failed, Succeeded, or Abandoned.
//  3. Send the answer, success too, when the delay is over.
type Throttle struct {
	o       Options
	address policy // by address
	known   policy // by account at a known address
	seed    maphash.Seed

	mu       sync.Mutex // guards what follows
	clock    clock
	lanes    table[netip.Addr, *lane]
	accounts table[uint64, *account]
	owners   table[uint64, *owner]
}

// account counts the failures from strange addresses. Accounts are keyed by a
// keyed hash: what strangers send as names takes no memory here.
type account struct{ failures leaky }

func (a *account) expired(n nanos) bool { return a.failures.empty(n) }
func (a *account) heat() nanos          { return nanos(a.failures) }

// owner holds the known addresses of an account, in no order.
type owner struct {
	from  []knownAddress // at most knownAddresses
	until nanos          // when the last of them is forgotten
}

type knownAddress struct {
	addr  netip.Addr
	until nanos
	lane  lane
}

func (w *owner) expired(n nanos) bool { return w.until <= n }
func (w *owner) heat() nanos          { return w.until }

// New returns a Throttle that has seen nothing.
func New(o Options) *Throttle {
	o = o.withDefaults()
	return &Throttle{
		o:        o,
		address:  newPolicy(o, o.MaxWait, o.MaxPending),
		known:    newPolicy(o, o.MaxHold, knownPending),
		seed:     maphash.MakeSeed(),
		lanes:    newTable[netip.Addr, *lane](o.MaxRecords),
		accounts: newTable[uint64, *account](o.MaxRecords),
		owners:   newTable[uint64, *owner](o.MaxRecords),
	}
}

// Attempt announces a login of user, who need not exist, from addr. It says how
// long the answer must be held back, or that the attempt is refused. An attempt
// that is not refused must be followed by one call of Failed, Succeeded or
// Abandoned with the same arguments; one that is refused, by none.
//
// The zero JID is a name that is no JID; an addr that is not valid is an address
// like any other, which all who have none share.
func (t *Throttle) Attempt(addr netip.Addr, user jid.JID, now time.Time) (delay time.Duration, refused bool) {
	if t.o.Disabled {
		return 0, false
	}
	addr, key := prefix(addr), t.key(user)
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.clock.nanos(now)
	if k := t.knownAt(key, addr, n); k != nil {
		return k.lane.admit(&t.known, n)
	}
	var hold time.Duration
	if a, ok := t.accounts.get(key); ok {
		failures := a.failures.level(n, t.o.AccountForgive)
		if t.o.AccountLimit > 0 && failures >= t.o.AccountLimit {
			return 0, true
		}
		hold = backOff(failures-t.o.AccountFree, t.o.First, t.o.MaxHold)
	}
	l, ok := t.lanes.get(addr)
	if !ok {
		l = new(lane)
		t.lanes.put(addr, l, n)
	}
	delay, refused = l.admit(&t.address, n)
	if refused {
		return 0, true
	}
	return max(delay, hold), false
}

// Failed reports that the password was wrong, or that there is no such account.
func (t *Throttle) Failed(addr netip.Addr, user jid.JID, now time.Time) {
	if t.o.Disabled {
		return
	}
	addr, key := prefix(addr), t.key(user)
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.clock.nanos(now)
	if k := t.knownAt(key, addr, n); k != nil {
		k.lane.settle(n)
		k.lane.fail(&t.known, n)
		return
	}
	l, ok := t.lanes.get(addr)
	if !ok { // forgotten since Attempt
		l = new(lane)
		t.lanes.put(addr, l, n)
	}
	l.settle(n)
	l.fail(&t.address, n)
	if user.IsZero() {
		return
	}
	a, ok := t.accounts.get(key)
	if !ok {
		a = new(account)
		t.accounts.put(key, a, n)
	}
	bound := max(t.o.AccountLimit, t.o.AccountFree+maxDoublings)
	a.failures.add(n, t.o.AccountForgive, bound)
}

// Succeeded reports that the client proved to be user. It makes the address
// known to the account. Earlier failures of the account at this address have no
// further consequence, but one more failure has: a neighbour does not get all
// free ones back whenever the owner logs in.
func (t *Throttle) Succeeded(addr netip.Addr, user jid.JID, now time.Time) {
	if t.o.Disabled {
		return
	}
	addr, key := prefix(addr), t.key(user)
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.clock.nanos(now)
	k := t.knownAt(key, addr, n)
	if k != nil {
		k.lane.settle(n)
		k.lane.relax(&t.known, n)
	} else if l, ok := t.lanes.get(addr); ok {
		l.settle(n)
	}
	if user.IsZero() {
		return
	}
	w, ok := t.owners.get(key)
	if !ok {
		w = new(owner)
		t.owners.put(key, w, n)
	}
	w.until = n + nanos(t.o.KnownFor)
	if k == nil {
		k = w.slot()
		*k = knownAddress{addr: addr}
	}
	k.until = w.until
}

// Abandoned reports that an attempt came to no verdict: the client went away
// before its password was checked, or the source of accounts failed.
func (t *Throttle) Abandoned(addr netip.Addr, user jid.JID, now time.Time) {
	if t.o.Disabled {
		return
	}
	addr, key := prefix(addr), t.key(user)
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.clock.nanos(now)
	if k := t.knownAt(key, addr, n); k != nil {
		k.lane.settle(n)
	} else if l, ok := t.lanes.get(addr); ok {
		l.settle(n)
	}
}

func (t *Throttle) key(user jid.JID) uint64 {
	return maphash.String(t.seed, user.Bare().String())
}

// knownAt returns the record of addr as a known address of an account, or nil.
func (t *Throttle) knownAt(key uint64, addr netip.Addr, n nanos) *knownAddress {
	w, ok := t.owners.get(key)
	if !ok {
		return nil
	}
	for i := range w.from {
		if k := &w.from[i]; k.addr == addr && k.until > n {
			return k
		}
	}
	return nil
}

// slot returns room for a new known address, that of the oldest if need be.
func (w *owner) slot() *knownAddress {
	if len(w.from) < knownAddresses {
		w.from = append(w.from, knownAddress{})
		return &w.from[len(w.from)-1]
	}
	oldest := &w.from[0]
	for i := range w.from {
		if w.from[i].until < oldest.until {
			oldest = &w.from[i]
		}
	}
	return oldest
}

// prefix returns what counts as one address: an IPv4 address, also when it is
// written as an IPv6 one, or a /64, which every IPv6 customer has at least.
func prefix(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil { // can't be: 64 fits
		return a
	}
	return p.Addr()
}
