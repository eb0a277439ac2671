package throttle

import "time"

// Options of a Throttle. Zero values mean the defaults.
type Options struct {
	// Disabled lets every attempt pass at once and counts nothing.
	Disabled bool

	// Free is how many failures have no consequence, by address and by account
	// at a known address. Default 5.
	Free int
	// First is the wait after the first failure that is not free; it doubles
	// with each further one. Default 1s.
	First time.Duration
	// MaxWait bounds the time between two attempts from an address. Default 1m,
	// which leaves a patient attacker 60 guesses an hour.
	MaxWait time.Duration
	// MaxHold is how long an answer may be held back; an attempt that would have
	// to wait longer is refused. It also bounds the wait at a known address and
	// by account. Default 10s, less than clients' time-outs.
	MaxHold time.Duration
	// Forgive is the time after which one failure is forgotten. Default 2m.
	Forgive time.Duration

	// AccountFree is Free by account, for all strange addresses together.
	// Default 20.
	AccountFree int
	// AccountLimit is the number of failures by account at which attempts from
	// strange addresses are refused. It ends guessing by a botnet, at a price:
	// while the attack lasts, the owner gets in from known addresses only.
	// Below it strangers are held back, never refused. Negative: no limit.
	// Default 500, for which an attacker needs dozens of addresses.
	AccountLimit int
	// AccountForgive is Forgive by account: it bounds the guesses of a botnet
	// once AccountLimit is reached. Default 30s.
	AccountForgive time.Duration

	// KnownFor is how long an address stays known after a success. Default 14
	// days.
	KnownFor time.Duration
	// MaxPending is how many attempts of one address may be under way, before
	// it is known how they end. Default 64.
	MaxPending int
	// MaxRecords bounds each of the three tables. Default 65536; full tables
	// take about 50 MB together.
	MaxRecords int
}

// knownAddresses bounds the known addresses of one account, knownPending the
// attempts under way from each.
const (
	knownAddresses = 8
	knownPending   = 8
)

func (o Options) withDefaults() Options {
	setDefault(&o.Free, 5)
	setDefault(&o.First, time.Second)
	setDefault(&o.MaxWait, time.Minute)
	setDefault(&o.MaxHold, 10*time.Second)
	setDefault(&o.Forgive, 2*time.Minute)
	setDefault(&o.AccountFree, 20)
	setDefault(&o.AccountForgive, 30*time.Second)
	setDefault(&o.KnownFor, 14*24*time.Hour)
	setDefault(&o.MaxPending, 64)
	setDefault(&o.MaxRecords, 1<<16)
	if o.AccountLimit == 0 {
		o.AccountLimit = 500
	}
	return o
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
