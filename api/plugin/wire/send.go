package wire

import (
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

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
	return s.hello || s.beatSend || s.pending.len() > 0 || s.applied.len() > 0 || s.responses.len() > 0 || c.next(shard) != nil || c.nextLate(shard) != nil
}

// next returns the event that may be sent on a Session now.
func (c *Conn) next(shard int) *event {
	k := c.kernel
	if !c.running || k.outcomes > k.limits.ApplyBytes/2 {
		return nil
	}
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
	hungry, lateHungry := s.hungry, s.lateHungry
	eventsOnly := hungry || lateHungry
	s.hungry, s.lateHungry = false, false
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
		s.responseBytes -= size
		s.requests--
	}
	c.ask(shard)
	if !hungry || lateHungry { // half of it is for other events
		room -= c.addLate(shard, f, room/2, room, now)
	}
	others := len(f.Events)
	for len(f.Events)-others < c.kernel.limits.FrameEvents {
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
			s.hungry = len(f.Events) == others
			break
		}
		room -= size
		c.send(s, e, now)
		f.Events = append(f.Events, event)
	}
	if hungry && !lateHungry {
		c.addLate(shard, f, room, room, now)
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
		y.answer, e.first = e, now
	}
	y.send = e.links[ofKey].next
	// Its next one waits for its turn.
	if y.list != noList {
		s.keys[y.list].remove(y)
		y.list = noList
	}
	k.schedule(y)
}
