package local

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// writes returns what TouchAccounts was called with.
func (f *fakeStore) writes() []map[jid.JID]time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.touched
}

// stop ends what Start started.
func stop(t *testing.T, s *Source) {
	t.Helper()
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

func TestLoginsAreWrittenBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		s := newTest(t, store, Options{})
		s.Start()
		at := time.Now()
		s.LoggedIn(jid.MustParse("romeo@example.org/balcony"), at.Add(time.Second))
		s.LoggedIn(romeo, at) // an earlier one that comes late
		s.LoggedIn(nobody, at)
		synctest.Wait()
		if w := store.writes(); len(w) != 0 {
			t.Errorf("written at once: %v", w)
		}
		time.Sleep(6 * time.Second) // of the bubble's clock
		synctest.Wait()
		w := store.writes()
		if len(w) != 1 || len(w[0]) != 2 || !w[0][romeo].Equal(at.Add(time.Second)) || !w[0][nobody].Equal(at) {
			t.Errorf("got %v", w)
		}
		time.Sleep(time.Minute)
		if w := store.writes(); len(w) != 1 {
			t.Errorf("with nothing new, it wrote again: %v", w)
		}
		stop(t, s)
	})
}

func TestStopWritesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		s := newTest(t, store, Options{})
		stop(t, s) // without Start there is nothing to wait for
		s.Start()
		for i := range 2*maxTouch + 1 {
			s.LoggedIn(jid.MustParse(fmt.Sprintf("user%d@example.org", i)), time.Now())
		}
		stop(t, s)
		stop(t, s) // a second time does nothing
		total := 0
		for _, w := range store.writes() {
			if len(w) > maxTouch {
				t.Errorf("%d in one write, the limit is %d", len(w), maxTouch)
			}
			total += len(w)
		}
		if total != 2*maxTouch+1 {
			t.Errorf("%d written", total)
		}
	})
}

func TestLoginsSurviveAFailingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		s := newTest(t, store, Options{})
		s.Start()
		store.fail(storage.ErrUnavailable)
		at := time.Now()
		s.LoggedIn(romeo, at)
		s.LoggedIn(nobody, at)
		time.Sleep(12 * time.Second)
		synctest.Wait()
		s.LoggedIn(nobody, at.Add(time.Hour))
		store.fail(nil)
		stop(t, s)
		w := store.writes()
		if len(w) != 1 || !w[0][romeo].Equal(at) || !w[0][nobody].Equal(at.Add(time.Hour)) {
			t.Errorf("got %v", w)
		}
	})
}

func TestLoginsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		s := newTest(t, store, Options{MaxLogins: 2})
		for i := range 10 {
			s.LoggedIn(jid.MustParse(fmt.Sprintf("user%d@example.org", i)), time.Now())
		}
		later := time.Now().Add(time.Minute)
		s.LoggedIn(jid.MustParse("user0@example.org"), later) // who waits already may still change
		s.Start()
		stop(t, s)
		w := store.writes()
		if len(w) != 1 || len(w[0]) != 2 || !w[0][jid.MustParse("user0@example.org")].Equal(later) {
			t.Errorf("got %v", w)
		}
	})
}

func TestRemoveForgetsTheLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		s := newTest(t, store, Options{Iterations: minIterations})
		if err := s.Create(t.Context(), romeo, "pencil"); err != nil {
			t.Fatal(err)
		}
		s.LoggedIn(romeo, time.Now())
		if err := s.Remove(t.Context(), romeo); err != nil {
			t.Fatal(err)
		}
		s.Start()
		stop(t, s)
		if w := store.writes(); len(w) != 0 {
			t.Errorf("got %v: it would be written to the next account of the name", w)
		}
	})
}

func TestStopHonoursItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		s := newTest(t, store, Options{})
		store.mu.Lock() // the store hangs
		s.Start()
		s.LoggedIn(romeo, time.Now())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Stop(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Stop: %v", err)
		}
		store.mu.Unlock()
		stop(t, s)
	})
}
