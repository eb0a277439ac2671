package muc

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/ports/xmpp/form"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// owner takes what owners ask of their room: its configuration, or its end (10).
func (t *turn) owner(query *stanza.Element) error {
	if t.r == nil {
		return t.fail(stanza.ItemNotFound, "There is no such room.")
	}
	if t.r.affiliationOf(t.in.From) != Owner {
		return t.fail(stanza.Forbidden, "This is for owners of the room.")
	}
	if t.in.Type == stanza.Get {
		return t.result(stanza.El(nsOwner, "query").Add(t.r.form(t.s).Element()))
	}
	if d := query.Child("", "destroy"); d != nil {
		return t.destroy(d)
	}
	x := query.Child(form.NS, "x")
	if x == nil {
		return t.fail(stanza.BadRequest, "")
	}
	switch x.Attr("type") {
	case form.Cancel: // 10.1.3: of a room that was never configured it is the end
		if t.r.Locked {
			if err := t.clear(nil); err != nil {
				return err
			}
			t.forgetRoom()
		}
		return t.result(nil)
	case form.Submit:
		return t.configure(x)
	}
	return t.fail(stanza.BadRequest, "")
}

// result answers the request of the turn.
func (t *turn) result(payload *stanza.Element) error {
	return t.Stanzas.Send(stanza.New(t.in.Reply(stanza.Result), payload))
}

// destroy ends the room (10.9): all are told why, and where to go on.
func (t *turn) destroy(d *stanza.Element) error {
	told := stanza.El(nsUser, "destroy")
	if alternate := d.Attr("jid"); alternate != "" {
		if _, err := jid.Parse(alternate); err != nil {
			return t.fail(stanza.JIDMalformed, "")
		}
		told.Attrs = append(told.Attrs, stanza.At("jid", alternate))
	}
	for _, name := range []string{"password", "reason"} {
		if c := d.Child("", name); c != nil {
			told.Add(stanza.El(nsUser, name).WithText(c.Text()))
		}
	}
	if err := t.result(nil); err != nil {
		return err
	}
	if err := t.clear(told); err != nil {
		return err
	}
	t.forgetRoom()
	return nil
}

// clear has all occupants leave, each of whom is told alone. destroyed is what is said of the
// room, nil for nothing.
func (t *turn) clear(destroyed *stanza.Element) error {
	for _, o := range t.r.inOrder() {
		f := facts{role: NoRole, affiliation: None, destroy: destroyed}
		for _, s := range o.sessions {
			if err := t.sendTo(s.jid, t.dressed(o, gone(o), f.element(s.jid, statusSelf))); err != nil {
				return err
			}
			delete(t.r.sessions, s.jid)
			t.dropSession(s)
		}
		o.sessions = nil
		t.r.remove(o)
	}
	return nil
}

// configure takes the submitted form (10.1.2, 10.1.3, 10.2). What the form leaves out stays.
func (t *turn) configure(x *stanza.Element) error {
	v, err := form.Read(t.known(x), t.r.form(t.s))
	if err != nil {
		return t.failAs(stanza.Modify, stanza.NotAcceptable, err.Error())
	}
	old, next := t.r.Config, t.r.Config
	if err := next.take(x, v, t.s); err != nil {
		return t.failAs(stanza.Modify, stanza.NotAcceptable, err.Error())
	}
	if err := t.result(nil); err != nil {
		return err
	}
	t.r.dirty = true
	wasLocked := t.r.Locked
	var card []byte
	if old.Persistent != next.Persistent {
		if card, err = t.get(cardKey(t.addr)); err != nil {
			return err
		}
		t.unkeep()
	}
	t.r.Config, t.r.Locked = next, false
	if old.Persistent != next.Persistent {
		if err := t.keepAll(card); err != nil {
			return err
		}
	}
	if err := t.saveRoom(); err != nil {
		return err
	}
	if old.FullJIDs != next.FullJIDs { // who is of which class
		for _, o := range t.r.inOrder() {
			for _, s := range o.sessions {
				if err := t.saveSession(s); err != nil {
					return err
				}
			}
		}
	}
	if next.MembersOnly && !old.MembersOnly {
		if err := t.forMembers(); err != nil {
			return err
		}
	}
	if err := t.adjust(&old); err != nil {
		return err
	}
	if !wasLocked {
		if err := t.configured(old, next); err != nil {
			return err
		}
	}
	if err := t.rule(x, v); err != nil {
		return err
	}
	return t.emptied()
}

// rule makes admins and owners of those, and of no others, whom the form names as such, if it has
// those fields (10.3, 10.6: unlike muc#admin it has the whole lists). Who is neither any more stays a member.
func (t *turn) rule(x *stanza.Element, v form.Values) error {
	submitted := map[string]bool{}
	for _, e := range x.Elements() {
		submitted[e.Attr("var")] = true
	}
	next := map[jid.JID]Affiliation{}
	for _, f := range []struct {
		name string
		is   Affiliation
	}{{fieldAdmins, Admin}, {fieldOwners, Owner}} { // who is named twice is owner
		if !submitted[f.name] {
			for _, a := range t.r.affiliates {
				if a.Is == f.is && next[a.JID] < f.is {
					next[a.JID] = f.is
				}
			}
			continue
		}
		if len(v[f.name]) > maxChanges {
			return t.failAs(stanza.Modify, stanza.NotAcceptable, "These are too many "+f.is.String()+"s for one form.")
		}
		for _, text := range v[f.name] {
			j, err := jid.Parse(text)
			if err != nil {
				return t.failAs(stanza.Modify, stanza.NotAcceptable, f.name+": no address: "+text)
			}
			next[j.Bare()] = f.is
		}
	}
	var changed []jid.JID
	for j, is := range next {
		if a := t.r.affiliates[j]; a == nil || a.Is != is {
			changed = append(changed, j)
		}
	}
	for _, a := range t.r.affiliates {
		if _, named := next[a.JID]; a.Is >= Admin && !named {
			next[a.JID] = Member
			changed = append(changed, a.JID)
		}
	}
	// Owners first: a room has one at any time.
	slices.SortFunc(changed, func(a, b jid.JID) int {
		return cmp.Or(cmp.Compare(next[b], next[a]), strings.Compare(a.String(), b.String()))
	})
	for _, j := range changed {
		if err := t.changeAffiliation(stanza.El(nsAdmin, "item", stanza.At("jid", j.String())), next[j], ""); err != nil {
			return err
		}
	}
	return nil
}

// adjust has the configuration hold for who is in the room: visitors of a room that is not moderated
// any more may speak, and others see those whose presence is shown from now on, or see them no more.
func (t *turn) adjust(old *Config) error {
	next := &t.r.Config
	for _, o := range t.r.inOrder() {
		was, is := old.shows(o.role), next.shows(o.role)
		var err error
		switch {
		case old.Moderated && !next.Moderated && o.role == Visitor:
			f := t.r.factsOf(o)
			f.role = Participant
			if err = t.becomes(o, Participant, f); err == nil && was && !is && !next.shows(Participant) {
				err = t.tellOthers(o.shown(), gone(o), f)
			}
		case is && !was:
			err = t.announceOthers(o.shown(), o.shown().show, t.r.factsOf(o))
		case was && !is:
			err = t.tellOthers(o.shown(), gone(o), t.r.factsOf(o))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unkeep deletes what is kept of the room where it is kept; keepAll writes it where it is to be.
func (t *turn) unkeep() {
	for j := range t.r.affiliates {
		t.delete(affiliateKey(t.addr, j))
	}
	t.delete(roomKey(t.addr))
	t.delete(t.createdKey())
	t.delete(cardKey(t.addr))
	t.delete(listKey(t.addr))
}

func (t *turn) keepAll(card []byte) error {
	if card != nil {
		if err := t.putBytes(cardKey(t.addr), card); err != nil {
			return err
		}
	}
	for _, a := range t.r.affiliates {
		if err := t.saveAffiliate(a); err != nil {
			return err
		}
	}
	return nil
}

// forMembers has those leave who are none, in a room that is for members now (status 322).
func (t *turn) forMembers() error {
	for _, o := range t.r.inOrder() {
		f := t.r.factsOf(o)
		if f.affiliation >= Member {
			continue
		}
		f.role, f.statuses = NoRole, []string{statusForMembers}
		if err := t.removeOccupant(o, gone(o), f); err != nil {
			return err
		}
	}
	return nil
}

// configured tells everybody what has changed (10.2.1).
func (t *turn) configured(old, next Config) error {
	var codes []string
	if old.FullJIDs != next.FullJIDs {
		codes = append(codes, map[bool]string{true: statusNonAnonymous, false: statusSemiAnonymous}[next.FullJIDs])
		old.FullJIDs = next.FullJIDs
	}
	if old.Archive != next.Archive {
		codes = append(codes, map[bool]string{true: statusLogged, false: statusNotLogged}[next.Archive])
		old.Archive = next.Archive
	}
	if !reflect.DeepEqual(old, next) {
		codes = append(codes, statusConfig)
	}
	if len(codes) == 0 {
		return nil
	}
	told := stanza.El(nsUser, "x")
	for _, code := range codes {
		told.Add(statusElement(code))
	}
	return t.tellAll(stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.GroupChat, From: t.addr}, told))
}
