package wire

import (
	"errors"
	"fmt"
	"testing"
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"pgregory.net/rapid"
)

// steps are what may happen, and how often beside each other.
func (w *world) steps() (steps []func(*rapid.T)) {
	for _, s := range []struct {
		weight int
		do     func(*rapid.T)
	}{
		{12, w.enqueue},
		{8, w.enqueueLate},
		{6, w.takeLate},
		{6, w.answerLate},
		{12, w.flow},
		{10, w.frame},
		{10, w.deliver},
		{12, w.handle},
		{10, w.apply},
		{4, w.say},
		{2, w.respond},
		{3, w.tick},
		{2, w.reset},
		{2, w.credit},
		{1, w.beat},
		{1, w.kill},
		{1, w.pause},
		{1, w.giveUp},
		{2, w.open},
		{1, w.switchOver},
	} {
		for range s.weight {
			steps = append(steps, s.do)
		}
	}
	return steps
}

// flow carries all frames of one direction.
func (w *world) flow(t *rapid.T) {
	p := w.acting
	if p == nil {
		return
	}
	down := rapid.Bool().Draw(t, "from the kernel")
	for i := range p.up {
		if down {
			for w.kernelFrame(p, i) {
			}
			for w.carryDown(p, i) {
			}
		} else {
			for w.pluginFrame(p, i) {
			}
			for w.carryUp(p, i) {
			}
		}
	}
}

func (w *world) enqueue(t *rapid.T) {
	w.order++
	f := &fate{order: w.order, poison: rapid.IntRange(0, 19).Draw(t, "poison") == 0}
	name := fmt.Sprint("e", w.order)
	f.item = Item{
		Key: rapid.SampledFrom(w.keys).Draw(t, "key"), Size: rapid.IntRange(1, 120).Draw(t, "size"), Received: w.now,
		Source: fateSource{name},
	}
	switch rapid.IntRange(0, 7).Draw(t, "kind") {
	case 0:
		f.item.Observed = true
	case 1:
		f.item.Coalesce = CoalesceKey{From: "a", To: f.item.Key}
	case 2:
		f.item.Impatient = true
	case 3:
		f.item.Deadline = time.Duration(rapid.IntRange(1, 10).Draw(t, "deadline")) * time.Second
	}
	before := w.k.Stats()
	err := w.k.Enqueue(f.item, w.now)
	if err == nil {
		w.items[name] = f
	} else if !errors.Is(err, extension.ErrFull) && !errors.Is(err, extension.ErrDown) {
		t.Fatalf("enqueue: %v", err)
	} else if errors.Is(err, extension.ErrFull) && before.Waiting < w.limits.Events && before.WaitingBytes+f.item.Size <= w.limits.Bytes {
		t.Fatalf("full with %+v", before)
	}
	w.take()
}

// frame has a side make its next frame.
func (w *world) frame(t *rapid.T) {
	p := w.any(t)
	if p == nil {
		return
	}
	shard := rapid.IntRange(0, len(p.up)-1).Draw(t, "shard")
	if rapid.Bool().Draw(t, "from the kernel") {
		w.kernelFrame(p, shard)
	} else {
		w.pluginFrame(p, shard)
	}
}

// deliver carries a frame.
func (w *world) deliver(t *rapid.T) {
	p := w.any(t)
	if p == nil {
		return
	}
	shard := rapid.IntRange(0, len(p.up)-1).Draw(t, "shard")
	if rapid.Bool().Draw(t, "from the kernel") {
		w.carryDown(p, shard)
	} else {
		w.carryUp(p, shard)
	}
}

// handle ends the handling of an event.
func (w *world) handle(t *rapid.T) {
	p := w.any(t)
	if p == nil || len(p.running) == 0 {
		return
	}
	w.finish(p, rapid.IntRange(0, len(p.running)-1).Draw(t, "task"))
}

// apply ends an apply.
func (w *world) apply(t *rapid.T) {
	if len(w.applies) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.applies)-1).Draw(t, "apply")
	err := rapid.SampledFrom([]error{
		nil, nil, nil, nil, nil,
		fmt.Errorf("a test: %w", extension.ErrConflict), fmt.Errorf("a test: %w", extension.ErrUnavailable), errors.New("refused"),
	}).Draw(t, "result")
	w.applyWith(i, err)
}

func (w *world) respond(t *rapid.T) {
	if len(w.answers) == 0 {
		return
	}
	w.answerTo(rapid.IntRange(0, len(w.answers)-1).Draw(t, "request"))
}

// say has a process ask, or say something unasked.
func (w *world) say(t *rapid.T) {
	p := w.acting
	if p == nil {
		return
	}
	if rapid.Bool().Draw(t, "ask") {
		var task *Task
		if len(p.running) > 0 {
			task = p.running[rapid.IntRange(0, len(p.running)-1).Draw(t, "task")]
		}
		id, err := p.p.Request(task, &pluginv1.Request{What: &pluginv1.Request_NewIds{NewIds: &pluginv1.NewIds{N: 1}}})
		if err == nil {
			p.asked[id] = true
		} else if !errors.Is(err, ErrVoid) && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		return
	}
	key := rapid.SampledFrom(w.keys).Draw(t, "key")
	epoch := p.p.Epoch(key)
	if rapid.IntRange(0, 4).Draw(t, "old") == 0 {
		epoch /= 2
	}
	id, err := p.p.Unasked(key, epoch, []*pluginv1.Effect{{What: &pluginv1.Effect_CancelTimer{CancelTimer: string(make([]byte, rapid.IntRange(0, 300).Draw(t, "effect")))}}})
	if err == nil {
		p.unasked[id] = key
	} else if !errors.Is(err, ErrVoid) && !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
}

// kill ends a process from outside. While somebody is suspected it is no crash: three
// that hit the same event by chance would make it guilty.
func (w *world) kill(t *rapid.T) {
	if w.acting == nil || w.drain {
		return
	}
	w.end(len(w.k.suspects) == 0 && rapid.Bool().Draw(t, "as a crash"))
}

func (w *world) pause(t *rapid.T) {
	if w.acting == nil {
		return
	}
	if rapid.IntRange(0, 3).Draw(t, "on") == 0 {
		w.acting.c.Pause()
	} else {
		w.acting.c.Start(w.now)
	}
}

func (w *world) tick(t *rapid.T) {
	w.now = w.now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond)
	next := w.k.Tick(w.now)
	if !next.IsZero() && !next.After(w.now) {
		t.Fatalf("Tick wants to be called again at once")
	}
	w.take()
}

func (w *world) reset(t *rapid.T) {
	w.k.Reset(rapid.SampledFrom(w.keys).Draw(t, "key"), w.now)
	w.take()
}

func (w *world) credit(t *rapid.T) {
	if w.acting == nil {
		return
	}
	for i := range w.acting.up {
		w.acting.p.SetCredit(i, Credit{Events: rapid.IntRange(0, 5).Draw(t, "events"), Bytes: rapid.IntRange(1, 1000).Draw(t, "bytes")})
	}
}

func (w *world) giveUp(t *rapid.T) {
	if w.acting != nil || rapid.IntRange(0, 3).Draw(t, "really") > 0 {
		return
	}
	w.k.GiveUp(w.now)
	w.gaveUp = true
	w.take()
}

func (w *world) beat(t *rapid.T) {
	if w.acting == nil {
		return
	}
	w.acting.c.Beat(w.now)
}

// check counts everything anew.
func (w *world) check(t *rapid.T) {
	s := w.k.Stats()
	if s.Waiting > w.limits.Events || s.WaitingBytes > w.limits.Bytes {
		t.Fatalf("%d events wait, %d bytes", s.Waiting, s.WaitingBytes)
	}
	if w.k.sent > 2*w.maxSent {
		t.Fatalf("%d in flight, returned or not applied, more than %d", w.k.sent, 2*w.maxSent)
	}
	if err := errors.Join(consistent(w.k), consistentLate(w.k)); err != nil {
		t.Fatal(err)
	}
	open := 0
	for _, f := range w.lates {
		if f.ends == 0 {
			open++
		}
	}
	if open != w.k.late.n {
		t.Fatalf("%d late events without an end, the machine says %d", open, w.k.late.n)
	}
	open = 0
	for _, f := range w.items {
		if f.ends == 0 {
			open++
		}
	}
	if open != w.k.all.n {
		t.Fatalf("%d events without an end, the machine says %d", open, w.k.all.n)
	}
	for e := w.k.all.head; w.gaveUp && e != nil; e = e.links[ofAll].next {
		if e.state != answered {
			t.Fatalf("event %d waits, though nobody comes", e.id)
		}
	}
}

// settle lets everything go well until nothing is left to do.
func (w *world) settle() {
	w.drain = true
	for range 100_000 {
		if w.acting == nil {
			if w.standby == nil {
				w.open(w.t)
			}
			w.switchOver(w.t)
		}
		p := w.acting
		p.c.Start(w.now)
		for i := 0; i < len(p.up) && p == w.acting; i++ {
			p.p.SetCredit(i, Credit{Events: 3, Bytes: 1000})
			w.kernelFrame(p, i)
			w.carryDown(p, i)
			for len(p.running) > 0 && p == w.acting {
				w.finish(p, 0)
			}
			for len(p.lateRunning) > 0 {
				w.taken(p, 0)
			}
			for len(p.lateOpen) > 0 {
				w.answered(p, len(p.lateOpen)-1)
			}
			if p != w.acting {
				break
			}
			w.pluginFrame(p, i)
			w.carryUp(p, i)
		}
		for len(w.applies) > 0 {
			w.applyWith(0, nil)
		}
		for len(w.answers) > 0 {
			w.answerTo(0)
		}
		w.check(w.t)
		if w.k.all.n+w.k.late.n == 0 && w.k.inFlight == 0 && w.acting != nil && len(w.acting.unasked) == 0 && len(w.acting.asked) == 0 && w.acting.p.Outstanding() == 0 {
			if s := w.k.Stats(); s.Keys != 0 || s.Waiting+s.Returned+s.InFlight+s.Applying+s.Suspects != 0 {
				w.t.Fatalf("left: %+v", s)
			}
			if len(w.acting.p.keys) != 0 || w.acting.c.Outstanding() != 0 {
				w.t.Fatalf("the process is left with %+v", w.acting.p.Stats())
			}
			return
		}
		w.now = w.now.Add(100 * time.Millisecond)
		w.k.Tick(w.now)
		w.take()
	}
	w.t.Fatalf("it does not come to its end: %+v, %+v, %+v", w.k.Stats(), w.acting.c.Watch(), w.acting.p.Stats())
}

// TestModel has so many runs of its own because interleavings are the point. More:
//
//	go test ./api/plugin/wire -run TestModel -rapid.checks=5000
func TestModel(t *testing.T) {
	for i := range 10 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(t)
				w.open(t)
				w.switchOver(t)
				steps := w.steps()
				for range rapid.IntRange(1, 250).Draw(t, "steps") {
					steps[rapid.IntRange(0, len(steps)-1).Draw(t, "step")](t)
					w.check(t)
				}
				w.settle()
			})
		})
	}
}
