package wire

import (
	"fmt"
	"strings"
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Peer is what is known of a process when its Sessions are opened.
type Peer struct {
	Generation    uint64 // counts up with each process, from 1
	Shards        int    // Sessions, 1 to MaxShards
	Credit        Credit // of its manifest; a zero: the kernel's. Frames replace it.
	MaxFrameBytes int    // that it takes; 0: MaxFrameBytes
}

// Conn is the Sessions with one process.
type Conn struct {
	kernel     *Kernel
	generation uint64
	shards     []shard
	frame      int // bytes
	acting     bool
	running    bool // events go out
	progress   bool // an outcome came
	ghosts     bool // what was in flight was made void by a reset: it may be handled all the same
	closed     bool
	broken     error // what it did
	lastOut    time.Time
	lastIn     time.Time
}

// A shard is one Session, on the kernel's side.
type shard struct {
	hello  bool // to be sent
	credit Credit

	flying        map[uint64]*event
	flight        eventList
	returned      int // events of its keys that were sent, and are to be sent again
	returnedBytes int
	keys          [keyLists]keyList

	pending   fifo[string] // keys whose reset is to be sent
	resets    map[string]uint64
	log       resetLog
	lastReset uint64 // epoch of the last one that was made

	applied      fifo[*pluginv1.Applied]
	unasked      int // that came and whose Applied is in no frame yet
	unaskedBytes int // of those that are to be applied
	lastUnasked  uint64

	responses   fifo[response]
	requests    int // that came and whose response is in no frame yet
	lastRequest uint64

	hungry bool // an event did not fit beside all else: the next frame is for events

	beat     uint64 // number of the last one, 0 before the first
	beatAt   time.Time
	beatOpen bool // it was not echoed
	beatSend bool // it is to be sent
}

type response struct {
	r    *pluginv1.Response
	size int
}

// A request came from a process and has no response.
type request struct {
	conn  *Conn
	shard int
	id    uint64
	done  bool
}

// Open returns a Conn on standby: what it sends is the hello of each Session, and
// beats; what it receives is credit and beats, all else breaks the protocol. The acting
// Conn is not touched.
func (k *Kernel) Open(p Peer) (*Conn, error) {
	if p.MaxFrameBytes <= 0 {
		p.MaxFrameBytes = MaxFrameBytes
	}
	switch {
	case p.Generation == 0:
		return nil, fmt.Errorf("plugin wire: generations count from 1")
	case p.Shards < 1 || p.Shards > MaxShards:
		return nil, fmt.Errorf("plugin wire: %d sessions, not 1 to %d", p.Shards, MaxShards)
	case p.MaxFrameBytes < MinFrameBytes:
		return nil, fmt.Errorf("%w: it takes frames of %d bytes only, not %d", ErrProtocol, p.MaxFrameBytes, MinFrameBytes)
	}
	c := &Conn{kernel: k, generation: p.Generation, frame: p.MaxFrameBytes, shards: make([]shard, p.Shards)}
	for i := range c.shards {
		s := &c.shards[i]
		s.hello = true
		s.flying = map[uint64]*event{}
		s.flight.which = ofFlight
		s.log.max = k.limits.Resets
		s.credit = k.cap(p.Credit)
		if p.Credit.Events <= 0 {
			s.credit.Events = k.limits.Credit.Events
		}
	}
	return c, nil
}

// cap returns what the kernel makes of a credit that was announced.
func (k *Kernel) cap(c Credit) Credit {
	if c.Bytes <= 0 {
		c.Bytes = k.limits.Credit.Bytes
	}
	return Credit{Events: min(c.Events, k.limits.Credit.Events), Bytes: min(c.Bytes, k.limits.Credit.Bytes)}
}

// Attach makes a Conn the acting one, when Activate is going to be called: requests
// and effects of its start are taken. No event is sent before Start. The one before
// must be closed, and its generation lower.
func (k *Kernel) Attach(c *Conn, now time.Time) error {
	switch {
	case c.kernel != k || c.closed || c.acting:
		return fmt.Errorf("plugin wire: this process can't act")
	case k.conn != nil:
		return fmt.Errorf("plugin wire: the process %d still acts", k.conn.generation)
	case c.generation <= k.generation:
		return fmt.Errorf("plugin wire: generation %d after %d", c.generation, k.generation)
	}
	k.conn, k.generation, k.gaveUp = c, c.generation, false
	c.acting = true
	for _, y := range k.keys {
		y.shard = Shard(y.name, len(c.shards))
	}
	for e := k.all.head; e != nil; e = e.links[ofAll].next {
		if e.state == returned {
			s := &c.shards[e.key.shard]
			s.returned++
			s.returnedBytes += e.item.Size
		}
		k.schedule(e.key)
	}
	return nil
}

// Start lets events go out: Activate was answered. It is also the end of Pause.
func (c *Conn) Start(now time.Time) {
	if c.acting && !c.closed {
		c.running = true
		c.kernel.down, c.kernel.hurry = false, false
	}
}

// Pause keeps events back, for a cut-over; all else goes on.
func (c *Conn) Pause() { c.running = false }

// Outstanding returns how many events are in flight, and how many outcomes and Unasked
// are not applied: 0 when a paused process may be replaced.
func (c *Conn) Outstanding() int {
	if !c.acting || c.closed {
		return 0
	}
	return c.kernel.inFlight - c.kernel.voids + c.kernel.applying
}

// Close says that the process has ended, or acts no longer. What it held is to be given
// to the next one; outcomes that it gave are applied, Unasked that wait for their turn
// are not. crashed: it ended by itself, or was ended because it hung: then what it was
// handling, the first event in flight of each key, is suspected. Not so where it was ended
// for another reason.
func (c *Conn) Close(crashed bool, now time.Time) {
	if c.closed {
		return
	}
	k := c.kernel
	c.closed, c.running = true, false
	if !c.acting {
		return
	}
	if crashed {
		k.stats.Crashes++
	}
	// The last crash that an event may be in must be its own: nothing else was handled.
	alone := k.inFlight == 1 && !c.ghosts
	var landed, suspects []*event
	for i := range c.shards {
		for s := &c.shards[i]; s.flight.head != nil; {
			e := s.flight.head
			if e.key.answer == e && crashed && !e.void {
				suspects = append(suspects, e)
			}
			k.land(e, now)
			landed = append(landed, e)
		}
	}
	k.conn = nil
	k.down = true
	k.hurry = true
	if c.progress || k.all.n == 0 {
		k.downSince = now
	}
	for _, y := range k.keys {
		y.list, y.prev, y.next = noList, nil, nil
		y.barrier = true
		for n := y.applies.len(); n > 0; n-- {
			if a := y.applies.pop(); a.event != nil {
				y.applies.push(a)
			} else {
				k.applying--
				k.stats.UnaskedVoid++
			}
		}
		if y.answer != nil {
			y.answer, y.send = nil, y.answer
		}
		k.settle(y)
	}
	for _, e := range landed {
		k.giveAgain(e)
	}
	for _, e := range suspects {
		if e.state != returned {
			continue // its deadline was over
		}
		switch last := k.limits.Crashes - 1; {
		case e.crashes >= last && alone:
			k.fail(e, Poison, stanza.Err(stanza.InternalServerError, ""))
			continue
		case e.crashes < last:
			e.crashes++
		}
		if e.crashes >= k.limits.Crashes-1 && !e.suspect {
			e.suspect = true
			k.suspects = append(k.suspects, e)
		}
	}
	c.shards = nil
}

// reset notes that a key was reset; false: too many wait to be sent.
func (s *shard) reset(name string, epoch uint64) bool {
	s.lastReset = epoch
	s.log.add(name, epoch)
	if s.resets == nil {
		s.resets = map[string]uint64{}
	}
	if _, there := s.resets[name]; !there {
		if s.pending.len() >= s.log.max {
			return false
		}
		s.pending.push(name)
	}
	s.resets[name] = epoch
	return true
}

// answer queues an Applied.
func (s *shard) answer(id uint64, problem string) {
	if len(problem) > 512 {
		problem = problem[:512]
	}
	s.applied.push(&pluginv1.Applied{Id: id, Error: strings.ToValidUTF8(problem, "?")})
}

// Respond answers Answer; the machine sets r.Id. Without effect if the process is gone.
func (k *Kernel) Respond(t Ticket, r *pluginv1.Response) {
	q := t.request
	if q == nil || q.done || q.conn.closed {
		return
	}
	q.done = true
	if r == nil {
		r = &pluginv1.Response{}
	}
	r.Id = q.id
	size := part(r)
	if size > q.conn.room() {
		r = &pluginv1.Response{
			Id: q.id, ErrorKind: pluginv1.ErrorKind_ERROR_KIND_BOUND,
			Error: fmt.Sprintf("the response has %d bytes, more than a frame may have", size),
		}
		size = part(r)
	}
	q.conn.shards[q.shard].responses.push(response{r, size})
}

// frameOverhead is what is kept free in a frame for its numbers, credit included.
const frameOverhead = 96

// room is how many bytes of parts there are in a frame.
func (c *Conn) room() int { return c.frame - frameOverhead }

// part returns the bytes that a message takes in a frame.
func part(m proto.Message) int { return 1 + protowire.SizeBytes(proto.Size(m)) }

// Ready tells whether Frame has something for the Session. The caller asks for each
// Session after each call, and has it sent by whoever sends there; without a timer.
func (c *Conn) Ready(shard int) bool {
	if c.closed || shard < 0 || shard >= len(c.shards) {
		return false
	}
	s := &c.shards[shard]
	return s.hello || s.beatSend || s.pending.len() > 0 || s.applied.len() > 0 || s.responses.len() > 0 || c.next(shard) != nil
}

// next returns the event that may be sent on a Session now.
func (c *Conn) next(shard int) *event {
	if !c.running {
		return nil
	}
	k := c.kernel
	s := &c.shards[shard]
	if len(k.suspects) > 0 {
		return c.nextSuspect(shard)
	}
	if y := s.keys[again].head; y != nil {
		if !s.takes(y.send, 0, 0) {
			return nil
		}
		return y.send
	}
	if y := s.keys[fresh].head; y != nil && s.takes(y.send, s.returned, s.returnedBytes) && k.takes(y.send, len(c.shards)) {
		return y.send
	}
	return nil
}

// nextSuspect returns what is to be sent while events are suspected: the next one of
// the first suspect's key that can be sent, when nothing else is in flight.
func (c *Conn) nextSuspect(shard int) *event {
	k := c.kernel
	if k.inFlight > 0 {
		return nil
	}
	for _, e := range k.suspects {
		y := e.key
		if y.list != noList && c.shards[y.shard].credit.Events > 0 {
			if y.shard == shard {
				return y.send
			}
			return nil
		}
	}
	return nil
}

// takes tells whether the credit has room for an event, besides what is in flight and
// what else is counted.
func (s *shard) takes(e *event, events, bytes int) bool {
	events += s.flight.n
	bytes += s.flight.bytes
	return events < s.credit.Events && (events == 0 || bytes+e.item.Size <= s.credit.Bytes)
}

// takes tells whether one more event may be sent besides those that were sent and have
// no end. What is in flight has its credit, this is for outcomes that are slow to be applied.
func (k *Kernel) takes(e *event, shards int) bool {
	most := 2 * shards
	return k.sent == 0 || k.sent < most*k.limits.Credit.Events && k.sentBytes+e.item.Size <= most*k.limits.Credit.Bytes
}

// Frame returns the next frame of the Session, nil if there is nothing. To be called
// when the sender is free: what is in the frame counts as sent.
func (c *Conn) Frame(shard int, now time.Time) *pluginv1.KernelFrame {
	if !c.Ready(shard) {
		return nil
	}
	s := &c.shards[shard]
	f := &pluginv1.KernelFrame{Generation: c.generation}
	if s.hello {
		s.hello = false
		f.Hello = Hello(c.generation, shard).Hello
	}
	if s.beatSend {
		s.beatSend = false
		f.Beat = s.beat
	}
	room := c.room()
	for s.pending.len() > 0 {
		name := *s.pending.front()
		r := &pluginv1.Reset{Key: name, Epoch: s.resets[name]}
		if room -= part(r); room < 0 {
			return c.count(f)
		}
		s.pending.pop()
		delete(s.resets, name)
		f.Resets = append(f.Resets, r)
	}
	eventsOnly := s.hungry
	s.hungry = false
	for !eventsOnly && s.applied.len() > 0 {
		size := part(*s.applied.front())
		if size > room {
			return c.count(f)
		}
		room -= size
		f.Applied = append(f.Applied, s.applied.pop())
		s.unasked--
	}
	// Responses leave half of the frame to events.
	for left := room / 2; !eventsOnly && s.responses.len() > 0; {
		size := s.responses.front().size
		if size > room || size > left && len(f.Responses) > 0 {
			break
		}
		room -= size
		left -= size
		f.Responses = append(f.Responses, s.responses.pop().r)
		s.requests--
	}
	for len(f.Events) < c.kernel.limits.FrameEvents {
		e := c.next(shard)
		if e == nil {
			break
		}
		event := e.encode(c.generation)
		size := c.room() + 1
		if event != nil {
			size = part(event)
		}
		if size > c.room() {
			c.kernel.fail(e, TooLarge, stanza.Err(stanza.ResourceConstraint, ""))
			continue
		}
		if size > room {
			s.hungry = len(f.Events) == 0
			break
		}
		room -= size
		c.send(s, e, now)
		f.Events = append(f.Events, event)
	}
	if f.Hello == nil && f.Beat == 0 && len(f.Resets)+len(f.Applied)+len(f.Responses)+len(f.Events) == 0 {
		return nil // all events were too large
	}
	return c.count(f)
}

func (c *Conn) count(f *pluginv1.KernelFrame) *pluginv1.KernelFrame {
	c.kernel.stats.FramesOut++
	return f
}

// encode returns the event as it is sent, nil if it can't be said.
func (e *event) encode(generation uint64) *pluginv1.Event {
	m := e.item.Source.Encode()
	if m == nil {
		return nil
	}
	m.Id = e.id
	m.Key = e.key.name
	m.ReceivedUs = e.item.Received.UnixMicro()
	m.Epoch = e.key.epoch
	m.Attempt = uint32(e.attempts)
	if e.gave != generation {
		m.Attempt++
	}
	return m
}

// send puts an event in flight.
func (c *Conn) send(s *shard, e *event, now time.Time) {
	k := c.kernel
	y := e.key
	if e.state == waiting {
		k.leaveQueue(e)
		k.sent++
		k.sentBytes += e.item.Size
	} else {
		k.count(e, -1)
		k.stats.Redelivered++
	}
	if e.gave != c.generation {
		e.gave = c.generation
		e.attempts++
	}
	e.state = inFlight
	e.epoch = y.epoch
	e.sent = now
	if e.item.Deadline > 0 {
		e.due = now.Add(e.item.Deadline - e.held)
		k.deadlines.push(e)
	}
	s.flying[e.id] = e
	s.flight.push(e)
	y.flight++
	k.inFlight++
	k.stats.Sent++
	k.stats.InFlight++
	k.stats.InFlightBytes += e.item.Size
	if y.answer == nil {
		y.answer = e
	}
	y.send = e.links[ofKey].next
	// Its next one waits for its turn.
	if y.list != noList {
		s.keys[y.list].remove(y)
		y.list = noList
	}
	k.schedule(y)
}

// Receive takes a frame from the Session. An error wraps ErrProtocol: the process is to
// be killed, and Conn to be closed. Frames of older generations, and those for a closed
// Conn, are counted and without effect.
func (c *Conn) Receive(shard int, f *pluginv1.PluginFrame, now time.Time) error {
	k := c.kernel
	if c.closed || f.GetGeneration() < c.generation {
		k.stats.RefusedFrames++
		return nil
	}
	if c.broken == nil {
		if err := c.receive(shard, f, now); err != nil {
			c.broken = fmt.Errorf("%w: session %d: %w", ErrProtocol, shard, err)
		}
	}
	return c.broken
}

func (c *Conn) receive(shard int, f *pluginv1.PluginFrame, now time.Time) error {
	k := c.kernel
	switch {
	case f.GetGeneration() > c.generation:
		return fmt.Errorf("a frame of generation %d, which is %d", f.GetGeneration(), c.generation)
	case shard < 0 || shard >= len(c.shards):
		return fmt.Errorf("there is no such session")
	case !c.acting && len(f.GetOutcomes())+len(f.GetUnasked())+len(f.GetRequests()) > 0:
		return fmt.Errorf("it acts before Activate")
	}
	s := &c.shards[shard]
	c.lastIn = now
	k.stats.FramesIn++
	if l := f.GetCredit(); l != nil {
		s.credit = k.cap(Credit{Events: int(min(l.GetEvents(), MaxCredit)), Bytes: int(min(l.GetBytes(), 1<<40))})
	}
	for _, o := range f.GetOutcomes() {
		if err := c.outcome(s, o, now); err != nil {
			return err
		}
	}
	for _, u := range f.GetUnasked() {
		if err := c.unasked(shard, u, now); err != nil {
			return err
		}
	}
	for _, r := range f.GetRequests() {
		if s.requests++; s.requests > MaxRequests {
			return fmt.Errorf("more than %d requests under way", MaxRequests)
		}
		if r.GetId() <= s.lastRequest {
			return fmt.Errorf("request %d after %d", r.GetId(), s.lastRequest)
		}
		s.lastRequest = r.GetId()
		k.stats.Requests++
		k.act(Action{
			Kind: Answer, Conn: c, Shard: shard, Request: r,
			Ticket: Ticket{request: &request{conn: c, shard: shard, id: r.GetId()}},
		})
	}
	if b := f.GetBeat(); b > s.beat {
		return fmt.Errorf("beat %d, after %d was asked for", b, s.beat)
	} else if b == s.beat {
		s.beatOpen = s.beatOpen && s.beatSend
	}
	return nil
}

func (c *Conn) outcome(s *shard, o *pluginv1.Outcome, now time.Time) error {
	k := c.kernel
	e := s.flying[o.GetEvent()]
	switch {
	case e == nil && o.GetEvent() <= k.ids && o.GetEpoch() < s.lastReset,
		e != nil && o.GetEpoch() < e.epoch:
		k.stats.VoidOutcomes++
		return nil
	case e == nil:
		return fmt.Errorf("an outcome of event %d, which it does not have", o.GetEvent())
	case o.GetEpoch() > e.epoch:
		return fmt.Errorf("an outcome of event %d in epoch %d, which is %d", e.id, o.GetEpoch(), e.epoch)
	case e.key.answer != e:
		return fmt.Errorf("an outcome of event %d before that of event %d, which has the same key", e.id, e.key.answer.id)
	}
	y := e.key
	k.land(e, now)
	y.answer = nil
	if next := e.links[ofKey].next; next != nil && next.state == inFlight {
		y.answer = next
	}
	c.progress = true
	c.lastOut = now
	k.trust(e)
	e.crashes = 0
	if e.void {
		k.stats.VoidOutcomes++
		k.giveAgain(e)
		k.reset(y, true, now)
		k.settle(y)
		return nil
	}
	k.stats.Outcomes++
	e.state = answered
	e.outcome = o
	e.large = proto.Size(o) > k.limits.OutcomeBytes
	y.applies.push(&e.apply)
	e.apply.conn = c
	k.applying++
	k.advance(y, now)
	k.schedule(y)
	k.settle(y)
	return nil
}

func (c *Conn) unasked(shard int, u *pluginv1.Unasked, now time.Time) error {
	k := c.kernel
	s := &c.shards[shard]
	name := u.GetKey()
	if s.unasked++; s.unasked > MaxUnasked {
		return fmt.Errorf("more than %d unasked under way", MaxUnasked)
	}
	switch {
	case u.GetId() <= s.lastUnasked:
		return fmt.Errorf("unasked %d after %d", u.GetId(), s.lastUnasked)
	case len(name) > MaxKeyBytes:
		return fmt.Errorf("unasked %d has a key of %d bytes", u.GetId(), len(name))
	case Shard(name, len(c.shards)) != shard:
		return fmt.Errorf("unasked %d has a key of session %d", u.GetId(), Shard(name, len(c.shards)))
	case u.GetEpoch() > k.epoch:
		return fmt.Errorf("unasked %d is of epoch %d, which is %d at most", u.GetId(), u.GetEpoch(), k.epoch)
	}
	s.lastUnasked = u.GetId()
	k.stats.Unasked++
	if s.log.void(name, u.GetEpoch()) {
		k.stats.UnaskedVoid++
		s.answer(u.GetId(), "its key was reset")
		return nil
	}
	y := k.key(name)
	size := proto.Size(u)
	if size > k.limits.OutcomeBytes || s.unaskedBytes+size > k.limits.UnaskedBytes {
		k.stats.UnaskedVoid++
		s.answer(u.GetId(), fmt.Sprintf("it has %d bytes, and %d wait: %v", size, s.unaskedBytes, extension.ErrFull))
		// What it would say next builds on this.
		k.reset(y, true, now)
		k.settle(y)
		return nil
	}
	s.unaskedBytes += size
	y.applies.push(&apply{key: y, conn: c, shard: shard, unasked: u, size: size})
	k.applying++
	k.advance(y, now)
	k.schedule(y)
	return nil
}

// Beat asks for a sign of life on all Sessions on which there is none to come.
func (c *Conn) Beat(now time.Time) {
	for i := range c.shards {
		if s := &c.shards[i]; !s.beatOpen {
			s.beat++
			s.beatAt, s.beatOpen, s.beatSend = now, true, true
		}
	}
}

// Watch is what a watchdog wants to know of a Conn. Zero times: there is none.
type Watch struct {
	Oldest    time.Time // when the event was sent that is longest in flight
	OldestKey string
	Outcome   time.Time // when the last outcome came
	Frame     time.Time // when the last frame came
	Beat      time.Time // when the oldest beat was asked for that has no answer
}

// Watch returns what a watchdog wants to know.
func (c *Conn) Watch() Watch {
	w := Watch{Outcome: c.lastOut, Frame: c.lastIn}
	for i := range c.shards {
		s := &c.shards[i]
		if e := s.flight.head; e != nil && (w.Oldest.IsZero() || e.sent.Before(w.Oldest)) {
			w.Oldest, w.OldestKey = e.sent, e.key.name
		}
		if s.beatOpen && (w.Beat.IsZero() || s.beatAt.Before(w.Beat)) {
			w.Beat = s.beatAt
		}
	}
	return w
}
