package private

import (
	"context"
	"fmt"
	"strconv"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// countKey is where the number of names that an account has stored is, in
// decimal: so that a set need not read them all.
const countKey = "count"

// store puts groups into storage, or takes away what is stored under their
// names if they are empty. A name that comes or goes changes the count by Swap,
// and what is replaced is swapped, too: of two sets at the same time one runs
// again, and the count stays right.
func (o Options) store(ctx context.Context, h *extension.Host, owner jid.JID, groups []group) error {
	had, revision, err := count(ctx, h, owner)
	if err != nil {
		return err
	}
	has, changed := had, false
	for _, g := range groups {
		old, ok, err := h.Store.Get(ctx, owner, g.key())
		if err != nil {
			return fmt.Errorf("private: load of %s: %w", owner, err)
		}
		switch {
		case g.text != nil:
			h.Store.Swap(owner, g.key(), g.text, old.Revision)
		case ok:
			h.Store.Delete(owner, g.key())
		}
		if stays := g.text != nil; stays != ok {
			changed = true
			if stays {
				has++
			} else {
				has--
			}
		}
	}
	if has > had && has > o.MaxElements {
		return o.tooMany()
	}
	if changed {
		h.Store.Swap(owner, countKey, strconv.AppendInt(nil, int64(has), 10), revision)
	}
	return nil
}

// count returns how many names an account has stored, and the revision of that.
func count(ctx context.Context, h *extension.Host, owner jid.JID) (n int, revision uint64, err error) {
	e, ok, err := h.Store.Get(ctx, owner, countKey)
	if err != nil {
		return 0, 0, fmt.Errorf("private: load of %s: %w", owner, err)
	}
	if !ok {
		return 0, 0, nil
	}
	if n, err = strconv.Atoi(string(e.Value)); err != nil {
		return 0, 0, fmt.Errorf("private: count of %s: %w", owner, err)
	}
	return n, e.Revision, nil
}
