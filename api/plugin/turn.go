package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin/wire"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// begun is a turn of a key outside of an event.
type begun struct {
	task      *wire.Task
	forgotten chan struct{} // closed when the Forget of its key has returned; nil if there is none
}

// turn waits for a turn of a key.
func (p *process) turn(ctx context.Context, key string) (*wire.Task, error) {
	ch := make(chan begun, 1)
	p.mu.Lock()
	t, err := p.m.Turn(key)
	if err == nil {
		p.turns[t] = ch
		p.act(wire.Shard(key, len(p.wake)))
	}
	p.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", extension.ErrBound, err)
	}
	err = func() error {
		select {
		case b := <-ch:
			ch <- b
			if b.forgotten == nil {
				return nil
			}
			select {
			case <-b.forgotten:
				return nil
			case <-ctx.Done():
			}
		case <-p.relieved:
			return ErrRelieved
		case <-ctx.Done():
		}
		return fmt.Errorf("plugin: the turn of the key has not come: %w", context.Cause(ctx))
	}()
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if delete(p.turns, t); len(ch) > 0 {
			_, _ = p.m.Leave(t, nil)
			p.act(t.Shard)
		}
		return nil, err
	}
	return t, nil
}

// inTurn is the value of the contexts of handlers, and of Start: whose turn of a key it is.
type inTurn struct {
	key  string
	task *wire.Task // of a handler
}

type turnKey struct{}

// once runs fn in a turn of the key, and waits until what it asks for is applied. again says that
// it is to be run again: what it read is void.
func (p *process) once(ctx context.Context, key string, fn func(h *extension.Host) error) (again bool, err error) {
	if p.isRelieved() {
		return false, ErrRelieved
	}
	mine, _ := ctx.Value(turnKey{}).(*inTurn)
	inside := mine != nil && mine.key == key // a turn of the key would come behind it
	var t *wire.Task
	var epoch uint64
	if inside {
		t = mine.task
		p.mu.Lock()
		epoch = p.m.Epoch(key)
		p.mu.Unlock()
	} else {
		if t, err = p.turn(ctx, key); err != nil {
			return false, err
		}
		epoch = t.Epoch
	}
	x := newTx(ctx, p, p.caller(t), nil)
	var list []*pluginv1.Effect
	if err = x.run(fn); err == nil {
		list, err = x.list()
	}
	if err != nil {
		list = nil
	}
	ch := make(chan error, 1)
	p.mu.Lock()
	var id uint64
	var said error
	switch {
	case !inside:
		id, said = p.m.Leave(t, list)
	case len(list) > 0:
		id, said = p.m.Unasked(key, epoch, list)
	}
	if id != 0 {
		p.applied[id] = ch
	}
	p.act(wire.Shard(key, len(p.wake)))
	p.mu.Unlock()
	switch {
	case errors.Is(said, wire.ErrVoid):
		return true, said
	case errors.Is(said, wire.ErrFull):
		return false, fmt.Errorf("%w: %w", extension.ErrBound, said)
	case err != nil || id == 0:
		return false, errors.Join(err, said)
	}
	select {
	case err = <-ch:
	case <-p.relieved:
		return false, fmt.Errorf("plugin: it is not known whether it was applied: %w", ErrRelieved)
	case <-ctx.Done():
		p.mu.Lock()
		delete(p.applied, id)
		p.mu.Unlock()
		return false, fmt.Errorf("plugin: it is not known whether it was applied: %w", context.Cause(ctx))
	}
	if err == nil {
		return false, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Is(err, wire.ErrVoid) || p.m.Epoch(key) != epoch, err
}

// maxTries is how often what was made of void knowledge is made again, and pause how long
// that waits at first.
const (
	maxTries = 5
	pause    = 10 * time.Millisecond
)

// do runs fn and has its effects applied; again if what it read is void.
func (p *process) do(ctx context.Context, key string, fn func(h *extension.Host) error) error {
	for try := 1; ; try++ {
		again, err := p.once(ctx, key, fn)
		if !again || try == maxTries {
			return err
		}
		select { // storage may be away
		case <-time.After(pause << try):
		case <-ctx.Done():
			return err
		}
	}
}
