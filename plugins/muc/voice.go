package muc

import (
	"slices"

	"github.com/hexmpp/hexmpp/ports/xmpp/form"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Fields of forms about voice (16.5.2).
const (
	fieldRole  = "muc#role"
	fieldJID   = "muc#jid"
	fieldNick  = "muc#roomnick"
	fieldAllow = "muc#request_allow"
)

// voiceForm asks moderators whether somebody is to have voice; without a nickname it is what the
// answer is read by (8.6).
func voiceForm(real, nick string) *form.Form {
	return &form.Form{Type: form.Ask, Purpose: nsRequest, Title: "Request for voice",
		Instructions: []string{"Shall this occupant be allowed to speak in the room?"},
		Fields: []form.Field{
			{Var: fieldRole, Type: form.ListSingle, Label: "Requested role", Values: []string{Participant.String()}, Options: []form.Option{{Value: Participant.String()}}},
			{Var: fieldJID, Type: form.TextSingle, Label: "Address", Values: text(real)},
			{Var: fieldNick, Type: form.TextSingle, Label: "Nickname", Values: text(nick)},
			{Var: fieldAllow, Type: form.Boolean, Label: "Grant voice?", Values: boolean(false)},
		}}
}

// voice takes a form from an occupant: a request for voice (7.13), or a moderator's answer to
// one (8.6).
func (t *turn) voice(x *stanza.Element) error {
	s := t.r.session(t.in.From)
	if s == nil {
		return t.fail(stanza.NotAcceptable, "You are not in the room.")
	}
	if x.Attr("type") == form.Cancel {
		return nil
	}
	v, err := form.Read(x, voiceForm("", ""))
	if err != nil || v.Get(fieldRole) != Participant.String() {
		return t.fail(stanza.BadRequest, "Voice is asked for with the role participant.")
	}
	allow, answers := v.Bool(fieldAllow)
	if !answers {
		return t.asksForVoice(s.of)
	}
	if s.of.role < Moderator {
		return t.fail(stanza.Forbidden, "This is for moderators.")
	}
	o := t.r.byNick(v.Get(fieldNick))
	if o == nil {
		return t.fail(stanza.ItemNotFound, "There is nobody of this name in the room.")
	}
	if asked := v.Get(fieldJID); asked != "" && !o.is(asked) { // another one has taken the nickname meanwhile
		return t.fail(stanza.ItemNotFound, "Who asked for voice is not in the room any more under this name.")
	}
	if !allow || o.role >= Participant {
		return nil
	}
	f := t.r.factsOf(o)
	f.role = Participant
	return t.becomes(o, Participant, f)
}

// asksForVoice asks all moderators whether a visitor is to have voice.
func (t *turn) asksForVoice(o *occupant) error {
	if o.role >= Participant {
		return t.fail(stanza.BadRequest, "You have voice.")
	}
	st := stanza.New(stanza.Header{Kind: stanza.Message, From: t.addr, ID: t.in.ID}, voiceForm(t.in.From.String(), o.Nick).Element())
	asked := false
	for _, m := range t.r.inOrder() {
		if m.role < Moderator {
			continue
		}
		for _, s := range m.sessions {
			asked = true
			if err := t.sendTo(s.jid, st); err != nil {
				return err
			}
		}
	}
	if !asked {
		return t.failAs(stanza.WaitType, stanza.RecipientUnavailable, "No moderator is in the room.")
	}
	return nil
}

// is says whether an address is one of an occupant, whichever of its clients it names.
func (o *occupant) is(address string) bool {
	j, err := jid.Parse(address)
	return err == nil && slices.ContainsFunc(o.sessions, func(s *session) bool { return s.jid.Bare() == j.Bare() })
}
