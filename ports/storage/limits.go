package storage

import (
	"errors"
	"fmt"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// ErrInvalid: the call breaks a rule or a bound of this port (an empty or too
// long key, a value that is too big, a key named twice in one Commit, an owner
// with a resourcepart). It is the caller's mistake, and a retry fails again.
var ErrInvalid = errors.New("storage: invalid call")

// Bounds in bytes. What is over them gets ErrInvalid.
const (
	MaxKey   = 1024    // of Op.Key
	MaxValue = 1 << 20 // of Op.Value
	MaxName  = 255     // of Op.Space and of the name of a Secret
)

// CheckOps tells whether ops keeps the rules of Map.Commit that need no look
// into the store: nil, or an error that wraps ErrInvalid. It is for adapters,
// so that all of them refuse the same calls.
func CheckOps(ops []Op) error {
	type name struct {
		space, key string
		owner      jid.JID
	}
	var seen map[name]struct{}
	if len(ops) > 1 {
		seen = make(map[name]struct{}, len(ops))
	}
	for i := range ops {
		op := &ops[i]
		if err := checkOp(op); err != nil {
			return fmt.Errorf("%w: op %d: %w", ErrInvalid, i, err)
		}
		if seen == nil {
			continue
		}
		n := name{op.Space, op.Key, op.Owner}
		if _, twice := seen[n]; twice {
			return fmt.Errorf("%w: op %d: names a key a second time", ErrInvalid, i)
		}
		seen[n] = struct{}{}
	}
	return nil
}

func checkOp(op *Op) error {
	switch {
	case op.Space == "":
		return errors.New("empty space")
	case len(op.Space) > MaxName:
		return fmt.Errorf("space of %d bytes, the limit is %d", len(op.Space), MaxName)
	case op.Key == "":
		return errors.New("empty key")
	case len(op.Key) > MaxKey:
		return fmt.Errorf("key of %d bytes, the limit is %d", len(op.Key), MaxKey)
	case !op.Owner.IsBare():
		return errors.New("owner has a resourcepart")
	case !op.Delete && len(op.Value) > MaxValue:
		return fmt.Errorf("value of %d bytes, the limit is %d", len(op.Value), MaxValue)
	}
	return nil
}

// CheckAccount tells whether an account can be stored: its name is a bare JID
// with a localpart, and no hash has two key sets. It returns nil or an error
// that wraps ErrInvalid. It is for adapters.
func CheckAccount(user jid.JID, keys []Key) error {
	if !user.IsBare() || user.Local() == "" {
		return fmt.Errorf("%w: %q is no name of an account", ErrInvalid, user)
	}
	seen := make(map[string]struct{}, len(keys))
	for _, k := range keys {
		if _, twice := seen[k.Hash]; twice || k.Hash == "" {
			return fmt.Errorf("%w: account %s: two key sets for hash %q, or no hash", ErrInvalid, user, k.Hash)
		}
		seen[k.Hash] = struct{}{}
	}
	return nil
}

// CheckName tells whether name can name a Secret: nil, or ErrInvalid. It is
// for adapters.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("%w: name of %d bytes, allowed are 1 to %d", ErrInvalid, len(name), MaxName)
	}
	return nil
}
