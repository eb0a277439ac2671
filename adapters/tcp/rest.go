package tcp

import (
	"errors"
	"time"
)

// errRested is the end of a connection whose peer did not wait until it was served.
var errRested = errors.New("tcp: the peer has gone while its connection waited to be served")

// rest has nothing read from the connection for a time: a timer ends it, no
// goroutine waits. Output goes on, and so do ticks; an end does not wait for it.
// The owner of the turns calls it.
func (c *conn) rest(d time.Duration) {
	c.hold()
	c.alarm = time.AfterFunc(d, c.Resume)
}

// hold is rest without a time.
func (c *conn) hold() {
	if c.alarm != nil {
		c.alarm.Stop() // if it is too late for that, this rest is as short as the last
		c.alarm = nil
	}
	c.resting.Store(true)
}

// rested ends it.
func (c *conn) rested() {
	c.resting.Store(false)
	if c.alarm != nil {
		c.alarm.Stop()
		c.alarm = nil
	}
}

// rests says whether the input that bits announce has to wait. A broken connection
// is told at once, and so is the end of one that is being closed.
func (c *conn) rests(bits uint32) bool {
	return c.resting.Load() && bits&turnReset == 0 && (c.phase == phaseNew || c.phase == phaseOpen)
}
