package host

import (
	"context"
	"errors"
	"reflect"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// What an extension has at the end of one process another one has at its start; timers
// keep their time.
func TestSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fired notes[string]
		reg := func() *extension.Registration {
			return &extension.Registration{Name: "rooms", Timer: func(_ context.Context, _ *extension.Host, x extension.Timer) error {
				fired.add(x.Key + "=" + string(x.State))
				return nil
			}}
		}
		want := func(list ...string) {
			t.Helper()
			synctest.Wait()
			if got := fired.take(); !reflect.DeepEqual(got, list) {
				t.Errorf("fired: %q, want %q", got, list)
			}
		}
		h, _ := newHosts(1)
		g := h.NewGuest(reg(), nil, []string{roomDomain})
		if _, any := g.Save(); any {
			t.Error("an extension has something from the start")
		}
		from := jid.MustParse("bot@" + roomDomain)
		if err := run(t, g, func(_ context.Context, host *extension.Host) error {
			return errors.Join(
				host.Memory.Put("b", []byte("2")), host.Memory.Put("a", []byte("1")),
				host.Groups.Join("room", extension.Member{JID: member(1), Classes: []string{"x"}}), host.Groups.Join("room", extension.Member{JID: member(0), From: from}),
				host.Groups.Join("left", extension.Member{JID: member(0)}),
				host.Timers.Set("soon", time.Minute, []byte("1")), host.Timers.Set("late", time.Hour, []byte("2")), host.Timers.Set("cancelled", time.Hour, nil))
		}); err != nil {
			t.Fatal(err)
		}
		if err := run(t, g, func(_ context.Context, host *extension.Host) error {
			host.Groups.Leave("left", member(0))
			host.Timers.Cancel("cancelled")
			return host.Memory.Put("b", []byte("3"))
		}); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		expected := storage.SavedExtension{Name: "rooms", Revision: 2,
			Memory: []storage.SavedValue{{Key: "a", Value: []byte("1"), Revision: 1}, {Key: "b", Value: []byte("3"), Revision: 2}},
			Groups: []storage.SavedGroup{{Name: "room", Members: []storage.SavedMember{{JID: member(0), From: from}, {JID: member(1), Classes: []string{"x"}}}}},
			Timers: []storage.SavedTimer{{Key: "soon", Due: now.Add(time.Minute), State: []byte("1")}, {Key: "late", Due: now.Add(time.Hour), State: []byte("2")}},
		}
		if now := g.Holdings(); now != (Holdings{Groups: 1, Members: 2, Entries: 2, MemoryBytes: 2 * (2 + memoryEntryCost), Timers: 2, Used: true}) {
			t.Errorf("%+v", now)
		}
		stop(t, h)
		saved, any := g.Save()
		if !any || !reflect.DeepEqual(saved, expected) {
			t.Errorf("saved %+v\nwant %+v", saved, expected)
		}
		time.Sleep(2 * time.Minute) // the server is not there
		want()

		h, r, _ := roomHosts(Limits{})
		g = h.NewGuest(reg(), nil, []string{roomDomain})
		g.Restore(&saved)
		again, _ := g.Save()
		if !reflect.DeepEqual(again, expected) {
			t.Errorf("restored %+v\nwant %+v", again, expected)
		}
		time.Sleep(time.Minute)
		want() // the extension has not started
		if err := run(t, g, func(_ context.Context, host *extension.Host) error {
			return errors.Join(host.Groups.Send("room", extension.Cast{Stanza: spoken("1"), Only: "x"}), host.Memory.Put("c", nil))
		}); err != nil {
			t.Fatal(err)
		}
		if got := r.take(); len(got) != 1 || len(got[member(1)]) != 1 || g.MemoryRevision() != 3 {
			t.Errorf("%v, revision %d", got, g.MemoryRevision())
		}
		h.Resume()
		want("soon=1") // overdue
		time.Sleep(55 * time.Minute)
		want()
		time.Sleep(2 * time.Minute)
		want("late=2")
		stop(t, h)
	})
}

// Timers that a handler sets while the kernel stops, and those whose handler was not
// called any more, are for the next process; one whose handler was is not.
func TestTimersAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHosts(1)
		going := make(chan struct{})
		var calls notes[string]
		g := h.NewGuest(&extension.Registration{Name: "test", Timer: func(ctx context.Context, host *extension.Host, x extension.Timer) error {
			calls.add(x.Key)
			if x.Key == "first" {
				<-going
				return host.Timers.Set("next", time.Hour, nil)
			}
			return nil
		}}, nil, nil)
		for i, key := range []string{"first", "second", "third"} {
			g.setTimer(timerKey{g, key}, time.Duration(i+1)*time.Second, []byte(strconv.Itoa(i)), "")
		}
		time.Sleep(2*time.Second + 1) // the second one waits for the only worker
		ended := make(chan error)
		go func() { ended <- h.Stop(t.Context()) }()
		time.Sleep(time.Minute)
		close(going)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		saved, _ := g.Save()
		var keys []string
		for _, x := range saved.Timers {
			keys = append(keys, x.Key)
		}
		if !reflect.DeepEqual(keys, []string{"third", "next"}) || !reflect.DeepEqual(calls.take(), []string{"first", "second"}) {
			t.Errorf("saved are %q", keys)
		}
	})
}

// A handler that does not end is cut off; timers that wait behind it are not lost.
func TestTimersBehindWhatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHosts(1)
		g := h.NewGuest(&extension.Registration{Name: "test", Timer: func(ctx context.Context, host *extension.Host, x extension.Timer) error {
			<-ctx.Done()
			return ctx.Err()
		}}, nil, nil)
		g.setTimer(timerKey{g, "first"}, 0, nil, "")
		time.Sleep(time.Nanosecond)
		g.setTimer(timerKey{g, "second"}, 0, nil, "")
		time.Sleep(time.Nanosecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.Stop(ctx); err == nil {
			t.Error("nothing was cut off")
		}
		saved, _ := g.Save()
		if len(saved.Timers) != 1 || saved.Timers[0].Key != "second" {
			t.Errorf("saved are %+v", saved.Timers)
		}
	})
}

// What an extension can't use any more is left out.
func TestRestoreOfAnotherRegistration(t *testing.T) {
	h, _ := newHosts(1)
	defer stop(t, h)
	g := h.NewGuest(&extension.Registration{Name: "rooms"}, nil, []string{"new.example.test"})
	g.Restore(&storage.SavedExtension{Name: "rooms", Timers: []storage.SavedTimer{{Key: "t"}}, Groups: []storage.SavedGroup{
		{Name: "a", Members: []storage.SavedMember{{JID: member(0), From: jid.MustParse("x@" + roomDomain)}, {JID: member(1)}}},
		{Name: "b", Members: []storage.SavedMember{{JID: member(0), From: jid.MustParse("x@" + roomDomain)}}},
	}})
	h.Resume()
	if now := g.Holdings(); now.Timers != 0 || now.Groups != 1 || now.Members != 1 {
		t.Errorf("%+v", now)
	}
}

// box is a Remote that keeps what it is given, and takes nothing while it is shut.
type box struct {
	notes[*extension.RemoteEvent]
	shut atomic.Bool
}

func (b *box) Attach(extension.Kernel) {}
func (b *box) Reset(string)            {}

func (b *box) Dispatch(e *extension.RemoteEvent) error {
	if b.shut.Load() {
		return extension.ErrDown
	}
	b.add(e)
	return nil
}

// Timers of an extension that runs elsewhere keep their keys, and are for the next
// process unless an outcome was applied.
func TestTimersElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHosts(1)
		there := &box{}
		reg := &extension.Registration{Name: "test", Remote: there}
		g := h.NewGuest(reg, nil, nil)
		for i, key := range []string{"applied", "failed", "waits", "late"} {
			g.setTimer(timerKey{g, key}, time.Duration(i+1)*time.Second, nil, "key of "+key)
		}
		time.Sleep(3*time.Second + 1)
		synctest.Wait()
		events := there.take()
		if len(events) != 3 || events[0].Timer.Key != "applied" || events[0].Key != "key of applied" {
			t.Fatal(events)
		}
		var b transport.Batch
		events[0].Owner.Apply(&b, &extension.Outcome{}, func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
		events[1].Owner.Apply(&b, &extension.Outcome{Err: errFailed}, func(error) {})
		there.shut.Store(true)
		time.Sleep(time.Second) // nobody takes the last one
		synctest.Wait()
		if n := g.Holdings().Timers; n != 2 {
			t.Errorf("%d timers, want 2", n)
		}
		stop(t, h) // the third one is cut off
		saved, _ := g.Save()
		var got []string
		for _, x := range saved.Timers {
			got = append(got, x.Key+", "+x.Order)
		}
		if !reflect.DeepEqual(got, []string{"waits, key of waits", "late, key of late"}) {
			t.Errorf("saved are %q", got)
		}
		h, _ = newHosts(1)
		there.shut.Store(false)
		g = h.NewGuest(reg, nil, nil)
		g.Restore(&saved)
		h.Resume()
		synctest.Wait()
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		for _, e := range there.take() {
			if e.Key != "key of "+e.Timer.Key {
				t.Errorf("%q has the key %q", e.Timer.Key, e.Key)
			}
			e.Owner.Apply(&b, &extension.Outcome{}, func(error) {})
		}
		if n := g.Holdings().Timers; n != 0 {
			t.Errorf("%d timers were not dispatched", n)
		}
		stop(t, h)
	})
}
