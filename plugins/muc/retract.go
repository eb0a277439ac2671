package muc

import (
	"fmt"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/mam"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// moderate takes back what somebody has said, for a moderator (XEP-0425 3). The archive has a
// tombstone in its place (4).
func (t *turn) moderate(request *stanza.Element) error {
	if err := t.mayLook(); err != nil {
		return err
	}
	by := t.actor()
	switch {
	case by.session == nil || by.role < Moderator:
		return t.fail(stanza.Forbidden, "This is for moderators in the room.")
	case request.Child(nsRetract, "retract") == nil:
		return t.fail(stanza.FeatureNotImplemented, "Messages can be retracted.")
	}
	id := request.Attr("id")
	row, said, err := t.saying(id)
	switch {
	case err != nil:
		return err
	case row == nil && t.r.Config.Archive:
		return t.fail(stanza.ItemNotFound, "There is no such message in the archive of the room.")
	}
	o := by.session.of
	moderated := stanza.El(nsModerate, "moderated", stanza.At("by", o.addr.String())).Add(occupantID(o.id))
	retract := stanza.El(nsRetract, "retract", stanza.At("id", id)).Add(moderated)
	retracted := stanza.El(nsRetract, "retracted", stanza.At("stamp", stamp(t.Now()))).Add(moderated)
	if e := request.Child(nsModerate, "reason"); e != nil && e.Text() != "" {
		reason := stanza.El(nsRetract, "reason").WithText(shortened(e.Text(), maxReason))
		retract.Add(reason)
		retracted.Add(reason)
	}
	if err := t.result(nil); err != nil {
		return err
	}
	if row != nil {
		t.bury(row, said, retracted)
	}
	return t.announces(stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.GroupChat, From: t.addr}, retract))
}

// announces sends all what the room itself says, and keeps it: who is away learns of it.
func (t *turn) announces(st *stanza.Stanza) error {
	id := t.Archive.NewID()
	name := t.keys.ids.Write(id)
	h := st.Header
	h.ID = name
	st = st.With(h).Patch(func(stanza.Child) bool { return false }, mam.StanzaID(t.addr.String(), name))
	if t.r.Config.Archive {
		t.Archive.Append(storage.Row{Owner: t.addr, ID: id, Stamp: t.Now(), With: t.addr, XML: st.XML(xmpp.NSClient)})
	}
	return t.tellAll(st)
}

// retracts takes back what the sender of the message of the turn has said (XEP-0424), if that is what the
// message is for. What is too old for the archive is left to clients.
func (t *turn) retracts(s *session) error {
	x := t.in.Find(nsRetract, "retract")
	if x == nil {
		return nil
	}
	if x.Child(nsModerate, "moderated") != nil {
		return t.fail(stanza.BadRequest, "Only the room says that something was moderated.")
	}
	row, said, err := t.saying(x.Attr("id"))
	if err != nil || row == nil {
		return err
	}
	if whose := said.Find(nsOccupantID, "occupant-id"); whose == nil || whose.Attr("id") != s.of.id {
		return t.fail(stanza.Forbidden, "Somebody else has said that.")
	}
	retracted := stanza.El(nsRetract, "retracted", stanza.At("stamp", stamp(t.Now())))
	if t.in.ID != "" {
		retracted.Attrs = append(retracted.Attrs, stanza.At("id", t.in.ID))
	}
	t.bury(row, said, retracted)
	return nil
}

// saying returns the row of the archive with this id, and what was said; nil if there is none, or
// nothing is left of it.
func (t *turn) saying(id string) (*storage.Row, *stanza.Stanza, error) {
	n, ok := t.keys.ids.Read(id)
	if !ok || n == 0 || n > storage.MaxID || !t.r.Config.Archive {
		return nil, nil, nil
	}
	rows, _, err := t.Archive.Rows(t, t.addr, storage.Filter{IDs: []uint64{n}}, storage.Page{Limit: 1})
	if err != nil {
		return nil, nil, fmt.Errorf("muc: read the archive: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil, nil
	}
	st, err := xmlstream.ParseStanza([]byte(rows[0].XML), xmpp.NSClient, xmlstream.Limits{})
	if err != nil {
		return nil, nil, fmt.Errorf("muc: a row of the archive is damaged: %w", err)
	}
	if _, gone := st.Child(nsRetract, "retracted"); gone {
		return nil, nil, nil
	}
	return &rows[0], st, nil
}

// bury leaves a tombstone of what was said (XEP-0424 4): who has said it when, under which id.
func (t *turn) bury(row *storage.Row, said *stanza.Stanza, retracted *stanza.Element) {
	st := said.Patch(func(c stanza.Child) bool {
		return c.Space != nsOccupantID && c.Space != nsUser && c.Space != mam.NSIDs
	}, retracted)
	t.Archive.Replace(t.addr, row.ID, st.XML(xmpp.NSClient))
}
