package throttle

import "time"

// nanos is a time in nanoseconds since a clock's epoch.
type nanos int64

// clock turns times into nanos. It keeps what time.Time knows of the monotonic
// clock, so setting the wall clock moves nothing.
type clock struct{ epoch time.Time }

// The epoch lies a little before the first time it sees: the next caller may
// have read its clock earlier, and zero must stay in the past.
func (c *clock) nanos(now time.Time) nanos {
	if c.epoch.IsZero() {
		c.epoch = now.Add(-time.Hour)
	}
	return nanos(now.Sub(c.epoch))
}

// leaky counts events of which one is forgotten per unit of time: it is the
// time at which none will be left. The zero value has none.
type leaky nanos

// level returns how many events are left; one is until its unit is over.
func (l leaky) level(n nanos, unit time.Duration) int {
	left := nanos(l) - n
	if left <= 0 {
		return 0
	}
	return int((left + nanos(unit) - 1) / nanos(unit))
}

// most bounds what a leaky holds, 100 years, whatever the options say.
const most = 100 * 365 * 24 * time.Hour

// add counts one event, if that leaves not more than bound.
func (l *leaky) add(n nanos, unit time.Duration, bound int) {
	bound = min(bound, int(most/unit))
	*l = min(max(*l, leaky(n))+leaky(unit), leaky(n)+leaky(bound)*leaky(unit))
}

// sub takes one event back.
func (l *leaky) sub(n nanos, unit time.Duration) { *l = max(*l-leaky(unit), leaky(n)) }

func (l leaky) empty(n nanos) bool { return nanos(l) <= n }

// maxDoublings bounds how far a wait can double; 2^30 seconds are 34 years.
const maxDoublings = 30

// backOff is the wait after so many failures that are not free.
func backOff(failures int, first, most time.Duration) time.Duration {
	if failures <= 0 {
		return 0
	}
	wait := first
	for range min(failures-1, maxDoublings) {
		if wait >= most {
			break
		}
		wait *= 2
	}
	return min(wait, most)
}

// policy is how a kind of lane judges.
type policy struct {
	free           int
	first, maxWait time.Duration
	maxHold        time.Duration
	forgive        time.Duration
	bound          int // failures that are remembered: where the wait is longest
	pending        int
}

func newPolicy(o Options, maxWait time.Duration, pending int) policy {
	p := policy{free: o.Free, first: o.First, maxWait: maxWait, maxHold: o.MaxHold, forgive: o.Forgive, pending: pending}
	doublings := 1
	for doublings < maxDoublings && backOff(doublings, p.first, p.maxWait) < p.maxWait {
		doublings++
	}
	p.bound = p.free + doublings
	return p
}

func (p *policy) wait(failures int) time.Duration {
	return backOff(failures-p.free, p.first, p.maxWait)
}

// lane is a queue of one place for the attempts of one address: after failures,
// an attempt is due when the wait behind the one before it is over.
type lane struct {
	failures leaky
	pending  leaky // attempts under way; one that was never settled leaks away
	due      nanos
}

// pendingUnit is how fast attempts leak that nobody settled.
const pendingUnit = time.Second

// admit lets an attempt into the queue. Attempts in parallel queue up behind
// each other, so they gain nothing over a row of them.
func (l *lane) admit(p *policy, n nanos) (delay time.Duration, refused bool) {
	delay = time.Duration(max(0, l.due-n))
	if delay > p.maxHold || l.pending.level(n, pendingUnit) >= p.pending {
		return 0, true
	}
	l.pending.add(n, pendingUnit, p.pending)
	l.due = n + nanos(delay) + nanos(p.wait(l.failures.level(n, p.forgive)))
	return delay, false
}

// settle takes back that an attempt is under way.
func (l *lane) settle(n nanos) { l.pending.sub(n, pendingUnit) }

// fail counts a failure. The longer wait that it brings begins when the failed
// attempt is answered, which may be later than now.
func (l *lane) fail(p *policy, n nanos) {
	before := p.wait(l.failures.level(n, p.forgive))
	l.failures.add(n, p.forgive, p.bound)
	after := p.wait(l.failures.level(n, p.forgive))
	l.due = max(l.due+nanos(after-before), n+nanos(after))
}

// relax lets past failures have no further consequence.
func (l *lane) relax(p *policy, n nanos) {
	l.failures = min(l.failures, leaky(n+nanos(p.free)*nanos(p.forgive)))
	l.due = n
}

func (l *lane) expired(n nanos) bool {
	return l.failures.empty(n) && l.pending.empty(n) && l.due <= n
}

func (l *lane) heat() nanos { return nanos(l.failures) }
