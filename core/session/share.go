package session

// What all sessions of an account may hold together for clients that do not read or do
// not acknowledge, in OutboxLimits.Bytes: as much as four of them alone. It is looked at
// as they grow, sixteen times until they hold these Bytes; those that hold less than one
// such step are not counted.
const (
	accountShare = 8
	shareSteps   = 16
)

// crowded says whether n bytes more are too many for the account. o.mu is held.
func (o *Outbox) crowded(n int) bool {
	held := o.held()
	step := o.step()
	if held == 0 || o.of == nil || (held+n)/step == held/step {
		return false
	}
	o.large.Store(int64(held + n))
	return o.of.kernel.Held(o.of) > int64(accountShare*o.limits.Bytes)
}

// shrunk notes that the Outbox may hold less. o.mu is held.
func (o *Outbox) shrunk() {
	if o.large.Load() != 0 {
		held := int64(o.held())
		if o.closed || held < int64(o.step()) {
			held = 0
		}
		o.large.Store(held)
	}
}

func (o *Outbox) step() int { return max(1, o.limits.Bytes/shareSteps) }

// held is what the bound of a single Outbox is for. o.mu is held.
func (o *Outbox) held() int {
	if o.managed == nil {
		return o.bytes
	}
	return o.bytes + o.managed.bytes
}

// Large returns how many bytes the Outbox holds, about; 0 if they are few.
func (o *Outbox) Large() int64 { return o.large.Load() }

// belong tells whose Outbox it is.
func (o *Outbox) belong(s *Session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.of = s
}
