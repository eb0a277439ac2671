package muc

import (
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/form"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// fieldRoomNick is the nickname that is to be reserved (16.5.1).
const fieldRoomNick = "muc#register_roomnick"

// maxRegistered is how many affiliations a room has when nobody can register any more: the rest
// is for admins.
const maxRegistered = maxAffiliates / 2

func registerForm(nick string) *form.Form {
	return &form.Form{Type: form.Ask, Purpose: nsMUC + "#register", Title: "Registration with the room",
		Instructions: []string{"Who registers becomes a member, and nobody else can have the nickname."},
		Fields:       []form.Field{{Var: fieldRoomNick, Type: form.TextSingle, Label: "Nickname", Required: true, Values: text(nick)}}}
}

// register takes requests to become a member and to reserve a nickname (7.10). In rooms for members, and in
// moderated ones, where members have voice, only those register who are members already; others ask the
// admins who are there (9.9), if the room is configured so.
func (t *turn) register(query *stanza.Element) error {
	if t.r == nil || t.r.Locked && t.r.affiliationOf(t.in.From) != Owner {
		return t.fail(stanza.ItemNotFound, "There is no such room.")
	}
	account := t.in.From.Bare()
	is := t.r.affiliationOf(account)
	asks := is == None && (t.r.Config.MembersOnly || t.r.Config.Moderated || !t.r.Config.Register)
	if is == Outcast || asks && !t.r.Config.Approve {
		return t.fail(stanza.NotAllowed, "You may not register with this room.")
	}
	own := t.r.affiliates[account]
	nick := ""
	if own != nil {
		nick = own.Nick
	}
	if t.in.Type == stanza.Get {
		answer := stanza.El(nsRegister, "query")
		if nick != "" {
			answer.Add(stanza.El(nsRegister, "registered"), stanza.El(nsRegister, "username").WithText(nick))
		}
		return t.result(answer.Add(registerForm(nick).Element()))
	}
	if query.Child("", "remove") != nil {
		return t.unregister(own)
	}
	x := query.Child(form.NS, "x")
	if x == nil {
		return t.fail(stanza.BadRequest, "A form is needed.")
	}
	if x.Attr("type") == form.Cancel {
		return t.result(nil)
	}
	v, err := form.Read(x, registerForm(""))
	if err != nil || v.Get(fieldRoomNick) == "" {
		return t.fail(stanza.BadRequest, "A nickname is needed.")
	}
	if nick, err = t.mayReserve(v.Get(fieldRoomNick), account); err != nil {
		return err
	}
	if own == nil && len(t.r.affiliates) >= maxRegistered {
		return t.failAs(stanza.WaitType, stanza.ResourceConstraint, "Too many have registered with this room.")
	}
	if asks {
		return t.asksToRegister(account, nick)
	}
	a := &affiliate{JID: account, Is: max(is, Member), Nick: nick}
	if own != nil {
		a.Seen = own.Seen
	}
	if err := t.result(nil); err != nil {
		return err
	}
	return t.affiliate(a, t.actor(), "")
}

// Fields of the form by which admins are asked (16.5.1), besides fieldJID.
const fieldRegisterAllow = "muc#register_allow"

// approveForm asks admins whether somebody is to become a member; without an address it is what the answer is
// read by (9.9).
func approveForm(account, nick string) *form.Form {
	return &form.Form{Type: form.Ask, Purpose: nsMUC + "#register", Title: "Registration request",
		Instructions: []string{"Shall this person become a member of the room?"},
		Fields: []form.Field{
			{Var: fieldJID, Type: form.TextSingle, Label: "Address", Values: text(account)},
			{Var: fieldRoomNick, Type: form.TextSingle, Label: "Nickname", Values: text(nick)},
			{Var: fieldRegisterAllow, Type: form.Boolean, Label: "Allow this person to register with the room?", Values: boolean(false)},
		}}
}

// askAgain is how long who has asked to become a member has to wait until he may ask once more.
const askAgain = 10 * time.Minute

// asksToRegister asks the admins and owners who are in the room whether somebody is to become a member.
// Nothing is kept of it: the answer says all, and admins may do as much unasked.
func (t *turn) asksToRegister(account jid.JID, nick string) error {
	p := t.r.pace(account, t.Now(), float64(t.s.options.Burst))
	if !p.asked.IsZero() && t.Now().Sub(p.asked) < askAgain {
		return t.failAs(stanza.WaitType, stanza.PolicyViolation, "The admins of the room have been asked; please wait.")
	}
	st := stanza.New(stanza.Header{Kind: stanza.Message, From: t.addr, ID: t.in.ID}, approveForm(account.String(), nick).Element())
	asked := false
	for _, o := range t.r.inOrder() {
		if t.r.affiliationOf(o.account) < Admin {
			continue
		}
		for _, s := range o.sessions {
			asked = true
			if err := t.sendTo(s.jid, st); err != nil {
				return err
			}
		}
	}
	if !asked {
		return t.failAs(stanza.WaitType, stanza.RecipientUnavailable, "No admin is in the room to ask.")
	}
	p.asked = t.Now()
	return t.result(nil)
}

// approves takes an admin's answer (9.9).
func (t *turn) approves(x *stanza.Element) error {
	if t.actor().affiliation < Admin {
		return t.fail(stanza.Forbidden, "This is for admins of the room.")
	}
	if x.Attr("type") == form.Cancel {
		return nil
	}
	v, err := form.Read(x, approveForm("", ""))
	if err != nil {
		return t.fail(stanza.BadRequest, err.Error())
	}
	allow, answers := v.Bool(fieldRegisterAllow)
	if !answers {
		return t.fail(stanza.BadRequest, "The form says neither yes nor no.")
	}
	who, err := jid.Parse(v.Get(fieldJID))
	switch {
	case err != nil || who.Local() == "":
		return t.fail(stanza.JIDMalformed, "")
	case !allow || t.r.affiliationOf(who) >= Member:
		return nil
	case t.r.affiliationOf(who) == Outcast:
		return t.fail(stanza.NotAllowed, "Who is banned can't become a member.")
	}
	item := stanza.El(nsAdmin, "item", stanza.At("jid", who.Bare().String()), stanza.At("nick", v.Get(fieldRoomNick)))
	return t.changeAffiliation(item, Member, "")
}

// asksOfRegistration says whether a form is about a registration, and not about voice.
func asksOfRegistration(x *stanza.Element) bool {
	for _, e := range x.Elements() {
		if e.Local == "field" && e.Attr("var") == "FORM_TYPE" {
			value := e.Child("", "value")
			return value != nil && value.Text() == nsMUC+"#register"
		}
	}
	return false
}

// unregister ends membership, and the reservation of the nickname with it; admins and owners stay what
// they are.
func (t *turn) unregister(own *affiliate) error {
	if own == nil {
		return t.fail(stanza.RegistrationRequired, "You have not registered with this room.")
	}
	if err := t.result(nil); err != nil {
		return err
	}
	a := &affiliate{JID: own.JID, Is: own.Is}
	if a.Is == Member {
		a.Is = None
	}
	if err := t.affiliate(a, t.actor(), ""); err != nil {
		return err
	}
	return t.emptied()
}

// reservedItem answers which nickname is reserved for who asks (7.12).
func (t *turn) reservedItem() error {
	answer := stanza.El(nsDiscoInfo, "query", stanza.At("node", nodeReserved))
	if a := t.r.affiliates[t.in.From.Bare()]; a != nil && a.Nick != "" {
		answer.Add(stanza.El(nsDiscoInfo, "identity", stanza.At("category", "conference"), stanza.At("type", "text"), stanza.At("name", a.Nick)))
	}
	return t.result(answer)
}
