package archive

import (
	"context"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
)

// How an extension deletes what is past its retention (XEP-0313 3.2), by a timer: FirstExpiry behind its
// start, then PauseMore, PauseNone or PauseFailed behind what Expire has said.
const (
	FirstExpiry = time.Minute
	PauseMore   = time.Second // there is more
	PauseNone   = time.Hour   // nothing was left
	PauseFailed = time.Minute

	expireRows    = 500 // by one transaction, which others wait for
	expireBatches = 20  // until others have had their turn
)

// Expire deletes rows of before a time, of all archives of the extension, and what is left of archives
// that are gone: as many as one call of a handler has time for. It returns how long to wait for the next one. An error
// is storage's; what was deleted before is.
func Expire(ctx context.Context, a extension.Archive, before time.Time) (pause time.Duration, err error) {
	for i := range expireBatches {
		n, err := a.Expire(ctx, before, expireRows)
		switch {
		case err != nil && i > 0 && ctx.Err() != nil:
			return PauseMore, nil // its time is over: it goes on when others had theirs
		case err != nil:
			return PauseFailed, err
		case n < expireRows:
			return PauseNone, nil
		}
	}
	return PauseMore, nil
}
