package muc

import (
	"strconv"

	"github.com/hexmpp/hexmpp/ports/xmpp/form"
	"github.com/hexmpp/hexmpp/ports/xmpp/mam"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// info answers what kind of room it is (6.4). Nobody but owners learns of one that is locked.
func (t *turn) info(query *stanza.Element) error {
	if err := t.mayLook(); err != nil {
		return err
	}
	switch query.Attr("node") {
	case "":
	case nodeReserved:
		return t.reservedItem()
	default:
		return t.commandInfo(query.Attr("node"))
	}
	c := &t.r.Config
	name := c.Name
	if name == "" {
		name = t.addr.Local()
	}
	either := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	answer := stanza.El(nsDiscoInfo, "query").Add(
		stanza.El(nsDiscoInfo, "identity", stanza.At("category", "conference"), stanza.At("type", "text"), stanza.At("name", name)))
	for _, feature := range []string{
		nsDiscoInfo, nsDiscoItems, nsMUC, nsRegister, nsHats, nsCommands, nsVCard, nsModerate, nsStableID, nsSelfPing, nsOccupantID, mam.NSIDs,
		either(c.Public, "muc_public", "muc_hidden"),
		either(c.Persistent, "muc_persistent", "muc_temporary"),
		either(c.MembersOnly, "muc_membersonly", "muc_open"),
		either(c.Moderated, "muc_moderated", "muc_unmoderated"),
		either(c.FullJIDs, "muc_nonanonymous", "muc_semianonymous"),
		either(c.Password != "", "muc_passwordprotected", "muc_unsecured"),
	} {
		answer.Add(stanza.El(nsDiscoInfo, "feature", stanza.At("var", feature)))
	}
	if c.Archive {
		for _, feature := range []string{mam.NS, mam.FeatureExtended, nsRetract, nsRetract + "#tombstone"} {
			answer.Add(stanza.El(nsDiscoInfo, "feature", stanza.At("var", feature)))
		}
	}
	details := form.Form{Type: form.Result, Purpose: nsInfo, Fields: []form.Field{
		{Var: "muc#roominfo_description", Type: form.TextSingle, Values: text(c.Description)},
		{Var: "muc#roominfo_lang", Type: form.TextSingle, Values: text(c.Lang)},
		{Var: "muc#roominfo_occupants", Type: form.TextSingle, Values: []string{strconv.Itoa(len(t.r.occupants))}},
		{Var: "muc#roominfo_slow_mode_duration", Type: form.TextSingle, Values: []string{strconv.Itoa(c.SlowMode)}},
		{Var: "muc#roominfo_changesubject", Type: form.Boolean, Values: boolean(c.ChangeSubject)},
	}}
	if len(t.r.Hats) > 0 {
		details.Fields = append(details.Fields, form.Field{Var: "hats#hash", Type: form.TextSingle, Values: []string{t.r.hatsHash()}})
	}
	if len(t.r.Avatar) > 0 {
		details.Fields = append(details.Fields, form.Field{Var: "muc#roominfo_avatarhash", Type: form.TextMulti, Values: t.r.Avatar})
	}
	return t.result(answer.Add(details.Element()))
}

// occupants lists those in the room, for those in the room (6.5).
func (t *turn) occupantItems(query *stanza.Element) error {
	if err := t.mayLook(); err != nil {
		return err
	}
	answer := stanza.El(nsDiscoItems, "query")
	switch query.Attr("node") {
	case "":
	case nsCommands:
		return t.commandItems()
	default:
		return t.fail(stanza.ItemNotFound, "")
	}
	if t.r.session(t.in.From) != nil {
		for _, o := range t.r.inOrder() {
			if t.r.Config.shows(o.role) {
				answer.Add(stanza.El(nsDiscoItems, "item", stanza.At("jid", o.addr.String()), stanza.At("name", o.Nick)))
			}
		}
	}
	return t.result(answer)
}

func (t *turn) mayLook() error {
	if t.r == nil || t.r.Locked && t.r.affiliationOf(t.in.From) != Owner {
		return t.fail(stanza.ItemNotFound, "There is no such room.")
	}
	return nil
}

// pingsItself says whether a ping is for the room, which is not passed on: to its own occupant JID
// (XEP-0410 3), to the room, and of who is not in it.
func (t *turn) pingsItself() bool {
	if t.r == nil || t.in.To.IsBare() {
		return true
	}
	s := t.r.session(t.in.From)
	return s == nil || t.r.byNick(t.in.To.Resource()) == s.of
}

// ping answers whether a client is still in the room.
func (t *turn) ping() error {
	switch {
	case t.r == nil:
		return t.fail(stanza.ItemNotFound, "There is no such room.")
	case t.r.session(t.in.From) == nil:
		return t.fail(stanza.NotAcceptable, "You are not in the room.")
	}
	return t.result(nil)
}
