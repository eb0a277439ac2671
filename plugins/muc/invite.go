package muc

import (
	"github.com/hexmpp/hexmpp/ports/xmpp/form"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// maxInvitations bounds what one message invites.
const maxInvitations = 20

// toRoom takes what clients say to a room itself: invitations and what is answered to them
// (7.8.2), and forms about voice (7.13, 8.6) and registration (9.9).
func (t *turn) toRoom() error {
	if t.in.Type != "" && t.in.Type != stanza.Normal {
		return t.fail(stanza.BadRequest, "")
	}
	if t.in.Size() > t.s.options.MaxMessage {
		return t.failAs(stanza.Modify, stanza.PolicyViolation, "The message is too long.")
	}
	if t.r.Locked && t.r.affiliationOf(t.in.From) != Owner {
		return t.fail(stanza.ItemNotFound, "There is no such room.")
	}
	if s := t.r.session(t.in.From); s != nil { // others get what comes of it: it counts as what is said does
		if err := t.mayTalk(s, false); err != nil {
			return err
		}
	}
	if x := t.in.Find(form.NS, "x"); x != nil {
		if asksOfRegistration(x) {
			return t.approves(x)
		}
		return t.voice(x)
	}
	x := t.in.Find(nsUser, "x")
	if x == nil {
		return t.fail(stanza.BadRequest, "")
	}
	var invites []*stanza.Element
	for _, e := range x.Elements() {
		if e.Space == nsUser && e.Local == "invite" {
			invites = append(invites, e)
		}
	}
	switch decline := x.Child("", "decline"); {
	case len(invites) > maxInvitations:
		return t.failAs(stanza.Modify, stanza.ResourceConstraint, "These are too many invitations for one message.")
	case len(invites) > 0:
		return t.invites(invites)
	case decline != nil:
		return t.declines(decline)
	}
	return t.fail(stanza.BadRequest, "")
}

// invites passes invitations on. In a room for members who is invited becomes one, so there it
// is for admins, unless the configuration lets members invite (9.5).
func (t *turn) invites(list []*stanza.Element) error {
	by := t.actor()
	switch {
	case by.session == nil && by.affiliation < Admin:
		return t.fail(stanza.NotAcceptable, "You are not in the room.")
	case t.r.Config.MembersOnly && by.affiliation < Admin && !(t.r.Config.AllowInvites && by.affiliation == Member):
		return t.fail(stanza.Forbidden, "Only admins of the room invite others.")
	}
	for _, invite := range list {
		to, err := jid.Parse(invite.Attr("to"))
		if err != nil || to.Local() == "" {
			return t.fail(stanza.JIDMalformed, "This can't be invited.")
		}
		is := t.r.affiliationOf(to)
		if is == Outcast {
			return t.fail(stanza.NotAllowed, "Who is banned can't be invited.")
		}
		if t.r.Config.MembersOnly && is == None {
			if len(t.r.affiliates) >= maxAffiliates {
				return t.failAs(stanza.WaitType, stanza.ResourceConstraint, "The room has too many members, admins, owners and outcasts.")
			}
			if err := t.affiliate(&affiliate{JID: to.Bare(), Is: Member}, by, ""); err != nil {
				return err
			}
		}
		var said []*stanza.Element
		for _, name := range []string{"reason", "continue"} {
			if e := invite.Child("", name); e != nil {
				said = append(said, e)
			}
		}
		if err := t.invite(to, by, said...); err != nil {
			return err
		}
	}
	return nil
}

// invite invites somebody on behalf of another one; said is what that one has said in <invite/>.
// Real addresses of inviters are told where everybody sees them.
func (t *turn) invite(to jid.JID, by actor, said ...*stanza.Element) error {
	from := by.account
	if by.session != nil && !t.r.Config.FullJIDs {
		from = by.session.of.addr
	}
	x := stanza.El(nsUser, "x").Add(stanza.El(nsUser, "invite", stanza.At("from", from.String())).Add(said...))
	if t.r.Config.Password != "" {
		x.Add(stanza.El(nsUser, "password").WithText(t.r.Config.Password))
	}
	h := stanza.Header{Kind: stanza.Message, From: t.addr, To: to}
	if t.in.Kind == stanza.Message {
		h.ID, h.Lang = t.in.ID, t.in.Lang
	}
	return t.Stanzas.Send(stanza.New(h, x))
}

// declines passes on that somebody does not come, to an inviter who is in the room: nobody
// else, or strangers could write to anybody by way of the room.
func (t *turn) declines(decline *stanza.Element) error {
	if t.r.affiliationOf(t.in.From) == Outcast {
		return t.fail(stanza.Forbidden, "You are banned from this room.")
	}
	to, err := jid.Parse(decline.Attr("to"))
	if err != nil {
		return t.fail(stanza.JIDMalformed, "")
	}
	var sessions []*session
	if to.Bare() == t.addr {
		if o := t.r.byNick(to.Resource()); o != nil {
			sessions = o.sessions
		}
	} else {
		for _, o := range t.r.inOrder() {
			if o.account == to.Bare() {
				sessions = append(sessions, o.sessions...)
			}
		}
	}
	if len(sessions) == 0 {
		return t.fail(stanza.ItemNotFound, "Who has invited you is not in the room.")
	}
	told := stanza.El(nsUser, "decline", stanza.At("from", t.in.From.Bare().String()))
	if why := decline.Child("", "reason"); why != nil {
		told.Add(why)
	}
	st := stanza.New(stanza.Header{Kind: stanza.Message, ID: t.in.ID, Lang: t.in.Lang, From: t.addr}, stanza.El(nsUser, "x").Add(told))
	for _, s := range sessions {
		if err := t.sendTo(s.jid, st); err != nil {
			return err
		}
	}
	return nil
}
