package mam

import (
	"context"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
)

// timerExpire is the timer of deletion (3.2): the oldest messages go first, and those
// of accounts that were removed.
const timerExpire = "expire"

const (
	firstExpiry   = time.Minute // behind the start
	pauseExpired  = time.Hour   // when nothing is left to delete
	pauseMore     = time.Second // when there is more
	pauseFailed   = time.Minute
	expireRows    = 500 // by one transaction, which others wait for
	expireBatches = 20  // until others have had their turn
)

// expire deletes some, and comes again.
func (k *keeper) expire(ctx context.Context, h *extension.Host, _ extension.Timer) error {
	var before time.Time
	if k.options.Retention > 0 {
		before = h.Now().Add(-k.options.Retention)
	}
	pause := pauseMore
	for i := range expireBatches {
		n, err := h.Archive.Expire(ctx, before, expireRows)
		if err != nil && i > 0 && ctx.Err() != nil {
			break // its time is over: it goes on when others had theirs
		}
		if err != nil {
			h.Log.Error("messages that are past their retention can't be deleted; it is tried again", "error", err)
			pause = pauseFailed
			break
		}
		if n < expireRows {
			pause = pauseExpired
			break
		}
	}
	return h.Timers.Set(timerExpire, pause, nil)
}
