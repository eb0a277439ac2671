package wire

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// lateSource is a late event by its name.
type lateSource struct{ name string }

func (s lateSource) Encode() *pluginv1.Event {
	return &pluginv1.Event{What: &pluginv1.Event_Far{Far: &pluginv1.FarEvent{Stanza: &pluginv1.Stanza{Id: s.name}}}}
}

// lateFate is what became of a late event in a world.
type lateFate struct {
	item  Item
	given int // to how many processes
	ends  int
	why   string
}

// consistentLate recounts late events.
func consistentLate(k *Kernel) error {
	n, bytes, out := 0, 0, 0
	for name, y := range k.lines {
		if y.name != name || y.events.n == 0 {
			return fmt.Errorf("line %s is kept for nothing", name)
		}
		var send *late
		var last uint64
		flight, flightBytes := 0, 0
		for e := y.events.head; e != nil; e = e.links[ofLine].next {
			if e.item.ID <= last {
				return fmt.Errorf("line %s: %d behind %d", name, e.item.ID, last)
			}
			last = e.item.ID
			n, bytes = n+1, bytes+e.item.Size
			switch {
			case e.out && send != nil:
				return fmt.Errorf("line %s: %d is out behind one that is not", name, e.item.ID)
			case e.out:
				flight, flightBytes = flight+1, flightBytes+e.item.Size
				if k.conn.shards[y.shard].late[e.item.ID] != e {
					return fmt.Errorf("line %s: %d is out at nobody", name, e.item.ID)
				}
			case send == nil:
				send = e
			}
		}
		l := &k.limits
		if flight > l.LateKeyEvents || flight > 1 && flightBytes > l.LateKeyBytes {
			return fmt.Errorf("line %s: %d are out, %d bytes", name, flight, flightBytes)
		}
		if y.send != send || y.out != flight || y.bytes != flightBytes {
			return fmt.Errorf("line %s: %d out, %d counted", name, flight, y.out)
		}
		may := k.conn != nil && send != nil && (flight == 0 || flight < l.LateKeyEvents && flightBytes+send.item.Size <= l.LateKeyBytes)
		if may != y.listed {
			return fmt.Errorf("line %s: listed %v, may be sent: %v", name, y.listed, may)
		}
		out += flight
	}
	if s := k.Stats(); s.Late != n || s.LateBytes != bytes || s.LateOut != out || n > k.limits.LateEvents {
		return fmt.Errorf("%d late events of %d bytes, %d out: %+v", n, bytes, out, s)
	}
	if k.conn != nil {
		flying := 0
		for i := range k.conn.shards {
			flying += len(k.conn.shards[i].late)
		}
		if flying != out {
			return fmt.Errorf("%d late events on the sessions, %d out", flying, out)
		}
	}
	return nil
}

func (w *world) enqueueLate(t *rapid.T) {
	w.lateIDs += uint64(rapid.IntRange(1, 3).Draw(t, "id"))
	name := fmt.Sprint("l", w.lateIDs)
	f := &lateFate{item: Item{
		Late: true, ID: 1<<60 + w.lateIDs, Key: rapid.SampledFrom(w.keys).Draw(t, "line"), Size: rapid.IntRange(1, 120).Draw(t, "size"),
		Received: w.now, Source: lateSource{name},
	}}
	before := w.k.Stats()
	switch err := w.k.Enqueue(f.item, w.now); {
	case err == nil:
		w.lates[name] = f
	case !errors.Is(err, extension.ErrFull) && !errors.Is(err, extension.ErrDown):
		t.Fatalf("enqueue: %v", err)
	case errors.Is(err, extension.ErrFull) && before.Late < w.limits.LateEvents && before.LateBytes+f.item.Size <= w.limits.LateBytes:
		t.Fatalf("full with %+v", before)
	}
	w.take()
}

// giveLate notes that a process was given a late event: in order, and none was left out.
func (w *world) giveLate(p *process, task *Task) {
	e := task.Event
	f := w.lates[e.GetFar().GetStanza().GetId()]
	if f == nil || e.GetId() != f.item.ID || e.GetKey() != f.item.Key || e.GetReceivedUs() != f.item.Received.UnixMicro() {
		w.t.Fatalf("%v is not %+v", e, f)
	}
	if p.lateSeen[e.GetId()] {
		w.t.Fatalf("%d was given twice", e.GetId())
	}
	p.lateSeen[e.GetId()] = true
	if p == w.acting {
		for _, other := range w.lates {
			if other.item.Key == f.item.Key && other.ends == 0 && other.item.ID < f.item.ID && !p.lateSeen[other.item.ID] {
				w.t.Fatalf("%d of %s overtook %d", f.item.ID, f.item.Key, other.item.ID)
			}
		}
		if f.ends > 0 {
			w.t.Fatalf("%d was given behind its end", f.item.ID)
		}
	}
	if f.given++; p == w.acting && int(e.GetAttempt()) < f.given {
		w.t.Fatalf("%d: attempt %d, it was given %d times", f.item.ID, e.GetAttempt(), f.given)
	}
	p.lateRunning = append(p.lateRunning, task)
	p.lateOpen = append(p.lateOpen, task)
}

// takeLate returns from Take.
func (w *world) takeLate(t *rapid.T) {
	if p := w.any(t); p != nil && len(p.lateRunning) > 0 {
		w.taken(p, rapid.IntRange(0, len(p.lateRunning)-1).Draw(t, "late"))
	}
}

func (w *world) taken(p *process, i int) {
	task := p.lateRunning[i]
	p.lateRunning = slices.Delete(p.lateRunning, i, i+1)
	delete(p.handling, task.Event.GetKey())
	p.p.Taken(task)
	w.work(p)
}

// answerLate gives the outcome of a late event, in any order.
func (w *world) answerLate(t *rapid.T) {
	if p := w.any(t); p != nil && len(p.lateOpen) > 0 {
		w.answered(p, rapid.IntRange(0, len(p.lateOpen)-1).Draw(t, "answer"))
	}
}

func (w *world) answered(p *process, i int) {
	task := p.lateOpen[i]
	p.lateOpen = slices.Delete(p.lateOpen, i, i+1)
	o := &pluginv1.Outcome{}
	if !w.drain && rapid.IntRange(0, 19).Draw(w.t, "large") == 0 {
		o.Result = make([]byte, 2000)
	}
	if err := p.p.Answer(task, o); err != nil && !errors.Is(err, ErrFull) {
		w.t.Fatal(err)
	}
	if err := p.p.Answer(task, nil); err == nil {
		w.t.Fatal("it was answered twice")
	}
	w.work(p)
}

func (w *world) endedLate(a Action, why string) {
	f := w.lates[a.Item.Source.(lateSource).name]
	if f.ends++; f.ends > 1 {
		w.t.Fatalf("%v has two ends: %s, %s", a.Item.Source, f.why, why)
	}
	f.why = why
}

func lateItem(id uint64, key string, size int) Item {
	return Item{Late: true, ID: id, Key: key, Size: size, Received: t0, Source: lateSource{fmt.Sprint(id)}}
}

// sentLate has all that can be sent be sent, and returns the IDs of late events, and of others.
func sentLate(t *testing.T, c *Conn, now time.Time) (lates, others []uint64, attempts []uint32) {
	t.Helper()
	for {
		f := c.Frame(0, now)
		if f == nil {
			return lates, others, attempts
		}
		for _, e := range f.GetEvents() {
			if e.GetFar() != nil {
				lates = append(lates, e.GetId())
				attempts = append(attempts, e.GetAttempt())
			} else {
				others = append(others, e.GetId())
			}
		}
	}
}

func acting(t *testing.T, k *Kernel, generation uint64) *Conn {
	t.Helper()
	c, err := k.Open(Peer{Generation: generation, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Attach(c, t0); err != nil {
		t.Fatal(err)
	}
	c.Start(t0)
	return c
}

// A key whose peer is away has its window out, and is in nobody's way: neither in that of other keys,
// nor in that of events which are handled.
func TestLateWindow(t *testing.T) {
	k := NewKernel(KernelLimits{LateKeyEvents: 3, LateKeyBytes: 100, Credit: Credit{Events: 2}}, t0)
	c := acting(t, k, 1)
	enqueue := func(it Item) {
		t.Helper()
		if err := k.Enqueue(it, t0); err != nil {
			t.Fatal(err)
		}
	}
	for id := uint64(1); id <= 5; id++ {
		enqueue(lateItem(1<<60+id, "away", 1))
		enqueue(lateItem(1<<61+id, "large", 60))
	}
	enqueue(lateItem(1<<62, "there", 1))
	for range 3 {
		enqueue(Item{Key: "away", Size: 1, Received: t0, Source: fateSource{"x"}})
	}
	lates, others, _ := sentLate(t, c, t0)
	slices.Sort(lates)
	if want := []uint64{1<<60 + 1, 1<<60 + 2, 1<<60 + 3, 1<<61 + 1, 1 << 62}; !slices.Equal(lates, want) || len(others) != 2 {
		t.Fatalf("%v, %v", lates, others)
	}
	answer := func(ids ...uint64) {
		t.Helper()
		f := &pluginv1.PluginFrame{Generation: 1}
		for _, id := range ids {
			f.Outcomes = append(f.Outcomes, &pluginv1.Outcome{Event: id})
		}
		if err := c.Receive(0, f, t0); err != nil {
			t.Fatal(err)
		}
	}
	answer(1<<60+3, 1<<60+2, 1<<61+1) // in any order
	if a := k.Take(nil); len(a) != 3 || a[0].Kind != LateOutcome || a[0].Item.ID != 1<<60+3 {
		t.Fatalf("%+v", a)
	}
	lates, _, _ = sentLate(t, c, t0)
	slices.Sort(lates)
	if want := []uint64{1<<60 + 4, 1<<60 + 5, 1<<61 + 2}; !slices.Equal(lates, want) {
		t.Fatal(lates)
	}
	// What the process has is given to the next one, in order, and what it had answered is not.
	k.Reset("away", t0) // is not about them
	k.Take(nil)
	if lates, _, _ = sentLate(t, c, t0); lates != nil {
		t.Fatalf("given again behind a reset: %v", lates)
	}
	c.Close(true, t0)
	c = acting(t, k, 2)
	lates, _, attempts := sentLate(t, c, t0)
	if i := slices.Index(lates, 1<<60+1); i < 0 || attempts[i] != 2 || slices.Index(lates, 1<<60+4) < i || slices.Contains(lates, 1<<60+2) {
		t.Fatal(lates, attempts)
	}
	if err := c.Receive(0, &pluginv1.PluginFrame{Generation: 2, Outcomes: []*pluginv1.Outcome{{Event: 1<<60 + 2}}}, t0); !errors.Is(err, ErrProtocol) {
		t.Errorf("a second outcome: %v", err)
	}
}

// However often processes die, late events are nobody's fault, and are given again for as long as there are
// processes. Without one they wait for the grace time since the last one.
func TestLateGrace(t *testing.T) {
	k := NewKernel(KernelLimits{Grace: 10 * time.Second}, t0)
	now := t0
	if err := k.Enqueue(lateItem(7, "away", 1), now); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(10) {
		c := acting(t, k, i+1)
		if lates, _, attempts := sentLate(t, c, now); !slices.Equal(lates, []uint64{7}) || attempts[0] != uint32(i+1) {
			t.Fatal(lates, attempts)
		}
		now = now.Add(time.Hour)
		k.Tick(now)
		c.Close(true, now)
		now = now.Add(9 * time.Second)
		if next := k.Tick(now); !next.Equal(now.Add(time.Second)) {
			t.Fatalf("%v after %v", next, now)
		}
		if a := k.Take(nil); len(a) > 0 {
			t.Fatalf("%+v", a)
		}
	}
	k.Tick(now.Add(time.Second))
	if a := k.Take(nil); len(a) != 1 || a[0].Kind != Fail || a[0].Reason != Down || !errors.Is(a[0].Err, extension.ErrDown) || a[0].Attempt != 10 {
		t.Fatalf("%+v", a)
	}
	k.GiveUp(now)
	if err := k.Enqueue(lateItem(8, "away", 1), now); !errors.Is(err, extension.ErrDown) {
		t.Error(err)
	}
}

// Neither what is late nor what is handled fills frames alone, and what is too large for a frame fails.
func TestLateFrames(t *testing.T) {
	k := NewKernel(KernelLimits{FrameEvents: 4}, t0)
	c, err := k.Open(Peer{Generation: 1, Shards: 1, MaxFrameBytes: MinFrameBytes})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Attach(c, t0); err != nil {
		t.Fatal(err)
	}
	c.Start(t0)
	text := func(n int) Source { return largeLate{n} }
	for i := range uint64(6) {
		for _, it := range []Item{
			{Late: true, ID: 100 + i, Key: "l", Size: 1, Source: lateSource{"l"}},
			{Key: fmt.Sprint(i), Size: 1, Source: fateSource{"n"}},
		} {
			if err := k.Enqueue(it, t0); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, it := range []Item{{Late: true, ID: 200, Key: "l", Size: 1, Source: text(2 * MinFrameBytes)}, {Late: true, ID: 201, Key: "l", Size: 1, Source: text(MinFrameBytes - 500)}, {Late: true, ID: 202, Key: "l", Size: 1, Source: lateSource{"l"}}} {
		if err := k.Enqueue(it, t0); err != nil {
			t.Fatal(err)
		}
	}
	var frames []string
	var lates []uint64
	for {
		f := c.Frame(0, t0)
		if f == nil {
			break
		}
		if n := proto.Size(f); n > MinFrameBytes {
			t.Errorf("a frame of %d bytes", n)
		}
		kinds := ""
		for _, e := range f.GetEvents() {
			if e.GetFar() != nil {
				kinds += "l"
				lates = append(lates, e.GetId())
			} else {
				kinds += "n"
			}
		}
		frames = append(frames, kinds)
	}
	if frames[0] != "llnnnn" || frames[1] != "llnn" {
		t.Error(frames)
	}
	if want := []uint64{100, 101, 102, 103, 104, 105, 201, 202}; !slices.Equal(lates, want) {
		t.Error(lates)
	}
	a := k.Take(nil)
	var told *stanza.Error
	if len(a) != 1 || a[0].Reason != TooLarge || !errors.As(a[0].Err, &told) || told.Condition != stanza.ResourceConstraint {
		t.Errorf("%+v", a)
	}
}

type largeLate struct{ n int }

func (s largeLate) Encode() *pluginv1.Event {
	return &pluginv1.Event{What: &pluginv1.Event_Far{Far: &pluginv1.FarEvent{Stanza: &pluginv1.Stanza{Content: make([]byte, s.n)}}}}
}
