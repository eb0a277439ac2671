package wire

import (
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
)

// GiveUp ends all that waits, by Down, and refuses more until the next Attach: no
// process is expected soon. Without effect while there is one.
func (k *Kernel) GiveUp(now time.Time) {
	if k.conn != nil {
		return
	}
	k.gaveUp = true
	k.failAll()
}

func (k *Kernel) failAll() {
	for e := k.all.head; e != nil; {
		next := e.links[ofAll].next
		if e.state != answered {
			k.fail(e, Down, extension.ErrDown)
		}
		e = next
	}
	for k.late.head != nil {
		k.failLate(k.late.head, Down, extension.ErrDown)
	}
}

// Tick does what time asks for, and returns what Next does.
func (k *Kernel) Tick(now time.Time) (next time.Time) {
	for len(k.deadlines) > 0 && !k.deadlines[0].due.After(now) {
		e := k.deadlines[0]
		k.deadlines.remove(e)
		k.fail(e, Expired, extension.ErrLate)
	}
	for len(k.retries) > 0 && !k.retries[0].retry.After(now) {
		y := k.retries[0]
		k.retries.remove(y)
		k.schedule(y)
	}
	if k.down {
		for e := k.all.head; e != nil; {
			next := e.links[ofAll].next
			late := !k.graceOver(e).After(now)
			if e.state != answered && (late || e.item.Impatient) {
				k.fail(e, Down, extension.ErrDown)
			} else if !late && !k.hurry {
				break
			}
			e = next
		}
		k.hurry = false
		for e := k.late.head; e != nil && !k.lateTime(e).After(now); e = k.late.head {
			k.failLate(e, Down, extension.ErrDown)
		}
	}
	return k.Next()
}

// graceOver returns when an event has waited for a process for long enough.
func (k *Kernel) graceOver(e *event) time.Time {
	since := e.enqueued
	if since.Before(k.downSince) {
		since = k.downSince
	}
	return since.Add(k.limits.Grace)
}

// Next returns when Tick is to be called, zero for not before another method was. The
// caller asks after each call of another method. It costs next to nothing.
func (k *Kernel) Next() time.Time {
	var next time.Time
	earlier := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if len(k.deadlines) > 0 {
		earlier(k.deadlines[0].due)
	}
	if len(k.retries) > 0 {
		earlier(k.retries[0].retry)
	}
	if k.down {
		if k.hurry {
			return k.downSince
		}
		for e := k.all.head; e != nil; e = e.links[ofAll].next {
			if e.state != answered {
				earlier(k.graceOver(e))
				break
			}
		}
		if e := k.late.head; e != nil {
			earlier(k.lateTime(e))
		}
	}
	return next
}
