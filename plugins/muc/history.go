package muc

import (
	"fmt"
	"strconv"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// maxHistoryBytes bounds what who enters is sent of the past.
const maxHistoryBytes = 256 << 10

// window is how much of the past somebody wants (7.2.14).
type window struct {
	stanzas, chars int
	since          time.Time
}

// windowOf reads <history/>; what is no number counts for nothing.
func (t *turn) windowOf(x *stanza.Element) window {
	w := window{stanzas: t.r.Config.History, chars: maxHistoryBytes}
	var asked *stanza.Element
	if x != nil {
		asked = x.Child("", "history")
	}
	if asked == nil {
		return w
	}
	number := func(name string) (n int, given bool) {
		n, err := strconv.Atoi(asked.Attr(name))
		return n, err == nil && n >= 0
	}
	if n, given := number("maxstanzas"); given {
		w.stanzas = min(n, t.s.options.MaxHistory)
	}
	if n, given := number("maxchars"); given {
		w.chars = min(n, w.chars)
	}
	if n, given := number("seconds"); given {
		w.since = t.Now().Add(-time.Duration(min(n, 1<<31)) * time.Second)
	}
	if at, err := time.Parse(time.RFC3339, asked.Attr("since")); err == nil && at.After(w.since) {
		w.since = at
	}
	return w
}

// history sends who enters what was said before: the last messages of the archive, with the ids
// that they have there (7.2.13).
func (t *turn) history(s *session, x *stanza.Element) error {
	w := t.windowOf(x)
	if !t.r.Config.Archive || w.stanzas == 0 || w.chars == 0 {
		return nil
	}
	f := storage.Filter{Start: w.since}
	f.After, _ = t.Archive.Between(w.since, time.Time{})
	rows, _, err := t.Archive.Rows(t, t.addr, f, storage.Page{Backwards: true, Limit: w.stanzas, Bytes: w.chars})
	if err != nil {
		return fmt.Errorf("muc: read the history: %w", err)
	}
	list := make([]*stanza.Stanza, len(rows))
	first := len(rows)
	for i := len(rows) - 1; i >= 0; i-- {
		if list[i], err = t.told(s, &rows[i]); err != nil {
			return fmt.Errorf("muc: a row of the archive is damaged: %w", err)
		}
		if w.chars -= len(list[i].XML(xmpp.NSClient)); w.chars < 0 {
			break
		}
		first = i
	}
	for _, st := range list[first:] {
		if err := t.Stanzas.Send(st); err != nil {
			return err
		}
	}
	return nil
}

// told returns a message of the archive as history.
func (t *turn) told(s *session, row *storage.Row) (*stanza.Stanza, error) {
	st, err := xmlstream.ParseStanza([]byte(row.XML), xmpp.NSClient, xmlstream.Limits{})
	if err != nil {
		return nil, err
	}
	st = st.Patch(func(stanza.Child) bool { return false }, t.delay(stamp(row.Stamp)))
	h := st.Header
	h.To = s.jid
	return st.With(h), nil
}
