package mam

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// A query that takes too long, or comes while too many others do, is refused for now;
// other errors are what they were.
func TestLook(t *testing.T) {
	interrupted, refused := errors.New("interrupted"), stanza.Err(stanza.ItemNotFound, "")
	hangs := func(ctx context.Context) error { <-ctx.Done(); return interrupted }
	for name, c := range map[string]struct {
		f         func(context.Context) error
		within    time.Duration // of who calls
		want      error
		condition stanza.Condition
		took      time.Duration
	}{
		"nothing wrong":    {f: func(context.Context) error { return nil }},
		"too long":         {f: hangs, condition: stanza.ResourceConstraint, took: queryTime},
		"the caller ended": {f: hangs, within: time.Second, want: interrupted, took: time.Second},
		"busy":             {f: func(context.Context) error { return fmt.Errorf("read: %w", storage.ErrBusy) }, condition: stanza.ResourceConstraint},
		"storage fails":    {f: func(context.Context) error { return storage.ErrUnavailable }, want: storage.ErrUnavailable},
		"refused":          {f: func(context.Context) error { return refused }, want: refused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if c.within > 0 {
					bounded, cancel := context.WithTimeout(ctx, c.within)
					defer cancel()
					ctx = bounded
				}
				began := time.Now()
				err := look(ctx, c.f)
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %v", took)
				}
				if c.condition == "" {
					if err != c.want {
						t.Error(err)
					}
					return
				}
				var told *stanza.Error
				if !errors.As(err, &told) || told.Condition != c.condition {
					t.Error(err)
				}
			})
		})
	}
}
