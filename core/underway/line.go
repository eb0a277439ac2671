package underway

import (
	"context"
	"sync"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Bounds of one Line: past one of these its stream is not read on until it is at half
// of them. A single message always fits.
const (
	maxMessages = 64
	maxBytes    = 256 << 10
)

// Owner is the session of a Line.
type Owner interface {
	// Passed tells that messages of the Line may have come to their end.
	Passed(b *transport.Batch)
}

// Line is the messages of one session that are under way. Only one goroutine at a time
// has messages join it: that of the turn of the session's stream, or what runs in its
// stead.
type Line struct {
	all     *Underway
	owner   Owner
	touched bool // belongs to Underway.take

	mu    sync.Mutex // guards what follows
	list  []*Message // from the first on that is under way
	open  int        // of list: those that are
	bytes int        // of them
	asked int        // of list: those for which Ask was called, and Commit not
	taken *Message   // the one that is being taken
	idle  chan struct{}
	room  chan struct{}
}

// NewLine returns the Line of a session.
func (u *Underway) NewLine(o Owner) *Line { return &Line{all: u, owner: o} }

type state uint8

const (
	committing state = iota // what has to be written before it goes on is queued, or a verdict is out
	ready                   // it can be taken
	taken                   // it is on its way to recipients
	storing                 // nobody has taken it: it is being stored
	over
)

// Take takes a message onward: err is that of its commit. What has to wait is in the
// Wait that it returns.
type Take func(b *transport.Batch, err error) transport.Wait

// Message is one message. Its fields do not change once it has joined a Line, but by Again
// and Commit.
type Message struct {
	// N is its number among the stanzas of its session (XEP-0198 4).
	N uint32
	// To is the account that it goes to, as a bare JID, or wherever else.
	To jid.JID
	// Size is what it takes in memory, about.
	Size int
	// Take is called once, or once more behind Later.
	Take Take

	line   *Line
	state  state
	err    error // of the commit
	later  bool  // see Later
	asked  bool  // see Ask
	stored Take  // see Store
	kept   bool  // Store was called
}

// Expect has a message join, whose commit is being queued: Underway.Finish says what has
// become of it.
func (l *Line) Expect(m *Message) { l.join(m, committing) }

// Follow has a message join that waits for nothing but those before it.
func (l *Line) Follow(b *transport.Batch, m *Message) {
	l.join(m, ready)
	l.advance(b)
}

// Store has a message join that nobody has taken, and that is being stored: see
// Message.Store. Nothing else may be under way.
func (l *Line) Store(m *Message, stored Take) {
	m.stored, m.kept = stored, true
	l.join(m, storing)
}

// Ask has a message join whose handlers have still to run, since one of them, elsewhere, is
// to decide about it first. It is taken behind Underway.Finish, or Ready.
func (l *Line) Ask(m *Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.asked = true
	l.asked++
	l.add(m, committing)
}

// Ready has a message taken when it is its turn: nothing is out of what it waited for.
func (l *Line) Ready(b *transport.Batch, m *Message) {
	l.mu.Lock()
	m.state = ready
	l.mu.Unlock()
	l.advance(b)
}

// Asked returns how many messages there are whose handlers have still to run. Handlers
// see messages of a session in their order: those of the next one must not run before.
func (l *Line) Asked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// Again is called while a message is taken: it waits once more, until Underway.Finish or
// Ready, and keeps its place. Then take is called.
func (m *Message) Again(take Take) {
	m.line.mu.Lock()
	defer m.line.mu.Unlock()
	m.Take, m.state = take, committing
}

// Commit is Again for a message whose handlers have run, and whose commit is being queued.
func (m *Message) Commit(take Take) {
	m.line.mu.Lock()
	defer m.line.mu.Unlock()
	m.handled()
	m.Take, m.state = take, committing
}

// handled notes that the handlers have run; Line.mu is held.
func (m *Message) handled() {
	if m.asked {
		m.asked = false
		m.line.asked--
	}
}

func (l *Line) join(m *Message, s state) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(m, s)
}

// add has a message join; l.mu is held.
func (l *Line) add(m *Message, s state) {
	m.line, m.state = l, s
	l.list = append(l.list, m)
	l.open++
	l.bytes += m.Size
	l.all.enter(m.Size)
}

// Store is called while a message is taken: it is being stored. Underway.Finish says
// what has become of that; then stored is called, whatever is before it in its Line.
func (m *Message) Store(stored Take) {
	m.line.mu.Lock()
	defer m.line.mu.Unlock()
	m.stored, m.kept, m.state = stored, true, storing
}

// Kept says whether Store was called.
func (m *Message) Kept() bool {
	m.line.mu.Lock()
	defer m.line.mu.Unlock()
	return m.kept
}

// Behind says whether a message to the same account, of the same session, that came
// before is being stored. Then this one may be stored, too; but whoever would give it to
// sessions, which the other one is still to reach, calls Later.
func (m *Message) Behind() bool {
	m.line.mu.Lock()
	defer m.line.mu.Unlock()
	return m.line.storing(m)
}

// Later is called at the beginning of Take, in place of everything else: it is called
// once more when the message is behind no other.
func (m *Message) Later() {
	m.line.mu.Lock()
	defer m.line.mu.Unlock()
	m.later = true
}

// storing says whether a message before m, to the same account, is being stored; l.mu is
// held.
func (l *Line) storing(m *Message) bool {
	for _, x := range l.list {
		if x == m {
			return false
		}
		if x.state == storing && x.To == m.To {
			return true
		}
	}
	return false
}

// Idle says that nothing is under way.
func (l *Line) Idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open == 0
}

// First returns the number of the first message under way; false if there is none.
func (l *Line) First() (n uint32, any bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == 0 {
		return 0, false
	}
	return l.list[0].N, true
}

// Full says that nothing may join for now: see Room.
func (l *Line) Full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open >= maxMessages || l.bytes >= maxBytes || l.open > 0 && l.all.full()
}

// Idled returns a channel that is closed when nothing is under way; nil if that is so.
func (l *Line) Idled() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == 0 {
		return nil
	}
	if l.idle == nil {
		l.idle = make(chan struct{})
	}
	return l.idle
}

// Room returns a channel that is closed when there is room again; nil if there is.
func (l *Line) Room() <-chan struct{} {
	if l.all.full() {
		return l.Idled()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.roomy() {
		return nil
	}
	if l.room == nil {
		l.room = make(chan struct{})
	}
	return l.room
}

func (l *Line) roomy() bool { return l.open <= maxMessages/2 && l.bytes <= maxBytes/2 || l.open == 0 }

// finish notes what has become of a commit. One that has stored a message lets it go on.
func (l *Line) finish(b *transport.Batch, m *Message, err error) {
	l.mu.Lock()
	m.err = err
	store := m.state == storing
	if !store {
		m.state = ready
	}
	l.mu.Unlock()
	if !store {
		return
	}
	l.goOn(b, m.stored(b, err), func() { l.end(m) })
}

// advance takes messages, as long as it is the turn of one that can be taken.
func (l *Line) advance(b *transport.Batch) {
	for {
		m := l.next()
		if m == nil {
			return
		}
		if !l.goOn(b, m.Take(b, m.err), func() { l.took(m) }) {
			return
		}
	}
}

// goOn calls done behind w: now, if there is none; then it returns true.
func (l *Line) goOn(b *transport.Batch, w transport.Wait, done func()) bool {
	if w == nil {
		done()
		return true
	}
	w = l.all.own(w)
	l.all.wait(func() {
		w(context.Background())
		done()
		var b transport.Batch
		l.advance(&b)
		l.owner.Passed(&b)
		b.Flush()
	})
	return false
}

// next returns the message that is to be taken now; nil if there is none.
func (l *Line) next() *Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken != nil {
		return nil
	}
	for _, m := range l.list {
		if m.state > ready { // it was
			continue
		}
		if m.state != ready || m.later && l.storing(m) {
			return nil
		}
		m.state, m.later, l.taken = taken, false, m
		return m
	}
	return nil
}

// took notes that a message was taken.
func (l *Line) took(m *Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.taken = nil; {
	case m.state != taken: // it is being stored
	case m.later:
		m.state = ready
	default:
		l.leave(m)
	}
}

// end ends a message.
func (l *Line) end(m *Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave(m)
}

// leave takes a message out of the Line; l.mu is held.
func (l *Line) leave(m *Message) {
	m.state = over
	m.handled()
	l.open--
	l.bytes -= m.Size
	l.all.leave(m.Size)
	n := 0
	for n < len(l.list) && l.list[n].state == over {
		l.list[n] = nil
		n++
	}
	if l.list = l.list[n:]; len(l.list) == 0 {
		l.list = nil
	}
	if l.open == 0 && l.idle != nil {
		close(l.idle)
		l.idle = nil
	}
	if l.room != nil && l.roomy() {
		close(l.room)
		l.room = nil
	}
}
