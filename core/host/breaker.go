package host

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Breaker keeps stanzas from waiting for a handler that gives no verdicts: after some
// that were missed in a row it is not asked for a while, then once, to see, and so on,
// with pauses that double. The zero value is ready for use, by any goroutine.
type Breaker struct {
	mu     sync.Mutex
	missed int           // in a row
	pause  time.Duration // the last one; 0: it is closed, all are let through
	until  time.Time     // end of the pause
	probe  bool          // the one that sees is under way
}

// How a Breaker opens.
const (
	maxMissed = 5
	minPause  = time.Second
	maxPause  = time.Minute
)

// Open says whether the handler is not to be asked now. It changes nothing.
func (b *Breaker) Open(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pause > 0 && (b.probe || now.Before(b.until))
}

// Enter says whether the handler may be asked; Leave or Quit must follow.
func (b *Breaker) Enter(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pause == 0 {
		return true
	}
	if b.probe || now.Before(b.until) {
		return false
	}
	b.probe = true
	return true
}

// Quit notes that the handler was not asked, in the end.
func (b *Breaker) Quit() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probe = false
}

// Leave notes whether there was a verdict in time. changed says that the Breaker is
// open, or closed, by that, and was not before.
func (b *Breaker) Leave(now time.Time, missed bool) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.pause > 0
	b.probe = false
	if !missed {
		b.missed, b.pause = 0, 0
		return was
	}
	if b.missed++; b.missed < maxMissed || was && now.Before(b.until) { // of those that were let in before it opened
		return false
	}
	b.pause = min(max(2*b.pause, minPause), maxPause)
	b.until = now.Add(b.pause/2 + rand.N(b.pause/2))
	return !was
}

// Now is the kernel's time.
func (g *Guest) Now() time.Time { return g.hosts.Now() }

// Skipped notes that a stage handler was not asked since its Breaker is open.
func (g *Guest) Skipped() { g.hosts.Remote.Skipped(g.Reg.Name) }

// Missed notes that a stage handler gave no verdict in time.
func (g *Guest) Missed() { g.hosts.Remote.Missed(g.Reg.Name) }

// Broke notes that a Breaker is open, or closed again.
func (g *Guest) Broke(open bool) {
	g.hosts.Remote.Broke(g.Reg.Name, open)
	if open {
		g.log.Error("a stage handler gives no verdicts in time: it is not asked for a while, and its policy holds")
		return
	}
	g.log.Info("a stage handler gives verdicts again")
}
