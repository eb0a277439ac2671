package mam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
)

// deleting is an archive of which that many batches are deleted until it fails, and the
// timer that is set.
type deleting struct {
	extension.Archive
	extension.Timers
	batches int
	fail    func() error
	pause   time.Duration
}

func (d *deleting) Expire(_ context.Context, _ time.Time, limit int) (int, error) {
	if d.batches--; d.batches < 0 {
		return 0, d.fail()
	}
	return limit, nil
}

func (d *deleting) Set(_ string, after time.Duration, _ []byte) error { d.pause = after; return nil }

// A deletion that runs out of time goes on soon, and is no error if it came somewhere.
func TestExpiryGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		batches int
		inTime  bool
		pause   time.Duration
		logged  bool
	}{
		"more than once":    {batches: expireBatches + 1, inTime: true, pause: pauseMore},
		"no time":           {batches: 3, pause: pauseMore},
		"no time, no batch": {pause: pauseFailed, logged: true},
		"storage fails":     {batches: 3, inTime: true, pause: pauseFailed, logged: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			d := &deleting{batches: c.batches, fail: func() error {
				if !c.inTime {
					cancel()
				}
				return fmt.Errorf("%w: %w", storage.ErrUnavailable, errors.New("interrupted"))
			}}
			var log strings.Builder
			h := &extension.Host{Archive: d, Timers: d, Now: time.Now, Log: slog.New(slog.NewTextHandler(&log, nil))}
			if err := (&keeper{}).expire(ctx, h, extension.Timer{}); err != nil || d.pause != c.pause || (log.Len() > 0) != c.logged {
				t.Errorf("%v, again after %v, logged %q", err, d.pause, log.String())
			}
		})
	}
}
