package spool

// Size implements storage.Spool.
func (s *Spool) Size() (records int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.waiting {
		if !s.waiting[i].done {
			records++
		}
	}
	return records + len(s.live), s.size
}

// measure notes how long the log is. The writer calls it, and Load before there is
// one.
func (s *Spool) measure() {
	total := s.total()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size = total
}
