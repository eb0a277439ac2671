package plugin

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// It is what context.WithTimeout makes, whenever and however it is asked.
func TestHandling(t *testing.T) {
	type key struct{}
	over := func(ctx context.Context, want, cause error) {
		t.Helper()
		<-ctx.Done()
		if err := ctx.Err(); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if err := context.Cause(ctx); !errors.Is(err, cause) {
			t.Errorf("cause %v, want %v", err, cause)
		}
	}
	for name, watch := range map[string]func(context.Context) context.Context{
		"nobody waits": func(ctx context.Context) context.Context { return ctx },
		"waited for":   func(ctx context.Context) context.Context { ctx.Done(); return ctx },
		"a child": func(ctx context.Context) context.Context {
			child, stop := context.WithCancel(context.WithValue(ctx, key{}, 1))
			t.Cleanup(stop)
			return child
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &process{}
				p.ctx, p.cancel = context.WithCancel(context.WithValue(context.Background(), key{}, 0))
				begin := func() (*handling, context.Context) {
					h := &handling{p: p, limit: time.Second, deadline: time.Now().Add(time.Second)}
					ctx := watch(h)
					if at, ok := ctx.Deadline(); !ok || !at.Equal(h.deadline) || ctx.Err() != nil || ctx.Value(processKey{}) != p || ctx.Value(key{}) == nil {
						t.Error("it is over before it began, or says the wrong things")
					}
					return h, ctx
				}
				_, ctx := begin()
				time.Sleep(2 * time.Second)
				over(ctx, context.DeadlineExceeded, timeOver(time.Second))
				h, ctx := begin()
				h.cancel()
				h.cancel()
				over(ctx, context.Canceled, context.Canceled)
				_, ctx = begin()
				p.cancel()
				over(ctx, context.Canceled, context.Canceled)
			})
		})
	}
}
