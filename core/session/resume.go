package session

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// NSManagement is the namespace of stream management (XEP-0198).
const NSManagement = "urn:xmpp:sm:3"

// resumption is what a session has of stream management besides its outbox.
// Session.mu guards it.
type resumption struct {
	all         *Resumables
	id          string // SM-ID; "" if the client did not ask to resume
	max         time.Duration
	handled     uint32   // stanzas that the client sent
	unsafe      []unsafe // of these, in order: those that are not on disk yet
	unsafeBytes int      // of unsafe
	owes        bool     // the client asked, and was told less than handled
	noted       uint32   // the count that the spool has
	told        uint32   // the count that it was told last
	withheld    bool     // what the spool has is less than it should have, up to reached
	reached     uint32   // see withheld
	tickets     []ticket // of these, in order: those that extensions elsewhere have
	ticketBytes int      // of tickets
	past        bool     // the session has ended: Resumables tell its count
	calm        chan struct{}
	settled     chan struct{}
	returned    chan struct{}
	until       time.Time   // while detached: when it ends
	expiry      *time.Timer // while detached, unless time stands still (Resumables.Pause)
}

// Enable begins stream management (XEP-0198 3). ok is false if it was begun
// before. asked is how long the client wants to be able to resume.
func (s *Session) Enable(b *transport.Batch, all *Resumables, resume bool, asked time.Duration) (ok bool) {
	s.mu.Lock()
	if s.resumption != nil || s.ended {
		s.mu.Unlock()
		return false
	}
	r := &resumption{all: all, max: all.limit(asked)}
	enabled := "<enabled xmlns='" + NSManagement + "'/>"
	if resume && r.max > 0 {
		r.id = newID()
		enabled = "<enabled xmlns='" + NSManagement + "' id='" + r.id + "' resume='true' max='" + strconv.Itoa(int(r.max/time.Second)) + "'/>"
	}
	s.resumption = r
	if r.id != "" {
		all.add(r.id, s)
		if all.senders != nil {
			all.senders.Began(r.id, s.JID.Bare())
		}
	}
	s.mu.Unlock()
	s.out.Manage(b, enabled)
	return true
}

func newID() string {
	var raw [24]byte
	rand.Read(raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// Begin counts a stanza that the client sent through o, which is in hand until
// Done. It is false if the session has ended, or has been taken over by another
// stream: then the stanza was not counted, and must not be handled.
func (s *Session) Begin(o Owner) bool { return s.begin(o, 1) }

// BeginElement is Begin for what is no stanza: it is not counted.
func (s *Session) BeginElement(o Owner) bool { return s.begin(o, 0) }

func (s *Session) begin(o Owner, stanzas uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner != o || s.ended {
		return false
	}
	if s.resumption != nil {
		s.resumption.handled += stanzas
	}
	s.inHand, s.counts = true, stanzas
	return true
}

// Done tells that what Begin began, with all that waited, has been handled, or is under
// way.
func (s *Session) Done() {
	var b transport.Batch
	defer b.Flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inHand = false
	if r := s.resumption; r != nil && r.owes && s.safe() == r.handled {
		s.out.Raw(&b, s.answer())
	}
	s.notePast()
	s.noteWithheld()
	if s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// idleLocked returns a channel that is closed when the stanza in hand has been
// handled, nil if there is none: then it may still be under way. A stream that takes the
// session over waits for it, and for LineIdle, to keep the order. s.mu is held.
func (s *Session) idleLocked() <-chan struct{} {
	if !s.inHand {
		return nil
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	return s.idle
}

// Handled returns the count of Begin: our h.
func (s *Session) Handled() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resumption == nil {
		return 0
	}
	return s.resumption.handled
}

// Managed says whether stream management is on.
func (s *Session) Managed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resumption != nil
}

// Detached says whether the session is without a connection.
func (s *Session) Detached() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner == nil
}

// Detach tells that o's connection is gone. It is false if the session can't
// wait for another one: then it has to end.
func (s *Session) Detach(o Owner) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner != o {
		return true // another stream has it
	}
	if s.ended {
		return false
	}
	s.owner = nil
	return s.detach()
}

// detach has the session wait for another connection, if it can. s.mu is held.
func (s *Session) detach() bool {
	r := s.resumption
	if r == nil || r.id == "" {
		return false
	}
	r.until = r.all.now().Add(r.max)
	if !s.expire() {
		return false
	}
	s.out.Detach()
	return true
}

// expire has the session end at r.until, unless time stands still. It is false if
// nobody can resume it any more. s.mu is held.
func (s *Session) expire() bool {
	r := s.resumption
	timer, ok := r.all.hold()
	if !timer {
		return ok
	}
	r.expiry = time.AfterFunc(r.until.Sub(r.all.now()), func() {
		defer r.all.release()
		var b transport.Batch
		s.EndDetached(&b)
		b.Flush()
	})
	return true
}

// Suspend takes a session that can be resumed behind a restart of the server from
// its stream, and is false for any other. What is in hand is still handled, and what
// others send is still taken.
func (s *Session) Suspend(o Owner) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return false
	case s.owner != o: // another stream has it, or none any more
		return true
	}
	if r := s.resumption; r == nil || r.id == "" {
		return false
	}
	s.owner = nil
	return s.detach()
}

// EndDetached ends the session if it is without a connection.
func (s *Session) EndDetached(b *transport.Batch) {
	left := s.kernel.Hold(s)
	s.mu.Lock()
	detached := s.owner == nil && !s.ended
	telling := s.telling
	if detached {
		s.ended, s.left = true, left // nobody can take it over any more
		if s.gone == nil {
			s.gone = make(chan struct{})
		}
	}
	s.mu.Unlock()
	switch {
	case !detached:
		left()
	case !telling: // else Tell does the rest
		s.leave(b)
	}
}

// TakeOver makes o the stream of the session (XEP-0198 5). old is the one that
// it had, to be told; busy is not nil while a stanza of it is still being
// handled. ok is false if the session has ended.
func (s *Session) TakeOver(o Owner) (old Owner, busy <-chan struct{}, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.resumption == nil {
		return nil, nil, false
	}
	s.resumption.cancel()
	old, s.owner = s.owner, o
	return old, s.idleLocked(), true
}

// cancel ends the time that a session has without a connection. Session.mu is held.
func (r *resumption) cancel() {
	if r.expiry != nil && r.expiry.Stop() {
		r.all.release()
	}
	r.expiry = nil
}

// Resume attaches the session to o's connection: pending goes out first (what
// the new stream has still to write), then <resumed/>, then what the client has
// not got. It returns the outbox, which is the stream's from now on. ErrEnded:
// the session has ended, or another stream has taken it over, since TakeOver.
func (s *Session) Resume(b *transport.Batch, o Owner, conn transport.Conn, h uint32, pending string) (*Outbox, error) {
	err := s.attach(b, o, conn, h, pending)
	if err == ErrEnded {
		return nil, err
	}
	s.out.Wake()
	return s.out, err
}

func (s *Session) attach(b *transport.Batch, o Owner, conn transport.Conn, h uint32, pending string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner != o || s.ended {
		return ErrEnded
	}
	r := s.resumption
	r.tells(r.handled) // all of it is safe
	resumed := pending + "<resumed xmlns='" + NSManagement + "' h='" + strconv.FormatUint(uint64(r.handled), 10) + "' previd='" + r.id + "'/>"
	return s.out.Attach(b, conn, h, resumed)
}

// ErrEnded: the session can't be resumed by this stream any more.
var ErrEnded = errors.New("session: ended, or taken over")

// Ack takes the client's count.
func (s *Session) Ack(b *transport.Batch, h uint32) error { return s.out.Ack(b, h) }

// Ask asks for it: see Outbox.Ask.
func (s *Session) Ask(b *transport.Batch, patience time.Duration) (missing bool) {
	return s.out.Ask(b, patience)
}

// stop forgets the SM-ID; for a while the count can still be told: what is safe of
// what the client sent, now or later.
func (r *resumption) stop(s *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.cancel()
	if r.id != "" {
		r.all.remove(r.id, s.JID.Bare(), s.safe(), s.leftover())
		r.past = true
	}
}

// notePast has the count of a session that has ended grow with what becomes safe.
// s.mu is held.
func (s *Session) notePast() {
	if r := s.resumption; r != nil && r.past {
		r.all.grow(r.id, s.safe(), s.leftover() == nil)
	}
}

// leftover returns s, or nil if all that its client sent is safe. s.mu is held.
func (s *Session) leftover() *Session {
	if s.safe() == s.resumption.handled {
		return nil
	}
	return s
}

// Count returns how many stanzas of the client are safe, all before being so too, for
// one that can't resume the session any more; ok is false without stream management.
func (s *Session) Count() (h uint32, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resumption == nil {
		return 0, false
	}
	return s.safe(), true
}

// Resumables finds sessions by their SM-IDs.
type Resumables struct {
	max     time.Duration // for which a session waits for another connection
	now     func() time.Time
	senders Senders // nil: nobody

	mu       sync.Mutex
	closed   bool // sessions without a connection end
	paused   bool // they wait for the next process
	timers   sync.WaitGroup
	sessions map[string]*Session
	past     map[string]*pastSession
	oldest   []string             // keys of past, in the order of their ends; some are forgotten already
	users    map[jid.JID][]string // keys of past, in this order, by account
	maxPast  int                  // that are in past
}

// pastSession is what can be told of a session that has ended (XEP-0198 5).
type pastSession struct {
	user    jid.JID
	handled uint32
	until   time.Time
	s       *Session // nil when all that its client sent is safe
}

// How many ended sessions are remembered, of one account and, unless NewResumables is
// told something else, of all; and for how long.
const (
	maxPastOfAccount = 100
	maxPast          = 100_000
	pastFor          = time.Hour
)

// NewResumables returns a Resumables. max 0 or less turns resumption off. past is how
// many ended sessions are remembered; 0 for the default.
func NewResumables(max time.Duration, past int, now func() time.Time, senders Senders) *Resumables {
	if past <= 0 {
		past = maxPast
	}
	return &Resumables{
		max: max, maxPast: past, now: now, senders: senders,
		sessions: map[string]*Session{}, past: map[string]*pastSession{}, users: map[jid.JID][]string{},
	}
}

// Enabled says whether sessions can be resumed at all.
func (r *Resumables) Enabled() bool { return r.max > 0 }

// limit returns how long a session may wait; asked 0 leaves it to the server.
func (r *Resumables) limit(asked time.Duration) time.Duration {
	if asked > 0 && asked < r.max {
		return asked
	}
	return r.max
}

// hold counts a timer, unless the server stops: then ok says whether a session can
// still be resumed.
func (r *Resumables) hold() (timer, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.paused {
		return false, r.paused
	}
	r.timers.Add(1)
	return true, true
}

func (r *Resumables) release() { r.timers.Done() }

func (r *Resumables) add(id string, s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[id] = s
}

func (r *Resumables) remove(id string, user jid.JID, handled uint32, s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, id)
	now := r.now()
	for len(r.oldest) > 0 {
		p := r.past[r.oldest[0]]
		if p != nil && len(r.past) < r.maxPast && !now.After(p.until) {
			break
		}
		r.forget(r.oldest[0])
		r.oldest = r.oldest[1:]
	}
	if own := r.users[user]; len(own) >= maxPastOfAccount {
		r.forget(own[0])
	}
	r.remember(id, user, handled)
	r.past[id].s = s
	if len(r.oldest) > 2*len(r.past)+maxPastOfAccount { // of accounts that had too many
		r.oldest = slices.DeleteFunc(r.oldest, func(id string) bool { return r.past[id] == nil })
	}
}

// remember notes an ended session; r.mu is held.
func (r *Resumables) remember(id string, user jid.JID, handled uint32) {
	r.oldest = append(r.oldest, id)
	r.users[user] = append(r.users[user], id)
	r.past[id] = &pastSession{user: user, handled: handled, until: r.now().Add(pastFor)}
}

// forget drops one, which may be forgotten; r.mu is held.
func (r *Resumables) forget(id string) {
	p := r.past[id]
	if p == nil {
		return
	}
	delete(r.past, id)
	own := r.users[p.user]
	if own = slices.DeleteFunc(own, func(other string) bool { return other == id }); len(own) == 0 {
		delete(r.users, p.user)
	} else {
		r.users[p.user] = own
	}
	if r.senders != nil {
		r.senders.Ended(id)
	}
}

// grow notes what has become safe of what an ended session sent; all says that it is all
// of it.
func (r *Resumables) grow(id string, handled uint32, all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.past[id]
	if p == nil {
		return
	}
	if int32(handled-p.handled) > 0 {
		p.handled = handled
	}
	if all {
		p.s = nil
	}
}

// Leaving returns an ended session of the user's of which not all is safe that its
// client sent; nil if there is none such.
func (r *Resumables) Leaving(id string, user jid.JID) *Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.past[id]; p != nil && p.user == user {
		return p.s
	}
	return nil
}

// Past notes the count of a session of an earlier process, before the first
// client comes. There is no bound for these: as many were there.
func (r *Resumables) Past(id string, user jid.JID, handled uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remember(id, user, handled)
	r.maxPast = max(r.maxPast, len(r.past)+1)
}

// Find returns the session with this SM-ID if it is the user's. Otherwise h is
// the count of one that has ended, if known.
func (r *Resumables) Find(id string, user jid.JID) (s *Session, h uint32, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sessions[id]; s != nil && s.JID.Bare() == user {
		return s, 0, true
	}
	if p, ok := r.past[id]; ok && p.user == user && r.now().Before(p.until) {
		return nil, p.handled, true
	}
	return nil, 0, false
}

// Len returns how many sessions can be resumed, attached or not.
func (r *Resumables) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions)
}

// Stop ends the sessions that wait for a connection, and waits for those whose
// time is just up.
func (r *Resumables) Stop() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	for _, s := range r.all() {
		if s.Detached() {
			var b transport.Batch
			s.EndDetached(&b)
			b.Flush()
		}
	}
	r.timers.Wait()
}

// all returns the sessions, in the order in which they were bound.
func (r *Resumables) all() []*Session {
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.sessions))
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b *Session) int { return cmp.Compare(a.Fence(), b.Fence()) })
	return all
}
