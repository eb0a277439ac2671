package storage

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// ErrInvalid: the call breaks a rule or a bound of this port (an empty or too
// long key, a value that is too big, a key named twice in one Commit, an owner
// with a resourcepart). It is the caller's mistake, and a retry fails again.
var ErrInvalid = errors.New("storage: invalid call")

// Bounds in bytes. What is over them gets ErrInvalid.
const (
	MaxKey   = 1024    // of Op.Key
	MaxValue = 1 << 20 // of Op.Value, of all of a RosterItem together, of OfflineMessage.XML and Row.XML
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
	case !isText(op.Space):
		return errors.New("space is no text")
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
	if !isText(name) {
		return fmt.Errorf("%w: name %q is no text", ErrInvalid, name)
	}
	return nil
}

// isText tells whether every database can keep s as text: UTF-8 without NUL,
// which PostgreSQL has no place for.
func isText(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// CheckRoster tells whether a call of Rosters.ChangeRoster keeps the rules that
// need no look into the store: owner and contacts are bare JIDs, no contact is
// named twice, groups are unique and not empty, names are text. It returns nil
// or an error that wraps ErrInvalid. It is for adapters.
func CheckRoster(owner jid.JID, put []RosterItem, remove []jid.JID) error {
	if !owner.IsBare() {
		return fmt.Errorf("%w: owner has a resourcepart", ErrInvalid)
	}
	seen := make(map[jid.JID]struct{}, len(put)+len(remove))
	contact := func(c jid.JID) error {
		if c.IsZero() || !c.IsBare() {
			return fmt.Errorf("%w: contact %q is no bare JID", ErrInvalid, c)
		}
		if _, twice := seen[c]; twice {
			return fmt.Errorf("%w: contact %s is named twice", ErrInvalid, c)
		}
		seen[c] = struct{}{}
		return nil
	}
	for i := range put {
		if err := contact(put[i].Contact); err != nil {
			return err
		}
		if err := checkRosterItem(&put[i]); err != nil {
			return fmt.Errorf("%w: contact %s: %w", ErrInvalid, put[i].Contact, err)
		}
	}
	for _, c := range remove {
		if err := contact(c); err != nil {
			return err
		}
	}
	return nil
}

func checkRosterItem(item *RosterItem) error {
	switch item.Subscription {
	case SubNone, SubTo, SubFrom, SubBoth:
	default:
		return fmt.Errorf("no subscription %q", item.Subscription)
	}
	if !isText(item.Name) {
		return errors.New("name is no text")
	}
	size := len(item.Name) + len(item.Request)
	seen := make(map[string]struct{}, len(item.Groups))
	for _, g := range item.Groups {
		if _, twice := seen[g]; twice || g == "" {
			return fmt.Errorf("group %q is empty or named twice", g)
		}
		if !isText(g) {
			return errors.New("group is no text")
		}
		seen[g] = struct{}{}
		size += len(g)
	}
	if size > MaxValue {
		return fmt.Errorf("item of %d bytes, the limit is %d", size, MaxValue)
	}
	return nil
}

// CheckOffline tells whether a message can be stored for owner: nil, or an
// error that wraps ErrInvalid. It is for adapters.
func CheckOffline(owner jid.JID, m OfflineMessage) error {
	if !owner.IsBare() {
		return fmt.Errorf("%w: owner has a resourcepart", ErrInvalid)
	}
	if len(m.XML) == 0 || len(m.XML) > MaxValue {
		return fmt.Errorf("%w: message of %d bytes, allowed are 1 to %d", ErrInvalid, len(m.XML), MaxValue)
	}
	return nil
}
