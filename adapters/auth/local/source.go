// Package local implements ports/auth on accounts in storage: the internal
// source of hexmpp.
//
// Of a password only SCRAM keys are stored (RFC 5802 section 3), one set each
// for SHA-1, SHA-256 (RFC 7677) and SHA-512, each with a salt of its own.
// Passwords are prepared with OpaqueString (RFC 8265 section 4.2), not with
// SASLprep as RFC 5802 says; for ASCII the two are the same.
//
// # What strangers can learn
//
// For an unknown user SCRAM returns decoy keys, derived from a stored secret,
// and VerifyPassword does the same derivation (RFC 6120 section 6.5.10). Two
// things remain. Decoys announce Options.Iterations: accounts that were made
// under another count stand out until their password is changed, so change the
// option only together with the passwords, or early. And the read that finds
// no account is shorter than the one that finds three key sets, by 10 to 20
// microseconds with SQLite: somebody near needs thousands of tries to see that
// in the noise, so limit the tries.
//
// It leaves out rights, quotas, password rules and the limit on tries: those
// belong to whoever asks.
package local

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/storage"
)

const (
	// minIterations is what RFC 5802 section 5.1 and RFC 7677 section 4 ask
	// for at least; maxIterations keeps one login from holding a worker for
	// minutes.
	minIterations = 4096
	maxIterations = 10_000_000

	defaultIterations = 10_000
)

// Options of a Source. The zero value of a field means its default.
type Options struct {
	// Iterations of the key derivation of passwords set from now on, for every
	// hash: 4,096 to 10,000,000, default 10,000. Whoever steals the database
	// pays it for each guess, but so does a client at its first login (phones
	// too) and the server at each SASL PLAIN: 10,000 is more than twice what
	// the RFCs ask for, and some milliseconds of CPU. See the package comment
	// before changing it.
	Iterations int
	// Workers is how many derivations run at once; more wait. Default: as
	// many as Go uses processors.
	Workers int
	// WriteLogins is how often last logins are written. Default 5 s.
	WriteLogins time.Duration
	// MaxLogins is how many last logins may wait to be written; of further
	// users they are forgotten. Default 65,536.
	MaxLogins int
}

func (o *Options) complete() error {
	if o.Iterations == 0 {
		o.Iterations = defaultIterations
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.WriteLogins == 0 {
		o.WriteLogins = 5 * time.Second
	}
	if o.MaxLogins == 0 {
		o.MaxLogins = 1 << 16
	}
	if o.Iterations < minIterations || o.Iterations > maxIterations {
		return fmt.Errorf("%d iterations, allowed are %d to %d", o.Iterations, minIterations, maxIterations)
	}
	if o.Workers < 0 || o.WriteLogins < 0 || o.MaxLogins < 0 {
		return errors.New("an option is negative")
	}
	return nil
}

// Deps are what a Source needs.
type Deps struct {
	Accounts storage.Accounts
	Secrets  storage.Secrets
	Log      *zap.Logger
}

// Source is auth.Credentials, auth.Verifier and auth.Accounts. Any goroutine
// may call it. Only the writing of last logins needs Start and Stop.
type Source struct {
	options  Options
	accounts storage.Accounts
	secrets  storage.Secrets
	log      *zap.Logger
	workers  chan struct{} // a place is held by each derivation that runs
	logins   logins

	mu     sync.Mutex // guards secret
	secret []byte     // of decoys; nil until it is first needed
}

var (
	_ auth.Credentials = (*Source)(nil)
	_ auth.Verifier    = (*Source)(nil)
	_ auth.Accounts    = (*Source)(nil)
)

// New checks the options. It reads nothing and starts nothing.
func New(o Options, d Deps) (*Source, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("auth/local: options: %w", err)
	}
	return &Source{
		options: o, accounts: d.Accounts, secrets: d.Secrets, log: d.Log,
		workers: make(chan struct{}, o.Workers),
		logins:  newLogins(),
	}, nil
}

// work waits for a worker's place, which the caller gives back by calling
// done. It returns an error when ctx ends first.
func (s *Source) work(ctx context.Context) (done func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case s.workers <- struct{}{}:
		return func() { <-s.workers }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("every worker is busy: %w", ctx.Err())
	}
}
