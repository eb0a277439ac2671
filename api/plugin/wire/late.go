package wire

import (
	"fmt"
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"google.golang.org/protobuf/proto"
)

// Late events are answered when somebody outside has what is in them, minutes later as it
// may be: those for far domains. A key has a line of them. They are sent in its order, and
// answered in any; their outcomes have no effects, so nothing is applied in turns, nothing is in conflict, and a
// Reset of a key of the same name is not about them. What they are out with is no credit of other events.

// A late event is an Item from Enqueue to its outcome, or its failure.
type late struct {
	item     Item
	line     *line
	out      bool // a process has it
	attempts int
	gave     uint64 // generation of the last one of attempts
	enqueued time.Time
	links    [lateLists]lateLink
}

// The lists in which a late event is.
const (
	ofLine    = iota // of its key, in order
	ofAllLate        // all, in the order of Enqueue
	lateLists
)

type lateLink struct{ prev, next *late }

type lateList struct {
	which      int
	head, tail *late
	n, bytes   int
}

func (l *lateList) push(e *late) {
	e.links[l.which] = lateLink{prev: l.tail}
	if l.tail != nil {
		l.tail.links[l.which].next = e
	} else {
		l.head = e
	}
	l.tail = e
	l.n++
	l.bytes += e.item.Size
}

func (l *lateList) remove(e *late) {
	at := e.links[l.which]
	if at.prev != nil {
		at.prev.links[l.which].next = at.next
	} else {
		l.head = at.next
	}
	if at.next != nil {
		at.next.links[l.which].prev = at.prev
	} else {
		l.tail = at.prev
	}
	e.links[l.which] = lateLink{}
	l.n--
	l.bytes -= e.item.Size
}

// A line has the late events of a key.
type line struct {
	name   string
	shard  int      // of the acting Conn
	events lateList // all
	send   *late    // the first that is not out; all behind it are not, either
	out    int      // how many are, and
	bytes  int      // of how many bytes

	listed     bool // in the lines of its shard
	prev, next *line
}

// A lineList has lines of which an event may be sent, in turns.
type lineList struct{ head, tail *line }

func (l *lineList) push(y *line) {
	y.prev, y.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = y
	} else {
		l.head = y
	}
	l.tail = y
	y.listed = true
}

func (l *lineList) remove(y *line) {
	if y.prev != nil {
		y.prev.next = y.next
	} else {
		l.head = y.next
	}
	if y.next != nil {
		y.next.prev = y.prev
	} else {
		l.tail = y.prev
	}
	y.prev, y.next = nil, nil
	y.listed = false
}

// enqueueLate is Enqueue of a late event.
func (k *Kernel) enqueueLate(it Item, now time.Time) error {
	switch {
	case k.gaveUp:
		return fmt.Errorf("plugin wire: %w", extension.ErrDown)
	case len(it.Key) > MaxKeyBytes:
		return fmt.Errorf("plugin wire: a key of %d bytes: %w", len(it.Key), extension.ErrFull)
	case k.late.n >= k.limits.LateEvents || k.late.n > 0 && k.late.bytes+it.Size > k.limits.LateBytes:
		return fmt.Errorf("plugin wire: %d late events, %d bytes: %w", k.late.n, k.late.bytes, extension.ErrFull)
	}
	y := k.lines[it.Key]
	if y == nil {
		y = &line{name: it.Key, events: lateList{which: ofLine}}
		if k.conn != nil {
			y.shard = Shard(it.Key, len(k.conn.shards))
		}
		k.lines[it.Key] = y
	}
	if last := y.events.tail; last != nil && last.item.ID >= it.ID {
		return fmt.Errorf("plugin wire: event %d of %q behind %d", it.ID, it.Key, last.item.ID)
	}
	e := &late{item: it, line: y, enqueued: now}
	y.events.push(e)
	k.late.push(e)
	if y.send == nil {
		y.send = e
	}
	k.stats.Enqueued++
	k.queueLine(y)
	return nil
}

// queueLine puts a line where it belongs: among those of which something may be sent, or not.
func (k *Kernel) queueLine(y *line) {
	if k.conn == nil {
		return
	}
	l := &k.limits
	may := y.send != nil && (y.out == 0 || y.out < l.LateKeyEvents && y.bytes+y.send.item.Size <= l.LateKeyBytes)
	if may == y.listed {
		return
	}
	if lines := &k.conn.shards[y.shard].lines; may {
		lines.push(y)
	} else {
		lines.remove(y)
	}
}

// nextLate returns the late event that may be sent on a Session now.
func (c *Conn) nextLate(shard int) *late {
	s := &c.shards[shard]
	// While events are suspected, each is alone: see Kernel.suspects.
	if !c.running || s.credit.Events == 0 || len(c.kernel.suspects) > 0 || s.lines.head == nil || len(s.late) >= MaxLate {
		return nil
	}
	return s.lines.head.send
}

// addLate takes late events into a frame, of so many bytes at most, and returns what they take. A single one
// may take all.
func (c *Conn) addLate(shard int, f *pluginv1.KernelFrame, most, all int, now time.Time) (bytes int) {
	s := &c.shards[shard]
	for n := 0; n < max(1, c.kernel.limits.FrameEvents/2); n++ {
		e := c.nextLate(shard)
		if e == nil {
			return bytes
		}
		event := e.encode(c.generation)
		size := c.room() + 1
		if event != nil {
			size = part(event)
		}
		if size > c.room() {
			c.kernel.failLate(e, TooLarge, stanza.Err(stanza.ResourceConstraint, ""))
			continue
		}
		if size > all-bytes || bytes > 0 && bytes+size > most {
			s.lateHungry = bytes == 0
			return bytes
		}
		bytes += size
		c.sendLate(s, e)
		f.Events = append(f.Events, event)
	}
	return bytes
}

// encode returns the event as it is sent, nil if it can't be said.
func (e *late) encode(generation uint64) *pluginv1.Event {
	m := e.item.Source.Encode()
	if m == nil {
		return nil
	}
	m.Id, m.Key, m.ReceivedUs, m.Attempt = e.item.ID, e.line.name, e.item.Received.UnixMicro(), uint32(e.attempts)
	if e.gave != generation {
		m.Attempt++
	}
	return m
}

func (c *Conn) sendLate(s *shard, e *late) {
	k, y := c.kernel, e.line
	if e.gave != c.generation {
		e.gave = c.generation
		if e.attempts++; e.attempts > 1 {
			k.stats.Redelivered++
		}
	}
	e.out = true
	s.late[e.item.ID] = e
	y.out++
	y.bytes += e.item.Size
	y.send = e.links[ofLine].next
	k.lateOut++
	k.stats.Sent++
	s.lines.remove(y) // its next one waits for its turn
	k.queueLine(y)
}

// landLate takes an event from the process that has it.
func (k *Kernel) landLate(s *shard, e *late) {
	delete(s.late, e.item.ID)
	e.out = false
	e.line.out--
	e.line.bytes -= e.item.Size
	k.lateOut--
}

// lateOutcome takes the outcome of a late event, which is its end.
func (c *Conn) lateOutcome(s *shard, e *late, o *pluginv1.Outcome, now time.Time) {
	k := c.kernel
	k.landLate(s, e)
	c.progress = true
	c.lastOut = now
	k.stats.Outcomes++
	if proto.Size(o) > k.limits.OutcomeBytes {
		k.failLate(e, TooLarge, stanza.Err(stanza.InternalServerError, ""))
		return
	}
	k.act(Action{Kind: LateOutcome, Conn: c, Item: &e.item, Outcome: o, Attempt: e.attempts})
	k.removeLate(e)
}

// failLate ends a late event that no process has.
func (k *Kernel) failLate(e *late, reason Reason, err error) {
	k.stats.Failed[reason]++
	if _, answer := err.(*stanza.Error); !answer {
		err = fmt.Errorf("plugin wire: %s: %w", reason, err)
	}
	k.act(Action{Kind: Fail, Item: &e.item, Reason: reason, Attempt: e.attempts, Err: err})
	k.removeLate(e)
}

// removeLate takes a late event that no process has off everything.
func (k *Kernel) removeLate(e *late) {
	y := e.line
	if y.send == e {
		y.send = e.links[ofLine].next
	}
	y.events.remove(e)
	k.late.remove(e)
	if k.queueLine(y); y.events.n == 0 {
		delete(k.lines, y.name)
	}
}

// closeLate has all that the acting process had given to the next one, in order.
func (k *Kernel) closeLate(c *Conn, now time.Time) {
	k.lateSince = now
	for i := range c.shards {
		for _, e := range c.shards[i].late {
			k.landLate(&c.shards[i], e)
		}
	}
	for _, y := range k.lines {
		y.listed, y.prev, y.next = false, nil, nil
		y.send = y.events.head
	}
}

// attachLate lets the lines be sent to a process.
func (k *Kernel) attachLate(c *Conn) {
	for _, y := range k.lines {
		y.shard = Shard(y.name, len(c.shards))
	}
	for e := k.late.head; e != nil; e = e.links[ofAllLate].next { // in this order
		k.queueLine(e.line)
	}
}

// lateTime returns when a late event has waited for a process for long enough.
func (k *Kernel) lateTime(e *late) time.Time {
	since := e.enqueued
	if since.Before(k.lateSince) {
		since = k.lateSince
	}
	return since.Add(k.limits.Grace)
}
