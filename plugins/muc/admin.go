package muc

import (
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Bounds of requests for roles and affiliations.
const (
	maxChanges    = 200     // items of a request
	maxAffiliates = 5_000   // of a room
	maxReason     = 500     // bytes of a reason that are kept, and told
	maxListBytes  = 2 << 20 // of a list; a handler may answer 3 MiB
)

// admin takes what moderators, admins and owners ask of roles and affiliations (8.2 to 8.5, 9,
// 10.3 to 10.8). Of several items that change something all are done, or none.
func (t *turn) admin(query *stanza.Element) error {
	if err := t.mayLook(); err != nil {
		return err
	}
	var items []*stanza.Element
	for _, e := range query.Elements() {
		if e.Space == nsAdmin && e.Local == "item" {
			items = append(items, e)
		}
	}
	switch {
	case len(items) == 0, t.in.Type == stanza.Get && len(items) > 1:
		return t.fail(stanza.BadRequest, "")
	case len(items) > maxChanges:
		return t.failAs(stanza.Modify, stanza.ResourceConstraint, "These are too many changes for one request.")
	case t.in.Type == stanza.Get:
		return t.list(items[0])
	}
	if err := t.result(nil); err != nil {
		return err
	}
	for _, item := range items {
		if err := t.changeItem(item); err != nil {
			return err
		}
	}
	return t.emptied()
}

// list answers who has a role, or an affiliation (8.5, 9.2, 9.5, 9.8, 10.5, 10.8).
func (t *turn) list(item *stanza.Element) error {
	answer := stanza.El(nsAdmin, "query")
	role, hasRole := parseRole(item.Attr("role"))
	affiliation, hasAffiliation := parseAffiliation(item.Attr("affiliation"))
	switch {
	case hasRole == hasAffiliation, hasRole && role == NoRole, hasAffiliation && affiliation == None:
		return t.fail(stanza.BadRequest, "")
	case hasRole:
		if needs := t.actor(); needs.role < Moderator || role == Moderator && needs.affiliation < Admin {
			return t.fail(stanza.Forbidden, "You may not see this list.")
		}
		for _, o := range t.r.inOrder() {
			if o.role == role {
				answer.Add(stanza.El(nsAdmin, "item", stanza.At("affiliation", t.r.affiliationOf(o.account).String()),
					stanza.At("jid", o.shown().jid.String()), stanza.At("nick", o.Nick), stanza.At("role", role.String())))
			}
		}
	default:
		if !t.mayList(affiliation) {
			return t.fail(stanza.Forbidden, "You may not see this list.")
		}
		t.addAffiliates(answer, affiliation)
	}
	if len(answer.Append(nil, "")) > maxListBytes {
		return t.failAs(stanza.WaitType, stanza.ResourceConstraint, "The list is too long to be sent.")
	}
	return t.result(answer)
}

// mayList says whether the sender may see who has an affiliation. In rooms where all see real addresses members
// may, but for outcasts, and moderators, if the room lets those of their role do so; members who are not
// there count as participants. In others moderators at most (5.2.1: the list has the addresses).
func (t *turn) mayList(a Affiliation) bool {
	is, role := t.r.affiliationOf(t.in.From), NoRole
	if s := t.r.session(t.in.From); s != nil {
		role = s.of.role
	} else if is >= Member {
		role = Participant
	}
	switch {
	case is == Owner, is == Admin && a <= Member:
		return true
	case a == Outcast, !slices.Contains(t.r.Config.lists(), role.String()):
		return false
	case role == Moderator:
		return a == Member || t.r.Config.FullJIDs
	}
	return is >= Member && t.r.Config.FullJIDs
}

func (t *turn) addAffiliates(answer *stanza.Element, is Affiliation) {
	var list []*affiliate
	for _, a := range t.r.affiliates {
		if a.Is == is {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *affiliate) int { return strings.Compare(a.JID.String(), b.JID.String()) })
	for _, a := range list {
		item := stanza.El(nsAdmin, "item", stanza.At("affiliation", is.String()), stanza.At("jid", a.JID.String()))
		if o := t.r.ofAccount(a.JID); o != nil { // 17.4: not the role
			item.Attrs = append(item.Attrs, stanza.At("nick", o.Nick))
		} else if a.Nick != "" {
			item.Attrs = append(item.Attrs, stanza.At("nick", a.Nick))
		}
		if a.Reason != "" {
			item.Add(stanza.El(nsAdmin, "reason").WithText(a.Reason))
		}
		answer.Add(item)
	}
}

// actor is who asks for something.
type actor struct {
	role        Role
	affiliation Affiliation
	nick        string   // "" for who is not in the room
	account     jid.JID  // bare
	session     *session // nil likewise
}

// actor returns what the sender of the stanza is in the room. Admins and owners may moderate without
// being there.
func (t *turn) actor() actor {
	a := actor{affiliation: t.r.affiliationOf(t.in.From), account: t.in.From.Bare(), session: t.r.session(t.in.From)}
	if a.session != nil {
		a.role, a.nick = a.session.of.role, a.session.of.Nick
	}
	if a.affiliation >= Admin {
		a.role = Moderator
	}
	return a
}

// changeItem does what one item asks for.
func (t *turn) changeItem(item *stanza.Element) error {
	why := ""
	if e := item.Child("", "reason"); e != nil {
		why = shortened(e.Text(), maxReason)
	}
	role, hasRole := parseRole(item.Attr("role"))
	affiliation, hasAffiliation := parseAffiliation(item.Attr("affiliation"))
	switch {
	case item.Attr("role") != "" && item.Attr("affiliation") != "":
		return t.fail(stanza.BadRequest, "An item changes a role, or an affiliation.")
	case hasRole:
		return t.changeRole(item, role, why)
	case hasAffiliation:
		return t.changeAffiliation(item, affiliation, why)
	}
	return t.fail(stanza.BadRequest, "No such role or affiliation.")
}

// changeRole kicks (8.2), and gives and takes voice (8.3, 8.4) and moderation (9.6, 9.7).
func (t *turn) changeRole(item *stanza.Element, role Role, why string) error {
	by := t.actor()
	if by.role < Moderator {
		return t.fail(stanza.Forbidden, "This is for moderators.")
	}
	nick := item.Attr("nick")
	if nick == "" {
		return t.fail(stanza.BadRequest, "A nickname is needed.")
	}
	o := t.r.byNick(nick)
	if o == nil {
		return t.fail(stanza.ItemNotFound, "There is nobody of this name in the room.")
	}
	if o.role == role {
		return nil
	}
	is := t.r.affiliationOf(o.account)
	self := o.account == by.account
	switch {
	case role == Moderator && by.affiliation < Admin:
		return t.fail(stanza.Forbidden, "This is for admins of the room.")
	case role == NoRole:
		if is > by.affiliation || o.role == Moderator && by.affiliation < Admin && !self {
			return t.fail(stanza.NotAllowed, "You may not remove "+o.Nick+".")
		}
		f := facts{role: NoRole, affiliation: is, actor: by.nick, reason: why, statuses: []string{statusKicked}}
		return t.removeOccupant(o, gone(o), f)
	case o.role == Moderator && by.affiliation < Admin && !self:
		return t.fail(stanza.Forbidden, "This is for admins of the room.")
	case role < o.role && (is >= Admin || is >= by.affiliation && is != None && !self):
		// 8.4, 9.7: what comes with being admin or owner can't be taken
		return t.fail(stanza.NotAllowed, "You may not take that from "+o.Nick+".")
	}
	f := t.r.factsOf(o)
	f.role, f.actor, f.reason = role, by.nick, why
	return t.becomes(o, role, f)
}

// becomes gives an occupant another role, and tells everybody; f says it.
func (t *turn) becomes(o *occupant, role Role, f facts) error {
	was := o.role
	t.r.dirty, o.role = true, role
	for _, s := range o.sessions {
		if err := t.saveSession(s); err != nil {
			return err
		}
	}
	s := o.shown()
	if c := &t.r.Config; c.shows(was) && !c.shows(role) {
		if err := t.tellOthers(s, gone(o), f); err != nil {
			return err
		}
	} else if err := t.announceOthers(s, s.show, f); err != nil {
		return err
	}
	if err := t.announceSelf(s, s.show, f); err != nil {
		return err
	}
	if role != Moderator || was == Moderator || t.r.Config.FullJIDs {
		return nil
	}
	for _, s := range o.sessions { // who moderates sees real addresses
		if err := t.roster(s); err != nil {
			return err
		}
	}
	return nil
}

// changeAffiliation bans (9.1), and makes and unmakes members (9.3, 9.4), admins (10.6,
// 10.7) and owners (10.3, 10.4).
func (t *turn) changeAffiliation(item *stanza.Element, next Affiliation, why string) error {
	by := t.actor()
	if by.affiliation < Admin {
		return t.fail(stanza.Forbidden, "This is for admins of the room.")
	}
	who, err := t.affiliated(item)
	if err != nil {
		return err
	}
	was := t.r.affiliationOf(who)
	switch {
	case next == Outcast && who == by.account:
		return t.fail(stanza.Conflict, "You can't ban yourself.")
	case next == Outcast && was >= Admin && by.affiliation < Owner:
		return t.fail(stanza.NotAllowed, "Only owners ban admins and owners.")
	case (next >= Admin || was >= Admin) && by.affiliation < Owner:
		return t.fail(stanza.Forbidden, "This is for owners of the room.")
	case next >= Admin && who.Local() == "":
		return t.fail(stanza.NotAllowed, "A whole domain can't be admin or owner.")
	case next < Owner && t.s.admins[who]:
		return t.fail(stanza.NotAllowed, "The administrators of the server are owners of every room.")
	case next < Owner && t.r.lastOwner(who):
		return t.fail(stanza.Conflict, "A room needs an owner.")
	}
	a := &affiliate{JID: who, Is: next}
	old := t.r.affiliates[who]
	if next > None {
		if old != nil {
			a.Nick, a.Seen = old.Nick, old.Seen
		}
		if nick, given := attr(item, "nick"); given && item.Attr("jid") != "" {
			if a.Nick, err = t.mayReserve(nick, who); err != nil {
				return err
			}
		}
	} else if next == Outcast {
		a.Reason = why
	}
	if old == nil && next != None && len(t.r.affiliates) >= maxAffiliates {
		return t.failAs(stanza.WaitType, stanza.ResourceConstraint, "The room has too many members, admins, owners and outcasts.")
	}
	if err := t.affiliate(a, by, why); err != nil {
		return err
	}
	if next == Member && was == None && t.r.Config.MembersOnly && who.Local() != "" && t.r.ofAccount(who) == nil {
		return t.invite(who, by) // 9.5
	}
	return nil
}

// affiliated returns who an item is about, as affiliations are kept: a bare JID, or a domain.
func (t *turn) affiliated(item *stanza.Element) (jid.JID, error) {
	if text := item.Attr("jid"); text != "" {
		j, err := jid.Parse(text)
		if err != nil {
			return j, t.fail(stanza.JIDMalformed, "")
		}
		return j.Bare(), nil
	}
	if nick := item.Attr("nick"); nick != "" {
		if o := t.r.byNick(nick); o != nil {
			return o.account, nil
		}
		return jid.JID{}, t.fail(stanza.ItemNotFound, "There is nobody of this name in the room.")
	}
	return jid.JID{}, t.fail(stanza.BadRequest, "An address is needed.")
}

// mayReserve returns a nickname that is reserved for who from now on, "" for none (9.3, 9.5).
func (t *turn) mayReserve(nick string, who jid.JID) (string, error) {
	if nick == "" || who.Local() == "" {
		return "", nil
	}
	nick, err := t.nickname(nick)
	if err != nil {
		return "", err
	}
	_, err = t.mayHave(nick, who)
	return nick, err
}

// lastOwner says whether an account owns the room, and nobody else does.
func (r *room) lastOwner(who jid.JID) bool {
	if a := r.affiliates[who]; a == nil || a.Is != Owner {
		return false
	}
	for j, a := range r.affiliates {
		if a.Is == Owner && j != who {
			return false
		}
	}
	return true
}

// affiliate keeps an affiliation, has those leave who may not be there any more, and tells
// everybody of all others whom it touches.
func (t *turn) affiliate(a *affiliate, by actor, why string) error {
	before := map[*occupant]Affiliation{}
	for _, o := range t.r.occupants {
		before[o] = t.r.affiliationOf(o.account)
	}
	was := t.r.affiliationOf(a.JID)
	if err := t.saveAffiliate(a); err != nil {
		return err
	}
	present := false
	for _, o := range t.r.inOrder() {
		is := t.r.affiliationOf(o.account)
		present = present || o.account == a.JID
		if is == before[o] {
			continue
		}
		f := facts{role: NoRole, affiliation: is, actor: by.nick, reason: why}
		var err error
		switch {
		case is == Outcast:
			f.statuses = []string{statusBanned}
			err = t.removeOccupant(o, gone(o), f)
		case is < Member && t.r.Config.MembersOnly:
			f.statuses = []string{statusAffiliation}
			err = t.removeOccupant(o, gone(o), f)
		default:
			f.role = t.r.Config.roleAfter(o.role, before[o], is)
			err = t.becomes(o, f.role, f)
		}
		if err != nil {
			return err
		}
	}
	if present || a.Is == was {
		return nil
	}
	return t.tellAffiliation(a)
}

// roleAfter returns the role of an occupant whose affiliation has changed (5.1.3): what comes with an
// affiliation is gained with it, and moderation is lost with being admin.
func (c *Config) roleAfter(role Role, was, is Affiliation) Role {
	if was >= Admin && is < Admin {
		return c.defaultRole(is)
	}
	return max(role, c.defaultRole(is))
}

// tellAffiliation tells those who see real addresses of the affiliation of somebody who is not in
// the room (10.3, 10.6, 10.7).
func (t *turn) tellAffiliation(a *affiliate) error {
	item := stanza.El(nsUser, "item", stanza.At("affiliation", a.Is.String()), stanza.At("jid", a.JID.String()), stanza.At("role", NoRole.String()))
	st := stanza.New(stanza.Header{Kind: stanza.Message, From: t.addr}, stanza.El(nsUser, "x").Add(item))
	return t.Groups.Send(t.group(), extension.Cast{Stanza: st, Only: classFull})
}

// ofAccount returns the occupant of an account, nil if there is none; of several nicknames the
// first.
func (r *room) ofAccount(account jid.JID) *occupant {
	for _, o := range r.inOrder() {
		if o.account == account {
			return o
		}
	}
	return nil
}

func parseRole(name string) (Role, bool) {
	i := slices.Index(roles[:], name)
	return Role(max(i, 0)), i >= 0
}

func parseAffiliation(name string) (Affiliation, bool) {
	i := slices.Index(affiliations[:], name)
	return Affiliation(max(i, 0)), i >= 0
}

// attr returns an attribute without a namespace, and whether it is there.
func attr(e *stanza.Element, name string) (string, bool) {
	for _, a := range e.Attrs {
		if a.Space == "" && a.Local == name {
			return a.Value, true
		}
	}
	return "", false
}

// shortened returns the beginning of a text that has at most so many bytes.
func shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "")
}
