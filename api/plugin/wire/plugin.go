package wire

import (
	"errors"
	"fmt"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

// PluginLimits bound the plugin's end. A zero is the default.
type PluginLimits struct {
	// Shards is the number of Sessions, as Configure said; 1.
	Shards int
	// Credit is what each Session takes at once; 256 events and 4 MiB.
	Credit Credit
	// Handlers is how many events may be handled at once, each of another key; 64.
	Handlers int
	// Waiting bounds requests, and Unasked, that wait to be sent, on each Session; 4,096.
	Waiting int
	// FrameBytes is the largest frame to be sent, OutcomeBytes the largest outcome and
	// Unasked: what Configure said; MaxFrameBytes and 1 MiB.
	FrameBytes   int
	OutcomeBytes int
	// Resets is how many are remembered; 16,384.
	Resets int
}

func (l PluginLimits) withDefaults() PluginLimits {
	or := func(n *int, d int) {
		if *n <= 0 {
			*n = d
		}
	}
	or(&l.Shards, 1)
	l.Shards = min(l.Shards, MaxShards)
	or(&l.Credit.Events, 256)
	l.Credit.Events = min(l.Credit.Events, MaxCredit)
	or(&l.Credit.Bytes, 4<<20)
	or(&l.Handlers, 64)
	or(&l.Waiting, 4096)
	or(&l.FrameBytes, MaxFrameBytes)
	l.FrameBytes = max(l.FrameBytes, MinFrameBytes)
	or(&l.OutcomeBytes, 1<<20)
	l.OutcomeBytes = min(l.OutcomeBytes, l.FrameBytes-frameOverhead)
	or(&l.Resets, 16_384)
	return l
}

var (
	// ErrVoid is wrapped where the key was reset: what was to be said was made of
	// knowledge that is void.
	ErrVoid = errors.New("plugin wire: its key was reset")
	// ErrFull is wrapped where too much waits to be sent, or it is too large.
	ErrFull = errors.New("plugin wire: too much")
)

// Plugin is the plugin's end: all Sessions of a process.
type Plugin struct {
	limits     PluginLimits
	work       []Work
	generation uint64
	shards     []pluginShard
	keys       map[string]*pluginKey // that have a task
	ready      fifo[*pluginKey]
	running    int    // events
	cancelled  int    // of these, and of turns
	turns      int    // that wait, or are taken
	unaskedIDs uint64 // on all Sessions, so that an ID says all
	requestIDs uint64
	stats      PluginStats
}

// A pluginShard is one Session, on the plugin's side.
type pluginShard struct {
	open   bool
	credit *Credit // to be announced
	epoch  uint64  // the highest that was seen
	log    resetLog
	held   int // events that were given and have no outcome in a frame, but for late ones
	late   int // of these so many
	out    fifo[saying]
	said   uint64          // how many there were in out
	sent   uint64          // how many are no more
	saying map[string]bool // keys of Unasked in the frame that is being made

	queued   int // Unasked in out
	unasked  map[uint64]bool
	requests fifo[asking]
	asked    map[uint64]bool
	hungry   bool // nothing of out had room beside requests: the next frame is for it

	beat uint64 // to be echoed
}

// A saying is an outcome or an Unasked that is to be sent.
type saying struct {
	key     string
	size    int
	outcome *pluginv1.Outcome
	late    bool // it is of a late event
	unasked *pluginv1.Unasked
}

// An asking is a request that is to be sent, behind all that was said before it: what it
// reads may be what an outcome asked for.
type asking struct {
	r    *pluginv1.Request
	said uint64
}

// A pluginKey is an ordering key that has a task.
type pluginKey struct {
	name    string
	waiting fifo[*Task]
	running *Task
	listed  bool
	forget  uint64 // epoch of the Forget that is due when running has ended; 0: none
}

// NewPlugin returns a Plugin whose Sessions are not open yet.
func NewPlugin(limits PluginLimits) *Plugin {
	p := &Plugin{limits: limits.withDefaults(), keys: map[string]*pluginKey{}}
	p.shards = make([]pluginShard, p.limits.Shards)
	for i := range p.shards {
		s := &p.shards[i]
		credit := p.limits.Credit
		s.credit = &credit
		s.log.max = p.limits.Resets
		s.unasked, s.asked, s.saying = map[uint64]bool{}, map[uint64]bool{}, map[string]bool{}
	}
	return p
}

// Task is an event that is handled, or a turn of its key outside of one (Turn). Its fields are
// not to be changed.
type Task struct {
	Event *pluginv1.Event // nil: a turn
	Shard int
	Epoch uint64 // of a turn that has begun: of what is known then

	key   *pluginKey
	void  bool
	done  bool
	taken bool // of a late event
}

// WorkKind says what a Work is.
type WorkKind uint8

const (
	// Handle: Task. Answer with Plugin.Done, or with Leave if it is a turn, or with Taken and
	// Answer if it is Late.
	Handle WorkKind = iota + 1
	// Cancel: Task, which is being handled, is void; its outcome will be dropped. It
	// must still be answered with Done: the next event of the key waits for that.
	Cancel
	// Forget: what is known of Key by heart is void. It comes when no event of the key
	// is handled, before the next one is.
	Forget
	// Responded: Response, to the request with Response.Id.
	Responded
	// WasApplied: the Unasked with ID was applied (Err nil) or not.
	WasApplied
)

// Work is what the caller is to do, in the order given.
type Work struct {
	Kind     WorkKind
	Task     *Task
	Key      string
	Epoch    uint64 // of Forget
	Response *pluginv1.Response
	ID       uint64
	Err      error
}

// Hello takes the first frame of a stream, and returns which Session it is. An error
// wraps ErrProtocol: the stream is to be refused.
func (p *Plugin) Hello(f *pluginv1.KernelFrame) (shard int, err error) {
	h := f.GetHello()
	switch {
	case h == nil || f.GetGeneration() == 0:
		return 0, fmt.Errorf("%w: the first frame has no hello, or no generation", ErrProtocol)
	case p.generation != 0 && f.GetGeneration() != p.generation:
		return 0, fmt.Errorf("%w: a session of generation %d, which is %d", ErrProtocol, f.GetGeneration(), p.generation)
	case h.GetShard() >= uint32(len(p.shards)):
		return 0, fmt.Errorf("%w: session %d of %d", ErrProtocol, h.GetShard(), len(p.shards))
	case p.shards[h.GetShard()].open:
		return 0, fmt.Errorf("%w: session %d is open already", ErrProtocol, h.GetShard())
	}
	shard = int(h.GetShard())
	p.generation = f.GetGeneration()
	p.shards[shard].open = true
	return shard, p.receive(shard, f)
}

// Generation returns what the first hello said, 0 before.
func (p *Plugin) Generation() uint64 { return p.generation }

// Receive takes a further frame of a Session. An error wraps ErrProtocol: the process
// is to end. Frames of an older generation are counted and without effect.
func (p *Plugin) Receive(shard int, f *pluginv1.KernelFrame) error {
	switch {
	case shard < 0 || shard >= len(p.shards) || !p.shards[shard].open:
		return fmt.Errorf("%w: session %d is not open", ErrProtocol, shard)
	case f.GetGeneration() < p.generation:
		p.stats.RefusedFrames++
		return nil
	case f.GetGeneration() > p.generation:
		return fmt.Errorf("%w: a frame of generation %d, which is %d", ErrProtocol, f.GetGeneration(), p.generation)
	case f.GetHello() != nil:
		return fmt.Errorf("%w: a second hello", ErrProtocol)
	}
	return p.receive(shard, f)
}

func (p *Plugin) receive(shard int, f *pluginv1.KernelFrame) error {
	s := &p.shards[shard]
	p.stats.FramesIn++
	for _, r := range f.GetResets() {
		if len(r.GetKey()) > MaxKeyBytes {
			return fmt.Errorf("%w: a key of %d bytes", ErrProtocol, len(r.GetKey()))
		}
		p.reset(s, r)
	}
	for _, e := range f.GetEvents() {
		if len(e.GetKey()) > MaxKeyBytes {
			return fmt.Errorf("%w: event %d has a key of %d bytes", ErrProtocol, e.GetId(), len(e.GetKey()))
		}
		if Shard(e.GetKey(), len(p.shards)) != shard {
			return fmt.Errorf("%w: event %d is not of session %d", ErrProtocol, e.GetId(), shard)
		}
		if isLate(e) && s.late >= MaxLate || !isLate(e) && s.held >= MaxCredit {
			return fmt.Errorf("%w: more than %d events in flight, %d late ones", ErrProtocol, s.held, s.late)
		}
		p.give(shard, e)
	}
	for _, a := range f.GetApplied() {
		if !s.unasked[a.GetId()] {
			return fmt.Errorf("%w: there is no unasked %d that it could have applied", ErrProtocol, a.GetId())
		}
		delete(s.unasked, a.GetId())
		w := Work{Kind: WasApplied, ID: a.GetId()}
		if a.GetError() != "" {
			w.Err = errors.New("the kernel: " + a.GetError())
		}
		p.work = append(p.work, w)
	}
	for _, r := range f.GetResponses() {
		if !s.asked[r.GetId()] {
			return fmt.Errorf("%w: there is no request %d that it could answer", ErrProtocol, r.GetId())
		}
		delete(s.asked, r.GetId())
		p.work = append(p.work, Work{Kind: Responded, ID: r.GetId(), Response: r})
	}
	if f.GetBeat() != 0 {
		s.beat = f.GetBeat()
	}
	p.start()
	return nil
}

// give queues an event behind those of its key.
func (p *Plugin) give(shard int, e *pluginv1.Event) {
	s := &p.shards[shard]
	y := p.keys[e.GetKey()]
	if y == nil {
		y = &pluginKey{name: e.GetKey()}
		p.keys[y.name] = y
	}
	y.waiting.push(&Task{Event: e, Shard: shard, key: y})
	if isLate(e) {
		s.late++
	} else {
		s.held++
	}
	s.epoch = max(s.epoch, e.GetEpoch())
	p.stats.Events++
	p.line(y)
}

// line puts a key that has something to be handled, and handles nothing, behind the
// others that wait.
func (p *Plugin) line(y *pluginKey) {
	switch {
	case y.running != nil || y.waiting.len() == 0:
	case (*y.waiting.front()).Event == nil: // a turn takes no place of an event's
		t := y.waiting.pop()
		t.Epoch = p.shards[t.Shard].epoch
		y.running = t
		p.work = append(p.work, Work{Kind: Handle, Task: t, Key: y.name})
	case !y.listed:
		y.listed = true
		p.ready.push(y)
	}
}

// start hands out what may be handled now.
func (p *Plugin) start() {
	for p.running < p.limits.Handlers && p.ready.len() > 0 {
		y := p.ready.pop()
		y.listed = false
		if y.running != nil { // a turn, since a reset took what was before
			continue
		}
		if y.waiting.len() == 0 { // a reset took it
			p.settle(y)
			continue
		}
		t := y.waiting.pop()
		y.running = t
		p.running++
		p.work = append(p.work, Work{Kind: Handle, Task: t, Key: y.name})
	}
}

func (p *Plugin) settle(y *pluginKey) {
	if y.running == nil && !y.listed && y.waiting.len() == 0 {
		delete(p.keys, y.name)
	}
}

// reset drops what is older of a key.
func (p *Plugin) reset(s *pluginShard, r *pluginv1.Reset) {
	name, epoch := r.GetKey(), r.GetEpoch()
	p.stats.Resets++
	s.log.add(name, epoch)
	s.epoch = max(s.epoch, epoch)
	y := p.keys[name]
	if y == nil {
		p.work = append(p.work, Work{Kind: Forget, Key: name, Epoch: epoch})
		return
	}
	for n := y.waiting.len(); n > 0; n-- {
		if t := y.waiting.pop(); t.Event == nil || t.Late() || t.Event.GetEpoch() >= epoch {
			y.waiting.push(t)
		} else {
			s.held--
		}
	}
	if t := y.running; t != nil {
		if !t.void && !t.Late() && (t.Event == nil || t.Event.GetEpoch() < epoch) {
			t.void = true
			p.cancelled++
			if t.Event != nil {
				s.held--
			}
			p.work = append(p.work, Work{Kind: Cancel, Task: t, Key: name})
		}
		y.forget = epoch
		return
	}
	p.work = append(p.work, Work{Kind: Forget, Key: name, Epoch: epoch})
	p.line(y)
	p.settle(y)
}

// Take appends what is to be done to into, and forgets it. To be called after each
// call of another method.
func (p *Plugin) Take(into []Work) []Work {
	into = append(into, p.work...)
	clear(p.work)
	p.work = p.work[:0]
	return into
}

// Done gives the outcome of a task, once; nil is an empty one. The machine sets event
// and epoch, and o is its own from then on. An outcome that is beyond a bound becomes a failure, which the
// error, that wraps ErrFull, is about.
func (p *Plugin) Done(t *Task, o *pluginv1.Outcome) error {
	if t.done || t.Event == nil || t.Late() {
		return fmt.Errorf("plugin wire: event %d has its outcome, or is none", t.Event.GetId())
	}
	t.done = true
	y, s := t.key, &p.shards[t.Shard]
	y.running = nil
	p.running--
	var err error
	if t.void {
		p.cancelled--
		p.stats.Void++
	} else {
		err = p.outcome(s, t, o)
	}
	p.over(y)
	return err
}

// outcome has the outcome of a task be sent. For the error see Done.
func (p *Plugin) outcome(s *pluginShard, t *Task, o *pluginv1.Outcome) (err error) {
	if o == nil {
		o = &pluginv1.Outcome{}
	}
	o.Event, o.Epoch = t.Event.GetId(), t.Event.GetEpoch()
	size := part(o)
	if size > p.limits.OutcomeBytes {
		err = fmt.Errorf("%w: an outcome of %d bytes, not %d", ErrFull, size, p.limits.OutcomeBytes)
		o = &pluginv1.Outcome{Event: o.GetEvent(), Epoch: o.GetEpoch(), Failure: err.Error()}
		size = part(o)
	}
	s.say(saying{key: t.key.name, size: size, outcome: o, late: t.Late()})
	return err
}

// over goes on with a key of which nothing is handled any more.
func (p *Plugin) over(y *pluginKey) {
	if y.forget != 0 {
		p.work = append(p.work, Work{Kind: Forget, Key: y.name, Epoch: y.forget})
		y.forget = 0
	}
	p.line(y)
	p.settle(y)
	p.start()
}

// Request asks the kernel for something, on behalf of a task (nil: none, then on the
// Session 0). r.What is set, the machine sets the rest. The answer is a Responded
// with the ID. An error wraps ErrFull, or ErrVoid for a task that was cancelled.
func (p *Plugin) Request(t *Task, r *pluginv1.Request) (id uint64, err error) {
	shard := 0
	r.Event, r.Key = 0, ""
	if t != nil {
		if t.void {
			return 0, ErrVoid
		}
		shard = t.Shard
		if r.Event = t.Event.GetId(); t.Event == nil {
			r.Key = t.key.name
		}
	}
	s := &p.shards[shard]
	if s.requests.len() >= p.limits.Waiting {
		return 0, fmt.Errorf("%w: %d requests wait", ErrFull, s.requests.len())
	}
	r.Id = p.requestIDs + 1
	if size := part(r); size > min(p.room(), MaxRequestBytes) {
		return 0, fmt.Errorf("%w: a request of %d bytes", ErrFull, size)
	}
	p.requestIDs++
	s.requests.push(asking{r, s.said})
	return r.Id, nil
}

// SetCredit changes what a Session takes, at most PluginLimits.Credit; 0 events is a pause.
func (p *Plugin) SetCredit(shard int, c Credit) {
	if shard < 0 || shard >= len(p.shards) {
		return
	}
	c.Events = min(max(c.Events, 0), p.limits.Credit.Events)
	c.Bytes = min(max(c.Bytes, 1), p.limits.Credit.Bytes)
	p.shards[shard].credit = &c
}

// room is how many bytes of parts there are in a frame.
func (p *Plugin) room() int { return p.limits.FrameBytes - frameOverhead }

// Ready tells whether Frame has something for the Session.
func (p *Plugin) Ready(shard int) bool {
	if shard < 0 || shard >= len(p.shards) {
		return false
	}
	s := &p.shards[shard]
	return s.open && (s.credit != nil || s.beat != 0 || s.out.len() > 0 && s.maySay() || s.mayAsk())
}

func (s *pluginShard) say(x saying) {
	s.out.push(x)
	s.said++
}

// mayAsk tells whether what is first in requests may be sent.
func (s *pluginShard) mayAsk() bool {
	return s.requests.len() > 0 && s.requests.front().said <= s.sent && len(s.asked) < MaxRequests
}

// ask takes requests into a frame, of so many bytes, and returns how many they have.
func (s *pluginShard) ask(f *pluginv1.PluginFrame, room int) (bytes int) {
	for s.mayAsk() {
		r := s.requests.front().r
		size := part(r)
		if size > room-bytes {
			break
		}
		bytes += size
		s.asked[r.GetId()] = true
		f.Requests = append(f.Requests, s.requests.pop().r)
	}
	return bytes
}

// maySay tells whether what is first in out may be sent.
func (s *pluginShard) maySay() bool {
	return s.out.front().unasked == nil || len(s.unasked) < MaxUnasked
}

// Frame returns the next frame of the Session, nil if there is nothing. To be called
// when the sender is free.
func (p *Plugin) Frame(shard int) *pluginv1.PluginFrame {
	if !p.Ready(shard) {
		return nil
	}
	s := &p.shards[shard]
	f := &pluginv1.PluginFrame{Generation: p.generation, Beat: s.beat}
	s.beat = 0
	if c := s.credit; c != nil {
		s.credit = nil
		f.Credit = &pluginv1.Credit{Events: uint32(c.Events), Bytes: uint64(c.Bytes)}
	}
	room := p.room()
	// Requests, for which handlers wait, may take half of the frame, or one may be large.
	hungry := s.hungry
	s.hungry = false
	if !hungry {
		room -= s.ask(f, max(room/2, min(room, MaxRequestBytes)))
	}
	clear(s.saying)
	for s.out.len() > 0 && s.maySay() {
		x := s.out.front()
		if x.unasked != nil && s.log.void(x.key, x.unasked.GetEpoch()) {
			id := s.out.pop().unasked.GetId()
			s.sent++
			s.queued--
			p.work = append(p.work, Work{Kind: WasApplied, ID: id, Err: ErrVoid})
			continue
		}
		// A frame has its outcomes in front of its Unasked: an outcome does not overtake an
		// Unasked of its key.
		if x.size > room || x.outcome != nil && s.saying[x.key] {
			s.hungry = len(f.Outcomes)+len(f.Unasked) == 0
			break
		}
		room -= x.size
		y := s.out.pop()
		s.sent++
		if y.outcome != nil {
			f.Outcomes = append(f.Outcomes, y.outcome)
			if y.late {
				s.late--
			} else {
				s.held--
			}
			p.stats.Outcomes++
			continue
		}
		s.saying[y.key] = true
		s.queued--
		s.unasked[y.unasked.GetId()] = true
		f.Unasked = append(f.Unasked, y.unasked)
	}
	s.ask(f, room)
	if f.Credit == nil && f.Beat == 0 && len(f.Requests)+len(f.Outcomes)+len(f.Unasked) == 0 {
		return nil // all that waited was void
	}
	p.stats.FramesOut++
	return f
}

// Outstanding returns how many events have no outcome, or one that is in no frame yet, and how many
// Unasked have no answer.
func (p *Plugin) Outstanding() int {
	n := p.cancelled
	for i := range p.shards {
		s := &p.shards[i]
		n += s.held + s.late + s.queued + len(s.unasked)
	}
	return n
}

// PluginStats are figures of a Plugin. Depths are of now, the rest counts up.
type PluginStats struct {
	Held             int // events without an outcome in a frame, but for
	Late             int // late ones, of which there are so many
	Running          int // of these, and of void ones, those that are handled
	RequestsUnderWay int
	UnaskedUnderWay  int

	Events, Outcomes    uint64
	Void                uint64 // outcomes that were dropped because of a Reset
	Resets              uint64
	RefusedFrames       uint64 // of an older generation
	FramesIn, FramesOut uint64
}

// Stats returns figures.
func (p *Plugin) Stats() PluginStats {
	st := p.stats
	st.Running = p.running
	for i := range p.shards {
		s := &p.shards[i]
		st.Held += s.held
		st.Late += s.late
		st.RequestsUnderWay += len(s.asked) + s.requests.len()
		st.UnaskedUnderWay += len(s.unasked) + s.queued
	}
	return st
}
