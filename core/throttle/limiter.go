package throttle

import (
	"net/netip"
	"sync"
	"time"
)

// LimiterOptions of a Limiter or of Buckets. Zero values mean the defaults.
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
// something: connect, register an account. Its method may be called from any
// goroutine.
type Limiter struct{ by *Buckets[netip.Addr] }

// NewLimiter returns a Limiter with full buckets.
func NewLimiter(o LimiterOptions) *Limiter { return &Limiter{NewBuckets[netip.Addr](o)} }

// Allow reports whether addr may once more, and counts it if so. What is
// refused is not counted: who waits as long as told gets through.
func (l *Limiter) Allow(addr netip.Addr, now time.Time) bool {
	return l.by.Allow(prefix(addr), now)
}

// Buckets is a token bucket for each key, such as an account, with the bounds
// that the package comment tells of. Its method may be called from any goroutine.
type Buckets[K comparable] struct {
	o LimiterOptions

	mu      sync.Mutex // guards what follows
	clock   clock
	buckets table[K, *bucket]
}

// bucket counts the tokens taken and not yet given back.
type bucket struct{ taken leaky }

func (b *bucket) expired(n nanos) bool { return b.taken.empty(n) }
func (b *bucket) heat() nanos          { return nanos(b.taken) }

// NewBuckets returns full Buckets.
func NewBuckets[K comparable](o LimiterOptions) *Buckets[K] {
	setDefault(&o.Every, time.Minute)
	setDefault(&o.Burst, 5)
	setDefault(&o.MaxRecords, 1<<16)
	return &Buckets[K]{o: o, buckets: newTable[K, *bucket](o.MaxRecords)}
}

// Allow is that of Limiter, for any key.
func (l *Buckets[K]) Allow(k K, now time.Time) bool {
	if l.o.Disabled {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.clock.nanos(now)
	b, ok := l.buckets.get(k)
	if !ok {
		b = new(bucket)
		l.buckets.put(k, b, n)
	}
	if b.taken.level(n, l.o.Every) >= l.o.Burst {
		return false
	}
	b.taken.add(n, l.o.Every, l.o.Burst)
	return true
}
