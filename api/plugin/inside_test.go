package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// noReads is a kernel that reads nothing.
type noReads struct {
	extension.Kernel
	ctx context.Context
}

func (k noReads) Reader() *extension.Host {
	return &extension.Host{Now: time.Now, Log: slog.New(slog.DiscardHandler), Domains: []string{"example.org"}}
}
func (k noReads) Context() context.Context { return k.ctx }

// eventOwner says what becomes of an event: each Apply is told the next of answers, then nil.
type eventOwner struct {
	answers []error
	hold    chan func()     // takes what ends an Apply, instead
	end     func(err error) // told the end, behind done
	failed  atomic.Bool
	applied int
}

func (o *eventOwner) Apply(_ *transport.Batch, out *extension.Outcome, done func(error)) {
	var err error
	if o.applied < len(o.answers) {
		err = o.answers[o.applied]
	}
	o.applied++
	finish := func() {
		if o.end != nil && !errors.Is(err, extension.ErrConflict) && !errors.Is(err, extension.ErrUnavailable) {
			o.end(errors.Join(err, out.Err))
		}
		done(err)
	}
	if o.hold != nil {
		o.hold <- finish
		return
	}
	finish()
}

func (o *eventOwner) Fail(_ *transport.Batch, err error) {
	o.failed.Store(true)
	if o.end != nil {
		o.end(err)
	}
}

// insideWorld runs a component inside, whose events are numbered.
type insideWorld struct {
	*testing.T
	reg  extension.Registration
	mu   sync.Mutex
	seen []string
}

func newInsideWorld(t *testing.T, handle func(ctx context.Context, h *extension.Host, n string) error) *insideWorld {
	w := &insideWorld{T: t}
	ctx, cancel := context.WithCancel(context.Background())
	w.reg = Inside(extension.Registration{
		Name:   "test",
		Forget: func(key string) { w.note("forget " + key) },
		Components: []extension.Component{{Domain: "c", Handle: func(ctx context.Context, h *extension.Host, e *extension.Envelope) error {
			w.note("handle " + e.Stanza.ID)
			return handle(ctx, h, e.Stanza.ID)
		}}},
	})
	w.reg.Remote.Attach(noReads{ctx: ctx})
	t.Cleanup(func() {
		cancel()
		if err := w.reg.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *insideWorld) note(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, s)
}

func (w *insideWorld) dispatch(key, id string, o *eventOwner) {
	w.Helper()
	err := w.reg.Remote.Dispatch(&extension.RemoteEvent{Kind: extension.ToComponent, Component: -1, Key: key, Owner: o, Envelope: extension.Envelope{
		Stanza: stanza.New(stanza.Header{Kind: stanza.Message, ID: id, From: jid.MustParse("romeo@example.org/orchard"), To: jid.MustParse("c")}),
	}})
	if err != nil {
		w.Error(err)
	}
}

// What Forget and handlers see of two events of a key, whatever comes of the first one.
func TestInside(t *testing.T) {
	note := func(h *extension.Host) error { return h.Memory.Put("k", []byte("v")) }
	refusal := stanza.Err(stanza.Forbidden, "")
	again := []string{"handle 1", "forget key", "handle 1", "handle 2"}
	forgotten := []string{"handle 1", "forget key", "handle 2"}
	for _, c := range []struct {
		name    string
		handle  func(h *extension.Host) error // of the first one, once
		answers []error                       // of the kernel to its outcomes
		want    []string
	}{
		{"all is done", note, nil, []string{"handle 1", "handle 2"}},
		{"a refusal", func(*extension.Host) error { return refusal }, nil, []string{"handle 1", "handle 2"}},
		{"a refusal behind a change", func(h *extension.Host) error { return errors.Join(note(h), refusal) }, nil, forgotten},
		{"an error", func(*extension.Host) error { return errors.New("no") }, nil, forgotten},
		{"a panic", func(*extension.Host) error { panic("no") }, nil, forgotten},
		{"what can't be said", func(h *extension.Host) error { h.Store.Put(jid.JID{}, "\xff", nil); return nil }, nil, forgotten},
		{"a conflict", note, []error{fmt.Errorf("x: %w", extension.ErrConflict)}, again},
		{"storage is away", note, []error{fmt.Errorf("x: %w", extension.ErrUnavailable)}, again},
		{"a bound of the kernel", note, []error{extension.ErrBound}, forgotten},
	} {
		t.Run(c.name, func(t *testing.T) {
			handle := c.handle
			w := newInsideWorld(t, func(_ context.Context, h *extension.Host, _ string) error {
				f := handle
				handle = func(*extension.Host) error { return nil }
				return f(h)
			})
			done := make(chan error, 1)
			w.dispatch("key", "1", &eventOwner{answers: c.answers})
			w.dispatch("key", "2", &eventOwner{end: func(err error) { done <- err }})
			if err := <-done; err != nil {
				t.Error(err)
			}
			if !slices.Equal(w.seen, c.want) {
				t.Errorf("%q, not %q", w.seen, c.want)
			}
		})
	}
}

// The next event of a key waits until what the one before asked for is done; those of other
// keys don't.
func TestInsideOrder(t *testing.T) {
	w := newInsideWorld(t, func(context.Context, *extension.Host, string) error { return nil })
	hold, done := make(chan func(), 1), make(chan error, 2)
	end := func(err error) { done <- err }
	w.dispatch("key", "1", &eventOwner{hold: hold})
	w.dispatch("key", "2", &eventOwner{end: end})
	finish := <-hold
	w.dispatch("other", "3", &eventOwner{end: end})
	<-done
	w.mu.Lock()
	if want := []string{"handle 1", "handle 3"}; !slices.Equal(w.seen, want) {
		t.Errorf("%q, not %q", w.seen, want)
	}
	w.mu.Unlock()
	finish()
	<-done
	if len(w.seen) != 3 {
		t.Errorf("%q", w.seen)
	}
}

// A Reset while a handler of the key runs makes it void: it ends, its outcome is dropped, and the
// event is handled again behind Forget. One that comes while nothing of the key runs is told at once.
func TestInsideReset(t *testing.T) {
	running := make(chan struct{}, 1)
	first := true
	w := newInsideWorld(t, func(ctx context.Context, _ *extension.Host, _ string) error {
		if first {
			first = false
			running <- struct{}{}
			<-ctx.Done()
		}
		return ctx.Err()
	})
	done := make(chan error, 1)
	o := &eventOwner{end: func(err error) { done <- err }}
	w.dispatch("key", "1", o)
	<-running
	w.reg.Remote.Reset("key")
	if err := <-done; err != nil || o.applied != 1 {
		t.Error(err, o.applied)
	}
	if want := []string{"handle 1", "forget key", "handle 1"}; !slices.Equal(w.seen, want) {
		t.Errorf("%q, not %q", w.seen, want)
	}
	w.reg.Remote.Reset("idle")
	w.dispatch("idle", "2", o)
	<-done
	if want := []string{"forget idle", "handle 2"}; !slices.Equal(w.seen[3:], want) {
		t.Errorf("%q, not %q", w.seen[3:], want)
	}
}

// A handler that takes too long has its event fail; the key goes on when it has returned, behind a Forget.
func TestInsideLate(t *testing.T) {
	failed := make(chan error, 1)
	w := newInsideWorld(t, func(_ context.Context, _ *extension.Host, n string) error {
		if n == "1" {
			<-failed // longer than its context
		}
		return nil
	})
	over := errors.New("the event is over")
	o := &eventOwner{answers: []error{over}, end: func(err error) {
		if errors.Is(err, extension.ErrLate) {
			failed <- err
		}
	}}
	err := w.reg.Remote.Dispatch(&extension.RemoteEvent{Kind: extension.ToComponent, Component: -1, Key: "key", Owner: o, Deadline: time.Millisecond, Envelope: extension.Envelope{
		Stanza: stanza.New(stanza.Header{Kind: stanza.Message, ID: "1", From: jid.MustParse("romeo@example.org/orchard"), To: jid.MustParse("c")}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	w.dispatch("key", "2", &eventOwner{end: func(err error) { done <- err }})
	if err := <-done; err != nil || !o.failed.Load() {
		t.Error(err)
	}
	if want := []string{"handle 1", "forget key", "handle 2"}; !slices.Equal(w.seen, want) {
		t.Errorf("%q, not %q", w.seen, want)
	}
}

// Many keys at once, each in its order, and nothing is left.
func TestInsideManyKeys(t *testing.T) {
	const keys, each = 50, 40
	var mu sync.Mutex
	next, busy := map[string]int{}, map[string]bool{}
	w := newInsideWorld(t, func(_ context.Context, h *extension.Host, id string) error {
		var key string
		var n int
		_, _ = fmt.Sscanf(id, "%s %d", &key, &n)
		mu.Lock()
		if busy[key] || next[key] != n {
			t.Errorf("%s: %d, not %d", key, n, next[key])
		}
		busy[key] = true
		mu.Unlock()
		err := h.Memory.Put("k", nil)
		mu.Lock()
		defer mu.Unlock()
		busy[key] = false
		next[key]++
		return err
	})
	var all sync.WaitGroup
	for n := range each {
		for k := range keys {
			all.Add(1)
			key := fmt.Sprint("k", k)
			o := &eventOwner{end: func(error) { all.Done() }}
			if n%3 == 0 { // told on another goroutine
				o.hold = make(chan func(), 1)
				go func() { (<-o.hold)() }()
			}
			w.dispatch(key, fmt.Sprint(key, " ", n), o)
		}
	}
	all.Wait()
	r := w.reg.Remote.(*inside)
	r.tasks.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.keys) != 0 || r.n != 0 || r.bytes != 0 || r.workers != 0 {
		t.Errorf("left: %d keys, %d events, %d bytes, %d workers", len(r.keys), r.n, r.bytes, r.workers)
	}
}
