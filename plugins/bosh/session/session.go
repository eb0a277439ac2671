package session

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Options are what a connection manager holds its clients to. All have to be set.
type Options struct {
	MaxWait    time.Duration // the most that a request is held
	MaxHold    int           // as many requests are held at once at most
	Inactivity time.Duration // without a request for so long a session ends (10)
	Polling    time.Duration // shortest interval of empty requests (11, 12); 0: any
	MaxPause   time.Duration // longest pause (10)

	AnswerBytes int // an answer takes no further payload when it has as many bytes
	QueueBytes  int // what waits for the client at most
	Repeats     int // how often requests are repeated before a new one comes (14.3)
}

// DefaultOptions are for whom it does not matter.
func DefaultOptions() Options {
	return Options{
		MaxWait: time.Minute, MaxHold: 1, Inactivity: time.Minute, Polling: 2 * time.Second, MaxPause: 2 * time.Minute,
		AnswerBytes: 64 << 10, QueueBytes: 1 << 20, Repeats: 100,
	}
}

// Ticket is a connection on which a client waits for an answer; 0 is none.
type Ticket uint64

// Answer is an answer for a client.
type Answer struct {
	Ticket  Ticket
	Status  int    // of HTTP; 0: the connection is closed without an answer (19.1)
	Content string // media type
	Body    []byte
}

// Kind is of an Event.
type Kind uint8

const (
	Open     Kind = iota + 1 // a stream begins, or begins anew: To, From, Lang, Version
	Elements                 // the client sent elements
	Close                    // the session has ended: the client said so (Clean), or it is lost
)

// Event is something for the server.
type Event struct {
	Kind                    Kind
	To, From, Lang, Version string
	Elements                [][]byte
	Clean                   bool
}

// Out is what came of something: for the server, in order, and for clients. What is for clients is said
// when what is for the server is done and the state is kept.
type Out struct {
	Events  []Event
	Answers []Answer
}

// exchange is a request that was processed and has no answer.
type exchange struct {
	rid     uint64
	key     string
	since   time.Time
	ticket  Ticket
	created bool // it asked for the session
}

// arrival is a request that came before one of its predecessors.
type arrival struct {
	body   *Body
	ticket Ticket
	at     time.Time
}

// answered is an answer that can be given again (14.3).
type answered struct {
	rid  uint64
	key  string
	at   time.Time
	upTo uint64 // how many elements the client has with it
	body []byte
}

// Session is a session.
type Session struct {
	o Options

	// What was agreed upon.
	sid            string
	domain         string
	from, lang     string
	version        string // of XMPP
	content        string
	ver            Version
	wait           time.Duration
	hold, requests int
	inactivity     time.Duration
	acks           bool // the client acknowledges (9)
	secure         bool

	key         string // the hash of the next key; "": there are none
	last        uint64 // ID of the last request that was processed
	lastAt      time.Time
	lastEmpty   bool          // it was empty
	lastPayload bool          // what it was answered had payloads
	pause       time.Duration // in place of inactivity; 0: none
	repeats     int           // since the last new request
	report      uint64        // ID of a request whose answer is missed; 0: none

	open  []exchange // in order
	early []arrival  // in order, and no part of the state
	done  []answered // in order, newest last

	queue     [][]byte
	queued    int    // bytes
	pushed    uint64 // elements, ever
	confirmed uint64 // of these the client has

	streamID string // to be told
	idle     time.Time
	ended    bool
	unsaid   []byte    // the answer that tells of the end, if no request was there for it
	endedAt  time.Time // when it ended
}

// ErrFull is returned by Push.
var ErrFull = errors.New("bosh: too much waits for the client")

// New begins a session (7). sid can't be guessed and is of its own; secure says that the request came over
// TLS. b has passed Check.
func New(b *Body, sid string, secure bool, ticket Ticket, now time.Time, o Options) (*Session, Out) {
	s := &Session{
		o: o, sid: sid, domain: b.To, from: b.From, lang: b.Lang, version: b.Version, content: b.Content,
		ver: b.Ver.min(ours), hold: o.MaxHold, wait: o.MaxWait, inactivity: o.Inactivity,
		acks: b.Ack == 1, secure: secure, key: b.NewKey, last: b.RID, lastAt: now,
	}
	if b.Hold >= 0 {
		s.hold = min(s.hold, b.Hold)
	}
	if b.Wait >= 0 && b.Wait < int(o.MaxWait/time.Second) {
		s.wait = time.Duration(b.Wait) * time.Second
	}
	if s.polls() {
		s.inactivity += 2 * o.Polling // 12
	}
	s.requests = s.hold + 1
	var out Out
	out.Events = append(out.Events, s.opening(b))
	s.open = append(s.open, exchange{rid: b.RID, ticket: ticket, since: now, created: true})
	s.settle(&out, now)
	return s, out
}

// Check says why a request for a session can't be one, as a condition (17.2); "" if it can be.
func Check(b *Body) string {
	if b.To == "" {
		return ImproperAddressing
	}
	return ""
}

// opening is the Event for a stream that begins.
func (s *Session) opening(b *Body) Event {
	e := Event{Kind: Open, To: s.domain, From: s.from, Lang: s.lang, Version: s.version}
	if b.To != "" {
		e.To = b.To
	}
	if b.From != "" {
		e.From = b.From
	}
	if b.Lang != "" {
		e.Lang = b.Lang
	}
	return e
}

// polls says that requests are not held (12).
func (s *Session) polls() bool { return s.hold == 0 || s.wait == 0 }

// Secure says that the session began over TLS.
func (s *Session) Secure() bool { return s.secure }

// SID returns the session's ID.
func (s *Session) SID() string { return s.sid }

// Queued is how many bytes wait for the client.
func (s *Session) Queued() int { return s.queued }

// Confirmed is how many of the elements that were pushed the client is known to have. Without acknowledgements it
// is known of all but the last few answers (14.3).
func (s *Session) Confirmed() uint64 { return s.confirmed }

// Opened tells the ID of the stream, which the next answer says (XEP-0206 4).
func (s *Session) Opened(streamID string) { s.streamID = streamID }

// Push gives the client elements, each a document of its own. After the end they are dropped. ErrFull: it takes none of
// them; one element is always taken.
func (s *Session) Push(elements [][]byte, now time.Time) (Out, error) {
	var out Out
	if s.ended {
		return out, nil
	}
	n := 0
	for _, e := range elements {
		n += len(e)
	}
	if s.queued > 0 && s.queued+n > s.o.QueueBytes {
		return out, fmt.Errorf("%w: %d bytes, %d more", ErrFull, s.queued, n)
	}
	s.queue = append(s.queue, elements...)
	s.queued += n
	s.pushed += uint64(len(elements))
	s.settle(&out, now)
	return out, nil
}

// Gone tells that a connection has broken.
func (s *Session) Gone(ticket Ticket, now time.Time) {
	for i := range s.open {
		if s.open[i].ticket == ticket {
			s.open[i].ticket = 0
		}
	}
	for i, a := range s.early {
		if a.ticket == ticket {
			s.early = append(s.early[:i:i], s.early[i+1:]...)
			break
		}
	}
	s.rest(now, false)
}

// Next is when Tick is wanted next, if nothing happens before.
func (s *Session) Next() time.Time {
	if s.ended {
		return s.endedAt.Add(s.inactivity)
	}
	var next time.Time
	at := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if len(s.open) > 0 {
		at(s.open[0].since.Add(s.wait))
	}
	for _, a := range s.early {
		at(a.at.Add(s.wait))
	}
	if !s.idle.IsZero() {
		at(s.idle.Add(s.patience()))
	}
	return next
}

// patience is how long the client may be without a request.
func (s *Session) patience() time.Duration {
	if s.pause > 0 {
		return s.pause
	}
	return s.inactivity
}

// Tick gives the time: requests that were held long enough are answered, and a client that is gone has no session
// any more (10).
func (s *Session) Tick(now time.Time) Out {
	var out Out
	if s.ended {
		return out
	}
	for len(s.open) > 0 && !now.Before(s.open[0].since.Add(s.wait)) {
		s.answer(&out, now)
	}
	s.giveBack(&out, now)
	s.rest(now, len(out.Answers) > 0)
	if !s.idle.IsZero() && !now.Before(s.idle.Add(s.patience())) {
		s.over(&out, now, false)
	}
	return out
}

// Over says that the session has ended, and nobody will ask for its last answers any more.
func (s *Session) Over(now time.Time) bool {
	return s.ended && !now.Before(s.endedAt.Add(s.inactivity))
}

// Ended says that the session has ended. Its last answers can be asked for until it is Over.
func (s *Session) Ended() bool { return s.ended }

// rest notes since when no request is there: since the last answer, or since a connection broke.
func (s *Session) rest(now time.Time, responded bool) {
	for _, x := range s.open {
		if x.ticket != 0 {
			s.idle = time.Time{}
			return
		}
	}
	if len(s.early) > 0 {
		s.idle = time.Time{}
	} else if responded || s.idle.IsZero() {
		s.idle = now
	}
}

// Clone returns a copy, so that what comes of something can be dropped.
func (s *Session) Clone() *Session {
	c := *s
	c.open, c.early, c.done, c.queue = slices.Clone(s.open), slices.Clone(s.early), slices.Clone(s.done), slices.Clone(s.queue)
	return &c
}
