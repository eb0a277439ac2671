package core

import (
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/ports/storage"
)

// saveExtensions leaves what extensions have in memory to the next process: as it is
// behind the last handler.
func (k *Kernel) saveExtensions() {
	if k.ports.SavedExtensions == nil {
		return
	}
	s := &storage.SavedState{At: k.ports.Now()}
	for _, g := range k.registry.Guests() {
		if one, any := g.Save(); any {
			s.Extensions = append(s.Extensions, one)
		}
	}
	if len(s.Extensions) == 0 {
		return
	}
	if err := k.ports.SavedExtensions.Save(s); err != nil {
		k.ports.Log.Error("what extensions have in memory is not kept over the restart: it is empty, as after a kill", zap.Error(err))
		return
	}
	k.ports.Log.Info("what extensions have in memory is kept over the restart", counts(s)...)
}

// counts says how much there is, for the log.
func counts(s *storage.SavedState) []zap.Field {
	entries, groups, members, timers := 0, 0, 0, 0
	for i := range s.Extensions {
		x := &s.Extensions[i]
		entries += len(x.Memory)
		groups += len(x.Groups)
		timers += len(x.Timers)
		for j := range x.Groups {
			members += len(x.Groups[j].Members)
		}
	}
	return []zap.Field{zap.Int("extensions", len(s.Extensions)), zap.Int("entries", entries), zap.Int("groups", groups), zap.Int("members", members), zap.Int("timers", timers)}
}

// restoreExtensions gives extensions what an earlier process has saved of them.
func (k *Kernel) restoreExtensions() error {
	if k.ports.SavedExtensions == nil {
		return nil
	}
	s, err := k.ports.SavedExtensions.Load()
	switch {
	case errors.Is(err, storage.ErrUnreadable):
		k.ports.Log.Error("what extensions had in memory before the restart is lost: it is empty, as after a kill", zap.Error(err))
		return nil
	case err != nil:
		return fmt.Errorf("core: %w", err)
	case s == nil:
		return nil
	}
	guests := map[string]*host.Guest{}
	for _, g := range k.registry.Guests() {
		guests[g.Reg.Name] = g
	}
	for i := range s.Extensions {
		x := &s.Extensions[i]
		g := guests[x.Name]
		if g == nil {
			k.ports.Log.Warn("what an extension had in memory before the restart is dropped: it is not there any more", zap.String("extension", x.Name))
			continue
		}
		g.Restore(x)
	}
	k.ports.Log.Info("what extensions had in memory before the restart is there again", append(counts(s), zap.Time("stopped", s.At))...)
	return nil
}
