package session

// Room implements cluster.Receiver: what fits into its Outbox, and into what the
// sessions of its account may hold together.
func (s *Session) Room() int {
	free, share := s.out.free()
	if free == 0 {
		return 0
	}
	return int(max(0, min(int64(free), int64(share)-s.kernel.Held(s))))
}

// free returns how many bytes of stanzas can be queued before the Outbox is full, and
// how many all Outboxes of the account may hold.
func (o *Outbox) free() (bytes, share int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	most := o.limits.Bytes
	switch {
	case o.closed:
		return 0, 0
	case o.managed != nil:
		most *= 2
	}
	return max(0, most-o.held()), accountShare * o.limits.Bytes
}
