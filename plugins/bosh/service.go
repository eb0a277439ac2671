package bosh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hexmpp/hexmpp/plugins/bosh/session"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// Options of a Service. A zero field is its default.
type Options struct {
	Session     session.Options
	BodyBytes   int      // of a request, unpacked; 512 KiB
	Sessions    int      // at most; 10,000
	PerAddress  int      // sessions of one address, at most; 100
	Origins     []string // whose pages may ask (CORS); empty: all, since no cookie says who asks
	RequireTLS  bool     // requests in clear begin no session
	Transaction time.Duration
}

func (o Options) complete() Options {
	if o.Session == (session.Options{}) {
		o.Session = session.DefaultOptions()
		o.Session.QueueBytes = 256 << 10 // what memory has of a session is one value
	}
	for _, n := range []struct {
		to     *int
		preset int
	}{{&o.BodyBytes, 512 << 10}, {&o.Sessions, 10_000}, {&o.PerAddress, 100}} {
		if *n.to <= 0 {
			*n.to = n.preset
		}
	}
	if o.Transaction <= 0 {
		o.Transaction = 30 * time.Second
	}
	return o
}

// Facts are what the server is told of a stream that begins.
type Facts struct {
	Address string // of the client
	Secure  bool   // requests come over TLS
}

// Tx is a transaction of the server. Both are applied, or nothing is.
type Tx struct {
	Memory extension.Memory
	// Stream hands over what the client did, on the stream of a session.
	Stream func(sid string, f Facts, e session.Event) error
}

// Kernel is what a Service asks of the server.
type Kernel interface {
	// Do is plugin.Do. fn may be called several times.
	Do(ctx context.Context, key string, fn func(tx *Tx) error) error
	// Hosted says whether the server answers for a domain, as a client has written it.
	Hosted(domain string) bool
}

// Event is what the server says on a stream.
type Event struct {
	ID       uint64   // counts up within the stream; the same when it is given again
	StreamID string   // the stream is open; "": it was before
	Elements [][]byte // each a document of its own
	Closed   bool     // the stream has ended,
	Error    []byte   // with <stream:error/>, or
	Reason   string   // with a condition of BOSH
}

// Service is the connection manager.
type Service struct {
	o      Options
	kernel Kernel
	log    *slog.Logger
	now    func() time.Time

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	ticket atomic.Uint64

	mu        sync.Mutex // guards what follows
	sessions  map[string]*entry
	addresses map[string]int
}

// entry is a session of the table.
type entry struct {
	sid, address string

	turn sync.Mutex // one transaction at a time; guards what follows
	have *record    // nil: memory says
	next time.Time  // Tick is wanted; zero: never
	over bool

	mu      sync.Mutex // guards what follows; taken behind turn
	waiting map[session.Ticket]chan session.Answer
}

// New returns a Service.
func New(o Options, k Kernel, log *slog.Logger, now func() time.Time) *Service {
	s := &Service{o: o.complete(), kernel: k, log: log, now: now, sessions: map[string]*entry{}, addresses: map[string]int{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// page is how many sessions Start reads at once.
const page = 100

// Start goes on with the sessions that are in memory. background is good for Kernel.Do, and ends with the process.
func (s *Service) Start(background context.Context, memory extension.Memory) error {
	s.cancel()
	s.ctx, s.cancel = context.WithCancel(background)
	for after := ""; ; {
		list, err := memory.Scan(background, prefix, after, page)
		if err != nil {
			return fmt.Errorf("bosh: sessions: %w", err)
		}
		for _, found := range list {
			after = found.Key
			sid := strings.TrimPrefix(found.Key, prefix)
			r, err := readRecord(found.Value, s.o.Session, s.now())
			if err != nil {
				s.log.Error("a session is lost", "error", err)
				continue
			}
			e := &entry{sid: sid, address: r.address, have: r, next: r.session.Next(), waiting: map[session.Ticket]chan session.Answer{}}
			s.sessions[sid] = e
			s.addresses[r.address]++
		}
		if len(list) < page {
			break
		}
	}
	s.tasks.Go(s.clock)
	return nil
}

// Stop gives up all requests, and waits. Sessions stay in memory.
func (s *Service) Stop(context.Context) error {
	s.cancel()
	s.tasks.Wait()
	return nil
}

// maxTicks is how many sessions are given the time at once.
const maxTicks = 32

// clock gives sessions the time.
func (s *Service) clock() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.tick()
		case <-s.ctx.Done():
			return
		}
	}
}

// tick gives the time to those sessions that want it.
func (s *Service) tick() {
	s.mu.Lock()
	all := make([]*entry, 0, len(s.sessions))
	for _, e := range s.sessions {
		all = append(all, e)
	}
	s.mu.Unlock()
	var ticks sync.WaitGroup
	room := make(chan struct{}, maxTicks)
	for _, e := range all {
		if !e.turn.TryLock() { // somebody is at it
			continue
		}
		due := !e.next.IsZero() && !s.now().Before(e.next)
		e.turn.Unlock()
		if !due {
			continue
		}
		room <- struct{}{}
		ticks.Go(func() {
			defer func() { <-room }()
			if err := s.do(e, func(r *record) session.Out { return r.session.Tick(s.now()) }); err != nil {
				s.log.Warn("a session was not given the time", "error", err)
			}
		})
	}
	ticks.Wait()
}

// errGone: there is no such session.
var errGone = errors.New("bosh: no such session")

// find returns a session of the table, nil if there is none.
func (s *Service) find(sid string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[sid]
}

// do does something with a session as a transaction. If it fails nothing was done, or nobody knows: then memory says
// what the session is, and whoever waits for an answer is told to repeat his request.
func (s *Service) do(e *entry, f func(r *record) session.Out) error {
	return s.transact(e, func(r *record) (*record, session.Out, error) {
		if r == nil {
			return nil, session.Out{}, errGone
		}
		return r, f(r), nil
	})
}

// transact is do for a session that may not be there yet: f is given a copy, or nil, and returns what is to be kept.
func (s *Service) transact(e *entry, f func(r *record) (*record, session.Out, error)) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	if e.over {
		return errGone
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.o.Transaction)
	defer cancel()
	var kept *record
	var out session.Out
	err := s.kernel.Do(ctx, prefix+e.sid, func(tx *Tx) error {
		before, err := s.before(ctx, tx, e)
		if err != nil {
			return err
		}
		if kept, out, err = f(before); err != nil {
			return err
		}
		facts := Facts{kept.address, kept.session.Secure()}
		for _, v := range out.Events {
			if err := tx.Stream(e.sid, facts, v); err != nil {
				return err
			}
		}
		if kept.session.Over(s.now()) {
			tx.Memory.Delete(prefix + e.sid)
			return nil
		}
		return tx.Memory.Put(prefix+e.sid, kept.append())
	})
	if err != nil {
		e.have, e.next = nil, s.now().Add(time.Second)
		if errors.Is(err, errGone) {
			s.forget(e)
		}
		e.giveBack()
		return err
	}
	e.have, e.next = kept, kept.session.Next()
	e.say(out.Answers)
	if kept.session.Over(s.now()) {
		s.forget(e)
	}
	return nil
}

// before returns a copy of what the session is, nil if it is not.
func (s *Service) before(ctx context.Context, tx *Tx, e *entry) (*record, error) {
	if e.have != nil {
		c := *e.have
		c.session = c.session.Clone()
		return &c, nil
	}
	found, ok, err := tx.Memory.Get(ctx, prefix+e.sid)
	if err != nil || !ok {
		return nil, err
	}
	return readRecord(found.Value, s.o.Session, s.now())
}

// forget takes a session out of the table; e.turn is held.
func (s *Service) forget(e *entry) {
	if e.over {
		return
	}
	e.over = true
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, e.sid)
	if s.addresses[e.address]--; s.addresses[e.address] <= 0 {
		delete(s.addresses, e.address)
	}
}

// wait has an answer come to whom asks.
func (e *entry) wait(t session.Ticket) <-chan session.Answer {
	c := make(chan session.Answer, 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting[t] = c
	return c
}

// say answers.
func (e *entry) say(answers []session.Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range answers {
		if c := e.waiting[a.Ticket]; c != nil {
			c <- a // there is room, and one answer
			delete(e.waiting, a.Ticket)
		}
	}
}

// giveBack tells all who wait to repeat their requests (17.3).
func (e *entry) giveBack() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for t, c := range e.waiting {
		c <- session.Again(t)
	}
	clear(e.waiting)
}

// leave notes that who asked has gone.
func (s *Service) leave(e *entry, t session.Ticket) {
	e.turn.Lock()
	defer e.turn.Unlock()
	e.mu.Lock()
	delete(e.waiting, t)
	e.mu.Unlock()
	if e.have != nil && !e.over {
		e.have.session.Gone(t, s.now())
		e.next = e.have.session.Next()
	}
}

// Deliver takes an event of a stream. Those of one stream are delivered one after the other. A nil error says that the session
// has it, or there is none any more; otherwise it is to be given again.
func (s *Service) Deliver(sid string, v Event) error {
	e := s.find(sid)
	if e == nil {
		return nil
	}
	var full error
	err := s.do(e, func(r *record) (out session.Out) {
		full = nil
		if v.ID <= r.event {
			return out
		}
		if v.StreamID != "" {
			r.session.Opened(v.StreamID)
		}
		if len(v.Elements) > 0 {
			if out, full = r.session.Push(v.Elements, s.now()); full != nil {
				return out
			}
		}
		r.event = v.ID
		if v.Closed {
			closed := r.session.Closed(v.Error, v.Reason, s.now())
			closed.Answers = append(out.Answers, closed.Answers...)
			closed.Events = nil // the server knows
			return closed
		}
		return out
	})
	switch {
	case errors.Is(err, errGone):
		return nil
	case err != nil:
		return err
	}
	return full
}
