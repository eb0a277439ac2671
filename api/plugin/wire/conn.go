package wire

import (
	"fmt"
	"strings"
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
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

	reads         int                     // in key.reads
	asked         fifo[*pluginv1.Request] // to be handed out
	asking        int                     // that the caller was given and has not answered
	responses     fifo[response]
	responseBytes int
	requests      int // that came and whose response is in no frame yet
	lastRequest   uint64

	late       map[uint64]*late // those that the process has
	lines      lineList         // of those of which something may be sent
	lateHungry bool             // hungry, of a late one

	hungry bool // an event did not fit beside all else: the next frame is for events

	beat     uint64 // number of the last one, 0 before the first
	beatAt   time.Time
	beatOpen bool // it was not echoed
	beatSend bool // it is to be sent
}

const (
	// maxAsking is how many requests of a Session the caller is given at once, and
	// maxResponseBytes how much of responses may wait for more to be given.
	maxAsking        = 64
	maxResponseBytes = 8 << 20
)

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
		s.late = map[uint64]*late{}
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
	k.attachLate(c)
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
	k.closeLate(c, now)
	k.conn = nil
	k.down = true
	k.hurry = true
	if c.progress || k.all.n == 0 {
		k.downSince = now
	}
	for _, y := range k.keys {
		y.list, y.prev, y.next = noList, nil, nil
		y.barrier = true
		y.reads = fifo[read]{}
		for n := y.applies.len(); n > 0; n-- {
			if a := y.applies.pop(); a.event != nil {
				y.applies.push(a)
			} else {
				k.end(y, 1)
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
	s := &q.conn.shards[q.shard]
	s.responses.push(response{r, size})
	s.responseBytes += size
	s.asking--
	q.conn.ask(q.shard)
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
	Oldest    time.Time // since when the process could handle the event that it can longest: the first in flight of its key
	OldestKey string
	Outcome   time.Time // when the last outcome came
	Frame     time.Time // when the last frame came
	Beat      time.Time // when the oldest beat was asked for that has no answer
}

// Watch returns what a watchdog wants to know. It looks at all that is in flight.
func (c *Conn) Watch() Watch {
	w := Watch{Outcome: c.lastOut, Frame: c.lastIn}
	for i := range c.shards {
		s := &c.shards[i]
		for e := s.flight.head; e != nil; e = e.links[ofFlight].next {
			if e.key.answer == e && (w.Oldest.IsZero() || e.first.Before(w.Oldest)) {
				w.Oldest, w.OldestKey = e.first, e.key.name
			}
		}
		if s.beatOpen && (w.Beat.IsZero() || s.beatAt.Before(w.Beat)) {
			w.Beat = s.beatAt
		}
	}
	return w
}
