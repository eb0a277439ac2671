package offline

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A job never runs twice at once; asked for while it runs, it runs once more.
func TestJobsDoNotOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(4)
		var inside, runs atomic.Int32
		j := &job{run: func(context.Context) {
			if inside.Add(1) > 1 {
				t.Error("runs twice at once")
			}
			time.Sleep(time.Second)
			runs.Add(1)
			inside.Add(-1)
		}}
		for range 10 {
			p.ask(j)
		}
		synctest.Wait()
		for range 10 {
			p.ask(j)
		}
		time.Sleep(time.Minute)
		if n := runs.Load(); n != 2 {
			t.Errorf("%d runs", n)
		}
		if err := p.stop(t.Context()); err != nil || p.ask(j) {
			t.Errorf("it goes on behind the end: %v", err)
		}
	})
}

func TestPoolIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(3)
		var inside, most, runs atomic.Int32
		for range 20 {
			p.ask(&job{run: func(context.Context) {
				most.Store(max(most.Load(), inside.Add(1)))
				time.Sleep(time.Second)
				inside.Add(-1)
				runs.Add(1)
			}})
		}
		if err := p.stop(t.Context()); err != nil || runs.Load() != 20 || most.Load() != 3 {
			t.Errorf("%d runs, %d at once, %v", runs.Load(), most.Load(), err)
		}
	})
}

// What failed waits for its time, whoever asks; but not for the end.
func TestJobsAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(1)
		var runs atomic.Int32
		j := &job{}
		j.run = func(context.Context) {
			runs.Add(1)
			p.later(j, time.Hour)
		}
		p.ask(j)
		synctest.Wait()
		p.ask(j)
		time.Sleep(59 * time.Minute)
		if n := runs.Load(); n != 1 {
			t.Errorf("%d runs before the time", n)
		}
		time.Sleep(2 * time.Minute)
		if n := runs.Load(); n != 2 {
			t.Errorf("%d runs behind the time", n)
		}
		if err := p.stop(t.Context()); err != nil || runs.Load() != 3 {
			t.Errorf("%d runs at the end, %v", runs.Load(), err)
		}
	})
}

// Work that takes too long at the end is cut off.
func TestPoolIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(1)
		p.ask(&job{run: func(ctx context.Context) { <-ctx.Done() }})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		synctest.Wait()
	})
}
