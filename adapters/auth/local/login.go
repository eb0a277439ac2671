package local

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// SCRAM implements auth.Credentials. It costs one read of storage and the
// decoy's HMACs, for every user, known or not.
func (s *Source) SCRAM(ctx context.Context, user jid.JID, h auth.Hash) (auth.Keys, error) {
	k, err := s.keys(ctx, user, h)
	if err != nil {
		return auth.Keys{}, fmt.Errorf("auth/local: SCRAM keys of %s: %w", user, err)
	}
	return k.Keys, nil
}

// found are keys for a user, who may not even exist.
type found struct {
	auth.Keys
	hash auth.Hash
	real bool // else decoys
}

// keys returns the keys for the first of some hashes that the user has any
// for, and decoys for the first hash if there are none.
func (s *Source) keys(ctx context.Context, user jid.JID, hashes ...auth.Hash) (found, error) {
	decoy, err := s.decoy(ctx, user, hashes[0])
	if err != nil {
		return found{}, err
	}
	a, err := s.accounts.Account(ctx, user)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return found{}, err
	}
	for _, h := range hashes {
		stored, has := keysFor(a, h)
		if !has {
			continue
		}
		if !a.Disabled {
			return found{stored, h, true}, nil
		}
		// Salt and count as before: that they changed would tell that the
		// account exists, and was disabled.
		decoy, err := s.decoy(ctx, user, h)
		decoy.Salt, decoy.Iterations = stored.Salt, stored.Iterations
		return found{decoy, h, false}, err
	}
	return found{decoy, hashes[0], false}, nil
}

// verified is the order in which VerifyPassword looks for keys. A password in
// clear matches all key sets of an account or none, so a stronger hash makes
// the answer no safer, and a thief of the database guesses at the weakest set
// anyway. SHA-256 costs a third of SHA-512, since processors have instructions
// for it.
var verified = []auth.Hash{auth.SHA256, auth.SHA512, auth.SHA1}

// VerifyPassword implements auth.Verifier, against one key set of the account,
// or a decoy of the same hash: see verified. At most Options.Workers calls
// compute; the others wait as long as ctx allows.
func (s *Source) VerifyPassword(ctx context.Context, user jid.JID, password string) error {
	err := s.verify(ctx, user, password)
	if err != nil {
		return fmt.Errorf("auth/local: verify password of %s: %w", user, err)
	}
	return nil
}

func (s *Source) verify(ctx context.Context, user jid.JID, password string) error {
	prepared, err := prepare(password)
	if err != nil {
		// No account has such a password; that is known without a look at any.
		return fmt.Errorf("%w: %w", auth.ErrDenied, err)
	}
	keys, err := s.keys(ctx, user, verified...)
	if err != nil {
		return err
	}
	done, err := s.work(ctx)
	if err != nil {
		return err
	}
	defer done()
	got, err := derive(keys.hash, prepared, keys.Salt, keys.Iterations)
	if err != nil {
		return err
	}
	same := subtle.ConstantTimeCompare(got.StoredKey, keys.StoredKey) == 1
	if !same || !keys.real {
		return auth.ErrDenied
	}
	return nil
}
