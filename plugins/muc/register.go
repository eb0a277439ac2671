package muc

import (
	"github.com/hexmpp/hexmpp/ports/xmpp/form"
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
// moderated ones, where members have voice, only those register who are members already.
func (t *turn) register(query *stanza.Element) error {
	if t.r == nil || t.r.Locked && t.r.affiliationOf(t.in.From) != Owner {
		return t.fail(stanza.ItemNotFound, "There is no such room.")
	}
	account := t.in.From.Bare()
	is := t.r.affiliationOf(account)
	if is == Outcast || is == None && (t.r.Config.MembersOnly || t.r.Config.Moderated || !t.r.Config.Register) {
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
	a := &affiliate{JID: account, Is: max(is, Member), Nick: nick}
	if own != nil {
		a.Seen = own.Seen
	}
	if err := t.result(nil); err != nil {
		return err
	}
	return t.affiliate(a, t.actor(), "")
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
