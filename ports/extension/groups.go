package extension

import (
	"context"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Groups are lists of addresses that the kernel keeps for the extension: the
// occupants of a room, the subscribers of a node. What is sent to a group is one
// effect, however many members there are; the kernel makes the copies. A group is
// there while it has members. Groups outlive a planned restart of the server, as
// Memory does; after a kill there are none.
//
// Calls but Members and Size are effects. They are done in the order of the calls,
// together with the others of the handler: a member that joined before Send gets the
// copy, and so does one that leaves behind it. Calls for one group that follow each
// other, without another effect between them, are done in one go: nothing that another
// handler asks of the group comes between. All members get what is sent to a group in
// the same order. Groups don't wait for each other.
type Groups interface {
	// Join adds a member, or replaces the one with its JID. ErrBound when the group has
	// too many members (20,000), the extension too many groups (100,000) or members in
	// all of them (500,000), or the name is too long (2,048 bytes): handlers that run at
	// once may together go a little beyond. ErrPermission for a From that is not the
	// extension's to send from.
	Join(group string, m Member) error
	// Leave removes the member with this JID, if it is there.
	Leave(group string, member jid.JID)
	// Remove removes all members.
	Remove(group string)
	// Send sends a message or presence to members. It is from the server, from a domain
	// of the extension's components or, with SendAsAccount, from the bare JID of an account;
	// so is Member.From: ErrPermission otherwise. ErrBound as with Stanzas.Send: it counts
	// as one stanza. A copy asserts no more than whom it is from may, and in the name of
	// an account it is no carbon copy. What an account has blocked holds for copies to it; for
	// those from it the extension sees to that. Errors for an account go to nobody.
	//
	// A copy for an account of ours goes to the session with the member's JID. Of the
	// stages it passes Deliver, where handlers that are Fanout see it, and Write; it
	// is in no archive, no carbon copy is made of it, and it is never stored. To a
	// member that has a bare JID it goes to the sessions that RFC 6121 8.5.2 names, and
	// ends there if there is none.
	//
	// A copy of a message for a full JID without a session comes back as any other
	// error does, recipient-unavailable, from the member to the from of the copy; so a
	// room drops who has gone (XEP-0045 18.1.2). Presence does not (RFC 6121 8.5.3.2.2).
	// A session that waits to be resumed (XEP-0198) takes its copies.
	//
	// Copies for other domains, those of components among them, go out one by one,
	// in order.
	Send(group string, c Cast) error

	// Members returns at most limit members, in the order of their JIDs as strings,
	// starting behind the JID after, which need not be one of them. It and Size see the
	// handler's own effects.
	Members(ctx context.Context, group string, after jid.JID, limit int) ([]Member, error)
	// Size returns how many members there are.
	Size(ctx context.Context, group string) (int, error)
}

// Member is a member of a group.
type Member struct {
	JID jid.JID // bare or full; of a group no two have the same
	// From is the from of its copies, unless zero: instead of the stanza's own.
	From jid.JID
	// Classes are names that Cast.Only and Variant.Class go by: at most 8, each of 1 to
	// 64 bytes. Not to be changed.
	Classes []string
}

// Cast is what is sent to a group.
type Cast struct {
	// Stanza is a message or presence; its to is not used. Its content is shared by
	// all copies. It may be nil: then there are only Variants.
	Stanza *stanza.Stanza
	// Except are members that get nothing: 1,000 at most.
	Except []jid.JID
	// Only, unless "", is a class: members that are not of it get nothing.
	Only string
	// Variants are for members of a class instead of Stanza. Of several the first counts.
	// 8 at most.
	Variants []Variant
}

// Variant is what members of a class get: as room moderators see real addresses
// (XEP-0045 7.2.2).
type Variant struct {
	Class  string
	Stanza *stanza.Stanza // as Cast.Stanza; nil: they get nothing
}
