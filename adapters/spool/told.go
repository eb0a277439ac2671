package spool

// Told implements storage.Spool. What records say of their senders need not be told,
// and of what is told while the writer writes the last of each session counts.
func (s *Spool) Told(sender string, handled uint32) {
	s.mu.Lock()
	if was, there := s.told[sender]; there {
		handled = later(was, handled)
	}
	if s.told == nil {
		s.told = map[string]uint32{}
	}
	s.told[sender] = handled
	s.mu.Unlock()
	s.kick()
}

// encodeTold puts the counts into the buffer that the log does not have.
func (s *Spool) encodeTold(told map[string]uint32) {
	for sender, h := range told {
		known, ok := s.sessions[sender]
		if !ok || later(known.Handled, h) == known.Handled {
			continue
		}
		known.Handled = h
		s.sessions[sender] = known
		s.buf = appendSession(s.buf, &known)
	}
}
