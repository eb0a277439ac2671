package mam

import (
	"context"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/archive"
)

// timerExpire is the timer of deletion (3.2): the oldest messages go first, and those
// of accounts that were removed.
const timerExpire = "expire"

// expire deletes some, and comes again.
func (k *keeper) expire(ctx context.Context, h *extension.Host, _ extension.Timer) error {
	var before time.Time
	if k.options.Retention > 0 {
		before = h.Now().Add(-k.options.Retention)
	}
	pause, err := archive.Expire(ctx, h.Archive, before)
	if err != nil {
		h.Log.Error("messages that are past their retention can't be deleted; it is tried again", "error", err)
	}
	return h.Timers.Set(timerExpire, pause, nil)
}
