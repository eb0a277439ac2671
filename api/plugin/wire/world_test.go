package wire

import (
	"errors"
	"fmt"
	"slices"
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// A world is a Kernel and its processes, with everything that can happen between them.
// Each key has a number in storage; handling an event means to say "it was n, make it
// n+1", where n comes from what the process knows by heart, or else from storage. So
// an outcome that should have been void, one that is applied twice, and a process that
// was given an event too early are found when a number does not fit.
type world struct {
	t       *rapid.T
	k       *Kernel
	now     time.Time
	limits  KernelLimits
	keys    []string
	items   map[string]*fate
	lates   map[string]*lateFate
	lateIDs uint64
	order   int // of Enqueue
	storage map[string]int
	applied map[string]int  // per key, the order of the last one
	doomed  map[string]bool // keys of which one that was handed out has failed, and others were not answered
	acting  *process
	standby *process
	gone    []*process
	gen     uint64
	applies []Action
	answers []Action
	refused uint64 // frames that must have been
	drain   bool   // things go well from now on
	maxSent int
	gaveUp  bool
}

type fate struct {
	order  int
	item   Item
	poison bool
	ends   int
	why    string
}

type fateSource struct{ name string }

func (s fateSource) Encode() *pluginv1.Event {
	return &pluginv1.Event{What: &pluginv1.Event_Timer{Timer: &pluginv1.TimerEvent{Key: s.name}}}
}

// A process has a Plugin, and frames on their way on each Session.
type process struct {
	c        *Conn
	p        *Plugin
	gen      uint64
	down     [][]*pluginv1.KernelFrame
	up       [][]*pluginv1.PluginFrame
	cache    map[string]int
	running  []*Task
	unasked  map[uint64]string // key of those without an answer
	asked    map[uint64]bool
	lastUn   map[string]uint64
	handling map[string]bool

	lateRunning, lateOpen []*Task
	lateSeen              map[uint64]bool
}

func newWorld(t *rapid.T) *world {
	small := func(name string, to int) int { return rapid.IntRange(1, to).Draw(t, name) }
	w := &world{
		t: t, now: t0, items: map[string]*fate{}, lates: map[string]*lateFate{}, storage: map[string]int{}, applied: map[string]int{}, doomed: map[string]bool{},
		limits: KernelLimits{
			Events: small("events", 12), Bytes: 100 * small("bytes", 12),
			Credit:     Credit{Events: small("credit", 6), Bytes: 100 * small("credit bytes", 6)},
			LateEvents: small("late", 12), LateBytes: 100 * small("late bytes", 12), LateKeyEvents: small("late of a key", 4), LateKeyBytes: 100 * small("late bytes of a key", 3),
			KeyEvents: small("key events", 4), FrameEvents: small("frame events", 4),
			OutcomeBytes: 1000, UnaskedBytes: 400, ApplyBytes: 1000 * small("apply bytes", 4), Run: small("run", 4), Conflicts: 3, Crashes: 3, Resets: 1000,
			Retry: time.Second, Grace: 20 * time.Second,
		},
	}
	w.k = NewKernel(w.limits, w.now)
	for i := range small("keys", 4) {
		w.keys = append(w.keys, fmt.Sprint("k", i))
	}
	return w
}

func (w *world) open(t *rapid.T) {
	if w.standby != nil {
		return
	}
	w.gen++
	shards := rapid.IntRange(1, 3).Draw(t, "shards")
	credit := Credit{Events: rapid.IntRange(1, 5).Draw(t, "process credit"), Bytes: 1000}
	c, err := w.k.Open(Peer{Generation: w.gen, Shards: shards, Credit: credit})
	if err != nil {
		t.Fatal(err)
	}
	w.standby = &process{
		c: c, gen: w.gen, cache: map[string]int{}, unasked: map[uint64]string{}, asked: map[uint64]bool{}, lastUn: map[string]uint64{},
		p: NewPlugin(PluginLimits{
			Shards: shards, Credit: credit, Handlers: rapid.IntRange(1, 4).Draw(t, "handlers"), OutcomeBytes: 1000, Waiting: 10,
			Resets: rapid.SampledFrom([]int{1, 1000}).Draw(t, "remembered resets"),
		}),
		down: make([][]*pluginv1.KernelFrame, shards), up: make([][]*pluginv1.PluginFrame, shards), handling: map[string]bool{}, lateSeen: map[uint64]bool{},
	}
	w.maxSent = max(w.maxSent, shards*w.limits.Credit.Events)
	for i := range shards {
		if shard, err := w.standby.p.Hello(wired(t, c.Frame(i, w.now))); err != nil || shard != i {
			t.Fatalf("hello: %d, %v", shard, err)
		}
	}
}

// wired is what the other side reads.
func wired[M proto.Message](t *rapid.T, m M) M {
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	n := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(b, n); err != nil {
		t.Fatal(err)
	}
	return n.(M)
}

// switchOver lets the process on standby act.
func (w *world) switchOver(t *rapid.T) {
	if w.standby == nil {
		return
	}
	if w.acting != nil {
		w.end(false)
	}
	w.acting, w.standby = w.standby, nil
	if err := w.k.Attach(w.acting.c, w.now); err != nil {
		t.Fatal(err)
	}
	w.gaveUp = false
	w.acting.c.Start(w.now)
	w.take()
}

func (w *world) end(crashed bool) {
	p := w.acting
	if rapid.Bool().Draw(w.t, "paused") {
		p.c.Pause()
	}
	p.c.Close(crashed, w.now)
	w.gone = append(w.gone, p)
	w.acting = nil
	w.take()
}

func (w *world) any(t *rapid.T) *process {
	all := slices.Clone(w.gone)
	if n := len(all); n > 2 {
		all = all[n-2:]
	}
	if w.acting != nil {
		all = append(all, w.acting, w.acting, w.acting, w.acting)
	}
	if len(all) == 0 {
		return nil
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(t, "process")]
}

func (w *world) kernelFrame(p *process, shard int) bool {
	ready := p.c.Ready(shard)
	f := p.c.Frame(shard, w.now)
	if f != nil && (!ready || p != w.acting) {
		w.t.Fatalf("a frame that was not ready, or of one that is gone: %v", f)
	}
	if f == nil {
		return false
	}
	if size := proto.Size(f); size > MaxFrameBytes {
		w.t.Fatalf("a frame of %d bytes", size)
	}
	p.down[shard] = append(p.down[shard], f)
	w.take()
	return true
}

func (w *world) pluginFrame(p *process, shard int) bool {
	ready := p.p.Ready(shard)
	f := p.p.Frame(shard)
	if f != nil && !ready {
		w.t.Fatalf("a frame that was not ready: %v", f)
	}
	w.work(p)
	if f == nil {
		return false
	}
	p.up[shard] = append(p.up[shard], f)
	return true
}

func (w *world) carryDown(p *process, shard int) bool {
	if len(p.down[shard]) == 0 {
		return false
	}
	f := p.down[shard][0]
	p.down[shard] = p.down[shard][1:]
	if err := p.p.Receive(shard, wired(w.t, f)); err != nil {
		w.t.Fatalf("the plugin refuses %v: %v", f, err)
	}
	w.work(p)
	return true
}

func (w *world) carryUp(p *process, shard int) bool {
	if len(p.up[shard]) == 0 {
		return false
	}
	f := p.up[shard][0]
	p.up[shard] = p.up[shard][1:]
	if p != w.acting {
		w.refused++
	}
	if err := p.c.Receive(shard, wired(w.t, f), w.now); err != nil {
		w.t.Fatalf("the kernel refuses %v: %v", f, err)
	}
	w.take()
	if got := w.k.Stats().RefusedFrames; got != w.refused {
		w.t.Fatalf("%d frames refused, not %d", got, w.refused)
	}
	return true
}

// work does what the plugin's end says.
func (w *world) work(p *process) {
	for _, x := range p.p.Take(nil) {
		switch x.Kind {
		case Handle:
			key := x.Task.Event.GetKey()
			if p.handling[key] {
				w.t.Fatalf("two events of %s at once", key)
			}
			p.handling[key] = true
			if x.Task.Late() {
				w.giveLate(p, x.Task)
			} else {
				p.running = append(p.running, x.Task)
			}
			if len(p.running)+len(p.lateRunning) > p.p.limits.Handlers {
				w.t.Fatalf("%d handlers, not %d", len(p.running), p.p.limits.Handlers)
			}
		case Forget:
			if p.handling[x.Key] {
				w.t.Fatalf("Forget(%s) while it is handled", x.Key)
			}
			delete(p.cache, x.Key)
		case WasApplied:
			if _, there := p.unasked[x.ID]; !there {
				w.t.Fatalf("unasked %d was applied, which is not there", x.ID)
			}
			delete(p.unasked, x.ID)
		case Responded:
			if !p.asked[x.ID] {
				w.t.Fatalf("request %d was answered, which is not there", x.ID)
			}
			delete(p.asked, x.ID)
		}
	}
}

func (w *world) finish(p *process, i int) {
	task := p.running[i]
	f := w.items[task.Event.GetTimer().GetKey()]
	if f.poison && p == w.acting {
		w.end(true)
		return
	}
	p.running = slices.Delete(p.running, i, i+1)
	key := task.Event.GetKey()
	delete(p.handling, key)
	n, known := p.cache[key]
	if !known {
		n = w.storage[key]
	}
	p.cache[key] = n + 1
	o := &pluginv1.Outcome{Failure: fmt.Sprint(n)}
	if !w.drain && rapid.IntRange(0, 19).Draw(w.t, "large") == 0 {
		o.Result = make([]byte, 980)
		if rapid.Bool().Draw(w.t, "larger") {
			o.Result = make([]byte, 2000)
		}
	}
	if err := p.p.Done(task, o); err != nil {
		if !errors.Is(err, ErrFull) {
			w.t.Fatal(err)
		}
		// The kernel is told of a failure instead, which makes no n+1.
		p.cache[key] = n
	}
	w.work(p)
}

// take does what the kernel's end says.
func (w *world) take() {
	for _, a := range w.k.Take(nil) {
		switch a.Kind {
		case ApplyOutcome:
			n := 0
			for _, b := range w.applies {
				if keyOf(b) == keyOf(a) {
					n++
					if b.Kind != ApplyOutcome || w.doomed[keyOf(a)] {
						w.t.Fatalf("%s: %v is handed out behind %v", keyOf(a), a.Item.Source, b)
					}
				}
			}
			if n >= w.limits.Run {
				w.t.Fatalf("%d applies of %s at once", n+1, keyOf(a))
			}
			w.applies = append(w.applies, a)
		case ApplyUnasked:
			if w.acting == nil || a.Conn != w.acting.c {
				w.t.Fatal("unasked effects of an old process")
			}
			if slices.ContainsFunc(w.applies, func(b Action) bool { return keyOf(b) == keyOf(a) }) {
				w.t.Fatalf("two applies of %s at once", keyOf(a))
			}
			if last := w.acting.lastUn[keyOf(a)]; a.Unasked.GetId() <= last {
				w.t.Fatalf("unasked %d after %d", a.Unasked.GetId(), last)
			}
			w.acting.lastUn[keyOf(a)] = a.Unasked.GetId()
			w.applies = append(w.applies, a)
		case LateOutcome:
			w.endedLate(a, "answered")
		case Fail:
			if a.Item.Late {
				w.endedLate(a, a.Reason.String())
				continue
			}
			f := w.ended(a, a.Reason.String())
			if a.Reason == Poison && !f.poison {
				w.t.Fatalf("%s is innocent", f.item.Source)
			}
			if a.Reason == Dropped && !f.item.Observed || a.Reason == Coalesced && f.item.Coalesce == (CoalesceKey{}) {
				w.t.Fatalf("%s: %s", f.item.Source, a.Reason)
			}
		case Answer:
			w.answers = append(w.answers, a)
		default:
			w.t.Fatalf("%+v", a)
		}
	}
}

func keyOf(a Action) string {
	if a.Item != nil {
		return a.Item.Key
	}
	return a.Unasked.GetKey()
}

func (w *world) ended(a Action, why string) *fate {
	f := w.items[a.Item.Source.(fateSource).name]
	if f == nil {
		w.t.Fatalf("%v was never taken", a.Item.Source)
	}
	if f.ends++; f.ends > 1 {
		w.t.Fatalf("%v has two ends: %s, %s", a.Item.Source, f.why, why)
	}
	f.why = why
	return f
}

// applyWith ends the first of those that were handed out of the key of number i. Behind an error
// those that are left of them are in conflict.
func (w *world) applyWith(i int, err error) {
	key := keyOf(w.applies[i])
	ofKey := func(b Action) bool { return keyOf(b) == key }
	i = slices.IndexFunc(w.applies, ofKey)
	if w.doomed[key] {
		err = extension.ErrConflict
	}
	w.doomed[key] = err != nil && slices.ContainsFunc(w.applies[i+1:], ofKey)
	a := w.applies[i]
	w.applies = slices.Delete(w.applies, i, i+1)
	if a.Kind == ApplyOutcome && !errors.Is(err, extension.ErrConflict) && !errors.Is(err, extension.ErrUnavailable) {
		f := w.ended(a, fmt.Sprint("applied: ", err))
		var n int
		made, _ := fmt.Sscan(a.Outcome.GetFailure(), &n)
		if err == nil && made == 1 {
			if n != w.storage[key] {
				w.t.Fatalf("%v of %s builds on %d, but there is %d", a.Item.Source, key, n, w.storage[key])
			}
			w.storage[key]++
		}
		if w.applied[key] >= f.order {
			w.t.Fatalf("%v of %s overtook another one", a.Item.Source, key)
		}
		w.applied[key] = f.order
	}
	w.k.Done(a.Ticket, err, w.now)
	if rapid.IntRange(0, 9).Draw(w.t, "twice") == 0 {
		w.k.Done(a.Ticket, errors.New("twice"), w.now)
	}
	w.take()
}

func (w *world) answerTo(i int) {
	a := w.answers[i]
	w.answers = slices.Delete(w.answers, i, i+1)
	w.k.Respond(a.Ticket, &pluginv1.Response{What: &pluginv1.Response_Yes{Yes: true}})
}
