package underway

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// model is one Line, and what must be true of it.
type model struct {
	t    *rapid.T
	u    *Underway
	line *Line

	mu      sync.Mutex
	all     []*modelMessage
	passed  uint32 // the last First that Passed saw
	waiting []*modelMessage
}

// modelMessage is a message, and how it goes on.
type modelMessage struct {
	*Message
	commits  bool // it waits for a commit
	err      error
	finished bool // that commit
	waits    bool // Take leaves a Wait
	stores   bool // nobody takes it
	again    bool // it calls Later if it is behind another one
	goOn     chan struct{}

	takes   int
	done    bool // with Take
	storing bool
	stored  bool
}

func (m *model) Passed(*transport.Batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, any := m.line.First()
	if !any {
		n = uint32(len(m.all)) + 1
	}
	if n < m.passed {
		m.t.Errorf("the first under way is %d, behind %d", n, m.passed)
	}
	m.passed = n
}

// take is the Take of a message.
func (m *model) take(x *modelMessage) Take {
	return func(_ *transport.Batch, err error) transport.Wait {
		m.mu.Lock()
		defer m.mu.Unlock()
		i := int(x.N) - 1
		for _, before := range m.all[:i] {
			if !before.done {
				m.t.Errorf("%d is taken before %d", x.N, before.N)
			}
		}
		if x.commits && !x.finished || err != x.err {
			m.t.Errorf("%d is taken with %v, its commit finished: %v", x.N, err, x.finished)
		}
		behind := x.Behind()
		for _, before := range m.all[:i] {
			if before.To == x.To && before.storing && !before.stored && !behind {
				m.t.Errorf("%d is behind %d, and does not know", x.N, before.N)
			}
		}
		if behind && x.again {
			x.Later()
			return nil
		}
		if x.takes++; x.takes > 1 {
			m.t.Errorf("%d is taken %d times", x.N, x.takes)
		}
		if !x.waits {
			m.onward(x)
			return nil
		}
		x.goOn = make(chan struct{})
		m.waiting = append(m.waiting, x)
		return func(context.Context) {
			<-x.goOn
			m.mu.Lock()
			defer m.mu.Unlock()
			m.onward(x)
		}
	}
}

// onward ends a Take; m.mu is held.
func (m *model) onward(x *modelMessage) {
	if x.stores {
		x.storing = true
		x.Store(m.store(x))
	}
	x.done = true
}

func (m *model) store(x *modelMessage) Take {
	return func(*transport.Batch, error) transport.Wait {
		m.mu.Lock()
		defer m.mu.Unlock()
		if x.stored {
			m.t.Errorf("%d is stored twice", x.N)
		}
		x.stored = true
		return nil
	}
}

// settle waits until nothing happens any more.
func (m *model) settle() {
	for settled := false; !settled; runtime.Gosched() {
		m.mu.Lock()
		m.u.mu.Lock()
		settled = !m.u.taking && m.u.waiting == len(m.waiting)
		m.u.mu.Unlock()
		m.mu.Unlock()
	}
}

// Any order of messages, commits that succeed or fail, ways that wait, and stores.
func TestLine(t *testing.T) {
	to := []jid.JID{jid.MustParse("a@example.test"), jid.MustParse("b@example.test")}
	rapid.Check(t, func(t *rapid.T) {
		u := New(func(w transport.Wait) transport.Wait { return w })
		m := &model{t: t, u: u}
		m.line = u.NewLine(m)
		var b transport.Batch
		pick := func(list []*modelMessage) *modelMessage {
			return list[rapid.IntRange(0, len(list)-1).Draw(t, "which")]
		}
		commits := func() (open []*modelMessage) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, x := range m.all {
				if x.commits && !x.finished {
					open = append(open, x)
				}
			}
			return open
		}
		stores := func() (open []*modelMessage) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, x := range m.all {
				if x.storing && !x.stored {
					open = append(open, x)
				}
			}
			return open
		}
		finish := func(x *modelMessage, err error) {
			m.mu.Lock()
			x.finished, x.err = true, err
			m.mu.Unlock()
			u.Finish([]Finished{{x.Message, err}})
		}
		goOn := func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			if len(m.waiting) == 0 {
				return false
			}
			close(m.waiting[0].goOn)
			m.waiting = m.waiting[1:]
			return true
		}
		step := func(n int) {
			switch n {
			case 0, 1, 2:
				if m.line.Full() {
					return
				}
				x := &modelMessage{
					commits: rapid.Bool().Draw(t, "commits"), waits: rapid.IntRange(0, 3).Draw(t, "waits") == 0,
					stores: rapid.Bool().Draw(t, "stores"), again: rapid.Bool().Draw(t, "again"),
				}
				m.mu.Lock()
				x.Message = &Message{N: uint32(len(m.all)) + 1, To: to[rapid.IntRange(0, 1).Draw(t, "to")], Size: 1, Take: m.take(x)}
				m.all = append(m.all, x)
				m.mu.Unlock()
				if x.commits {
					m.line.Expect(x.Message)
				} else {
					m.line.Follow(&b, x.Message)
				}
			case 3, 4:
				if open := commits(); len(open) > 0 {
					finish(pick(open), nil)
				}
			case 5:
				if open := commits(); len(open) > 0 {
					finish(pick(open), errors.New("disk full"))
				}
			case 6, 7:
				if open := stores(); len(open) > 0 {
					x := pick(open)
					u.Finish([]Finished{{x.Message, nil}})
					m.settle()
				}
			case 8:
				goOn()
			}
			m.settle()
		}
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			step(rapid.IntRange(0, 8).Draw(t, "step"))
		}
		for u.Len() > 0 {
			n := len(commits()) + len(stores())
			for _, x := range commits() {
				finish(x, nil)
			}
			m.settle()
			for _, x := range stores() {
				u.Finish([]Finished{{x.Message, nil}})
			}
			m.settle()
			if !goOn() && n == 0 && u.Len() > 0 {
				t.Fatalf("%d are under way, and nothing is left to do", u.Len())
			}
			m.settle()
		}
		u.Wait()
		for _, x := range m.all {
			if !x.done || x.takes != 1 || x.storing != x.stored {
				t.Errorf("%d: %+v", x.N, x)
			}
		}
		if !m.line.Idle() || m.line.Idled() != nil || m.line.Room() != nil || m.line.bytes != 0 || u.bytes.Load() != 0 || m.line.list != nil {
			t.Errorf("something is left: %+v", m.line)
		}
	})
}

// passing is the owner of a Line.
type passing struct{ passed int }

func (p *passing) Passed(*transport.Batch) { p.passed++ }

// What one group of commits has finished is flushed once, whatever the Lines, and their
// owners are told once.
func TestOneBatchForAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := New(func(w transport.Wait) transport.Wait { return w })
		c := &flushes{}
		var all []Finished
		var owners []*passing
		for range 3 {
			o := &passing{}
			l := u.NewLine(o)
			owners = append(owners, o)
			for n := range uint32(4) {
				m := &Message{N: n, Take: func(b *transport.Batch, _ error) transport.Wait { c.queue(b); return nil }}
				l.Expect(m)
				all = append(all, Finished{Message: m})
			}
		}
		u.Finish(all)
		synctest.Wait()
		if c.taken != len(all) || c.flushed != 1 {
			t.Errorf("%d taken, flushed %d times", c.taken, c.flushed)
		}
		for _, o := range owners {
			if o.passed != 1 {
				t.Errorf("told %d times", o.passed)
			}
		}
	})
}

// flushes is a connection that counts.
type flushes struct {
	transport.Conn
	taken, flushed int
	scheduled      bool
}

func (c *flushes) queue(b *transport.Batch) {
	if c.taken++; !c.scheduled {
		c.scheduled = true
		b.Add(c)
	}
}

func (c *flushes) Flush() { c.flushed, c.scheduled = c.flushed+1, false }

// All Lines together have a bound: past it each has one message at a time.
func TestBoundOfAll(t *testing.T) {
	u := New(func(w transport.Wait) transport.Wait { return w })
	o := &passing{}
	many := u.NewLine(o)
	one := &Message{Size: maxAllBytes}
	many.Expect(one)
	few := u.NewLine(o)
	if few.Full() || few.Room() != nil {
		t.Error("the first does not fit")
	}
	few.Expect(&Message{Size: 1})
	room := few.Room()
	if !few.Full() || room == nil {
		t.Error("a second one fits")
	}
	many.end(one)
	if few.Full() {
		t.Error("a second one does not fit")
	}
	few.end(few.list[0])
	<-room
	if u.Len() != 0 {
		t.Error(u.Len())
	}
}

// Drain and Wait end when there is nothing left.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := New(func(w transport.Wait) transport.Wait { return w })
		if err := u.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		goOn := make(chan struct{})
		m := &Message{Take: func(*transport.Batch, error) transport.Wait { return func(context.Context) { <-goOn } }}
		u.NewLine(&passing{}).Expect(m)
		u.Finish([]Finished{{Message: m}})
		over, end := context.WithCancel(t.Context())
		end()
		if err := u.Drain(over); err == nil {
			t.Error("it did not wait")
		}
		drained := make(chan error)
		go func() { err := u.Drain(t.Context()); u.Wait(); drained <- err }()
		synctest.Wait()
		close(goOn)
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}
