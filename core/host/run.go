package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// Outcomes of one key come faster than they can be committed one by one, as in a room that everybody
// talks in: those that wait are one commit, and what they leave for a client goes out by one write.

// part is an outcome of a run that has been replayed.
type part struct {
	e *Event
	o *extension.Outcome
	t *tx
	extension.Applied
}

// ApplyRun implements extension.Kernel.
func (k kernel) ApplyRun(b *transport.Batch, run []extension.Applied) {
	if len(run) == 0 {
		return
	}
	parts, writes := together(run)
	rest := run[len(parts):]
	switch {
	case len(parts) == 0:
		first := run[0]
		first.Owner.Apply(b, first.Outcome, func(err error) {
			first.Done(err)
			k.goOn(err, run[1:])
		})
	case writes:
		go k.commitRun(parts, rest)
	default:
		k.concludeRun(b, parts, rest)
	}
}

// together replays as many of the first outcomes as can be applied together: those that write nothing
// but rows of archives, or the first one alone. What fails, and what is for a stage, it leaves to Apply.
func together(run []extension.Applied) (parts []part, writes bool) {
	for i := range run {
		a := &run[i]
		e, ok := a.Owner.(*Event)
		if !ok || a.Outcome.Err != nil || a.Outcome.Effects == nil || e.verdict != nil || !e.begin() {
			break
		}
		t, err := e.g.replay(e.view, a.Outcome.Effects)
		if err != nil || t.alone() && i > 0 {
			e.giveBack()
			break
		}
		parts = append(parts, part{e, a.Outcome, t, *a})
		writes = writes || !t.empty()
		if t.alone() {
			break
		}
	}
	return parts, writes
}

// begin notes that an outcome is being applied; false if the event is at its end.
func (e *Event) begin() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state != out {
		return false
	}
	e.state = applying
	return true
}

// giveBack undoes begin. An event that expired meanwhile does so now.
func (e *Event) giveBack() {
	e.mu.Lock()
	expired := e.expired
	e.state, e.expired = out, false
	e.mu.Unlock()
	if expired {
		e.Expire()
	}
	e.cutIf()
}

// answer tells who waits what came of the event.
func (p *part) answer(b *transport.Batch, _ error) transport.Wait {
	if p.e.Answer == nil {
		return nil
	}
	return p.e.Answer(b, p.o, nil)
}

// concludeRun does what outcomes ask for that write nothing, and goes on with the rest. The caller
// flushes b.
func (k kernel) concludeRun(b *transport.Batch, parts []part, rest []extension.Applied) {
	for i := range parts {
		p := &parts[i]
		if w := p.t.finish(b, nil, p.answer); w != nil {
			go func() {
				h := k.g.hosts
				h.Own(w)(h.ctx)
				var b transport.Batch
				p.e.concluded(&b)
				p.Done(nil)
				k.concludeRun(&b, parts[i+1:], rest)
				b.Flush()
			}()
			return
		}
		p.e.concluded(b)
		p.Done(nil)
	}
	k.ApplyRun(b, rest)
}

// commitRun writes what outcomes want written, all or nothing, does what else they ask for, and goes on with
// the rest. It waits.
func (k kernel) commitRun(parts []part, rest []extension.Applied) {
	var w writes
	for i := range parts {
		w.add(&parts[i].t.writes)
	}
	err := k.commit(w, false)
	if err != nil && len(parts) > 1 && !errors.Is(err, storage.ErrUnavailable) {
		k.commitEach(parts, rest) // whose writes it was is not known
		return
	}
	if err = k.settle(parts, err); len(rest) > 0 {
		k.goOn(err, rest)
	}
}

// commitEach is commitRun, one outcome after the other.
func (k kernel) commitEach(parts []part, rest []extension.Applied) {
	for i := range parts {
		if err := k.settle(parts[i:i+1], k.commit(parts[i].t.writes, true)); err != nil {
			for _, p := range parts[i+1:] {
				p.e.giveBack()
				p.Done(voided(err))
			}
			k.goOn(err, rest)
			return
		}
	}
	k.goOn(nil, rest)
}

// commit writes; again says that it is a part of what could not be written together.
func (k kernel) commit(w writes, again bool) error {
	ctx, cancel := context.WithTimeout(k.g.hosts.ctx, maxWorkTime)
	defer cancel()
	return k.g.hosts.commitPart(ctx, w, again)
}

// settle ends outcomes that were committed together, or were not. The error is that of the last one's Done.
func (k kernel) settle(parts []part, err error) error {
	h := k.g.hosts
	var b transport.Batch
	ends := make([]error, len(parts))
	for i := range parts {
		p := &parts[i]
		switch again := p.e.again(err); {
		case err == nil:
			if w := p.t.finish(&b, nil, p.answer); w != nil {
				b.Flush()
				h.Own(w)(h.ctx)
			}
			p.e.concluded(&b)
		case again != nil:
			h.Remote.Again(k.g.Reg.Name, again)
			ends[i] = again
		default:
			failed := make(chan error, 1)
			p.e.fail(&b, true, StoreError(err), func(err error) { failed <- err })
			ends[i] = <-failed
		}
	}
	b.Flush()
	for i := range parts {
		if i > 0 && ends[i-1] != nil {
			ends[i] = errors.Join(voided(ends[i-1]), ends[i])
		}
		parts[i].Done(ends[i])
	}
	return ends[len(parts)-1]
}

// goOn applies the rest of a run behind one that is done; nothing of it, if that has failed.
func (k kernel) goOn(err error, rest []extension.Applied) {
	if len(rest) == 0 {
		return
	}
	if err != nil {
		for _, a := range rest {
			a.Done(voided(err))
		}
		return
	}
	var b transport.Batch
	k.ApplyRun(&b, rest)
	b.Flush()
}

// voided is the error of outcomes behind one that was not applied: their events are to be handled again.
func voided(err error) error {
	if errors.Is(err, extension.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: an outcome before was not applied", extension.ErrConflict)
}
