package wire

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"google.golang.org/protobuf/proto"
)

// events takes frames from the kernel, and returns what events are in them.
func (r *rig) events() (all []*pluginv1.Event) {
	for i := range r.shards {
		for f := r.c.Frame(i, r.now); f != nil; f = r.c.Frame(i, r.now) {
			all = append(all, f.GetEvents()...)
		}
	}
	return all
}

// say gives the kernel a frame of the Session 0.
func (r *rig) say(f *pluginv1.PluginFrame) error {
	f.Generation = r.gen
	return r.c.Receive(0, f, r.now)
}

func outcomes(events ...*pluginv1.Event) *pluginv1.PluginFrame {
	f := &pluginv1.PluginFrame{}
	for _, e := range events {
		f.Outcomes = append(f.Outcomes, &pluginv1.Outcome{Event: e.GetId(), Epoch: e.GetEpoch()})
	}
	return f
}

func names(events []*pluginv1.Event) string {
	var s []string
	for _, e := range events {
		s = append(s, e.GetTimer().GetKey())
	}
	return strings.Join(s, " ")
}

func TestBreachesOfTheProtocol(t *testing.T) {
	requests := func(n int) (f *pluginv1.PluginFrame) {
		f = &pluginv1.PluginFrame{}
		for i := range n {
			f.Requests = append(f.Requests, &pluginv1.Request{Id: uint64(i + 1)})
		}
		return f
	}
	unasked := func(n int) (f *pluginv1.PluginFrame) {
		f = &pluginv1.PluginFrame{}
		for i := range n {
			f.Unasked = append(f.Unasked, &pluginv1.Unasked{Id: uint64(i + 1), Key: "a"})
		}
		return f
	}
	for _, c := range []struct {
		name  string
		frame func(e []*pluginv1.Event) *pluginv1.PluginFrame
		want  string // empty: it is none
	}{
		{"in order", func(e []*pluginv1.Event) *pluginv1.PluginFrame { return outcomes(e[0], e[1]) }, ""},
		{"keys in any order", func(e []*pluginv1.Event) *pluginv1.PluginFrame { return outcomes(e[2], e[0]) }, ""},
		{"a key out of order", func(e []*pluginv1.Event) *pluginv1.PluginFrame { return outcomes(e[1]) }, "event 2 before that of event 1"},
		{"a second outcome", func(e []*pluginv1.Event) *pluginv1.PluginFrame { return outcomes(e[0], e[0]) }, "outcome of event 1, which it does not have"},
		{"an unknown event", func([]*pluginv1.Event) *pluginv1.PluginFrame {
			return outcomes(&pluginv1.Event{Id: 99})
		}, "outcome of event 99, which it does not have"},
		{"a later epoch", func(e []*pluginv1.Event) *pluginv1.PluginFrame {
			return outcomes(&pluginv1.Event{Id: e[0].Id, Epoch: 5})
		}, "in epoch 5, which is 0"},
		{"requests", func([]*pluginv1.Event) *pluginv1.PluginFrame { return requests(MaxRequests) }, ""},
		{"too many requests", func([]*pluginv1.Event) *pluginv1.PluginFrame { return requests(MaxRequests + 1) }, "1024 requests"},
		{"a request again", func([]*pluginv1.Event) *pluginv1.PluginFrame {
			return &pluginv1.PluginFrame{Requests: []*pluginv1.Request{{Id: 2}, {Id: 2}}}
		}, "request 2 after 2"},
		{"a request of a long key", func([]*pluginv1.Event) *pluginv1.PluginFrame {
			return &pluginv1.PluginFrame{Requests: []*pluginv1.Request{{Id: 1, Key: strings.Repeat("k", MaxKeyBytes+1)}}}
		}, "request 1 has a key"},
		{"unasked", func([]*pluginv1.Event) *pluginv1.PluginFrame { return unasked(MaxUnasked) }, ""},
		{"too many unasked", func([]*pluginv1.Event) *pluginv1.PluginFrame { return unasked(MaxUnasked + 1) }, "1024 unasked"},
		{"unasked again", func([]*pluginv1.Event) *pluginv1.PluginFrame {
			return &pluginv1.PluginFrame{Unasked: []*pluginv1.Unasked{{Id: 2}, {Id: 1}}}
		}, "unasked 1 after 2"},
		{"unasked of an epoch to come", func([]*pluginv1.Event) *pluginv1.PluginFrame {
			return &pluginv1.PluginFrame{Unasked: []*pluginv1.Unasked{{Id: 1, Epoch: 1}}}
		}, "epoch 1"},
		{"a long key", func([]*pluginv1.Event) *pluginv1.PluginFrame {
			return &pluginv1.PluginFrame{Unasked: []*pluginv1.Unasked{{Id: 1, Key: strings.Repeat("k", MaxKeyBytes+1)}}}
		}, "8193 bytes"},
		{"a beat that nobody asked for", func([]*pluginv1.Event) *pluginv1.PluginFrame {
			return &pluginv1.PluginFrame{Beat: 1}
		}, "beat 1"},
		{"holes", func([]*pluginv1.Event) *pluginv1.PluginFrame {
			return &pluginv1.PluginFrame{Outcomes: []*pluginv1.Outcome{nil}}
		}, "event 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 1, KernelLimits{})
			r.connect()
			r.put("a", "1")
			r.put("a", "2")
			r.put("b", "3")
			e := r.events()
			if len(e) != 3 {
				t.Fatalf("%d events", len(e))
			}
			// The keys take turns.
			e[1], e[2] = e[2], e[1]
			err := r.say(c.frame(e))
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (!errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, not %q", err, c.want)
			case c.want != "" && r.say(&pluginv1.PluginFrame{}) == nil:
				t.Error("it goes on")
			}
		})
	}
}

func TestGenerations(t *testing.T) {
	r := newRig(t, 1, KernelLimits{})
	r.connect()
	r.put("a", "1")
	old := r.c
	e := r.events()
	frame := outcomes(e...)
	frame.Generation = 0
	if err := old.Receive(0, frame, r.now); err != nil || r.k.Stats().RefusedFrames != 1 {
		t.Errorf("%v, %+v", err, r.k.Stats())
	}
	if err := old.Receive(0, &pluginv1.PluginFrame{Generation: 2}, r.now); !errors.Is(err, ErrProtocol) {
		t.Errorf("a frame of a later generation: %v", err)
	}
	standby, err := r.k.Open(Peer{Generation: 2, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := standby.Receive(0, &pluginv1.PluginFrame{Generation: 2, Credit: &pluginv1.Credit{Events: 1}}, r.now); err != nil {
		t.Errorf("credit on standby: %v", err)
	}
	if err := r.k.Attach(standby, r.now); err == nil {
		t.Error("two processes act")
	}
	old.Close(false, r.now)
	if err := r.k.Attach(standby, r.now); err != nil {
		t.Fatal(err)
	}
	if f := standby.Frame(0, r.now); f.GetHello() == nil || len(f.GetEvents()) > 0 {
		t.Errorf("before Start: %v", f)
	}
	standby.Start(r.now)
	f := standby.Frame(0, r.now)
	if len(f.GetEvents()) != 1 || f.Events[0].Attempt != 2 || f.Events[0].Id != e[0].Id {
		t.Errorf("given again: %v", f)
	}
	frame.Generation = 1
	if err := old.Receive(0, frame, r.now); err != nil || r.k.Stats().RefusedFrames != 2 || len(r.actions()) != 0 {
		t.Errorf("an outcome of the old process: %v, %+v", err, r.k.Stats())
	}
	other, _ := r.k.Open(Peer{Generation: 3, Shards: 1})
	if err := other.Receive(0, &pluginv1.PluginFrame{Generation: 3, Requests: []*pluginv1.Request{{Id: 1}}}, r.now); !errors.Is(err, ErrProtocol) {
		t.Errorf("a request on standby: %v", err)
	}
}

// A full queue: messages are refused, observed events make room, of presences the last
// counts, and what is in between is not overtaken.
func TestFull(t *testing.T) {
	r := newRig(t, 1, KernelLimits{Events: 3})
	put := func(what string, it Item) error {
		it.Key, it.Size, it.Source = "room", 10, note(what)
		return r.k.Enqueue(it, r.now)
	}
	presence := Item{Coalesce: CoalesceKey{From: "juliet", To: "room"}}
	for i, c := range []struct {
		what string
		item Item
		err  error
	}{
		{"seen1", Item{Observed: true}, nil},
		{"here1", presence, nil},
		{"seen2", Item{Observed: true}, nil},
		{"hello", Item{}, nil},   // for which seen1 makes room
		{"here2", presence, nil}, // instead of here1
		{"other", Item{Coalesce: CoalesceKey{From: "romeo", To: "room"}}, nil}, // for which seen2 makes room
		{"more", Item{}, extension.ErrFull},
		{"seen3", Item{Observed: true}, extension.ErrFull},
		{"nurse", Item{Coalesce: CoalesceKey{From: "nurse", To: "room"}}, extension.ErrFull},
		{"here3", presence, nil}, // instead of here2
	} {
		if err := put(c.what, c.item); !errors.Is(err, c.err) {
			t.Errorf("%d: %s: %v, not %v", i, c.what, err, c.err)
		}
		if n := r.k.Stats().Waiting; n > 3 {
			t.Errorf("%d: %d wait", i, n)
		}
	}
	var failed []string
	for _, a := range r.actions() {
		if a.Kind != Fail || !errors.Is(a.Err, extension.ErrFull) {
			t.Errorf("%+v", a)
		}
		failed = append(failed, name(a.Item)+":"+a.Reason.String())
	}
	if got := strings.Join(failed, " "); got != "seen1:dropped here1:coalesced seen2:dropped here2:coalesced" {
		t.Errorf("failed: %s", got)
	}
	r.connect()
	if got := names(r.events()); got != "hello other here3" {
		t.Errorf("sent: %s", got)
	}
	if err := r.k.Enqueue(Item{Size: 1 << 30, Source: note("huge")}, r.now); !errors.Is(err, extension.ErrFull) {
		t.Errorf("a huge one: %v", err)
	}
}

func TestRoomIsMadeForWhatIsNeededOnly(t *testing.T) {
	r := newRig(t, 1, KernelLimits{Events: 10, Bytes: 100})
	for i := range 10 {
		if err := r.k.Enqueue(Item{Size: 10, Observed: true, Source: note(fmt.Sprint(i))}, r.now); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.k.Enqueue(Item{Size: 25, Source: note("m")}, r.now); err != nil {
		t.Fatal(err)
	}
	if n := len(r.actions()); n != 3 {
		t.Errorf("%d were dropped, not 3", n)
	}
}

// Frames have their bounds, and what fits in none has an end.
func TestSizes(t *testing.T) {
	r := newRig(t, 1, KernelLimits{OutcomeBytes: 10_000})
	r.gen++
	r.c, _ = r.k.Open(Peer{Generation: 1, Shards: 1, MaxFrameBytes: MinFrameBytes})
	r.p = NewPlugin(PluginLimits{FrameBytes: MinFrameBytes, OutcomeBytes: 20_000})
	if _, err := r.p.Hello(r.c.Frame(0, r.now)); err != nil {
		t.Fatal(err)
	}
	if err := r.k.Attach(r.c, r.now); err != nil {
		t.Fatal(err)
	}
	r.c.Start(r.now)
	for i := range 20 {
		r.put(fmt.Sprint(i), strings.Repeat("x", 20_000+i))
	}
	r.put("large", strings.Repeat("x", MinFrameBytes))
	// Responses come in between, and are bounded too.
	for i := range 10 {
		if _, err := r.p.Request(nil, &pluginv1.Request{What: &pluginv1.Request_Secret{Secret: &pluginv1.GetSecret{Name: fmt.Sprint(i)}}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.p.Request(nil, &pluginv1.Request{What: &pluginv1.Request_Secret{Secret: &pluginv1.GetSecret{Name: strings.Repeat("x", MinFrameBytes)}}}); !errors.Is(err, ErrFull) {
		t.Errorf("a large request: %v", err)
	}
	r.up()
	for i, a := range r.actions() {
		r.k.Respond(a.Ticket, &pluginv1.Response{What: &pluginv1.Response_Secret{Secret: make([]byte, 8_000*(i+1))}})
		r.k.Respond(a.Ticket, &pluginv1.Response{Error: "twice"})
	}
	frames, responses, bound := 0, 0, 0
	for f := r.c.Frame(0, r.now); f != nil; f = r.c.Frame(0, r.now) {
		frames++
		if n := proto.Size(f); n > MinFrameBytes {
			t.Errorf("a frame of %d bytes", n)
		}
		for _, x := range f.Responses {
			responses++
			if x.ErrorKind == pluginv1.ErrorKind_ERROR_KIND_BOUND {
				bound++
			}
		}
		if err := r.p.Receive(0, f); err != nil {
			t.Fatal(err)
		}
	}
	if responses != 10 || bound != 2 {
		t.Errorf("%d responses, %d of them too large", responses, bound)
	}
	a := r.actions()
	if len(a) != 1 || a[0].Reason != TooLarge || a[0].Item.Key != "large" {
		t.Fatalf("%v", a)
	}
	for i, w := range r.work() {
		if w.Kind != Handle {
			continue
		}
		err := r.p.Done(w.Task, &pluginv1.Outcome{Result: make([]byte, 1500*i)})
		if (1500*i > 20_000-50) != (err != nil) || err != nil && !errors.Is(err, ErrFull) {
			t.Errorf("an outcome of %d bytes: %v", 1500*i, err)
		}
	}
	for f := r.p.Frame(0); f != nil; f = r.p.Frame(0) {
		if n := proto.Size(f); n > MinFrameBytes {
			t.Errorf("a frame of %d bytes", n)
		}
		if err := r.c.Receive(0, f, r.now); err != nil {
			t.Fatal(err)
		}
	}
	var fail, apply int
	for _, a := range r.actions() {
		switch {
		case a.Kind == ApplyOutcome:
			apply++
		case a.Kind == Fail && a.Reason == TooLarge:
			fail++
		}
	}
	if fail == 0 || apply == 0 || fail+apply != 20 {
		t.Errorf("%d failed, %d to be applied", fail, apply)
	}
	if frames < 8 {
		t.Errorf("%d frames", frames)
	}
}

// An outcome stays behind what was said unasked of the same key before it.
func TestUnaskedAndOutcomesKeepTheirOrder(t *testing.T) {
	r := newRig(t, 1, KernelLimits{})
	r.connect()
	r.put("a", "1")
	r.put("b", "2")
	r.down()
	epoch := r.p.Epoch("a")
	id, err := r.p.Unasked("a", epoch, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range r.work() {
		if err := r.p.Done(w.Task, nil); err != nil {
			t.Fatal(err)
		}
	}
	r.up()
	var got []string
	for a := r.actions(); len(a) > 0; a = r.actions() {
		for _, a := range a {
			if a.Kind == ApplyUnasked {
				got = append(got, "unasked")
				r.k.Done(a.Ticket, errors.New("no"), r.now)
				continue
			}
			got = append(got, name(a.Item))
			r.k.Done(a.Ticket, nil, r.now)
		}
	}
	// Its failure made void what was said behind it.
	if s := strings.Join(got, " "); s != "unasked 2" {
		t.Errorf("%s", s)
	}
	r.down()
	var again, told bool
	for _, w := range r.work() {
		again = again || w.Kind == Handle && w.Key == "a"
		told = told || w.Kind == WasApplied && w.ID == id && w.Err != nil
	}
	if !again || !told {
		t.Errorf("given again: %v; told: %v", again, told)
	}
	if _, err := r.p.Unasked("a", epoch, nil); !errors.Is(err, ErrVoid) {
		t.Errorf("of an old epoch: %v", err)
	}
	if _, err := r.p.Unasked("b", epoch, nil); err != nil {
		t.Errorf("of another key: %v", err)
	}
}

// While a void handler of a key still runs, what is known of the key by heart is void.
func TestUnaskedBeforeForget(t *testing.T) {
	r := newRig(t, 1, KernelLimits{})
	r.connect()
	r.put("a", "1")
	r.down()
	task := r.work()[0].Task
	r.k.Reset("a", r.now)
	r.down()
	w := r.work()
	if len(w) != 1 || w[0].Kind != Cancel || w[0].Task != task {
		t.Fatalf("%+v", w)
	}
	early := r.p.Epoch("a")
	if _, err := r.p.Request(task, &pluginv1.Request{}); !errors.Is(err, ErrVoid) {
		t.Errorf("a request of a void task: %v", err)
	}
	if err := r.p.Done(task, nil); err != nil {
		t.Fatal(err)
	}
	if w := r.work(); len(w) != 2 || w[0].Kind != Forget || w[1].Kind != Handle || w[1].Task.Event.Epoch != w[0].Epoch {
		t.Errorf("%+v", w)
	}
	if _, err := r.p.Unasked("a", early, nil); !errors.Is(err, ErrVoid) {
		t.Errorf("of before the Forget: %v", err)
	}
	if _, err := r.p.Unasked("a", r.p.Epoch("a"), nil); err != nil {
		t.Errorf("of after it: %v", err)
	}
	r.up()
	if s := r.k.Stats(); s.Outcomes != 0 || s.Unasked != 1 || s.UnaskedVoid != 0 {
		t.Errorf("%+v", s)
	}
}

// What was on its way when its key was reset has no effect, and is answered.
func TestUnaskedOfAnOldEpoch(t *testing.T) {
	r := newRig(t, 1, KernelLimits{})
	r.connect()
	for _, key := range []string{"a", "b"} {
		if _, err := r.p.Unasked(key, r.p.Epoch(key), nil); err != nil {
			t.Fatal(err)
		}
	}
	f := r.p.Frame(0)
	r.k.Reset("a", r.now)
	if err := r.say(f); err != nil {
		t.Fatal(err)
	}
	a := r.actions()
	if len(a) != 1 || a[0].Kind != ApplyUnasked || a[0].Unasked.Key != "b" {
		t.Fatalf("%+v", a)
	}
	r.k.Done(a[0].Ticket, nil, r.now)
	r.down()
	var got []string
	for _, w := range r.work() {
		got = append(got, fmt.Sprint(w.Kind, w.Key, w.ID, w.Err != nil))
	}
	want := []string{fmt.Sprint(Forget, "a", 0, false), fmt.Sprint(WasApplied, "", 1, true), fmt.Sprint(WasApplied, "", 2, false)}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("%v, not %v", got, want)
	}
}

// A process that reads nothing does not make the kernel remember more and more.
func TestResetsHaveABound(t *testing.T) {
	r := newRig(t, 1, KernelLimits{Resets: 10})
	r.connect()
	for i := range 100 {
		r.k.Reset(fmt.Sprint(i%5), r.now)
	}
	if a := r.actions(); len(a) > 0 {
		t.Fatalf("%+v", a)
	}
	for i := range 100 {
		r.k.Reset(fmt.Sprint(i), r.now)
	}
	a := r.actions()
	if len(a) != 1 || a[0].Kind != EndProcess || a[0].Conn != r.c || !errors.Is(a[0].Err, ErrProtocol) {
		t.Errorf("%+v", a)
	}
	if n := r.c.shards[0].pending.len(); n > 10 {
		t.Errorf("%d wait", n)
	}
	if n := r.k.Stats().Keys; n > 0 {
		t.Errorf("%d keys", n)
	}
}

func TestBeats(t *testing.T) {
	r := newRig(t, 2, KernelLimits{})
	r.connect()
	r.c.Beat(r.now)
	r.c.Beat(r.now.Add(time.Second))
	if w := r.c.Watch(); !w.Beat.Equal(t0) {
		t.Errorf("%+v", w)
	}
	r.down()
	r.up()
	if w := r.c.Watch(); !w.Beat.IsZero() || !w.Frame.Equal(t0) {
		t.Errorf("%+v", w)
	}
	r.now = r.now.Add(time.Minute)
	r.put("a", "1")
	r.down()
	if w := r.c.Watch(); !w.Oldest.Equal(r.now) || w.OldestKey != "a" || !w.Outcome.IsZero() {
		t.Errorf("%+v", w)
	}
}

// Two plugins whose handlers send each other messages, and one that sends them to
// itself, with room for one event, never come to a stand.
func TestMessagesToEachOther(t *testing.T) {
	limits := KernelLimits{Events: 1, Credit: Credit{Events: 1}}
	for _, others := range []int{1, 2} {
		t.Run(fmt.Sprint(others), func(t *testing.T) {
			rigs := make([]*rig, others)
			for i := range rigs {
				rigs[i] = newRig(t, 1, limits)
				rigs[i].connect()
				rigs[i].put("start", "0")
			}
			handled, bounced := 0, 0
			for handled < 1000 {
				moved := false
				for i, r := range rigs {
					r.down()
					for _, w := range r.work() {
						if err := r.p.Done(w.Task, nil); err != nil {
							t.Fatal(err)
						}
					}
					r.up()
					for _, a := range r.actions() {
						moved = true
						handled++
						// What it sends is two messages to the other one, within Apply.
						other := rigs[(i+1)%len(rigs)]
						for n := range 2 {
							err := other.k.Enqueue(Item{Key: fmt.Sprint(n), Size: 1, Source: note("m")}, r.now)
							if errors.Is(err, extension.ErrFull) {
								bounced++
							} else if err != nil {
								t.Fatal(err)
							}
						}
						r.k.Done(a.Ticket, nil, r.now)
					}
				}
				if !moved {
					t.Fatalf("it stands after %d", handled)
				}
			}
			if bounced == 0 {
				t.Error("nothing bounced: the queue was never full")
			}
		})
	}
}

// What a process said that is applied when another one acts already was perhaps read too
// early by that one: its key is reset.
func TestAppliedBehindAttach(t *testing.T) {
	r := newRig(t, 1, KernelLimits{})
	r.connect()
	r.put("a", "1")
	r.put("a", "2")
	if err := r.say(outcomes(r.events()...)); err != nil {
		t.Fatal(err)
	}
	a := r.actions()
	if len(a) != 1 || name(a[0].Item) != "1" || r.k.Applying() != 2 {
		t.Fatalf("%v, %d", a, r.k.Applying())
	}
	r.c.Close(true, r.now)
	r.connect()
	if e := r.events(); len(e) > 0 {
		t.Fatalf("given before the one in front is applied: %v", e)
	}
	r.k.Done(a[0].Ticket, nil, r.now)
	if f := r.c.Frame(0, r.now); len(f.GetResets()) != 1 || f.Resets[0].Key != "a" || names(f.Events) != "2" {
		t.Errorf("%+v", f)
	}
	if a := r.actions(); len(a) > 0 {
		t.Errorf("%+v", a)
	}
}
