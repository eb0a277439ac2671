package mam

import (
	"context"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/mam"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// submit keeps what a client sends. One to the own account is kept when it is
// delivered: it is in the archive once (6.1.1).
func (k *keeper) submit(ctx context.Context, h *extension.Host, e *extension.Envelope) (v extension.Verdict, err error) {
	to := e.Stanza.To
	if to.IsZero() || to.Bare() == e.Account {
		return v, nil
	}
	v.ArchiveID, err = k.keep(ctx, h, e, to)
	return v, err
}

// deliver keeps what comes to an account, which is told the ID (3.5). What will be
// refused since the resource is not there (RFC 6121 8.5.3.2.1) has not come (6.1).
func (k *keeper) deliver(ctx context.Context, h *extension.Host, e *extension.Envelope) (v extension.Verdict, err error) {
	if e.Stanza.From.IsZero() || gone(h, e) {
		return v, nil
	}
	id, err := k.keep(ctx, h, e, e.Stanza.From)
	if id != "" {
		v.Action = extension.Patch
		v.Append = []*stanza.Element{mam.StanzaID(e.Account.String(), id)}
	}
	return v, err
}

// gone says whether a message is for a resource that is not there, and for nobody else.
func gone(h *extension.Host, e *extension.Envelope) bool {
	to := e.Stanza.To
	return !to.IsBare() && e.Stanza.Type != stanza.Chat &&
		!slices.ContainsFunc(h.Sessions.Of(e.Account), func(s extension.Session) bool { return s.JID == to })
}

// keep appends a message to the archive of e.Account, who exchanges it with somebody,
// and returns its ID; "" if it is not to be kept.
func (k *keeper) keep(ctx context.Context, h *extension.Host, e *extension.Envelope, with jid.JID) (id string, err error) {
	if !mam.Keeps(e.Stanza) {
		return "", nil
	}
	wanted, err := wants(ctx, h, e.Account, with)
	if err != nil || !wanted {
		return "", err
	}
	xml := e.Stanza.XML(xmpp.NSClient)
	if len(xml) > storage.MaxValue {
		h.Log.Warn("a message is too long for the archive, and was not kept", "account", e.Account, "bytes", len(xml))
		return "", nil
	}
	row := storage.Row{Owner: e.Account, Stamp: h.Now().Truncate(time.Millisecond), With: with, XML: xml}
	row.ID = h.Archive.NewID()
	h.Archive.Append(row)
	return k.ids.Write(row.ID), nil
}
