package wire

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Conflicts are tried again, in a later epoch and with what was said behind it, a few times.
func TestConflicts(t *testing.T) {
	r := newRig(t, 1, KernelLimits{Conflicts: 3})
	r.connect()
	r.put("a", "1")
	r.put("a", "2")
	for try := range 3 {
		e := r.events()
		if try > 0 && e[0].Epoch == 0 || e[0].Attempt != 1 || names(e) != "1 2" {
			t.Fatalf("try %d: %v", try, e)
		}
		if err := r.say(outcomes(e...)); err != nil {
			t.Fatal(err)
		}
		a := r.actions()
		if len(a) != 1 || name(a[0].Item) != "1" {
			t.Fatalf("try %d: %v", try, a)
		}
		r.k.Done(a[0].Ticket, fmt.Errorf("x: %w", extension.ErrConflict), r.now)
	}
	a := r.actions()
	var answer *stanza.Error
	if len(a) != 1 || a[0].Reason != Conflicts || !errors.As(a[0].Err, &answer) || answer.Condition != stanza.ResourceConstraint || answer.Condition.DefaultType() != stanza.WaitType {
		t.Fatalf("%+v", a)
	}
	if e := r.events(); names(e) != "2" {
		t.Errorf("then %v", e)
	}
}

// An event behind one whose outcome was not applied is given again as often as it takes: the
// conflict is not its own.
func TestBehindOneThatWasNotApplied(t *testing.T) {
	r := newRig(t, 1, KernelLimits{Conflicts: 3, Run: 16})
	r.connect()
	const all = 12
	for i := range all {
		r.put("a", fmt.Sprint(i))
	}
	ends := 0
	for ends < all {
		e := r.events()
		if len(e) != all-ends {
			t.Fatalf("%d events, with %d at their end", len(e), ends)
		}
		if err := r.say(outcomes(e...)); err != nil {
			t.Fatal(err)
		}
		r.k.Done(r.actions()[0].Ticket, nil, r.now) // meanwhile the others make a run
		ends++
		for i, a := range r.actions() {
			switch {
			case a.Kind != ApplyOutcome:
				t.Fatalf("%s: %v, %v", name(a.Item), a.Kind, a.Err)
			case i == 0:
				r.k.Done(a.Ticket, errors.New("its time was over"), r.now)
				ends++
			default:
				r.k.Done(a.Ticket, extension.ErrConflict, r.now)
			}
		}
		if a := r.actions(); len(a) > 0 {
			t.Fatalf("%d at their end: %s fails: %v", ends, name(a[0].Item), a[0].Err)
		}
	}
}

// While storage is unavailable an event waits, longer and longer, for the grace time.
func TestUnavailable(t *testing.T) {
	r := newRig(t, 1, KernelLimits{Retry: time.Second, Grace: 10 * time.Second})
	r.connect()
	r.put("a", "1")
	r.put("b", "2")
	var tries int
	for range 100 {
		for _, e := range r.events() {
			if err := r.say(outcomes(e)); err != nil {
				t.Fatal(err)
			}
		}
		for _, a := range r.actions() {
			if a.Kind == Fail {
				if a.Reason != Stored || name(a.Item) != "1" || !errors.Is(a.Err, extension.ErrDown) || r.now.Sub(t0) < 10*time.Second {
					t.Errorf("%v: %+v", r.now, a)
				}
				if tries != 5 { // at 0, 1, 3, 7, 15 seconds
					t.Errorf("%d tries", tries)
				}
				return
			}
			if name(a.Item) == "2" {
				r.k.Done(a.Ticket, nil, r.now)
				continue
			}
			tries++
			r.k.Done(a.Ticket, extension.ErrUnavailable, r.now)
		}
		if next := r.k.Next(); !next.IsZero() {
			r.now = next
			r.k.Tick(r.now)
		}
	}
	t.Fatal("it never failed")
}

// Behind its deadline an event fails, at once; what the process says of it later is
// void, and so is what it says of the key then.
func TestDeadline(t *testing.T) {
	r := newRig(t, 1, KernelLimits{})
	put := func(what string, d time.Duration) {
		if err := r.k.Enqueue(Item{Key: "a", Deadline: d, Source: note(what)}, r.now); err != nil {
			t.Fatal(err)
		}
	}
	put("1", time.Second)
	put("2", 0)
	r.now = r.now.Add(5 * time.Second)
	if r.k.Tick(r.now); len(r.actions()) > 0 {
		t.Error("the time runs though nobody has it")
	}
	r.connect()
	e := r.events()
	if next := r.k.Next(); !next.Equal(r.now.Add(time.Second)) {
		t.Errorf("next: %v", next)
	}
	r.now = r.now.Add(time.Second)
	r.k.Tick(r.now)
	a := r.actions()
	if len(a) != 1 || a[0].Reason != Expired || name(a[0].Item) != "1" || !errors.Is(a[0].Err, extension.ErrDown) {
		t.Fatalf("%+v", a)
	}
	if r.c.Outstanding() != 1 {
		t.Errorf("outstanding: %d", r.c.Outstanding())
	}
	if err := r.say(outcomes(e...)); err != nil {
		t.Fatal(err)
	}
	if a := r.actions(); len(a) > 0 || r.k.Stats().VoidOutcomes != 2 {
		t.Errorf("%+v, %+v", a, r.k.Stats())
	}
	f := r.c.Frame(0, r.now)
	if len(f.GetResets()) != 1 || f.Resets[0].Key != "a" || names(f.Events) != "2" || f.Events[0].Epoch != f.Resets[0].Epoch || f.Events[0].Attempt != 1 {
		t.Errorf("%v", f)
	}
}

// What several processes hold counts together.
func TestDeadlineOverProcesses(t *testing.T) {
	r := newRig(t, 1, KernelLimits{})
	if err := r.k.Enqueue(Item{Key: "a", Deadline: 3 * time.Second, Source: note("1")}, r.now); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r.connect()
		r.events()
		r.now = r.now.Add(time.Second)
		r.c.Close(false, r.now)
		r.now = r.now.Add(time.Second)
	}
	r.connect()
	r.events()
	if next := r.k.Next(); !next.Equal(r.now.Add(time.Second)) {
		t.Errorf("it has %v left", next.Sub(r.now))
	}
}

func TestGrace(t *testing.T) {
	r := newRig(t, 1, KernelLimits{Grace: 10 * time.Second})
	r.put("a", "1")
	if next := r.k.Next(); !next.Equal(t0.Add(10 * time.Second)) {
		t.Errorf("next: %v", next)
	}
	r.now = t0.Add(4 * time.Second)
	r.put("a", "2")
	r.now = t0.Add(10 * time.Second)
	r.k.Tick(r.now)
	if a := r.actions(); len(a) != 1 || a[0].Reason != Down || name(a[0].Item) != "1" {
		t.Errorf("%+v", a)
	}
	r.connect()
	if r.k.Next(); !r.k.Next().IsZero() {
		t.Error("it is handled, and still has to hurry")
	}
	e := r.events()
	r.now = t0.Add(20 * time.Second)
	r.put("b", "3")
	if err := r.k.Enqueue(Item{Key: "c", Impatient: true, Source: note("4")}, r.now); err != nil {
		t.Fatal(err)
	}
	if err := r.say(outcomes(e...)); err != nil {
		t.Fatal(err)
	}
	apply := r.actions()
	r.c.Close(true, r.now)
	if next := r.k.Next(); next.After(r.now) {
		t.Errorf("the impatient one waits until %v", next)
	}
	r.k.Tick(r.now)
	if a := r.actions(); len(a) != 1 || name(a[0].Item) != "4" || !errors.Is(a[0].Err, extension.ErrDown) {
		t.Errorf("%+v", a)
	}
	if err := r.k.Enqueue(Item{Impatient: true, Source: note("5")}, r.now); !errors.Is(err, extension.ErrDown) {
		t.Errorf("impatient: %v", err)
	}
	// The process was of use: the time begins anew.
	if next := r.k.Next(); !next.Equal(r.now.Add(10 * time.Second)) {
		t.Errorf("next: %v", next)
	}
	r.k.GiveUp(r.now)
	if a := r.actions(); len(a) != 1 || name(a[0].Item) != "3" {
		t.Errorf("%+v", a)
	}
	r.k.Done(apply[0].Ticket, extension.ErrConflict, r.now)
	if a := r.actions(); len(a) != 1 || name(a[0].Item) != "2" || a[0].Reason != Down {
		t.Errorf("%+v", a)
	}
	if err := r.k.Enqueue(Item{Source: note("6")}, r.now); !errors.Is(err, extension.ErrDown) {
		t.Errorf("given up: %v", err)
	}
}

// An event that ends each process that handles it is found among others, none of which
// has to suffer for it.
func TestPoison(t *testing.T) {
	r := newRig(t, 2, KernelLimits{})
	for i := range 50 {
		r.put(fmt.Sprint("k", i%10), fmt.Sprint(i))
	}
	guilty := map[string]bool{"7": true, "13": true}
	ended := map[string]Reason{}
	crashes := 0
	for round := 0; len(ended) < 50; round++ {
		if round > 1000 {
			t.Fatalf("only %d came to an end, %+v", len(ended), r.k.Stats())
		}
		if r.c == nil {
			r.connect()
		}
		r.down()
		work := r.work()
		var tasks []*Task
		for _, w := range work {
			if w.Kind == Handle {
				tasks = append(tasks, w.Task)
			}
		}
		crash := false
		for _, task := range tasks {
			crash = crash || guilty[task.Event.GetTimer().GetKey()]
		}
		if crash {
			crashes++
			r.c.Close(true, r.now)
			r.c = nil
		} else {
			for _, task := range tasks {
				if err := r.p.Done(task, nil); err != nil {
					t.Fatal(err)
				}
			}
			r.up()
		}
		for a := r.actions(); len(a) > 0; a = r.actions() {
			for _, a := range a {
				ended[name(a.Item)] = a.Reason
				if a.Kind == ApplyOutcome {
					r.k.Done(a.Ticket, nil, r.now)
				}
			}
		}
	}
	for what, reason := range ended {
		if guilty[what] != (reason == Poison) {
			t.Errorf("%s: %s", what, reason)
		}
	}
	if crashes > 6 {
		t.Errorf("%d crashes", crashes)
	}
}

// A reset takes an event back that may be handled all the same: what is in flight when
// that ends the process is not to blame.
func TestWhatWasTakenBackMayStillBeHandled(t *testing.T) {
	r := newRig(t, 1, KernelLimits{})
	r.put("a", "1")
	r.put("b", "2")
	for range 2 {
		r.connect()
		if e := r.events(); names(e) != "1 2" {
			t.Fatal(e)
		}
		r.c.Close(true, r.now)
	}
	r.connect()
	if e := r.events(); names(e) != "1" || e[0].Attempt != 3 {
		t.Fatalf("not one by one: %v", e)
	}
	r.k.Reset("a", r.now)
	r.k.Reset("a", r.now)
	r.c.Close(true, r.now)
	r.connect()
	r.events()
	r.k.Reset("a", r.now)
	if e := r.events(); names(e) != "1" {
		t.Fatal(e)
	}
	r.c.Close(true, r.now)
	if a := r.actions(); len(a) > 0 {
		t.Errorf("blamed: %+v", a)
	}
	r.connect()
	r.events()
	r.c.Close(true, r.now)
	if a := r.actions(); len(a) != 1 || a[0].Reason != Poison || name(a[0].Item) != "1" || a[0].Attempt != 5 {
		t.Errorf("%+v", a)
	}
	r.connect()
	if e := r.events(); names(e) != "2" {
		t.Error(e)
	}
}

// Processes that die without having done anything do not make events wait for ever.
func TestGraceOverCrashes(t *testing.T) {
	r := newRig(t, 1, KernelLimits{Grace: 10 * time.Second, Crashes: 100})
	r.put("a", "1")
	for range 3 {
		r.connect()
		r.events()
		r.now = r.now.Add(2 * time.Second)
		r.c.Close(true, r.now)
		r.k.Tick(r.now)
	}
	if next := r.k.Next(); !next.Equal(t0.Add(10 * time.Second)) {
		t.Errorf("it waits until %v", next)
	}
	r.now = t0.Add(10 * time.Second)
	r.k.Tick(r.now)
	if a := r.actions(); len(a) != 1 || a[0].Reason != Down || a[0].Attempt != 3 {
		t.Errorf("%+v", a)
	}
}

// Who got an outcome from an event does not suspect it any more, though it comes again.
func TestAnOutcomeClears(t *testing.T) {
	r := newRig(t, 1, KernelLimits{})
	r.put("a", "1")
	for range 2 {
		r.connect()
		r.events()
		r.c.Close(true, r.now)
	}
	r.connect()
	if err := r.say(outcomes(r.events()...)); err != nil {
		t.Fatal(err)
	}
	if n := r.k.Stats().Suspects; n != 0 {
		t.Errorf("%d are suspected", n)
	}
	r.k.Done(r.actions()[0].Ticket, extension.ErrConflict, r.now)
	r.events()
	r.c.Close(true, r.now)
	r.connect()
	r.events()
	r.c.Close(true, r.now)
	if a := r.actions(); len(a) > 0 {
		t.Errorf("%+v", a)
	}
}

// What waits behind others of its key is not what a process hangs with.
func TestWatchOldest(t *testing.T) {
	r := newRig(t, 1, KernelLimits{})
	r.connect()
	for i := range 4 {
		r.put("a", fmt.Sprint(i))
	}
	for i, e := range r.events()[:3] {
		if w := r.c.Watch(); !w.Oldest.Equal(r.now) || w.OldestKey != "a" {
			t.Errorf("event %d: since %v", i, w.Oldest)
		}
		r.now = r.now.Add(10 * time.Second)
		if err := r.say(outcomes(e)); err != nil {
			t.Fatal(err)
		}
	}
	r.put("b", "x") // not answered at all
	r.events()
	r.now = r.now.Add(10 * time.Second)
	if w := r.c.Watch(); w.OldestKey != "a" || r.now.Sub(w.Oldest) != 10*time.Second {
		t.Errorf("%q since %v", w.OldestKey, w.Oldest)
	}
}
