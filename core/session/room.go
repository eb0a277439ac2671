package session

// Room implements cluster.Receiver.
func (s *Session) Room() int { return s.out.Free() }

// Free returns how many bytes of stanzas can be queued before the Outbox is full.
func (o *Outbox) Free() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return 0
	case o.managed == nil:
		return max(0, o.limits.Bytes-o.bytes)
	}
	return max(0, 2*o.limits.Bytes-o.bytes-o.managed.bytes)
}
