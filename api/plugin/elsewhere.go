package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin/codec"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// Elsewhere returns a registration as a kernel is given that of a plugin: read from its
// manifest, with a Remote that has the handlers of reg run as they do in a process, all
// messages of the contract included. There is no process, and no Session: an event is handled on a
// goroutine of its key. So tests of a kernel with an extension show that it does the same both
// ways. Package plugintest is the door to it.
//
// Start and Stop are those of reg, as they are.
func Elsewhere(reg extension.Registration) (extension.Registration, error) {
	m, err := codec.Manifest(&reg)
	if err != nil {
		return reg, fmt.Errorf("plugin: its registration can't be told: %w", err)
	}
	if m, err = copied(m); err != nil {
		return reg, err
	}
	out, err := codec.Registration(m)
	if err != nil {
		return reg, err
	}
	for i := range out.StreamFeatures {
		out.StreamFeatures[i].Element = reg.StreamFeatures[i].Element
	}
	out.Start, out.Stop = reg.Start, reg.Stop
	out.Remote = &nearby{loop: loop{reg}, waiting: map[string][]*extension.RemoteEvent{}}
	return *out, nil
}

// nearby is an extension.Remote without a process.
type nearby struct {
	loop
	kernel extension.Kernel

	mu      sync.Mutex
	waiting map[string][]*extension.RemoteEvent // by key; the first is handled
	n       int
}

// maxNearby is how many events may wait.
const maxNearby = 10_000

func (r *nearby) Attach(k extension.Kernel) { r.kernel = k }
func (r *nearby) Reset(string)              {}

// Dispatch has the goroutine of the key handle an event. It ends when nothing waits; the
// kernel waits for the end of each event.
func (r *nearby) Dispatch(e *extension.RemoteEvent) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n >= maxNearby {
		return extension.ErrFull
	}
	r.n++
	r.waiting[e.Key] = append(r.waiting[e.Key], e)
	if len(r.waiting[e.Key]) == 1 {
		go r.work(e.Key)
	}
	return nil
}

func (r *nearby) work(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.waiting[key]) > 0 {
		e := r.waiting[key][0]
		r.mu.Unlock()
		r.end(e)
		r.mu.Lock()
		r.waiting[key] = r.waiting[key][1:]
		r.n--
	}
	delete(r.waiting, key)
}

// end brings an event to its end.
func (r *nearby) end(e *extension.RemoteEvent) {
	const pause = 100 * time.Millisecond // until storage may be back
	for {
		var b transport.Batch
		o, err := r.outcome(e)
		if err != nil {
			e.Owner.Fail(&b, err)
			b.Flush()
			return
		}
		done := make(chan error, 1)
		e.Owner.Apply(&b, o, func(err error) { done <- err })
		b.Flush()
		switch err := <-done; {
		case errors.Is(err, extension.ErrUnavailable):
			select {
			case <-time.After(pause):
			case <-r.kernel.Context().Done():
			}
		case !errors.Is(err, extension.ErrConflict):
			return
		}
	}
}

func (r *nearby) outcome(e *extension.RemoteEvent) (*extension.Outcome, error) {
	limit := maxTime
	if e.Deadline > 0 {
		limit = e.Deadline
	}
	ctx, cancel := context.WithTimeout(r.kernel.Context(), limit)
	defer cancel()
	return r.handle(ctx, r.kernel.Reader(), r.kernel.NewIDs, e)
}
