package muc

import (
	"context"
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
	if err != nil {
		return err
	}
	// what its sender did not want to be kept can be moderated, too: clients have it
	if _, given := t.keys.ids.Read(id); row == nil && (!given || said != nil) {
		return t.fail(stanza.ItemNotFound, "There is no such message in this room, or it is retracted.")
	}
	o := by.session.of
	moderated := stanza.El(nsModerate, "moderated", stanza.At("by", o.addr.String())).Add(occupantID(o.id))
	retract := stanza.El(nsRetract, "retract", stanza.At("id", id)).Add(moderated)
	n := t.Archive.NewID()
	retracted := stanza.El(nsRetract, "retracted", stanza.At("stamp", stamp(t.Now())), stanza.At("id", t.keys.ids.Write(n))).Add(moderated)
	if e := request.Child(nsModerate, "reason"); e != nil && e.Text() != "" {
		reason := stanza.El(nsRetract, "reason").WithText(shortened(e.Text(), maxReason))
		retract.Add(reason)
		retracted.Add(reason)
	}
	if err := t.result(nil); err != nil {
		return err
	}
	if err := t.announces(n, retract); err != nil || row == nil {
		return err
	}
	return t.bury(row, said, retracted)
}

// announces sends all what the room itself says, and keeps it: who is away learns of it.
func (t *turn) announces(id uint64, what *stanza.Element) error {
	name := t.keys.ids.Write(id)
	h := stanza.Header{Kind: stanza.Message, Type: stanza.GroupChat, ID: name, From: t.addr}
	st := stanza.New(h, what, mam.StanzaID(t.addr.String(), name))
	if t.r.Config.Archive {
		t.Archive.Append(storage.Row{Owner: t.addr, ID: id, Stamp: t.Now(), With: t.addr, XML: st.XML(xmpp.NSClient)})
	}
	return t.tellAll(st)
}

// retracts returns what the sender of the message of the turn has said and takes back (XEP-0424), if that
// is what the message is for. What is too old for the archive is left to clients.
func (t *turn) retracts(s *session) (*storage.Row, *stanza.Stanza, error) {
	var x *stanza.Element
	for _, c := range t.in.Children() {
		if c.Space != nsRetract || c.Local != "retract" {
			continue
		}
		if x != nil {
			return nil, nil, t.fail(stanza.BadRequest, "Retract one message at a time.")
		}
		x = t.in.Element(c)
	}
	if x == nil {
		return nil, nil, nil
	}
	if x.Child(nsModerate, "moderated") != nil {
		return nil, nil, t.fail(stanza.BadRequest, "Only the room says that something was moderated.")
	}
	row, said, err := t.saying(x.Attr("id"))
	if err != nil || row == nil {
		return nil, nil, err
	}
	if whose := said.Find(nsOccupantID, "occupant-id"); whose == nil || whose.Attr("id") != s.of.id {
		return nil, nil, t.fail(stanza.Forbidden, "Somebody else has said that.")
	}
	return row, said, nil
}

// saying returns the row of the archive with this id, and what was said; nil if there is none. Of what was
// taken back there is the tombstone alone.
func (t *turn) saying(id string) (*storage.Row, *stanza.Stanza, error) {
	n, ok := t.keys.ids.Read(id)
	if !ok || n == 0 || n > storage.MaxID || !t.r.Config.Archive {
		return nil, nil, nil
	}
	var rows []storage.Row
	if err := t.look(func(ctx context.Context) (err error) {
		rows, _, err = t.Archive.Rows(ctx, t.addr, storage.Filter{IDs: []uint64{n}}, storage.Page{Limit: 1})
		return err
	}); err != nil {
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
		return nil, st, nil
	}
	return &rows[0], st, nil
}

// bury leaves a tombstone of what was said (XEP-0424 4): who has said it when, under which id. If that was
// the subject, the room has none any more. It comes behind what else is kept of the turn.
func (t *turn) bury(row *storage.Row, said *stanza.Stanza, retracted *stanza.Element) error {
	st := said.Patch(func(c stanza.Child) bool {
		return c.Space != nsOccupantID && c.Space != nsUser && c.Space != mam.NSIDs
	}, retracted)
	t.Archive.Replace(t.addr, row.ID, st.XML(xmpp.NSClient))
	if t.r.Subject == nil || t.r.Subject.Row != row.ID {
		return nil
	}
	t.r.Subject = nil
	if err := t.saveRoom(); err != nil {
		return err
	}
	return t.announces(t.Archive.NewID(), stanza.El("", "subject"))
}
