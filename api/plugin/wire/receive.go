package wire

import (
	"fmt"
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"google.golang.org/protobuf/proto"
)

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
		if size := proto.Size(r); size > MaxRequestBytes {
			return fmt.Errorf("request %d has %d bytes", r.GetId(), size)
		}
		if y := r.GetKey(); y != "" && (len(y) > MaxKeyBytes || Shard(y, len(c.shards)) != shard) {
			return fmt.Errorf("request %d has a key that is too long, or of another session", r.GetId())
		}
		s.lastRequest = r.GetId()
		k.stats.Requests++
		c.request(s, shard, r)
	}
	c.ask(shard)
	if b := f.GetBeat(); b > s.beat {
		return fmt.Errorf("beat %d, after %d was asked for", b, s.beat)
	} else if b == s.beat {
		s.beatOpen = s.beatOpen && s.beatSend
	}
	return nil
}

// ask hands out requests, as long as not too much of their responses may wait.
func (c *Conn) ask(shard int) {
	s := &c.shards[shard]
	for s.asked.len() > 0 && s.asking < maxAsking && s.responseBytes < maxResponseBytes {
		r := s.asked.pop()
		s.asking++
		c.kernel.act(Action{
			Kind: Answer, Conn: c, Shard: shard, Request: r,
			Ticket: Ticket{request: &request{conn: c, shard: shard, id: r.GetId()}},
		})
	}
}

func (c *Conn) outcome(s *shard, o *pluginv1.Outcome, now time.Time) error {
	k := c.kernel
	if e := s.late[o.GetEvent()]; e != nil {
		c.lateOutcome(s, e, o, now)
		return nil
	}
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
		y.answer, next.first = next, now
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
	size := proto.Size(o)
	if k.outcomes > 0 && k.outcomes+size > k.limits.ApplyBytes && size <= k.limits.OutcomeBytes {
		k.stats.VoidOutcomes++
		k.giveAgain(e)
		k.reset(y, true, now)
		k.settle(y)
		return nil
	}
	k.stats.Outcomes++
	e.state = answered
	if e.large = size > k.limits.OutcomeBytes; !e.large {
		e.outcome, e.size = o, size
		k.outcomes += size
	}
	y.applies.push(&e.apply)
	e.apply.conn = c
	y.said++
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
	y.said++
	k.applying++
	k.advance(y, now)
	k.schedule(y)
	return nil
}
