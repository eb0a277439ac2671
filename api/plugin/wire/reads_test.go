package wire

import (
	"errors"
	"slices"
	"testing"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// begin has the process handle what it was given, and returns the tasks.
func (r *rig) begin() (tasks []*Task) {
	r.t.Helper()
	r.down()
	for _, w := range r.work() {
		if w.Kind == Handle {
			tasks = append(tasks, w.Task)
		}
	}
	return tasks
}

// ask has a handler read something.
func (r *rig) ask(t *Task) {
	r.t.Helper()
	if _, err := r.p.Request(t, &pluginv1.Request{What: &pluginv1.Request_MemoryGet{MemoryGet: &pluginv1.GetMemory{Key: "n"}}}); err != nil {
		r.t.Fatal(err)
	}
}

func kinds(list []Action) (out []ActionKind) {
	for _, a := range list {
		out = append(out, a.Kind)
	}
	return out
}

// A handler reads what those before it asked for, of the same key: its request waits until
// that is applied. Of another key nothing is waited for.
func TestReadsWaitForWhatWasSaid(t *testing.T) {
	r := newRig(t, 1, KernelLimits{})
	r.connect()
	r.put("a", "1")
	r.put("a", "2")
	r.put("b", "3")
	tasks := r.begin() // of each key the first
	if len(tasks) != 2 {
		t.Fatalf("%d tasks", len(tasks))
	}
	if err := r.p.Done(tasks[0], nil); err != nil {
		t.Fatal(err)
	}
	second := r.begin()
	r.ask(second[0])
	r.ask(tasks[1])
	r.up()
	got := r.actions()
	if want := []ActionKind{ApplyOutcome, Answer}; !slices.Equal(kinds(got), want) || got[1].Request.Event != tasks[1].Event.Id {
		t.Fatalf("%+v", got)
	}
	r.k.Done(got[0].Ticket, nil, r.now)
	if got = r.actions(); !slices.Equal(kinds(got), []ActionKind{Answer}) || got[0].Request.Event != second[0].Event.Id {
		t.Fatalf("behind the end of the first: %+v", got)
	}
	r.ask(second[0])
	r.up()
	if got = r.actions(); !slices.Equal(kinds(got), []ActionKind{Answer}) {
		t.Errorf("when nothing is applied: %+v", got)
	}
}

// What waits is answered when the key is reset, and forgotten when the process is gone.
func TestReadsThatWaitHaveAnEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(r *rig, first Action)
		want []ActionKind
	}{
		{"a conflict", func(r *rig, first Action) { r.k.Done(first.Ticket, extension.ErrConflict, r.now) }, []ActionKind{Answer}},
		{"the end of the process", func(r *rig, first Action) {
			r.c.Close(true, r.now)
			r.k.Done(first.Ticket, nil, r.now)
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 1, KernelLimits{})
			r.connect()
			r.put("a", "1")
			r.put("a", "2")
			if err := r.p.Done(r.begin()[0], nil); err != nil {
				t.Fatal(err)
			}
			r.ask(r.begin()[0])
			r.up()
			got := r.actions()
			if !slices.Equal(kinds(got), []ActionKind{ApplyOutcome}) {
				t.Fatalf("%+v", got)
			}
			c.end(r, got[0])
			if got := r.actions(); !slices.Equal(kinds(got), c.want) {
				t.Errorf("%+v, want %v", got, c.want)
			}
		})
	}
}

// A turn of a key comes behind the event that is handled, and beside any number of others; what is
// asked for in it is answered when what was said of the key is applied. A reset makes it void.
func TestTurns(t *testing.T) {
	r := newRig(t, 1, KernelLimits{})
	r.connect()
	r.put("a", "1")
	first := r.begin()[0]
	turn, err := r.p.Turn("a")
	if err != nil {
		t.Fatal(err)
	}
	r.put("a", "2")
	r.down()
	if w := r.work(); len(w) != 0 {
		t.Fatalf("%+v", w)
	}
	if err := r.p.Done(first, nil); err != nil {
		t.Fatal(err)
	}
	if w := r.work(); len(w) != 1 || w[0].Kind != Handle || w[0].Task != turn {
		t.Fatalf("%+v", w)
	}
	r.ask(turn)
	r.up()
	got := r.actions()
	if !slices.Equal(kinds(got), []ActionKind{ApplyOutcome}) {
		t.Fatalf("%+v", got)
	}
	r.k.Done(got[0].Ticket, nil, r.now)
	if got = r.actions(); !slices.Equal(kinds(got), []ActionKind{Answer}) || got[0].Request.GetKey() != "a" {
		t.Fatalf("%+v", got)
	}
	effects := []*pluginv1.Effect{{What: &pluginv1.Effect_CancelTimer{CancelTimer: "t"}}}
	if id, err := r.p.Leave(turn, effects); id == 0 || err != nil {
		t.Fatal(id, err)
	}
	second := r.work() // the event behind it
	if len(second) != 1 || second[0].Kind != Handle || second[0].Task.Event == nil {
		t.Fatalf("%+v", second)
	}
	r.ask(second[0].Task)
	r.up()
	if got = r.actions(); !slices.Equal(kinds(got), []ActionKind{ApplyUnasked}) { // the read waits for it
		t.Fatalf("%+v", got)
	}
	if id, err := r.p.Leave(turn, effects); id != 0 || err == nil {
		t.Error("it ended twice")
	}

	if turn, err = r.p.Turn("b"); err != nil {
		t.Fatal(err)
	}
	r.work()
	r.k.Reset("b", r.now)
	r.down()
	if w := r.work(); len(w) != 1 || w[0].Kind != Cancel || w[0].Task != turn {
		t.Fatalf("%+v", w)
	}
	if _, err := r.p.Request(turn, &pluginv1.Request{}); !errors.Is(err, ErrVoid) {
		t.Error(err)
	}
	if _, err := r.p.Leave(turn, effects); !errors.Is(err, ErrVoid) {
		t.Error(err)
	}
	if w := r.work(); len(w) != 1 || w[0].Kind != Forget || w[0].Key != "b" {
		t.Fatalf("%+v", w)
	}
	if n := r.p.Outstanding(); n != 2 { // event 2, and the Unasked
		t.Error(n, "are outstanding")
	}
}
