package plugin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin/wire"
)

// handling is the context of a handler: it ends at the deadline of its event, when the
// event is void, when the handler has returned, and with the process. What tells of the end
// while somebody waits for it, a clock and a channel, is made when somebody does:
// most handlers never wait.
type handling struct {
	p        *process
	task     *wire.Task // nil inside the server
	limit    time.Duration
	deadline time.Time

	mu   sync.Mutex      // guards what follows
	over bool            // cancelled
	ctx  context.Context // nil until it is needed
	stop context.CancelFunc
}

// timeOver is the cause of the end of a handler's context.
type timeOver time.Duration

func (t timeOver) Error() string { return fmt.Sprintf("plugin: %v are over", time.Duration(t)) }

// cancel ends it.
func (h *handling) cancel() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	if h.stop != nil {
		h.stop()
	}
}

// real returns the context that does what this one promises.
func (h *handling) real() context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx == nil {
		h.ctx, h.stop = context.WithDeadlineCause(h.p.ctx, h.deadline, timeOver(h.limit))
		if h.over {
			h.stop()
		}
	}
	return h.ctx
}

// Deadline implements context.Context.
func (h *handling) Deadline() (time.Time, bool) { return h.deadline, true }

// Done implements context.Context.
func (h *handling) Done() <-chan struct{} { return h.real().Done() }

// Err implements context.Context.
func (h *handling) Err() error {
	h.mu.Lock()
	none := h.ctx == nil && !h.over && h.p.ctx.Err() == nil && time.Now().Before(h.deadline)
	h.mu.Unlock()
	if none {
		return nil
	}
	return h.real().Err()
}

// Value implements context.Context.
func (h *handling) Value(key any) any {
	if key == (processKey{}) {
		return h.p
	}
	if key == (turnKey{}) && h.task != nil {
		return &inTurn{h.task.Event.GetKey(), h.task}
	}
	return h.real().Value(key)
}
