// Package overlay is how a handler sees its own changes in what it reads, before they
// are applied: in the kernel and in a plugin's process by the same rules.
package overlay

import (
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Owner returns whose entries are meant: accounts go by their bare JIDs.
func Owner(j jid.JID) jid.JID { return j.Bare() }

// Writes are what a handler wrote by extension.Store, each key once. The zero value is
// empty. One goroutine at a time may use it.
type Writes []storage.Op

// Last returns the handler's own last write of a key, nil if there is none.
func (w Writes) Last(owner jid.JID, key string) *storage.Op {
	for i := range w {
		if op := &w[i]; op.Key == key && op.Owner == owner {
			return op
		}
	}
	return nil
}

// Write adds a write: the last one of a key holds, with the first condition.
func (w *Writes) Write(op storage.Op) {
	if was := w.Last(op.Owner, op.Key); was != nil {
		op.If, op.Revision = was.If, was.Revision
		*was = op
		return
	}
	*w = append(*w, op)
}

// Ask returns how many stored entries are to be read for a page of limit: own deletions
// make room for as many more.
func (w Writes) Ask(limit int) int { return limit + len(w) }

// Page returns a page of entries of an owner as the handler sees them: at most limit,
// whose keys begin with prefix, behind the key after. stored are those that are stored, Ask(limit)
// of them or all.
func (w Writes) Page(owner jid.JID, prefix, after string, limit int, stored []extension.Entry) []extension.Entry {
	var own []Change[extension.Entry]
	for i := range w {
		if op := &w[i]; op.Owner == owner && strings.HasPrefix(op.Key, prefix) && op.Key > after {
			c := Change[extension.Entry]{Key: op.Key}
			if !op.Delete {
				c.Value = &extension.Entry{Key: op.Key, Value: op.Value}
			}
			own = append(own, c)
		}
	}
	return Page(stored, len(stored) == w.Ask(limit), func(e *extension.Entry) string { return e.Key }, own, limit)
}

// Change is what became of a key last.
type Change[T any] struct {
	Key   string
	Value *T // nil: it is not there any more
}

// Page merges what is stored, in the order of its keys, with own changes of the same
// part, which are in any order. full says that more may be stored, behind the last one.
func Page[T any](stored []T, full bool, key func(*T) string, own []Change[T], limit int) []T {
	changed := make(map[string]bool, len(own))
	for _, c := range own {
		changed[c.Key] = true
	}
	var out []T
	for i := range stored {
		if !changed[key(&stored[i])] {
			out = append(out, stored[i])
		}
	}
	// Behind the last key of a full page more may be stored: own ones that come later
	// belong to a later page.
	full = full && len(stored) > 0
	for _, c := range own {
		if c.Value != nil && (!full || c.Key <= key(&stored[len(stored)-1])) {
			out = append(out, *c.Value)
		}
	}
	if len(own) > 0 {
		slices.SortFunc(out, func(a, b T) int { return strings.Compare(key(&a), key(&b)) })
	}
	return out[:min(max(0, limit), len(out))]
}
