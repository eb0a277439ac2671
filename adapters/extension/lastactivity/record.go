package lastactivity

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// key is where an account's record is stored, as JSON.
const key = "left"

// record is what is known of an account's last session that became unavailable.
type record struct {
	At     time.Time `json:"at"`
	Status string    `json:"status,omitempty"` // of its last presence
}

// maxStatus bounds a status that is kept, in bytes; of a longer one the beginning
// is.
const maxStatus = 1 << 10

// left notes that a session became unavailable. While another one is available
// nobody is told of it, and if that leaves, too, its record replaces this.
func left(_ context.Context, h *extension.Host, n extension.Notice) error {
	r := record{At: n.At.UTC().Truncate(time.Millisecond)}
	if s := n.Presence.Find("", "status"); s != nil {
		r.Status = short(s.Text())
	}
	value, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("lastactivity: note that %s left: %w", n.Session, err)
	}
	h.Store.Put(n.Session.Bare(), key, value)
	return nil
}

// short returns the beginning of a text, in whole characters.
func short(text string) string {
	if len(text) <= maxStatus {
		return text
	}
	end := maxStatus
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// load returns the record of an account, nil if there is none.
func load(ctx context.Context, h *extension.Host, account jid.JID) (*record, error) {
	e, ok, err := h.Store.Get(ctx, account, key)
	if err != nil {
		return nil, fmt.Errorf("lastactivity: when %s left: %w", account, err)
	}
	if !ok {
		return nil, nil
	}
	var r record
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return nil, fmt.Errorf("lastactivity: when %s left, as it is stored: %w", account, err)
	}
	return &r, nil
}
