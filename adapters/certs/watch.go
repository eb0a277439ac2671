package certs

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// Start begins to look for changed files every Options.Poll. It is called once.
func (s *Store) Start(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		return nil
	}
	stop := make(chan struct{})
	s.stop = stop
	s.ending.Go(func() { s.watch(stop) })
	return nil
}

// Stop ends the watcher and returns when it has ended. Certificates can still
// be asked for.
func (s *Store) Stop(context.Context) error {
	s.mu.Lock()
	if s.stop != nil {
		close(s.stop)
		s.stop = nil
	}
	s.mu.Unlock()
	s.ending.Wait()
	return nil
}

func (s *Store) watch(stop <-chan struct{}) {
	t := time.NewTicker(s.opts.Poll)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			s.look()
		}
	}
}

// look reloads if a file has changed since the last load, whether that worked
// or not, so that a broken file is logged once. Without a change it repeats
// the daily warnings, and renews self-signed certificates.
func (s *Store) look() {
	seen, err := s.fingerprint()
	s.mu.Lock()
	changed := err == nil && seen != s.seen
	if err != nil {
		s.warnOnce("folder "+err.Error(), "certificates can't be looked at; those in use stay", zap.Error(err))
	}
	if !changed {
		if err := s.apply(); err != nil {
			s.warnOnce("apply "+err.Error(), "a domain has no certificate", zap.Error(err))
		}
	}
	s.mu.Unlock()
	if !changed {
		return
	}
	if err := s.Reload(); err != nil {
		s.log.Error("changed certificates could not be used; the old ones stay in use", zap.Error(err))
		return
	}
	s.log.Info("certificates reloaded", zap.Int("count", len(s.Loaded())))
}
