package wire

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Each start has a minute but the kernel's, which stores what was accepted before a
// kill: that ends when the whole start is given up.
func TestTimeOfStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
		began := time.Now()
		if err := within(hangs)(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != startTime {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		outer, giveUp := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, giveUp)
		began = time.Now()
		if err := until(outer, hangs)(context.Background()); !errors.Is(err, context.Canceled) || time.Since(began) != time.Hour {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
