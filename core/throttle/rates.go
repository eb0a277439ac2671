package throttle

import (
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// RateOptions of Rates. Zero values mean the defaults, a negative rate means that
// there is no limit. All sessions of an account count together.
type RateOptions struct {
	// Disabled limits nothing.
	Disabled bool

	// Bytes that an account may send a second, for long; default 256 KiB.
	// BytesBurst may come at once; default 2 MiB.
	Bytes, BytesBurst int
	// Stanzas that it may send a second, for long; default 300. StanzasBurst may
	// come at once; default 10,000.
	Stanzas, StanzasBurst int
	// Requests for a subscription (RFC 6121 3.1) that it may send an hour, also at
	// once; default 500.
	Requests int

	// MaxRecords bounds the accounts without a session that are remembered since
	// they have sent much. Default 65536.
	MaxRecords int
}

// Rates bound how fast accounts may send. Bytes and stanzas are paid for when they
// have been handled, so that a stanza is never refused: who has taken more than
// there was waits until that is paid back. Its methods may be called from any
// goroutine.
type Rates struct {
	bytes, stanzas, requests rate

	mu    sync.Mutex // guards what follows
	clock clock
	held  map[string]*Meter     // of accounts with sessions
	past  table[string, *Meter] // of others, as long as their buckets are not full again
}

// NewRates returns Rates, nil if nothing is limited.
func NewRates(o RateOptions) *Rates {
	if o.Disabled {
		return nil
	}
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.Bytes, 256<<10)
	def(&o.BytesBurst, 2<<20)
	def(&o.Stanzas, 300)
	def(&o.StanzasBurst, 10_000)
	def(&o.Requests, 500)
	def(&o.MaxRecords, 1<<16)
	return &Rates{
		bytes:    rate{o.Bytes, time.Second, o.BytesBurst},
		stanzas:  rate{o.Stanzas, time.Second, o.StanzasBurst},
		requests: rate{o.Requests, time.Hour, o.Requests},
		held:     map[string]*Meter{}, past: newTable[string, *Meter](o.MaxRecords),
	}
}

// Meter counts what the sessions of one account send. A nil Meter limits nothing.
type Meter struct {
	rates *Rates
	user  string
	holds int // Rates.mu guards it

	mu                       sync.Mutex // guards what follows
	bytes, stanzas, requests spent
	told                     nanos // when it was last told that the account is slowed down; 0: never
}

// Hold returns the Meter of an account, for one more session of it. Drop must
// follow. Of nil Rates it is nil.
func (r *Rates) Hold(user jid.JID, now time.Time) *Meter {
	if r == nil {
		return nil
	}
	key := user.Bare().String()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock.nanos(now) // the epoch is set from here on
	m := r.held[key]
	if m == nil {
		var known bool
		if m, known = r.past.get(key); known {
			delete(r.past.m, key)
		} else {
			m = &Meter{rates: r, user: key}
		}
		r.held[m.user] = m
	}
	m.holds++
	return m
}

// Drop ends what Hold began. What the account owes is remembered.
func (m *Meter) Drop(now time.Time) {
	if m == nil {
		return
	}
	r := m.rates
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.holds--; m.holds > 0 {
		return
	}
	delete(r.held, m.user)
	if n := r.clock.nanos(now); !m.expired(n) {
		r.past.put(m.user, m, n)
	}
}

// expired and heat make a record of it: nobody holds it then.
func (m *Meter) expired(n nanos) bool { return m.heat() <= n }
func (m *Meter) heat() nanos          { return nanos(max(m.bytes, m.stanzas, m.requests)) }

// Over says what an account has taken too much of.
type Over struct {
	// Wait is how long it has to wait, 0 if it need not.
	Wait time.Duration
	// Stanzas: for it sent too many; else too many bytes.
	Stanzas bool
	// Tell: that was not told in the last minute.
	Tell bool
}

// tellEvery is how often it is told of one account that it is slowed down.
const tellEvery = nanos(time.Minute)

// Take counts what a session has sent, and says how long that session has to
// wait before it sends more. Sessions of one account that send at once wait one
// behind the other.
func (m *Meter) Take(bytes, stanzas int, now time.Time) (o Over) {
	if m == nil {
		return Over{}
	}
	n := m.rates.clock.nanos(now)
	m.mu.Lock()
	defer m.mu.Unlock()
	o.Wait = m.bytes.take(n, &m.rates.bytes, bytes)
	if wait := m.stanzas.take(n, &m.rates.stanzas, stanzas); wait > o.Wait {
		o.Wait, o.Stanzas = wait, true
	}
	if o.Wait > 0 && (m.told == 0 || n-m.told >= tellEvery) {
		m.told, o.Tell = n, true
	}
	return o
}

// Request counts a request for a subscription. It is false, and counts nothing,
// if that is one too many.
func (m *Meter) Request(now time.Time) bool {
	if m == nil {
		return true
	}
	n := m.rates.clock.nanos(now)
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.requests
	if m.requests.take(n, &m.rates.requests, 1) > 0 {
		m.requests = was
		return false
	}
	return true
}

// rate is a token bucket: units for each time per, and so many of them at once.
// Without units there is no limit.
type rate struct {
	units int
	per   time.Duration
	burst int
}

func (r *rate) of(units int) nanos { return nanos(units) * nanos(r.per) / nanos(r.units) }

// spent is what was taken from a bucket: the time at which it will be full again.
type spent nanos

// take takes units, whether or not they are there, and says how long it will be
// until none is owed.
func (s *spent) take(n nanos, r *rate, units int) time.Duration {
	if r.units <= 0 {
		return 0
	}
	*s = min(max(*s, spent(n))+spent(r.of(units)), spent(n)+spent(most))
	return time.Duration(max(0, nanos(*s)-n-r.of(r.burst)))
}
