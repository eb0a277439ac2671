package archive_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/archive"
	"github.com/hexmpp/hexmpp/ports/storage"
)

// deleting is an archive of which that many batches are deleted, and then what then says.
type deleting struct {
	extension.Archive
	batches int
	then    func() (int, error)
}

func (d *deleting) Expire(_ context.Context, _ time.Time, limit int) (int, error) {
	if d.batches--; d.batches < 0 {
		return d.then()
	}
	return limit, nil
}

// A deletion that runs out of time goes on soon, and is no error if it came somewhere.
func TestExpire(t *testing.T) {
	for name, c := range map[string]struct {
		batches      int
		late, failed bool // what ends it
		pause        time.Duration
		err          bool
	}{
		"nothing":           {pause: archive.PauseNone},
		"some":              {batches: 3, pause: archive.PauseNone},
		"very many":         {batches: 1000, failed: true, pause: archive.PauseMore},
		"no time":           {batches: 3, late: true, failed: true, pause: archive.PauseMore},
		"no time, no batch": {late: true, failed: true, pause: archive.PauseFailed, err: true},
		"storage fails":     {batches: 3, failed: true, pause: archive.PauseFailed, err: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			d := &deleting{batches: c.batches, then: func() (int, error) {
				if c.late {
					cancel()
				}
				if !c.failed {
					return 0, nil
				}
				return 0, fmt.Errorf("%w: %w", storage.ErrUnavailable, errors.New("interrupted"))
			}}
			if pause, err := archive.Expire(ctx, d, time.Time{}); pause != c.pause || (err != nil) != c.err {
				t.Errorf("again after %v, %v", pause, err)
			}
		})
	}
}
