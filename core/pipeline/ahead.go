package pipeline

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Verdicts of handlers elsewhere that are asked for ahead: while those on stanzas before are
// out, or these are on their way. Run uses them when it is the stanza's turn.
//
// A handler that asks for something besides its verdict, such as a count in memory, may
// read what it asked for last time: its verdicts are not asked for ahead any more from the
// first time on that it does so, and those that were are asked for once more.

// ahead is what is known of a handler that may be asked ahead. Any goroutine may use it.
type ahead struct {
	asks   atomic.Bool  // it has asked for something besides a verdict
	out    atomic.Int32 // verdicts that are out
	window atomic.Int32 // how many of one session may be
}

// maxAhead is how many verdicts of one handler are out that were asked for ahead: they take
// room in the queue of its process, which others need, too.
const maxAhead = 1_024

// maxWindow is how many of one session are, and minWindow where a handler begins.
// Each verdict that takes less than a quarter of the time that the handler has makes it one
// more, and each that takes longer half as many: a handler that is slow does not come too
// late since many wait for it at once.
const (
	minWindow = 1
	maxWindow = 64
)

func newAhead() *ahead {
	a := &ahead{}
	a.window.Store(minWindow)
	return a
}

// took notes how long a verdict took.
func (a *ahead) took(d, deadline time.Duration) {
	n := a.window.Load()
	next := min(n+1, maxWindow)
	if d > deadline/4 {
		next = max(n/2, minWindow)
	}
	if next != n {
		a.window.CompareAndSwap(n, next) // another one has just told
	}
}

// Asked is a verdict that was asked for ahead.
type Asked struct {
	h        *handler
	shown    *stanza.Stanza
	question host.Question
	none     error // it was not even asked
	again    bool  // it was not, and is to be asked when it is the stanza's turn
	first    bool  // of all verdicts with which something was asked for
}

// first returns the handler that is shown the stanza before all others, if it decides
// elsewhere, and no other one of the stage does that would see the stanza as it is.
func (p *Pipeline) first(w *Passage) (first *handler) {
	list := p.table[w.Stage][w.Envelope.Stanza.Kind]
	for i := range list {
		h := &list[i]
		switch {
		case first != nil && h.breaker == nil:
		case !matches(&h.Match, w.Envelope.Stanza) || !p.concerns(h, w):
		case first != nil || h.breaker == nil:
			return nil
		default:
			first = h
		}
	}
	return first
}

// Asks says whether Ask may be called, if out verdicts on stanzas of the same session are
// out.
func (p *Pipeline) Asks(w *Passage, out int) bool {
	h := p.first(w)
	return h != nil && !h.ahead.asks.Load() && int32(out) < h.ahead.window.Load() && h.ahead.out.Load() < maxAhead && !h.breaker.Open(h.guest.Now())
}

// Ask asks for a verdict ahead, of a Passage that Asks was true of: no handler has seen the
// stanza yet. decided is called when it is there, by any goroutine, or will never be; Run or
// RunWaiting is to follow then. It is false if there is nothing to wait for: decided is
// not called.
func (p *Pipeline) Ask(w *Passage, decided func()) bool {
	h := p.first(w)
	a := &Asked{h: h, shown: w.Envelope.Stanza}
	w.Asked = a
	if !h.breaker.Enter(h.guest.Now()) {
		h.guest.Skipped()
		a.none = errNoVerdict
		return false
	}
	most := h.pose(w, &a.question.Event)
	began := h.guest.Now()
	h.ahead.out.Add(1)
	err := a.question.Put(h.guest, most, func() {
		h.ahead.out.Add(-1)
		h.ahead.took(h.guest.Now().Sub(began), a.question.Event.Deadline)
		h.note(a.question.Err()) // whatever becomes of the verdict: the breaker has let it in
		a.first = a.question.Asks() && h.ahead.asks.CompareAndSwap(false, true)
		decided()
	})
	if err == nil {
		return true
	}
	h.ahead.out.Add(-1)
	h.breaker.Quit()
	a.none = errNoVerdict
	a.again = errors.Is(err, extension.ErrFull) // of those ahead there may be many; of those whose turn it is there is one for each session
	return false
}

// answered says whether there is a verdict of the handler on the stanza as it is now.
func (w *Passage) answered(h *handler) bool {
	a := w.Asked
	return a != nil && a.h == h && a.shown == w.Envelope.Stanza && !a.again && (a.first || !h.ahead.asks.Load())
}

// Forgo says that a verdict is not used that was asked for ahead, if there is one: the
// handler forgets what it asked for with it.
func (w *Passage) Forgo() {
	if a := w.Asked; a != nil {
		w.Asked = nil
		a.question.Void()
	}
}

// use is consult for a verdict that was asked for ahead.
func (h *handler) use(w *Passage, a *Asked) (v extension.Verdict, changed *stanza.Stanza, err error) {
	if a.none != nil {
		return v, nil, a.none
	}
	v, err = w.Effects.Decided(&a.question, func(v *extension.Verdict) error {
		changed = change(w.Envelope.Stanza, v)
		return h.check(w, v, changed)
	})
	if unanswered(err) {
		return v, nil, errNoVerdict
	}
	return v, changed, err
}
