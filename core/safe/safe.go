// Package safe makes "acknowledged" mean "on disk" (XEP-0198; docs/durability.md).
// A message that the server accepted from a session with stream management, and
// gave to sessions, is put into the spool first. The sender's count, h, goes over
// it when the spool has it on disk, or when a client has acknowledged it; delivery
// waits for neither. What is stored, refused or answered needs no spool: it is in
// hand until that is committed.
//
// After a kill the spool has what no client had acknowledged: it is stored as what
// an ended session leaves, with the time of its receipt.
package safe

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Safe may be used by any goroutine. A nil Safe promises nothing: what is handled
// is acknowledged.
type Safe struct {
	spool storage.Spool
	log   *zap.Logger

	recovered atomic.Int64 // by Recovered

	mu      sync.Mutex
	waiting map[*session.Session]struct{} // that have something in the spool which is not on disk
}

// New returns a Safe over a spool, nil for none.
func New(spool storage.Spool, log *zap.Logger) *Safe {
	if spool == nil {
		return nil
	}
	return &Safe{spool: spool, log: log, waiting: map[*session.Session]struct{}{}}
}

// Recover calls store for what earlier processes had accepted and no client had
// acknowledged, in order, once for each account; and returns the sessions that
// sent. What waits for the client of a session that outlived the restart is left to
// that. store tells Recovered what is stored, as soon as it is: what comes behind an
// error, or a kill, begins there. Recover takes as long as it takes, says so in the log,
// and ends before with ctx. It is called once, before the first client comes.
func (s *Safe) Recover(ctx context.Context, waits func(record uint64) bool, store func(ctx context.Context, owner jid.JID, records []storage.SpoolRecord) error) ([]storage.SpoolSession, error) {
	if s == nil {
		return nil, nil
	}
	accounts := map[jid.JID][]storage.SpoolRecord{}
	n := 0
	senders, err := s.spool.Load(func(r storage.SpoolRecord) error {
		if !waits(r.ID) {
			accounts[r.To] = append(accounts[r.To], r)
			n++
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("safe: %w", err)
	}
	s.spool.Synced(s.synced)
	if n > 0 {
		s.log.Info("messages that were accepted before the server was killed are stored for their recipients", zap.Int("messages", n), zap.Int("accounts", len(accounts)))
	}
	stop := s.progress(n)
	defer stop()
	var all sync.WaitGroup
	slots := make(chan struct{}, restorers)
	for owner, records := range accounts {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if err := store(ctx, owner, records); err != nil {
				s.log.Error("messages that were accepted before the server was killed can't be stored; they stay in the spool until they are",
					zap.Stringer("account", owner), zap.Error(err))
				return
			}
			for _, r := range records { // also those that store left out
				s.spool.Done(r.ID)
			}
		})
	}
	all.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("safe: %w", err)
	}
	return senders, nil
}

// Recovered notes that a message of an earlier process is stored.
func (s *Safe) Recovered(record uint64) {
	s.spool.Done(record)
	s.recovered.Add(1)
}

// progressTime is how often the log says how far Recover has come.
const progressTime = 10 * time.Second

// progress does so until stop is called.
func (s *Safe) progress(all int) (stop func()) {
	began, over := time.Now(), make(chan struct{})
	var told sync.WaitGroup
	told.Go(func() {
		tick := time.NewTicker(progressTime)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.log.Info("messages that were accepted before the server was killed are still being stored: clients wait for that",
					zap.Int64("stored", s.recovered.Load()), zap.Int("messages", all), zap.Duration("since", time.Since(began).Round(time.Second)))
			case <-over:
				return
			}
		}
	})
	return func() {
		close(over)
		told.Wait()
	}
}

// restorers is for how many accounts messages are stored at once.
const restorers = 16

// Accept takes a message into the spool, the stanza of number n of a session, before it
// is given to others; those of one session in their order. light says that nobody is
// there to be given it: it is about to be committed elsewhere. The zero Receipt means
// that its sender is promised nothing.
func (s *Safe) Accept(sender *session.Session, n uint32, st *stanza.Stanza, at time.Time, light bool) cluster.Receipt {
	return s.accept(sender, n, st, st.To.Bare(), at, light)
}

// AcceptFar is Accept of a message for a far domain. It is kept for who sent it: behind a kill nobody
// knows whether it got there, and that is what its sender learns.
func (s *Safe) AcceptFar(sender *session.Session, n uint32, st *stanza.Stanza, at time.Time) cluster.Receipt {
	return s.accept(sender, n, st, st.From.Bare(), at, false)
}

func (s *Safe) accept(sender *session.Session, n uint32, st *stanza.Stanza, owner jid.JID, at time.Time, light bool) cluster.Receipt {
	if s == nil {
		return cluster.Receipt{}
	}
	id, ok := sender.Sender()
	if !ok {
		return cluster.Receipt{}
	}
	s.mu.Lock() // Append under it: synced must find the session
	defer s.mu.Unlock()
	var record uint64
	if !sender.Spool(n, st.Size(), func(h uint32) uint64 {
		record = s.spool.Append(storage.SpoolRecord{Stamp: at, To: owner, Stanza: st, Sender: id, Handled: h, Light: light})
		return record
	}) {
		return cluster.Receipt{}
	}
	s.waiting[sender] = struct{}{}
	return cluster.Receipt{ID: record, At: at, Spool: s.spool}
}

// Full says that the disk of the spool has no room: what is accepted now is not safe
// until it has. Any goroutine may call it.
func (s *Safe) Full() bool { return s != nil && s.spool.Full() }

// synced is called when everything up to an ID is on disk.
func (s *Safe) synced(id uint64) {
	s.mu.Lock()
	var all []*session.Session
	for sess := range s.waiting {
		all = append(all, sess)
	}
	s.mu.Unlock()
	var b transport.Batch
	for _, sess := range all {
		if sess.Safe(&b, id) {
			s.settled(sess)
		}
	}
	b.Flush()
}

// settled forgets a session that waits for nothing any more.
func (s *Safe) settled(sess *session.Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !sess.Unsafe() { // it may wait for the next already
		delete(s.waiting, sess)
	}
}

// Began implements session.Senders.
func (s *Safe) Began(id string, user jid.JID) {
	if s != nil {
		s.spool.Began(storage.SpoolSession{ID: id, User: user})
	}
}

// Told implements session.Senders.
func (s *Safe) Told(id string, h uint32) {
	if s != nil {
		s.spool.Told(id, h)
	}
}

// Ended implements session.Senders.
func (s *Safe) Ended(id string) {
	if s != nil {
		s.spool.Ended(id)
	}
}
