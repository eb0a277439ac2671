package wire

import (
	"errors"
	"fmt"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

// Turn asks for a turn of a key outside of an event, in which Unasked effects are made: no event of
// the key is handled meanwhile. A Handle of the Task comes when what was given of the key before is
// handled; whatever else is being handled. The error wraps ErrFull.
func (p *Plugin) Turn(name string) (*Task, error) {
	if len(name) > MaxKeyBytes || p.turns >= p.limits.Waiting {
		return nil, fmt.Errorf("%w: a key of %d bytes, and %d turns", ErrFull, len(name), p.turns)
	}
	y := p.keys[name]
	if y == nil {
		y = &pluginKey{name: name}
		p.keys[name] = y
	}
	t := &Task{Shard: Shard(name, len(p.shards)), key: y}
	p.turns++
	y.waiting.push(t)
	p.line(y)
	return t, nil
}

// Leave ends a turn that has begun, with the effects that were made in it; see Unasked. Without effects
// the id is 0.
func (p *Plugin) Leave(t *Task, effects []*pluginv1.Effect) (id uint64, err error) {
	if t.done || t.Event != nil {
		return 0, errors.New("plugin wire: it is no turn, or over")
	}
	t.done = true
	p.turns--
	t.key.running = nil
	switch {
	case t.void:
		p.cancelled--
		err = ErrVoid
	case len(effects) > 0:
		id, err = p.Unasked(t.key.name, t.Epoch, effects)
	}
	p.over(t.key)
	return id, err
}

// Epoch is to be asked for before anything is read, or known by heart, that Unasked
// effects of the key are made from. While a Forget of the key is still to come, because a
// void event of it is handled, it is one with which Unasked returns ErrVoid.
func (p *Plugin) Epoch(key string) uint64 {
	if y := p.keys[key]; y != nil && y.forget != 0 {
		return y.forget - 1
	}
	return p.shards[Shard(key, len(p.shards))].epoch
}

// Unasked sends effects that no event asked for. The answer is a WasApplied with the
// ID. An error wraps ErrFull, or ErrVoid if the key was reset since the epoch.
func (p *Plugin) Unasked(key string, epoch uint64, effects []*pluginv1.Effect) (id uint64, err error) {
	s := &p.shards[Shard(key, len(p.shards))]
	u := &pluginv1.Unasked{Id: p.unaskedIDs + 1, Key: key, Epoch: epoch, Effects: effects}
	size := part(u)
	switch {
	case s.log.void(key, epoch):
		return 0, ErrVoid
	case len(key) > MaxKeyBytes || size > p.limits.OutcomeBytes:
		return 0, fmt.Errorf("%w: unasked effects of %d bytes, not %d", ErrFull, size, p.limits.OutcomeBytes)
	case s.queued >= p.limits.Waiting:
		return 0, fmt.Errorf("%w: %d unasked effects wait", ErrFull, s.queued)
	}
	p.unaskedIDs++
	s.queued++
	s.say(saying{key: key, size: size, unasked: u})
	return u.Id, nil
}
