package plugin

import (
	"errors"
	"sync/atomic"

	"github.com/hexmpp/hexmpp/api/plugin/codec"
	"github.com/hexmpp/hexmpp/api/plugin/wire"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// take gives an event for a far domain to Far.Take. p.mu is not held.
func (p *process) take(t *wire.Task) {
	e, err := codec.RemoteEvent(t.Event, p.reg)
	if err != nil {
		p.log.Error("an event can't be read", "error", err)
		p.answer(t, err)
		return
	}
	p.give(e.Far, func(err error) { p.answer(t, err) })
}

// give calls Far.Take; done is called once, by whichever goroutine, and by this one if Take panics.
func (p *process) give(e *extension.FarEvent, done func(err error)) {
	var said atomic.Bool
	e.Done = func(err error) {
		if !said.Swap(true) {
			done(err)
		}
	}
	if err := guarded(p.log, p.reg.Name, func() error { p.reg.Far.Take(p.ctx, e); return nil }); err != nil {
		e.Done(err)
	}
}

// answer says what came of an event for a far domain. What is said while a frame is on its way shares
// the next one.
func (p *process) answer(t *wire.Task, err error) {
	o := codec.Delivered(err)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isRelieved() {
		return // another process has it
	}
	if err := p.m.Answer(t, o); err != nil {
		p.log.Error("what became of a stanza for a far domain can't be said as it is", "error", errors.Unwrap(err))
	}
	p.act(t.Shard)
}
