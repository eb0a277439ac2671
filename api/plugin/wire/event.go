package wire

import (
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

// A state is where an event is. Of one key there are, in the order of its queue, first
// answered ones, then those in flight, then returned, then waiting ones.
type state uint8

const (
	waiting  state = iota // never sent
	returned              // sent, and to be sent again
	inFlight              // sent, no outcome yet
	answered              // its outcome is applied, or waits for its turn
	ended
)

// An event is an Item from Enqueue to its end.
type event struct {
	item  Item
	id    uint64
	key   *key
	state state
	// void: its deadline is over, and it is in flight all the same, until the process
	// says something. Its end was told.
	void    bool
	suspect bool // in Kernel.suspects
	large   bool // its outcome is beyond the bound

	attempts  int // processes that it was given to
	crashes   int // of these, those that crashed while they handled it
	conflicts int
	gave      uint64 // generation of the last one of attempts
	epoch     uint64 // that it was sent with

	enqueued    time.Time
	sent        time.Time
	first       time.Time     // when it became the first one in flight of its key
	held        time.Duration // by processes, before the last time it was sent
	due         time.Time     // when its deadline is over, while in flight
	duePlace    int
	unavailable time.Time // since when storage is

	outcome *pluginv1.Outcome
	size    int // of the outcome
	apply   apply
	links   [lists]link
}

func (e *event) time() time.Time { return e.due }
func (e *event) place() *int     { return &e.duePlace }

// The lists in which an event is.
const (
	ofKey    = iota // of its key, in order
	ofAll           // all that have no end, in the order of Enqueue
	observed        // those that wait
	ofFlight        // those in flight on a Session, in the order of sending
	lists
)

type link struct{ prev, next *event }

// An eventList goes through the events by the link with its number.
type eventList struct {
	which      int
	head, tail *event
	n, bytes   int
}

func (l *eventList) push(e *event) {
	e.links[l.which] = link{prev: l.tail}
	if l.tail != nil {
		l.tail.links[l.which].next = e
	} else {
		l.head = e
	}
	l.tail = e
	l.n++
	l.bytes += e.item.Size
}

func (l *eventList) remove(e *event) {
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
	e.links[l.which] = link{}
	l.n--
	l.bytes -= e.item.Size
}

// A key is an ordering key of which something is known.
type key struct {
	name   string
	shard  int // of the acting Conn
	epoch  uint64
	events eventList // all without end, and void ones
	answer *event    // first one in flight: the next outcome is of it
	send   *event    // first one to be sent
	flight int
	// applies is what was said and waits for its turn; open is how many the caller was
	// given and has not answered: an Unasked, or the outcomes of a run.
	applies fifo[*apply]
	open    int
	// said is how many there were of these, over how many are so no more.
	said, over uint64
	reads      fifo[read] // that wait for them
	// barrier: what it is sent next must see all that was said before, so nothing is
	// sent while something is applied.
	barrier bool
	voided  bool // an outcome of the run that is open was not applied
	retries int  // since storage was available
	retry   time.Time
	place_  int

	list       int // of the shard: noList, again, fresh
	prev, next *key
}

func (y *key) time() time.Time { return y.retry }
func (y *key) place() *int     { return &y.place_ }

// An apply is an outcome or an Unasked on its way to the caller and back.
type apply struct {
	key   *key
	event *event // nil: it is an Unasked
	conn  *Conn
	shard int
	// open: the caller has it, and times says which time.
	open  bool
	times uint32

	unasked *pluginv1.Unasked
	size    int
}

// A keyList has keys of which something may be sent, in turns.
type keyList struct{ head, tail *key }

const (
	noList = iota
	again  // its next event was sent before
	fresh  // it was not
	keyLists
)

func (l *keyList) push(y *key) {
	y.prev, y.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = y
	} else {
		l.head = y
	}
	l.tail = y
}

func (l *keyList) remove(y *key) {
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
}
