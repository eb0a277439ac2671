package local

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// maxTouch is how many last logins one transaction writes.
const maxTouch = 1000

// logins are last logins that wait to be written, so that no login waits for
// a commit.
type logins struct {
	mu      sync.Mutex // guards waiting and full
	waiting map[jid.JID]time.Time
	full    bool // since the last write that worked

	quit  chan struct{} // closed by Stop
	ended chan struct{} // closed when the goroutine has ended; nil before Start
	stop  sync.Once
}

func newLogins() logins {
	return logins{waiting: make(map[jid.JID]time.Time), quit: make(chan struct{})}
}

// LoggedIn notes that a user has logged in. It never waits, and costs a map
// entry. A note is lost when the process is killed within Options.WriteLogins,
// or when Options.MaxLogins users wait already.
func (s *Source) LoggedIn(user jid.JID, at time.Time) {
	l := &s.logins
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note(user.Bare(), at, s.options.MaxLogins)
}

// note keeps the latest login of a user. The caller holds the lock.
func (l *logins) note(user jid.JID, at time.Time, limit int) {
	before, there := l.waiting[user]
	switch {
	case there && !at.After(before):
	case !there && len(l.waiting) >= limit:
		l.full = true
	default:
		l.waiting[user] = at
	}
}

func (l *logins) forget(user jid.JID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, user)
}

// take returns what waits, in portions, and whether some was forgotten.
func (l *logins) take() (portions []map[jid.JID]time.Time, full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for user, at := range l.waiting {
		if n := len(portions); n == 0 || len(portions[n-1]) == maxTouch {
			portions = append(portions, make(map[jid.JID]time.Time, min(maxTouch, len(l.waiting))))
		}
		portions[len(portions)-1][user] = at
	}
	clear(l.waiting)
	full, l.full = l.full, false
	return portions, full
}

// Start starts the goroutine that writes last logins. It is called once.
func (s *Source) Start() {
	s.logins.ended = make(chan struct{})
	go s.writeLogins()
}

// Stop writes what waits and ends the goroutine. It waits for that until ctx
// ends. Without Start it does nothing.
func (s *Source) Stop(ctx context.Context) error {
	if s.logins.ended == nil {
		return nil
	}
	s.logins.stop.Do(func() { close(s.logins.quit) })
	select {
	case <-s.logins.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("auth/local: write last logins: %w", ctx.Err())
	}
}

func (s *Source) writeLogins() {
	defer close(s.logins.ended)
	tick := time.NewTicker(s.options.WriteLogins)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.flushLogins()
		case <-s.logins.quit:
			s.flushLogins()
			return
		}
	}
}

// flushLogins writes what waits. What could not be written waits again.
func (s *Source) flushLogins() {
	portions, full := s.logins.take()
	if full {
		s.log.Warn("last logins are forgotten: more users log in than are written", zap.Int("limit", s.options.MaxLogins))
	}
	for i, p := range portions {
		// A store that hangs must not hang Stop.
		ctx, cancel := context.WithTimeout(context.Background(), max(s.options.WriteLogins, time.Second))
		err := s.accounts.TouchAccounts(ctx, p)
		cancel()
		if err != nil {
			s.log.Warn("last logins not written, to be tried again", zap.Error(err))
			s.keepLogins(portions[i:])
			return
		}
	}
}

func (s *Source) keepLogins(portions []map[jid.JID]time.Time) {
	l := &s.logins
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range portions {
		for user, at := range p {
			l.note(user, at, s.options.MaxLogins)
		}
	}
}
