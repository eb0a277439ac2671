package throttle

import (
	"net/netip"
	"sync"
	"time"
)

// LimiterOptions of a Limiter. Zero values mean the defaults.
type LimiterOptions struct {
	// Disabled lets everything pass.
	Disabled bool
	// Every is the time after which an address may once more. Default 1m.
	Every time.Duration
	// Burst is how often it may at once. Default 5.
	Burst int
	// MaxRecords bounds the addresses that are remembered. Default 65536.
	MaxRecords int
}

// Limiter limits how often an address (an IPv4 one, or a /64 of IPv6) may do
// something: connect, register an account. It is a token bucket by address,
// with the bounds that the package comment tells of. Its method may be called
// from any goroutine.
type Limiter struct {
	o LimiterOptions

	mu      sync.Mutex // guards what follows
	clock   clock
	buckets table[netip.Addr, *bucket]
}

// bucket counts the tokens taken and not yet given back.
type bucket struct{ taken leaky }

func (b *bucket) expired(n nanos) bool { return b.taken.empty(n) }
func (b *bucket) heat() nanos          { return nanos(b.taken) }

// NewLimiter returns a Limiter with full buckets.
func NewLimiter(o LimiterOptions) *Limiter {
	setDefault(&o.Every, time.Minute)
	setDefault(&o.Burst, 5)
	setDefault(&o.MaxRecords, 1<<16)
	return &Limiter{o: o, buckets: newTable[netip.Addr, *bucket](o.MaxRecords)}
}

// Allow reports whether addr may once more, and counts it if so. What is
// refused is not counted: who waits as long as told gets through.
func (l *Limiter) Allow(addr netip.Addr, now time.Time) bool {
	if l.o.Disabled {
		return true
	}
	addr = prefix(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.clock.nanos(now)
	b, ok := l.buckets.get(addr)
	if !ok {
		b = new(bucket)
		l.buckets.put(addr, b, n)
	}
	if b.taken.level(n, l.o.Every) >= l.o.Burst {
		return false
	}
	b.taken.add(n, l.o.Every, l.o.Burst)
	return true
}
