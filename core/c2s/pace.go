package c2s

import (
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/core/throttle"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// leastPause is the shortest rest that is worth a timer: what is owed less than
// that is paid back with the next input.
const leastPause = 10 * time.Millisecond

// turnTime is how long a stream handles its input before others have their turns:
// some input costs a hundred times as much as other. It is looked at each lookEvery
// tokens.
const (
	turnTime  = time.Millisecond
	lookEvery = 16
)

// turn is the time of one Feed.
type turn struct {
	tokens int
	began  time.Time // at the first of them
}

// over says whether it has taken long enough. It is called before each token.
func (t *turn) over() bool {
	if t.tokens++; t.tokens == 1 {
		t.began = time.Now()
	}
	return t.tokens%lookEvery == 0 && time.Since(t.began) >= turnTime
}

// pace is how much of its account's rates a stream has used, and its rest.
type pace struct {
	meter          *throttle.Meter // held from the login to the end; nil without limits
	bytes, stanzas int             // that came in and are not counted yet
	resting        bool
	until          int64 // when the last rest ends, of whatever kind, Unix nanoseconds
}

// Resting returns how many streams are not read, since their accounts have sent
// faster than they may.
func (srv *Server) Resting() int { return int(srv.resting.Load()) }

// pause counts what came in, and has the connection rest if that was too much. It
// is called when the input at hand is used up.
func (s *Stream) pause() {
	p := &s.pace
	if p.meter == nil || p.bytes == 0 && p.stanzas == 0 { // what others owe is theirs
		return
	}
	now := s.srv.Now()
	over := p.meter.Take(p.bytes, p.stanzas, now)
	p.bytes, p.stanzas = 0, 0
	if over.Wait < leastPause {
		return
	}
	p.resting, p.until = true, now.Add(over.Wait).UnixNano()
	s.srv.resting.Add(1)
	s.srv.slowed(s, over)
	s.conn.Pause(over.Wait)
}

// rested ends a rest: there is input again, or none will come.
func (s *Stream) rested() {
	if s.pace.resting {
		s.pace.resting = false
		s.srv.resting.Add(-1)
	}
}

// unmeter ends the counting, with what came last.
func (s *Stream) unmeter() {
	s.rested()
	if p := &s.pace; p.meter != nil {
		now := s.srv.Now()
		p.meter.Take(p.bytes, p.stanzas, now)
		p.meter.Drop(now)
	}
}

// rests says whether what the client sent in the last while may not have been read.
func (s *Stream) rests(now time.Time, while time.Duration) bool {
	return s.asking.since || now.UnixNano() < s.pace.until+int64(while)
}

// slowed counts a rest, and tells of it once in a minute for each account.
func (srv *Server) slowed(s *Stream, over throttle.Over) {
	limit := "bytes"
	if over.Stanzas {
		limit = "stanzas"
	}
	srv.Observe.Paused(limit, over.Wait)
	say := srv.Log.Debug
	if over.Tell {
		say = srv.Log.Warn
	}
	say("an account sends faster than it may: its connections are read more slowly (limits."+limit+"-per-second)",
		zap.Stringer("user", s.user), zap.Stringer("addr", s.peer.Addr), zap.Duration("pause", over.Wait))
}

// asksTooMuch answers a request for a subscription that is one too many in an hour.
func (s *Stream) asksTooMuch(st *stanza.Stanza) *stanza.Error {
	if st.Type != stanza.Subscribe || s.pace.meter.Request(s.srv.Now()) {
		return nil
	}
	s.srv.Observe.Refused("rate")
	if kept, ok := s.srv.requests.due(s.srv.Now()); ok {
		s.srv.Log.Warn("an account asks too many for a subscription: it is refused (limits.subscription-requests-per-hour)",
			zap.Stringer("user", s.user), zap.Stringer("addr", s.peer.Addr), zap.Int("more", kept))
	}
	return waitFor(stanza.PolicyViolation, "too many requests for subscriptions, try again later")
}

// noRoom answers a message that would have to be kept safe for a client with
// stream management while the disk takes nothing.
func (s *Stream) noRoom(st *stanza.Stanza, sess *session.Session) *stanza.Error {
	if !s.srv.Full() || !sess.Managed() || !s.srv.Kernel.Keeps(st) {
		return nil
	}
	s.srv.Observe.Refused("disk")
	return waitFor(stanza.ResourceConstraint, "the server can't keep messages safe at present, try again later")
}

// refusal says why a stanza is not taken at present, nil if it is.
func (s *Stream) refusal(st *stanza.Stanza, sess *session.Session) *stanza.Error {
	switch st.Kind {
	case stanza.Presence:
		return s.asksTooMuch(st)
	case stanza.Message:
		return s.noRoom(st, sess)
	}
	return nil
}

// waitFor is an error of type wait (RFC 6120 8.3.2): the same may work later.
func waitFor(c stanza.Condition, text string) *stanza.Error {
	err := stanza.Err(c, text)
	err.Type = stanza.WaitType
	return err
}
