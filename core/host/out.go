package host

import (
	"fmt"
	"slices"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// Events that are out: a Remote has them, or an outcome of theirs is being applied.

// track notes that an event is out; false if the tasks have ended.
func (h *Hosts) track(e *Event) bool {
	e.mu.Lock()
	e.state, e.conflicts, e.expired = out, 0, false // it may have been offered before
	e.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tasks.drained || h.cut {
		return false
	}
	h.tasks.out++
	h.nth++
	e.nth = h.nth
	if e.behind = h.out; h.out != nil {
		h.out.before = e
	}
	h.out = e
	return true
}

func (h *Hosts) untrack(e *Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.before != nil {
		e.before.behind = e.behind
	} else {
		h.out = e.behind
	}
	if e.behind != nil {
		e.behind.before = e.before
	}
	e.before, e.behind = nil, nil
	h.tasks.out--
	h.tasks.drain()
}

// cutOut ends the events that are out: they are kept for the next process, or their
// senders are told that they are to send again. None is taken any more.
func (h *Hosts) cutOut() {
	h.mu.Lock()
	h.cut = true
	var all []*Event
	for e := h.out; e != nil; e = e.behind {
		all = append(all, e)
	}
	h.mu.Unlock()
	slices.Reverse(all) // the oldest first
	var b transport.Batch
	for _, e := range all {
		e.cutOff(&b)
	}
	b.Flush()
}

// cutIfFar is cutOut if all that is left to do is to wait for far domains: their servers may be away for minutes.
func (h *Hosts) cutIfFar() {
	h.mu.Lock()
	only := h.tasks.running+h.tasks.beside == 0
	for e := h.out; e != nil && only; e = e.behind {
		only = e.Kind == extension.ToFar
	}
	h.mu.Unlock()
	if only {
		h.cutOut()
	}
}

// cutOff ends an event that is out.
func (e *Event) cutOff(b *transport.Batch) {
	switch {
	case !e.keeps():
		e.Fail(b, errCut)
	case e.finish():
		h := e.g.hosts
		h.Remote.Ended(e.g.Reg.Name, e.Kind.String(), h.Now().Sub(e.since), errCut)
		e.unwatch()
		h.mu.Lock()
		e.g.kept = append(e.g.kept, e)
		h.mu.Unlock()
		h.untrack(e)
	}
}

// errCut: an event was still out at the end.
var errCut = fmt.Errorf("%w: the server is shutting down", extension.ErrDown)

// cutIf ends an event that is out anew, since its outcome was not applied, if those that
// are out were ended meanwhile.
func (e *Event) cutIf() {
	h := e.g.hosts
	h.mu.Lock()
	cut := h.cut
	h.mu.Unlock()
	if cut {
		var b transport.Batch
		e.cutOff(&b)
		b.Flush()
	}
}
