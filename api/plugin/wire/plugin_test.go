package wire

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
)

func TestBreachesByTheKernel(t *testing.T) {
	own, other := "k", "k"
	for Shard(own, 2) != 0 {
		own += "k"
	}
	for Shard(other, 2) == 0 {
		other += "k"
	}
	var events []*pluginv1.Event
	for range MaxCredit + 1 {
		events = append(events, &pluginv1.Event{Key: own})
	}
	for _, c := range []struct {
		name  string
		shard int
		frame *pluginv1.KernelFrame
		want  string
	}{
		{"a session that is not open", 1, &pluginv1.KernelFrame{Generation: 3}, "not open"},
		{"no such session", 2, &pluginv1.KernelFrame{Generation: 3}, "not open"},
		{"a later generation", 0, &pluginv1.KernelFrame{Generation: 4}, "generation 4"},
		{"a second hello", 0, &pluginv1.KernelFrame{Generation: 3, Hello: &pluginv1.SessionHello{}}, "second hello"},
		{"a key of another session", 0, &pluginv1.KernelFrame{Generation: 3, Events: []*pluginv1.Event{{Id: 1, Key: other}}}, "not of session 0"},
		{"a long key", 0, &pluginv1.KernelFrame{Generation: 3, Events: []*pluginv1.Event{{Id: 1, Key: strings.Repeat("k", MaxKeyBytes+1)}}}, "8193"},
		{"a reset of a long key", 0, &pluginv1.KernelFrame{Generation: 3, Resets: []*pluginv1.Reset{{Key: strings.Repeat("k", MaxKeyBytes+1)}}}, "8193"},
		{"applied", 0, &pluginv1.KernelFrame{Generation: 3, Applied: []*pluginv1.Applied{{Id: 1}}}, "unasked 1"},
		{"a response", 0, &pluginv1.KernelFrame{Generation: 3, Responses: []*pluginv1.Response{{Id: 1}}}, "request 1"},
		{"too many events", 0, &pluginv1.KernelFrame{Generation: 3, Events: events}, "16384 events"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewPlugin(PluginLimits{Shards: 2})
			if _, err := p.Hello(Hello(3, 0)); err != nil || p.Generation() != 3 {
				t.Fatal(err)
			}
			if err := p.Receive(c.shard, c.frame); !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, not %q", err, c.want)
			}
			if err := p.Receive(0, &pluginv1.KernelFrame{Generation: 2, Beat: 1}); err != nil || p.Stats().RefusedFrames != 1 {
				t.Errorf("an older generation: %v", err)
			}
		})
	}
	for name, f := range map[string]*pluginv1.KernelFrame{
		"no hello":           {Generation: 3},
		"no generation":      {Hello: &pluginv1.SessionHello{Shard: 1}},
		"another generation": Hello(4, 1),
		"no such session":    Hello(3, 2),
		"twice":              Hello(3, 0),
	} {
		p := NewPlugin(PluginLimits{Shards: 2})
		if _, err := p.Hello(Hello(3, 0)); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Hello(f); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The hash is part of the contract: SDKs in other languages compute it, too.
func TestShard(t *testing.T) {
	for _, c := range []struct {
		key    string
		shards int
		want   int
	}{
		{"", 1, 0}, {"a", 0, 0},
		// FNV-1a of "" is cbf29ce484222325, of "a" af63dc4c8601ec8c, of "foobar" 85944171f73967e8.
		{"", 256, 0x25}, {"a", 256, 0x8c}, {"foobar", 256, 0xe8}, {"a", 1000, 0xaf63dc4c8601ec8c % 1000},
	} {
		if got := Shard(c.key, c.shards); got != c.want {
			t.Errorf("Shard(%q, %d) = %d, not %d", c.key, c.shards, got, c.want)
		}
	}
}

// No more than MaxRequests and MaxUnasked are under way; what is beyond waits, within a
// bound, and holds up nothing else.
func TestWindows(t *testing.T) {
	r := newRig(t, 1, KernelLimits{})
	r.connect()
	const waiting = 4096 // the default
	for range waiting {
		if _, err := r.p.Request(nil, &pluginv1.Request{}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.p.Unasked("a", 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.p.Request(nil, &pluginv1.Request{}); !errors.Is(err, ErrFull) {
		t.Errorf("a request: %v", err)
	}
	if _, err := r.p.Unasked("a", 0, nil); !errors.Is(err, ErrFull) {
		t.Errorf("an unasked: %v", err)
	}
	var requests, unasked, responded, applied int
	for range 3*waiting + 1000 {
		r.up()
		acts := r.actions()
		for _, a := range acts {
			switch a.Kind {
			case Answer:
				requests++
				r.k.Respond(a.Ticket, nil)
			case ApplyUnasked:
				unasked++
				if a.Unasked.GetId() != uint64(unasked) {
					t.Fatalf("unasked %d, not %d", a.Unasked.GetId(), unasked)
				}
				r.k.Done(a.Ticket, nil, r.now)
			}
		}
		r.down()
		for _, w := range r.work() {
			switch w.Kind {
			case Responded:
				responded++
			case WasApplied:
				if w.Err != nil {
					t.Fatal(w.Err)
				}
				applied++
			}
		}
	}
	if requests != waiting || unasked != waiting || responded != waiting || applied != waiting {
		t.Errorf("%d requests, %d answered, %d unasked, %d applied", requests, responded, unasked, applied)
	}
	if r.p.Outstanding() != 0 || r.c.Outstanding() != 0 {
		t.Errorf("%d, %d outstanding", r.p.Outstanding(), r.c.Outstanding())
	}
}

// A request does not overtake the outcomes that were there before it, though it would fit.
func TestRequestsStayBehindOutcomes(t *testing.T) {
	r := newRig(t, 1, KernelLimits{})
	r.connect()
	r.p = NewPlugin(PluginLimits{FrameBytes: MinFrameBytes})
	if _, err := r.p.Hello(Hello(1, 0)); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"1", "2", "3"} {
		r.put("a", what)
	}
	r.down()
	for range 2 {
		if err := r.p.Done(r.work()[0].Task, &pluginv1.Outcome{Result: make([]byte, MinFrameBytes*2/3)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.p.Request(r.work()[0].Task, &pluginv1.Request{}); err != nil {
		t.Fatal(err)
	}
	if f := r.p.Frame(0); len(f.Outcomes) != 1 || len(f.Requests) != 0 {
		t.Errorf("%d outcomes, %d requests", len(f.Outcomes), len(f.Requests))
	}
	if f := r.p.Frame(0); len(f.Outcomes) != 1 || len(f.Requests) != 1 {
		t.Errorf("%d outcomes, %d requests", len(f.Outcomes), len(f.Requests))
	}
	if f := r.p.Frame(0); f != nil {
		t.Error(f)
	}
}

// Responses that nobody reads hold up further requests, not the kernel's memory.
func TestResponsesHaveABound(t *testing.T) {
	r := newRig(t, 1, KernelLimits{})
	r.connect()
	for range MaxRequests {
		if _, err := r.p.Request(nil, &pluginv1.Request{}); err != nil {
			t.Fatal(err)
		}
	}
	r.up()
	answered := 0
	for a := r.actions(); len(a) > 0; a = r.actions() {
		if len(a) > maxAsking {
			t.Fatalf("%d at once", len(a))
		}
		for _, a := range a {
			answered++
			r.k.Respond(a.Ticket, &pluginv1.Response{What: &pluginv1.Response_Secret{Secret: make([]byte, 1<<20)}})
		}
	}
	if n := r.c.shards[0].responseBytes; answered == MaxRequests || n > maxResponseBytes+maxAsking<<20+1<<20 {
		t.Errorf("%d answered, %d bytes wait", answered, n)
	}
	for i := 0; answered < MaxRequests; i++ {
		if i > MaxRequests {
			t.Fatalf("only %d answered", answered)
		}
		r.down()
		for _, a := range r.actions() {
			answered++
			r.k.Respond(a.Ticket, nil)
		}
	}
}

// Outcomes that wait for storage have a bound in bytes: beyond it they are void, and
// their events are given again, when there is room.
func TestOutcomesThatWaitHaveABound(t *testing.T) {
	r := newRig(t, 1, KernelLimits{ApplyBytes: 10_000})
	r.connect()
	const n = 40
	for i := range n {
		r.put(fmt.Sprint(i), fmt.Sprint(i))
	}
	var waiting []Action
	applied := map[string]bool{}
	for round := 0; len(applied) < n; round++ {
		if round > 100 {
			t.Fatalf("%d applied, %+v", len(applied), r.k.Stats())
		}
		r.down()
		for _, w := range r.work() {
			if w.Kind != Handle {
				continue
			}
			if err := r.p.Done(w.Task, &pluginv1.Outcome{Result: make([]byte, 900)}); err != nil {
				t.Fatal(err)
			}
		}
		r.up()
		waiting = append(waiting, r.actions()...)
		if r.k.outcomes > 10_000 || len(waiting) > 11 {
			t.Fatalf("%d bytes, %d outcomes wait", r.k.outcomes, len(waiting))
		}
		if round%3 < 2 && round < 30 {
			continue
		}
		for _, a := range waiting {
			if a.Kind != ApplyOutcome || applied[name(a.Item)] {
				t.Fatalf("%+v", a)
			}
			applied[name(a.Item)] = true
			r.k.Done(a.Ticket, nil, r.now)
		}
		waiting = waiting[:0]
	}
	if r.k.Stats().VoidOutcomes == 0 {
		t.Error("none was void")
	}
	if r.k.outcomes != 0 {
		t.Errorf("%d bytes are left", r.k.outcomes)
	}
	if err := r.k.Enqueue(Item{Key: strings.Repeat("k", MaxKeyBytes+1), Source: note("")}, r.now); !errors.Is(err, extension.ErrFull) {
		t.Errorf("a long key: %v", err)
	}
}
