package wire

import (
	"fmt"
	"testing"
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// note is the Source of a test's event.
type note string

func (n note) Encode() *pluginv1.Event {
	return &pluginv1.Event{What: &pluginv1.Event_Timer{Timer: &pluginv1.TimerEvent{Key: string(n)}}}
}

func name(it *Item) string { return string(it.Source.(note)) }

// A rig is a Kernel with a process, frames between them carried when the test says so.
type rig struct {
	t      testing.TB
	k      *Kernel
	c      *Conn
	p      *Plugin
	shards int
	now    time.Time
	gen    uint64
}

func newRig(t testing.TB, shards int, limits KernelLimits) *rig {
	return &rig{t: t, k: NewKernel(limits, t0), shards: shards, now: t0}
}

func (r *rig) connect() {
	r.t.Helper()
	r.gen++
	c, err := r.k.Open(Peer{Generation: r.gen, Shards: r.shards})
	if err != nil {
		r.t.Fatal(err)
	}
	r.c, r.p = c, NewPlugin(PluginLimits{Shards: r.shards})
	for i := range r.shards {
		if _, err := r.p.Hello(c.Frame(i, r.now)); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.k.Attach(c, r.now); err != nil {
		r.t.Fatal(err)
	}
	c.Start(r.now)
}

func (r *rig) put(key, what string) {
	r.t.Helper()
	if err := r.k.Enqueue(Item{Key: key, Size: 100, Received: t0, Source: note(what)}, r.now); err != nil {
		r.t.Fatal(err)
	}
}

// down carries all frames of the kernel, up those of the plugin.
func (r *rig) down() {
	r.t.Helper()
	for i := range r.shards {
		for f := r.c.Frame(i, r.now); f != nil; f = r.c.Frame(i, r.now) {
			if err := r.p.Receive(i, f); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func (r *rig) up() {
	r.t.Helper()
	for i := range r.shards {
		for f := r.p.Frame(i); f != nil; f = r.p.Frame(i) {
			if err := r.c.Receive(i, f, r.now); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func (r *rig) work() []Work      { return r.p.Take(nil) }
func (r *rig) actions() []Action { return r.k.Take(nil) }

func TestAnEventAndItsOutcome(t *testing.T) {
	r := newRig(t, 3, KernelLimits{})
	r.connect()
	for i := range 100 {
		r.put(fmt.Sprint("key", i%7), fmt.Sprint(i))
	}
	var got []string
	for round := 0; r.k.Stats().Waiting+r.k.Stats().InFlight > 0; round++ {
		if round > 1000 {
			t.Fatalf("no end: %+v", r.k.Stats())
		}
		r.down()
		for _, w := range r.work() {
			if w.Kind == Handle {
				if err := r.p.Done(w.Task, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		r.up()
		for a := r.actions(); len(a) > 0; a = r.actions() {
			for _, a := range a {
				if a.Kind != ApplyOutcome {
					t.Fatalf("%+v", a)
				}
				got = append(got, name(a.Item))
				r.k.Done(a.Ticket, nil, r.now)
			}
		}
	}
	if len(got) != 100 {
		t.Errorf("%d applied, not 100: %v", len(got), got)
	}
	if s := r.k.Stats(); s.Keys != 0 || s.Applying != 0 {
		t.Errorf("left: %+v", s)
	}
}
