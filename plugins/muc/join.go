package muc

import (
	"crypto/subtle"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// presence takes a presence to the room or to an occupant.
func (t *turn) presence() error {
	switch t.in.Type {
	case "":
	case stanza.Unavailable:
		return t.leaves()
	case stanza.TypeError:
		return t.bounced()
	default: // 17.3: neither subscriptions nor probes enter or leave a room
		return nil
	}
	var s *session
	if t.r != nil {
		s = t.r.session(t.in.From)
	}
	_, joins := t.in.Child(nsMUC, "x")
	nick := t.in.To.Resource()
	switch {
	case nick == "":
		return t.fail(stanza.JIDMalformed, "A nickname is needed: "+t.addr.String()+"/NICKNAME.")
	case t.in.From.IsBare():
		return t.fail(stanza.BadRequest, "")
	case s == nil && !joins:
		return t.notHere()
	case t.in.Size() > t.s.options.MaxPresence:
		return t.failAs(stanza.Modify, stanza.PolicyViolation, "The presence is too long.")
	case s == nil:
		return t.joins(nick)
	case !t.r.hasRoomFor(t.in, s):
		return t.failAs(stanza.WaitType, stanza.ResourceConstraint, "The presences in this room are too long together.")
	}
	if err := t.mayTalk(s, false); err != nil { // everybody is told of each
		return err
	}
	if joins && nick == s.of.Nick {
		return t.rejoins(s)
	}
	return t.changes(s, nick)
}

// notHere answers a presence of who is not in the room and does not enter it (7.2.18).
func (t *turn) notHere() error {
	x := stanza.El(nsUser, "x").Add(
		stanza.El(nsUser, "item", stanza.At("affiliation", None.String()), stanza.At("role", NoRole.String())).
			Add(stanza.El(nsUser, "reason").WithText("You are not in the room.")),
		statusElement(statusSelf), statusElement(statusKicked), statusElement(statusTechnicalError))
	return t.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Presence, Type: stanza.Unavailable, From: t.in.To, To: t.in.From}, x))
}

// joins lets a client enter (7.2), or makes the room (10.1).
func (t *turn) joins(nick string) error {
	x := t.in.Find(nsMUC, "x")
	created := false
	if t.r == nil {
		if err := t.create(); err != nil {
			return err
		}
		created = true
	}
	nick, err := t.nickname(nick)
	if err != nil {
		return err
	}
	account := t.in.From.Bare()
	if err := t.mayEnter(account, x); err != nil {
		return err
	}
	o, err := t.mayHave(nick, account)
	if err != nil {
		return err
	}
	role := t.r.Config.defaultRole(t.r.affiliationOf(account))
	if o == nil {
		if o, err = t.newOccupant(t.r, nick, account); err != nil {
			return t.fail(stanza.JIDMalformed, "")
		}
		o.role = role
		t.r.put(o)
	}
	s := &session{jid: t.in.From, of: o, came: t.Now(), show: t.allowed(o)}
	o.sessions = append(o.sessions, s)
	t.r.sessions[s.jid] = s
	if err := t.roster(s); err != nil {
		return err
	}
	if err := t.saveSession(s); err != nil {
		return err
	}
	f := t.r.factsOf(o)
	if created {
		f.self = append(f.self, statusCreated)
	}
	if nick != t.in.To.Resource() {
		f.self = append(f.self, statusNickChanged)
	}
	if err := t.announceOthers(s, s.show, f); err != nil {
		return err
	}
	return t.welcome(s, f, x)
}

// rejoins sends a client that has lost the thread all that it would be sent if it
// entered (17.3).
func (t *turn) rejoins(s *session) error {
	s.show = t.allowed(s.of)
	if err := t.saveSession(s); err != nil {
		return err
	}
	if err := t.roster(s); err != nil {
		return err
	}
	f := t.r.factsOf(s.of)
	if err := t.announceOthers(s, s.show, f); err != nil {
		return err
	}
	return t.welcome(s, f, t.in.Find(nsMUC, "x"))
}

// welcome sends a session what comes behind the presence of others: its own, to the occupant's other
// sessions too, the history, the subject (7.1).
func (t *turn) welcome(s *session, f facts, x *stanza.Element) error {
	if err := t.announceSelf(s, s.show, f, s); err != nil {
		return err
	}
	if t.r.Config.Archive { // 7.2.12
		f.self = append([]string{statusLogged}, f.self...)
	}
	if t.r.Config.FullJIDs {
		f.self = append([]string{statusFullJIDs}, f.self...)
	}
	own := t.dressed(s.of, s.show, f.element(s.jid, append([]string{statusSelf}, f.self...)...))
	h := own.Header
	h.To, h.ID = s.jid, t.in.ID
	if err := t.Stanzas.Send(own.With(h)); err != nil {
		return err
	}
	if err := t.history(s, x); err != nil {
		return err
	}
	if a := t.r.affiliates[s.of.account]; a != nil && a.Is >= Member && a.Seen == 0 {
		if err := t.saveAffiliate(a); err != nil {
			return err
		}
	}
	return t.sendSubject(s)
}

// create makes a room, which its maker owns; it is locked until that one has configured it,
// unless rooms are not.
func (t *turn) create() error {
	account := t.in.From.Bare()
	local := slices.Contains(t.Domains, account.Domain())
	switch {
	case t.s.admins[account]:
	case t.s.options.Create == createAdmins, t.s.options.Create == createLocal && !local:
		return t.fail(stanza.NotAllowed, "You may not make rooms here.")
	}
	if len(t.addr.Local()) > maxRoomName {
		return t.fail(stanza.JIDMalformed, "The name of the room is too long.")
	}
	if !t.s.admins[account] {
		if many, err := t.hasMade(account, t.s.options.MaxRooms); err != nil {
			return err
		} else if many {
			return t.failAs(stanza.WaitType, stanza.ResourceConstraint, "You have made as many rooms as you may.")
		}
	}
	t.Archive.Remove(t.addr) // a room that was not persistent may have left one, if the server was killed
	t.r = t.empty()
	t.r.lasting = lasting{Config: t.s.options.newConfig(), Created: t.Now().UTC(), Creator: account.String(), Locked: t.s.options.LockNew}
	if err := t.saveAffiliate(&affiliate{JID: account, Is: Owner}); err != nil {
		return err
	}
	if err := t.saveRoom(); err != nil {
		return err
	}
	t.know(t.r)
	return nil
}

// nickname returns a nickname as it is shown.
func (t *turn) nickname(nick string) (string, error) {
	nick, err := jid.PrepareNick(nick)
	if err != nil || len(nick) > t.s.options.MaxNick {
		return "", t.fail(stanza.JIDMalformed, "This can't be a nickname.")
	}
	if _, err := jid.NickKey(nick); err != nil {
		return "", t.fail(stanza.JIDMalformed, "This can't be a nickname.")
	}
	return nick, nil
}

// mayEnter says why an account may not enter (7.2.5 to 7.2.10).
func (t *turn) mayEnter(account jid.JID, x *stanza.Element) error {
	c, a := &t.r.Config, t.r.affiliationOf(account)
	switch {
	case a == Outcast:
		return t.fail(stanza.Forbidden, "You are banned from this room.")
	case t.r.Locked && a != Owner:
		return t.fail(stanza.ItemNotFound, "The room is being made.")
	case c.MembersOnly && a < Member:
		return t.failAs(stanza.Auth, stanza.RegistrationRequired, "The room is for members.")
	case c.Password != "" && a < Owner && !hasPassword(x, c.Password):
		return t.fail(stanza.NotAuthorized, "The room has a password.")
	case len(t.r.sessions) >= c.MaxOccupants && a < Admin, len(t.r.sessions) >= mostOccupants, !t.r.hasRoomFor(t.in, nil):
		return t.failAs(stanza.WaitType, stanza.ServiceUnavailable, "The room is full.")
	}
	return nil
}

func hasPassword(x *stanza.Element, want string) bool {
	given := x.Child("", "password")
	return given != nil && subtle.ConstantTimeCompare([]byte(given.Text()), []byte(want)) == 1
}

// mayHave returns who has a nickname already, if that is the same account; an error if
// somebody else has, or it is reserved for somebody else (7.2.8).
func (t *turn) mayHave(nick string, account jid.JID) (*occupant, error) {
	if who := t.r.reserved(nick); !who.IsZero() && who != account {
		return nil, t.fail(stanza.Conflict, "The nickname is reserved for somebody else.")
	}
	o := t.r.byNick(nick)
	if o != nil && o.account != account {
		return nil, t.fail(stanza.Conflict, "Somebody else has this nickname.")
	}
	return o, nil
}

// allowed returns the presence of the turn without what occupants may not say (17.3 rule 6).
func (t *turn) allowed(o *occupant) *stanza.Stanza {
	st := t.in
	if slices.ContainsFunc(st.Children(), reservedChild) {
		st = st.Patch(reservedChild)
	}
	return stanza.Raw(stanza.Header{Kind: stanza.Presence, From: o.addr, Lang: st.Lang}, "", st.Content(), st.Children())
}

// reservedChild says of a child that only rooms may send it.
func reservedChild(c stanza.Child) bool {
	switch c.Space {
	case nsMUC, nsUser, nsOccupantID, nsHats:
		return true
	}
	return false
}

func sortByTime(list []*session) {
	slices.SortFunc(list, func(a, b *session) int { return a.came.Compare(b.came) })
}

// stamp writes a time (XEP-0082).
func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }
