package mam

import (
	"context"
	"errors"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/archive"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/mam"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Bounds of a page besides the number of its messages. It takes a part of the room
// that there is for the client, so that one who asks for many pages at once, and
// reads them, is not taken for one who does not read.
const (
	maxPageBytes = 256 << 10
	pageShare    = 4
	leastRoom    = 32 << 10
)

// What is counted (XEP-0059 2.2, 2.7): see package archive.
const (
	countWithPage = 1_000
	countAlone    = 10_000
)

// queryTime bounds a query, and the time for which it keeps others from reading archives.
const queryTime = 5 * time.Second

// look has f look into an archive, in time. Who asks for too much, or while too many
// others ask, is told to wait.
func look(ctx context.Context, f func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	err := f(bounded)
	var told *stanza.Error
	switch {
	case err == nil, errors.As(err, &told):
		return err
	case errors.Is(err, storage.ErrBusy):
		return stanza.Err(stanza.ResourceConstraint, "too many read their archives; ask again later")
	case bounded.Err() != nil && ctx.Err() == nil:
		return stanza.Err(stanza.ResourceConstraint, "this takes too long; ask for less, or later")
	}
	return err
}

// query is section 4: results, and then the answer.
func (k *keeper) query(ctx context.Context, h *extension.Host, iq extension.IQ) (*stanza.Element, error) {
	if iq.Origin.Session.IsZero() { // an extension asks on behalf of the account
		return nil, stanza.Err(stanza.NotAllowed, "Archives are queried by clients of the account.")
	}
	q, failed := mam.ParseQuery(iq.Payload())
	switch {
	case failed != nil:
		return nil, failed
	case q.Node != "":
		return nil, stanza.Err(stanza.ItemNotFound, "an account has no nodes")
	}
	room := h.Sessions.Room(iq.From)
	if room < leastRoom {
		return nil, stanza.Err(stanza.ResourceConstraint, "read first what was sent")
	}
	owner := iq.From.Bare()
	var page *archive.Page
	if err := look(ctx, func(ctx context.Context) (err error) {
		page, err = k.archive(h, owner).Query(ctx, q, archive.Limits{
			Default: min(defaultPage, k.options.MaxPage), Most: k.options.MaxPage, Bytes: min(maxPageBytes, room/pageShare),
			Count: countWithPage, CountAlone: countAlone,
		})
		return err
	}); err != nil {
		return nil, err
	}
	head := stanza.Header{Kind: stanza.Message, From: owner, To: iq.From}
	for i := range page.Rows {
		r := &page.Rows[i]
		xml := r.XML
		if len(xml) > room/2 { // the limits allow stanzas that no client can be sent: its place is kept (3.2)
			xml = ""
		}
		if err := h.Stanzas.Precede(mam.Result(head, q.ID, k.ids.Write(r.ID), xml, r.Stamp)); err != nil {
			return nil, err
		}
	}
	return page.Fin.Element(), nil
}

// form is 4.1.5.
func form(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) {
	return mam.Form(), nil
}

// metadata is section 5.
func (k *keeper) metadata(ctx context.Context, h *extension.Host, iq extension.IQ) (answer *stanza.Element, err error) {
	err = look(ctx, func(ctx context.Context) (err error) {
		answer, err = k.archive(h, iq.From.Bare()).Metadata(ctx)
		return err
	})
	return answer, err
}
