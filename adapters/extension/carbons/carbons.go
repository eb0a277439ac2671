// Package carbons copies messages to the other sessions of an account that ask
// for it (XEP-0280): what one session sends comes to the others as <sent/>
// (section 8), what one receives as <received/> (section 7).
//
// Carbons are a mark on the session: they outlive a resumption (XEP-0198), and a
// new session starts without (section 4). The kernel gives a copy to the sessions
// with the mark that don't get the message itself, and not to the one that sent
// it. Where there is none such, nothing comes here.
//
// Decided, where the specification leaves it open:
//
//   - which messages are copied: see eligible.go. The feature
//     urn:xmpp:carbons:rules:0 (6.2) is not told, since two of the rules don't hold
//     to the letter: errors are matched by what is remembered (see answered.go), and
//     private messages of rooms go to all sessions with carbons, not only to those
//     that are in the room.
//   - a message to the own account is one message: who does not get the message
//     itself gets a <sent/>, and nobody gets two.
//   - <private/> and <no-copy/> stay in the message: earlier versions of the
//     XEP had them removed, the present one lifted that (section 9). Either
//     of them stops all copies.
//   - copies have no id, as in the examples: nobody refers to a copy.
//   - copies have no delay stamp, which XEP-0297 3.2 would have: they come
//     as soon as the message itself, and clients take a stamp for history.
package carbons

import (
	"context"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace of carbons, and the feature that stands for them (section 3).
const NS = "urn:xmpp:carbons:2"

// enabled is the mark of sessions that get copies.
const enabled = "enabled"

// New returns the extension. It has no options and stores nothing.
func New() extension.Registration {
	c := &copier{sent: newMemory(), received: newMemory()}
	return extension.Registration{
		Name:        "carbons",
		Implements:  []extension.XEP{{Number: 280, Version: "1.0.1", Note: "without the feature rules:0"}},
		Permissions: []extension.Permission{extension.SeeStanzas},
		Server:      extension.Disco{Features: []string{NS}},
		Marks:       []extension.Mark{{Name: enabled}},
		IQ: []extension.IQHandler{
			{Space: NS, Local: "enable", Type: stanza.Set, To: extension.ToOwnAccount, Inline: true, Handle: set(true)},
			{Space: NS, Local: "disable", Type: stanza.Set, To: extension.ToOwnAccount, Inline: true, Handle: set(false)},
			{Space: NS, Local: "enable", Type: stanza.Set, To: extension.ToAccount, Inline: true, Handle: refuse},
			{Space: NS, Local: "disable", Type: stanza.Set, To: extension.ToAccount, Inline: true, Handle: refuse},
		},
		// If they fail the message passes, without copies.
		Stages: []extension.StageHandler{
			{Stage: extension.Submit, Class: extension.Decide, Policy: extension.Open, Match: messages, Handle: c.submit},
			{Stage: extension.Deliver, Class: extension.Decide, Policy: extension.Open, Match: messages, Handle: c.deliver},
		},
	}
}

// messages of those types that may be copied (6.1), of which a session would get a
// copy.
var messages = extension.Match{
	Kinds:  []stanza.Kind{stanza.Message},
	Types:  []string{stanza.Normal, stanza.Chat, stanza.TypeError},
	Mark:   enabled,
	Copies: true,
}

// set switches carbons of the session that asks, again and again if it wants
// (sections 4, 5 and 10.1).
func set(on bool) func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) {
	return func(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
		if q.Origin.Session.IsZero() { // an extension asks on behalf of the account
			return refuse(ctx, h, q)
		}
		return nil, h.Sessions.Mark(q.Origin.Session, enabled, on)
	}
}

// refuse answers who is no client of this account (4.1, 5.1).
func refuse(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) {
	return nil, stanza.Err(stanza.NotAllowed, "Carbons are switched by clients of the account.")
}
