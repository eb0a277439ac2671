package wire

import (
	"errors"
	"fmt"
	"slices"
	"testing"
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
	order   int // of Enqueue
	storage map[string]int
	applied map[string]int // per key, the order of the last one
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
}

func newWorld(t *rapid.T) *world {
	small := func(name string, to int) int { return rapid.IntRange(1, to).Draw(t, name) }
	w := &world{
		t: t, now: t0, items: map[string]*fate{}, storage: map[string]int{}, applied: map[string]int{},
		limits: KernelLimits{
			Events: small("events", 12), Bytes: 100 * small("bytes", 12),
			Credit:    Credit{Events: small("credit", 6), Bytes: 100 * small("credit bytes", 6)},
			KeyEvents: small("key events", 4), FrameEvents: small("frame events", 4),
			OutcomeBytes: 1000, UnaskedBytes: 400, Conflicts: 3, Crashes: 3, Resets: 1000,
			Retry: time.Second, Grace: 20 * time.Second,
		},
	}
	w.k = NewKernel(w.limits, w.now)
	for i := range small("keys", 4) {
		w.keys = append(w.keys, fmt.Sprint("k", i))
	}
	return w
}

// steps are what may happen, and how often beside each other.
func (w *world) steps() (steps []func(*rapid.T)) {
	for _, s := range []struct {
		weight int
		do     func(*rapid.T)
	}{
		{12, w.enqueue},
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
		down: make([][]*pluginv1.KernelFrame, shards), up: make([][]*pluginv1.PluginFrame, shards), handling: map[string]bool{},
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
			p.running = append(p.running, x.Task)
			if len(p.running) > p.p.limits.Handlers {
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

// handle ends the handling of an event.
func (w *world) handle(t *rapid.T) {
	p := w.any(t)
	if p == nil || len(p.running) == 0 {
		return
	}
	w.finish(p, rapid.IntRange(0, len(p.running)-1).Draw(t, "task"))
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
			if slices.ContainsFunc(w.applies, func(b Action) bool { return keyOf(b) == keyOf(a) }) {
				w.t.Fatalf("two applies of %s at once", keyOf(a))
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
		case Fail:
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

func (w *world) applyWith(i int, err error) {
	a := w.applies[i]
	w.applies = slices.Delete(w.applies, i, i+1)
	if a.Kind == ApplyOutcome && !errors.Is(err, extension.ErrConflict) && !errors.Is(err, extension.ErrUnavailable) {
		f := w.ended(a, fmt.Sprint("applied: ", err))
		key := a.Item.Key
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

func (w *world) respond(t *rapid.T) {
	if len(w.answers) == 0 {
		return
	}
	w.answerTo(rapid.IntRange(0, len(w.answers)-1).Draw(t, "request"))
}

func (w *world) answerTo(i int) {
	a := w.answers[i]
	w.answers = slices.Delete(w.answers, i, i+1)
	w.k.Respond(a.Ticket, &pluginv1.Response{What: &pluginv1.Response_Yes{Yes: true}})
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
	if err := consistent(w.k); err != nil {
		t.Fatal(err)
	}
	open := 0
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

// consistent recounts what a Kernel knows.
func consistent(k *Kernel) error {
	var s Stats
	var suspects, applying, sent, sentBytes int
	for name, y := range k.keys {
		if y.name != name || y.events.n == 0 && y.applying == nil && y.applies.len() == 0 {
			return fmt.Errorf("key %s is kept for nothing", name)
		}
		var last state = answered
		rank := map[state]int{answered: 0, inFlight: 1, returned: 2, waiting: 3}
		flight := 0
		var answer, send *event
		for e := y.events.head; e != nil; e = e.links[ofKey].next {
			if rank[e.state] < rank[last] {
				return fmt.Errorf("key %s: event %d, %d, is behind one of %d", name, e.id, e.state, last)
			}
			last = e.state
			switch e.state {
			case waiting:
				s.Waiting++
				s.WaitingBytes += e.item.Size
			case returned:
				s.Returned++
			case inFlight:
				flight++
				s.InFlight++
				s.InFlightBytes += e.item.Size
				if answer == nil {
					answer = e
				}
			case ended:
				return fmt.Errorf("event %d is ended", e.id)
			}
			if send == nil && (e.state == waiting || e.state == returned) {
				send = e
			}
			if e.state != waiting {
				sent++
				sentBytes += e.item.Size
			}
			if e.suspect {
				suspects++
			}
		}
		if y.answer != answer || y.send != send || y.flight != flight {
			return fmt.Errorf("key %s: answer %v, send %v, %d in flight", name, y.answer, y.send, y.flight)
		}
		applying += y.applies.len()
		if y.applying != nil {
			applying++
		} else if y.applies.len() > 0 {
			return fmt.Errorf("key %s: nothing is applied though something waits", name)
		}
		may := k.conn != nil && send != nil && !(y.barrier && (y.applying != nil || y.applies.len() > 0)) && y.place_ == 0 && flight < k.limits.KeyEvents
		if may != (y.list != noList) {
			return fmt.Errorf("key %s: in list %d, may be sent: %v", name, y.list, may)
		}
	}
	got := k.Stats()
	if got.Waiting != s.Waiting || got.WaitingBytes != s.WaitingBytes || got.Returned != s.Returned || got.InFlight != s.InFlight ||
		got.InFlightBytes != s.InFlightBytes || k.inFlight != s.InFlight || suspects != len(k.suspects) || sent != k.sent || sentBytes != k.sentBytes || applying != k.applying {
		return fmt.Errorf("counted %+v, %d suspects, %d applying: there is %+v", got, len(k.suspects), k.applying, s)
	}
	if k.conn != nil {
		flying, back := 0, 0
		for i := range k.conn.shards {
			s := &k.conn.shards[i]
			if len(s.flying) != s.flight.n {
				return fmt.Errorf("%d in flight, %d in the list", len(s.flying), s.flight.n)
			}
			flying += s.flight.n
			if s.flight.n > k.limits.Credit.Events || s.flight.n > 1 && s.flight.bytes > k.limits.Credit.Bytes {
				return fmt.Errorf("%d events, %d bytes in flight", s.flight.n, s.flight.bytes)
			}
			back += s.returned
			if s.requests > MaxRequests || s.unasked > MaxUnasked {
				return fmt.Errorf("%d requests, %d unasked", s.requests, s.unasked)
			}
		}
		if flying != s.InFlight || back != s.Returned {
			return fmt.Errorf("%d in flight, %d returned on the sessions: %+v", flying, back, s)
		}
	}
	return nil
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
		if w.k.all.n == 0 && w.k.inFlight == 0 && w.acting != nil && len(w.acting.unasked) == 0 && len(w.acting.asked) == 0 && w.acting.p.Outstanding() == 0 {
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
