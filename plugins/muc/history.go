package muc

import (
	"context"
	"fmt"
	"slices"
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
	after          uint64 // a place in the archive
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

// history sends who enters what was said before, out of the archive, with the ids that it has there
// (7.2.13). A member whose client asks for nothing else is sent all that was said since he left; or, if the
// server was killed while he was there, since he is known to have been.
func (t *turn) history(s *session, x *stanza.Element) error {
	w := t.windowOf(x)
	if !t.r.Config.Archive || w.stanzas == 0 || w.chars == 0 {
		return nil
	}
	if a := t.r.affiliates[s.of.account]; a != nil && a.Seen > 0 && (x == nil || x.Child("", "history") == nil) {
		missed := window{stanzas: t.s.options.MaxHistory, chars: w.chars, after: a.Seen}
		list, err := t.past(s, missed)
		if err != nil {
			return err
		}
		if len(list) > w.stanzas {
			return t.sendAll(list)
		}
	}
	list, err := t.past(s, w)
	if err != nil {
		return err
	}
	return t.sendAll(list)
}

// past returns what was said in a window, the last of it, in order.
func (t *turn) past(s *session, w window) ([]*stanza.Stanza, error) {
	f := storage.Filter{Start: w.since}
	f.After, _ = t.Archive.Between(w.since, time.Time{})
	f.After = max(f.After, w.after)
	// there is more in an archive than what is read
	var rows []storage.Row
	if err := t.look(func(ctx context.Context) (err error) {
		rows, _, err = t.Archive.Rows(ctx, t.addr, f, storage.Page{Backwards: true, Limit: min(2*w.stanzas, mostRows), Bytes: 2 * w.chars})
		return err
	}); err != nil {
		return nil, fmt.Errorf("muc: read the history: %w", err)
	}
	var list []*stanza.Stanza
	for i := len(rows) - 1; i >= 0 && len(list) < w.stanzas; i-- {
		st, err := t.told(s, &rows[i])
		if err != nil {
			return nil, fmt.Errorf("muc: a row of the archive is damaged: %w", err)
		}
		if !keeps(st) {
			continue
		}
		if w.chars -= len(st.XML(xmpp.NSClient)); w.chars < 0 {
			break
		}
		list = append(list, st)
	}
	slices.Reverse(list)
	return list, nil
}

// mostRows is how many rows of an archive are looked at for a history.
const mostRows = 1_000

func (t *turn) sendAll(list []*stanza.Stanza) error {
	for _, st := range list {
		if err := t.Stanzas.Send(st); err != nil {
			return err
		}
	}
	return nil
}

// told returns a message of the archive as history: without the address of who has said it.
func (t *turn) told(s *session, row *storage.Row) (*stanza.Stanza, error) {
	st, err := xmlstream.ParseStanza([]byte(row.XML), xmpp.NSClient, xmlstream.Limits{})
	if err != nil {
		return nil, err
	}
	st = st.Patch(func(c stanza.Child) bool { return c.Space == nsUser }, t.delay(stamp(row.Stamp)))
	h := st.Header
	h.To = s.jid
	return st.With(h), nil
}
