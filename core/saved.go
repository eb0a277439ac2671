package core

import (
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// saveExtensions leaves what extensions have in memory to the next process: as it is
// behind the last handler. It is in front of the sessions: these wait for what extensions have of
// their clients (SavedSession.Tickets), and without that file their clients send that again.
func (k *Kernel) saveExtensions(sessions *storage.Saved) {
	if k.ports.SavedExtensions == nil {
		return
	}
	s := &storage.SavedState{At: k.ports.Now()}
	if sessions != nil && len(sessions.Sessions) > 0 {
		s.Sessions = sessions.At
	}
	for _, g := range k.registry.Guests() {
		if one, any := g.Save(); any {
			s.Extensions = append(s.Extensions, one)
		}
	}
	if len(s.Extensions) == 0 {
		return
	}
	unclaimed(s, sessions)
	if err := k.ports.SavedExtensions.Save(s); err != nil {
		k.ports.Log.Error("what extensions have in memory is not kept over the restart: it is empty, as after a kill", zap.Error(err))
		return
	}
	k.ports.Log.Info("what extensions have in memory is kept over the restart", counts(s)...)
}

// unclaimed takes the tickets off events whose senders have ended: nobody asks for them, and
// nobody sends what they sent again.
func unclaimed(s *storage.SavedState, sessions *storage.Saved) {
	there := map[string]bool{}
	if sessions != nil {
		for i := range sessions.Sessions {
			there[sessions.Sessions[i].ID] = true
		}
	}
	for i := range s.Extensions {
		for j := range s.Extensions[i].Events {
			if e := &s.Extensions[i].Events[j]; !there[e.Ticket.ID] {
				e.Ticket = storage.SavedTicket{}
			}
		}
	}
}

// counts says how much there is, for the log.
func counts(s *storage.SavedState) []zap.Field {
	entries, groups, members, timers, events := 0, 0, 0, 0, 0
	for i := range s.Extensions {
		x := &s.Extensions[i]
		entries += len(x.Memory)
		groups += len(x.Groups)
		timers += len(x.Timers)
		events += len(x.Events)
		for j := range x.Groups {
			members += len(x.Groups[j].Members)
		}
	}
	return []zap.Field{zap.Int("extensions", len(s.Extensions)), zap.Int("entries", entries), zap.Int("groups", groups), zap.Int("members", members),
		zap.Int("timers", timers), zap.Int("events", events)}
}

// savedEvent is what an earlier process has saved of an extension.
type savedEvent struct {
	*storage.SavedEvent
	guest *host.Guest // nil: it is not there any more
}

// restoreExtensions gives extensions what an earlier process has saved of them, and returns
// what they had no outcome of, in its order for each of them. sessions is what was saved beside it.
func (k *Kernel) restoreExtensions(sessions *storage.Saved) (events []savedEvent, err error) {
	if k.ports.SavedExtensions == nil {
		return nil, nil
	}
	s, err := k.ports.SavedExtensions.Load()
	switch {
	case errors.Is(err, storage.ErrUnreadable):
		k.ports.Log.Error("what extensions had in memory before the restart is lost: it is empty, as after a kill", zap.Error(err))
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("core: %w", err)
	case s == nil:
		return nil, nil
	}
	for _, err := range s.Spoiled {
		k.ports.Log.Error("an event of before the restart is lost", zap.Error(err))
	}
	guests := map[string]*host.Guest{}
	for _, g := range k.registry.Guests() {
		guests[g.Reg.Name] = g
	}
	for i := range s.Extensions {
		x := &s.Extensions[i]
		g := guests[x.Name]
		for j := range x.Events {
			events = append(events, savedEvent{&x.Events[j], g})
		}
		if g == nil {
			k.ports.Log.Warn("what an extension had in memory before the restart is dropped: it is not there any more", zap.String("extension", x.Name))
			continue
		}
		g.Restore(x)
	}
	k.ports.Log.Info("what extensions had in memory before the restart is there again", append(counts(s), zap.Time("stopped", s.At))...)
	if !s.Sessions.IsZero() && (sessions == nil || !sessions.At.Equal(s.Sessions)) && len(events) > 0 {
		k.ports.Log.Error("what extensions had not handled before the restart is dropped: the sessions that sent it are gone, as after a kill, and their clients send it again",
			zap.Int("events", len(events)))
		return nil, nil
	}
	return events, nil
}

// claimed makes tickets of sessions and events agree, before anybody can resume one: what
// clients send again is no event any more.
func (k *Kernel) claimed(sessions []*session.Session, events []savedEvent) []savedEvent {
	type ticket = storage.SavedTicket
	has, before := map[ticket]bool{}, map[string]uint32{}
	for _, e := range events {
		has[ticket{ID: e.Ticket.ID, N: e.Ticket.N}] = true
	}
	for _, s := range sessions {
		id, _ := s.Sender()
		before[id] = s.Reclaim(func(n uint32) bool { return has[ticket{ID: id, N: n}] })
	}
	all := len(events)
	events = slices.DeleteFunc(events, func(e savedEvent) bool {
		first, there := before[e.Ticket.ID]
		return e.Ticket.ID != "" && (!there || int32(e.Ticket.N-first) >= 0)
	})
	if n := all - len(events); n > 0 {
		k.ports.Log.Error("what extensions had not handled before the restart is dropped in part: its senders are told that they are to send it again, or are gone", zap.Int("events", n))
	}
	return events
}

// resumeEvents has extensions told once more of what has no outcome. It is called when the
// file is gone: nothing that happens from here on happens again.
func (k *Kernel) resumeEvents(sessions []*session.Session, events []savedEvent) {
	if len(events) == 0 {
		return
	}
	senders := map[string]*session.Session{}
	for _, s := range sessions {
		id, _ := s.Sender()
		senders[id] = s
	}
	again := func(b *transport.Batch, e savedEvent) transport.Wait {
		var over func(*transport.Batch)
		if s := senders[e.Ticket.ID]; s != nil {
			over = func(b *transport.Batch) { s.TicketOver(b, e.Ticket.N) }
		}
		return k.router.Again(b, e.SavedEvent, over)
	}
	var b transport.Batch
	var steps []transport.Step
	for _, e := range events {
		switch {
		case !e.Reply:
			steps = append(steps, func(b *transport.Batch) transport.Wait { return again(b, e) })
		case e.guest != nil:
			e.guest.Replied(e.SavedEvent)
		}
	}
	if w := transport.Steps(&b, steps...); w != nil {
		k.hosts.Spawn(w) // those that wait, and what is behind them: as before, in order
	}
	b.Flush()
}
