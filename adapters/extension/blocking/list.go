package blocking

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// list is a block list as it is stored: canonical JIDs in byte order, each with a
// line feed behind it, which no JID has in it (RFC 7622). Stanzas ask the stored
// bytes: nothing is decoded for them.
type list []byte

// load returns the list of an account and its revision; both are zero if it has
// none.
func load(ctx context.Context, h *extension.Host, owner jid.JID) (list, uint64, error) {
	e, _, err := h.Store.Get(ctx, owner, key)
	if err != nil {
		return nil, 0, fmt.Errorf("blocking: load of %s: %w", owner, err)
	}
	return e.Value, e.Revision, nil
}

// newList returns the list of these items.
func newList(items []string) list {
	slices.Sort(items)
	var l list
	for _, it := range slices.Compact(items) {
		l = append(append(l, it...), '\n')
	}
	return l
}

// blocks says whether the account own has blocked another address (section 6).
func (l list) blocks(own, other jid.JID) bool {
	bare := other.Bare()
	if other.IsZero() || bare == own || bare == own.DomainJID() {
		return false
	}
	return l.has(bare.String()) || l.has(other.Domain()) || other != bare && l.has(other.String())
}

// has looks an item up: a binary search among lines.
func (l list) has(item string) bool {
	for len(l) > 0 {
		middle := len(l) / 2
		start := bytes.LastIndexByte(l[:middle], '\n') + 1
		end := len(l)
		if n := bytes.IndexByte(l[middle:], '\n'); n >= 0 {
			end = middle + n
		}
		switch line := l[start:end]; {
		case string(line) == item:
			return true
		case string(line) < item:
			l = l[min(end+1, len(l)):]
		default:
			l = l[:start]
		}
	}
	return false
}

// items returns the items in their order.
func (l list) items() iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range strings.Lines(string(l)) {
			if !yield(strings.TrimSuffix(line, "\n")) {
				return
			}
		}
	}
}

// jids returns the items as addresses. What is none by the rules of today can be
// nobody's address.
func (l list) jids() (jids []jid.JID) {
	for it := range l.items() {
		if j, err := jid.Parse(it); err == nil {
			jids = append(jids, j)
		}
	}
	return jids
}

// len returns the number of items.
func (l list) len() int { return bytes.Count(l, []byte{'\n'}) }

// with returns the list with further items, and which of them are new.
func (l list) with(items []jid.JID) (next list, added []jid.JID) {
	all := slices.Collect(l.items())
	for _, j := range items {
		if !l.has(j.String()) {
			added = append(added, j)
			all = append(all, j.String())
		}
	}
	return newList(all), added
}

// without returns the list without some items, and which of them it had.
func (l list) without(items []jid.JID) (next list, removed []jid.JID) {
	drop := map[string]bool{}
	for _, j := range items {
		if l.has(j.String()) {
			removed = append(removed, j)
			drop[j.String()] = true
		}
	}
	return newList(slices.DeleteFunc(slices.Collect(l.items()), func(it string) bool { return drop[it] })), removed
}
