package muc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/archive"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/mam"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Bounds of a page of a query. A client of ours that does not read what it was sent gets none.
const (
	defaultPage   = 100
	maxPage       = 500
	maxPageBytes  = 256 << 10
	pageShare     = 4 // of what may be queued for the client
	leastQueue    = 32 << 10
	countWithPage = 1_000
	countAlone    = 10_000
	queryTime     = 5 * time.Second
)

// archive is that of the room.
func (t *turn) archive() *archive.Archive {
	return &archive.Archive{Archive: t.Archive, IDs: t.keys.ids, Owner: t.addr}
}

// mayRead says why somebody may not read the archive of the room: who may not enter it may not
// (XEP-0313 6.1.2). Who has to know a password to enter has to be in the room, or a member.
func (t *turn) mayRead() error {
	if err := t.mayLook(); err != nil {
		return err
	}
	c, is := &t.r.Config, t.r.affiliationOf(t.in.From)
	switch {
	case !c.Archive:
		return stanza.Err(stanza.ServiceUnavailable, "This room has no archive.")
	case is == Outcast, c.MembersOnly && is < Member, c.Password != "" && is < Member && t.r.session(t.in.From) == nil:
		return t.fail(stanza.Forbidden, "Who may not enter the room may not read its archive.")
	}
	return nil
}

// fields answers which fields a query may have (XEP-0313 4.1.5).
func (t *turn) fields() error {
	if err := t.mayRead(); err != nil {
		return err
	}
	return t.result(mam.Form())
}

// metadata answers what the first and the last message of the archive are (XEP-0313 5).
func (t *turn) metadata() error {
	if err := t.mayRead(); err != nil {
		return err
	}
	var answer *stanza.Element
	if err := t.look(func(ctx context.Context) (err error) {
		answer, err = t.archive().Metadata(ctx)
		return err
	}); err != nil {
		return err
	}
	return t.result(answer)
}

// look has f look into the archive, in time.
func (t *turn) look(f func(ctx context.Context) error) error {
	bounded, cancel := context.WithTimeout(t.Context, queryTime)
	defer cancel()
	err := f(bounded)
	switch {
	case errors.Is(err, storage.ErrUnavailable):
		return t.fail(stanza.ResourceConstraint, "The archive can't be read just now; ask again later.")
	case err != nil && bounded.Err() != nil && t.Err() == nil:
		return t.fail(stanza.ResourceConstraint, "This takes too long; ask for less, or later.")
	}
	return err
}

// query sends a page of the archive (XEP-0313 4).
func (t *turn) query(x *stanza.Element) error {
	if err := t.mayRead(); err != nil {
		return err
	}
	q, failed := mam.ParseQuery(x)
	switch {
	case failed != nil:
		return failed
	case q.Node != "":
		return t.fail(stanza.ItemNotFound, "A room has no nodes.")
	}
	bytes := maxPageBytes
	if slices.Contains(t.Domains, t.in.From.Domain()) {
		queue := t.Sessions.Room(t.in.From)
		if queue < leastQueue {
			return t.fail(stanza.ResourceConstraint, "Read first what was sent.")
		}
		bytes = min(bytes, queue/pageShare)
	}
	var page *archive.Page
	if err := t.look(func(ctx context.Context) (err error) {
		page, err = t.archive().Query(ctx, q, archive.Limits{Default: defaultPage, Most: maxPage, Bytes: bytes, Count: countWithPage, CountAlone: countAlone})
		return err
	}); err != nil {
		return err
	}
	head := stanza.Header{Kind: stanza.Message, From: t.addr, To: t.in.From}
	for i := range page.Rows {
		row := &page.Rows[i]
		st, err := t.recalled(row)
		if err != nil {
			return err
		}
		if err := t.Stanzas.Send(mam.Result(head, q.ID, t.keys.ids.Write(row.ID), st.XML(xmpp.NSClient), row.Stamp)); err != nil {
			return err
		}
	}
	return t.result(page.Fin.Element())
}

// recalled returns a message of the archive as who has sent the stanza of the turn may see it.
func (t *turn) recalled(row *storage.Row) (*stanza.Stanza, error) {
	st, err := xmlstream.ParseStanza([]byte(row.XML), xmpp.NSClient, xmlstream.Limits{})
	if err != nil {
		return nil, fmt.Errorf("muc: a row of the archive is damaged: %w", err)
	}
	x := st.Find(nsUser, "x")
	if x == nil {
		return st, nil
	}
	isUser := func(c stanza.Child) bool { return c.Space == nsUser }
	if s := t.r.session(t.in.From); !saidOpenly(x) && t.r.affiliationOf(t.in.From) < Admin && (s == nil || s.of.role < Moderator) {
		return st.Patch(isUser), nil
	}
	told := stanza.El(nsUser, "x")
	if item := x.Child("", "item"); item != nil {
		told.Add(item)
	}
	return st.Patch(isUser, told), nil
}

// signed returns a message as it is kept: with the address of who has said it, and whether
// everybody saw it then (status 100).
func (t *turn) signed(s *session, st *stanza.Stanza) *stanza.Stanza {
	x := stanza.El(nsUser, "x").Add(stanza.El(nsUser, "item",
		stanza.At("affiliation", t.r.affiliationOf(s.of.account).String()), stanza.At("role", s.of.role.String()), stanza.At("jid", s.jid.String())))
	if t.r.Config.FullJIDs {
		x.Add(statusElement(statusFullJIDs))
	}
	return st.Patch(func(c stanza.Child) bool { return c.Space == nsUser }, x)
}

// saidOpenly says of <x/> of a message that is kept that everybody saw the address.
func saidOpenly(x *stanza.Element) bool {
	for _, e := range x.Elements() {
		if e.Local == "status" && e.Attr("code") == statusFullJIDs {
			return true
		}
	}
	return false
}

// timerExpire is the timer by which what is past its retention is deleted, what is left of archives
// of rooms that are gone, and what slow mode went by.
const timerExpire = "expire"

// start sets the timer.
func (s *Service) start(_ context.Context, h *extension.Host) error {
	return h.Timers.Set(timerExpire, archive.FirstExpiry, nil)
}

// timer deletes some, and comes again.
func (s *Service) timer(ctx context.Context, h *extension.Host, t extension.Timer) error {
	if t.Key != timerExpire {
		return nil
	}
	var before time.Time
	if days := s.options.Retention; days > 0 {
		before = h.Now().AddDate(0, 0, -days)
	}
	pause, err := archive.Expire(ctx, h.Archive, before)
	if err != nil {
		h.Log.Error("messages of rooms that are past their retention can't be deleted; it is tried again", "error", err)
	}
	if pause == archive.PauseNone {
		n, err := expirePaces(ctx, h)
		switch {
		case err != nil:
			h.Log.Error("what slow mode goes by can't be deleted; it is tried again", "error", err)
			pause = archive.PauseFailed
		case n == maxExpiredPaces:
			pause = archive.PauseMore
		}
	}
	return h.Timers.Set(timerExpire, pause, nil)
}
