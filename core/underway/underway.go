// Package underway keeps messages of clients that are accepted and wait for a commit, or
// for the verdict of a handler elsewhere, before they go on: those of each session in a
// Line, in the order in which they came. Their stream reads on meanwhile, so that one
// commit takes many messages of one stream, and many verdicts are out at once.
//
// # The way of a message
//
// It joins the Line of its session when its handlers have run and what they write is
// queued. When that is committed, or has failed, it is taken: it goes to sessions, or
// back to its sender. Messages of a Line are taken strictly in order, one after the
// other to its end: one whose commit is done waits for those before it.
//
// One on which a verdict is asked for ahead joins before its handlers run: see Line.Ask. They
// run when it is taken, and it may wait once more then, in its place, for its commit.
//
// A message that nobody takes is stored (XEP-0160), by a second commit. It is kept in
// the Line until then, and those behind it are taken meanwhile, unless they could
// overtake it: see Message.Behind.
//
// # Who does it
//
// What one group of commits finished is taken by one goroutine, with one
// transport.Batch, so that each recipient is flushed once. What has to wait on its way
// goes on on a bounded number of goroutines. Both end when there is nothing to do, and
// are waited for by Wait.
//
// # Locks
//
// Line.mu and Underway.mu are leaves: nobody is called with one held. Session.mu may be
// held where a Line is asked.
package underway

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/hexmpp/hexmpp/ports/transport"
)

// Bounds of what all sessions have under way together. Past one of these a session has
// one message under way at a time.
const (
	maxAll      = 32_768
	maxAllBytes = 64 << 20
)

// waiters is how many messages go on at once that have to wait for something.
const waiters = 64

// Underway is what all Lines share. Any goroutine may use it.
type Underway struct {
	own func(transport.Wait) transport.Wait

	count, bytes atomic.Int64 // of all messages

	mu       sync.Mutex // guards what follows
	finished []Finished
	taking   bool // a goroutine works on finished
	queue    []func()
	waiting  int           // goroutines that run what has to wait
	empty    chan struct{} // closed when nothing is under way; nil if nobody waits
	ended    chan struct{} // closed when there is no goroutine; nil if nobody waits
}

// New returns an Underway. own makes a Wait the kernel's: host.Hosts.Own.
func New(own func(transport.Wait) transport.Wait) *Underway { return &Underway{own: own} }

// Len returns how many messages are under way.
func (u *Underway) Len() int { return int(u.count.Load()) }

// full says that there is no room for a second message of anybody.
func (u *Underway) full() bool { return u.count.Load() >= maxAll || u.bytes.Load() >= maxAllBytes }

// Finished is a commit that was waited for, or a verdict: see Line.Expect and Line.Ask.
type Finished struct {
	Message *Message
	Err     error
}

// Finish tells what has become of commits, in their order. It never waits.
func (u *Underway) Finish(all []Finished) {
	if len(all) == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.finished = append(u.finished, all...)
	if !u.taking {
		u.taking = true
		go u.take()
	}
}

// take lets messages go on, as long as commits are finished.
func (u *Underway) take() {
	var b transport.Batch
	var lines []*Line
	var list []Finished
	for {
		u.mu.Lock()
		clear(list)
		list, u.finished = u.finished, list[:0]
		if len(list) == 0 {
			u.taking, u.finished = false, nil
			u.end()
			u.mu.Unlock()
			return
		}
		u.mu.Unlock()
		for _, f := range list {
			l := f.Message.line
			if l.finish(&b, f.Message, f.Err); !l.touched {
				l.touched = true
				lines = append(lines, l)
			}
		}
		for i, l := range lines {
			l.touched = false
			l.advance(&b)
			l.owner.Passed(&b)
			lines[i] = nil
		}
		lines = lines[:0]
		b.Flush()
	}
}

// wait runs f beside all others.
func (u *Underway) wait(f func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.waiting == waiters { // bounded by the number of messages
		u.queue = append(u.queue, f)
		return
	}
	u.waiting++
	go func() {
		for f != nil {
			f()
			u.mu.Lock()
			if f = nil; len(u.queue) > 0 {
				f, u.queue[0] = u.queue[0], nil
				u.queue = u.queue[1:]
			} else {
				u.waiting--
				u.end()
			}
			u.mu.Unlock()
		}
	}()
}

// end notes that a goroutine ends; u.mu is held.
func (u *Underway) end() {
	if !u.taking && u.waiting == 0 && u.ended != nil {
		close(u.ended)
		u.ended = nil
	}
}

// enter and leave count a message.
func (u *Underway) enter(size int) {
	u.count.Add(1)
	u.bytes.Add(int64(size))
}

func (u *Underway) leave(size int) {
	u.bytes.Add(-int64(size))
	if u.count.Add(-1) > 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.empty != nil {
		close(u.empty)
		u.empty = nil
	}
}

// Drain waits until nothing is under way, or ctx ends.
func (u *Underway) Drain(ctx context.Context) error {
	u.mu.Lock()
	if u.empty == nil {
		u.empty = make(chan struct{})
	}
	empty := u.empty
	u.mu.Unlock()
	if u.count.Load() == 0 { // leave has seen empty, or was before
		return nil
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Wait waits until there is no goroutine.
func (u *Underway) Wait() {
	u.mu.Lock()
	if !u.taking && u.waiting == 0 {
		u.mu.Unlock()
		return
	}
	if u.ended == nil {
		u.ended = make(chan struct{})
	}
	ended := u.ended
	u.mu.Unlock()
	<-ended
}
