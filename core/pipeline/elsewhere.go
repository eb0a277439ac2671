package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Stage handlers that run elsewhere (extension.Registration.Remote).

// How long a verdict is waited for.
const (
	// usualDeadline is StageHandler.Deadline where that is 0.
	usualDeadline = 250 * time.Millisecond
	// grace is how long a stanza waits besides that until a process is ready, and is
	// done with what came before, if the handler is Closed.
	grace = 15 * time.Second
)

// Told is a set of handlers of a stage, by their place; those behind the 64th are in
// none.
type Told uint64

// tell has an observer told, once, and goes on.
func (h *handler) tell(w *Passage, place int) {
	if place < 64 && w.Told&(1<<place) != 0 {
		return
	}
	if place < 64 {
		w.Told |= 1 << place
	}
	e := h.event(w, host.AccountKey(w.Envelope.Account))
	e.Observed = true
	_ = h.guest.Dispatch(e, w.Envelope.Origin) // what is dropped is counted
}

// event is the stanza as it is by now.
func (h *handler) event(w *Passage, key string) *host.Event {
	e := &host.Event{}
	h.fill(w, e, key)
	return e
}

func (h *handler) fill(w *Passage, e *host.Event, key string) {
	e.RemoteEvent = extension.RemoteEvent{Kind: extension.Staged, Handler: h.index, Key: key, Envelope: w.Envelope}
	for _, key := range h.guest.Reg.Residents {
		if entry, ok := w.Resident.Get(h.guest.Reg.Name, key); ok {
			e.Residents = append(e.Residents, entry)
		}
	}
}

// errNoVerdict: the handler's policy says what becomes of the stanza. It is in no log:
// there may be many, and they are counted.
var errNoVerdict = stanza.Err(stanza.InternalServerError, "")

// consult waits for a handler's verdict, and returns it as call does.
func (h *handler) consult(ctx context.Context, w *Passage) (v extension.Verdict, changed *stanza.Stanza, err error) {
	if w.answered(h) {
		a := w.Asked
		w.Asked = nil
		return h.use(w, a)
	}
	w.Forgo()
	if !h.breaker.Enter(h.guest.Now()) {
		h.guest.Skipped()
		return v, nil, errNoVerdict
	}
	e := &host.Event{}
	most := h.pose(w, e)
	taken, v, err := w.Effects.Consult(ctx, h.guest, e, most, func(v *extension.Verdict) error {
		changed = change(w.Envelope.Stanza, v)
		return h.check(w, v, changed)
	})
	if !taken {
		h.breaker.Quit()
		return v, nil, errNoVerdict
	}
	h.note(err)
	if unanswered(err) {
		return v, nil, errNoVerdict
	}
	return v, changed, err
}

// pose makes the event by which the handler is asked, and returns how long its verdict is
// waited for at most.
func (h *handler) pose(w *Passage, e *host.Event) (most time.Duration) {
	h.fill(w, e, host.VerdictKey(w.Envelope.Account))
	if e.Deadline = h.Deadline; e.Deadline == 0 {
		e.Deadline = usualDeadline
	}
	if h.Policy == extension.Open {
		e.AtOnce = true
		return 2*e.Deadline + time.Second // it may wait behind others of its key
	}
	return e.Deadline + grace
}

// note notes whether there was a verdict, or why not.
func (h *handler) note(err error) {
	missed, late := errors.Is(err, extension.ErrDown), errors.Is(err, extension.ErrLate)
	if missed {
		h.guest.Missed()
	}
	switch {
	case missed && !late: // its process died: nobody waited, and nobody waits for the next one
		h.breaker.Quit()
	case h.breaker.Leave(h.guest.Now(), late):
		h.guest.Broke(late)
	}
}

// unanswered says that there is no verdict, and that this is counted, not logged.
func unanswered(err error) bool {
	return errors.Is(err, extension.ErrDown) || errors.Is(err, extension.ErrFull)
}
