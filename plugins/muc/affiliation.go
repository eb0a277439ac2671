package muc

import "github.com/hexmpp/hexmpp/ports/xmpp/jid"

// Affiliation is what an account is to a room for longer (5.2), in the order of what it may do.
type Affiliation uint8

const (
	Outcast Affiliation = iota
	None
	Member
	Admin
	Owner
)

var affiliations = [...]string{"outcast", "none", "member", "admin", "owner"}

func (a Affiliation) String() string { return affiliations[a] }

// Role is what somebody in a room may do for now (5.1), in that order.
type Role uint8

const (
	NoRole Role = iota
	Visitor
	Participant
	Moderator
)

var roles = [...]string{"none", "visitor", "participant", "moderator"}

func (r Role) String() string { return roles[r] }

// affiliate is somebody with an affiliation other than none.
type affiliate struct {
	JID  jid.JID `json:"-"` // bare, or a domain
	Is   Affiliation
	Nick string `json:",omitempty"` // reserved (7.10)

	Reason string `json:",omitempty"` // of a ban (9.2)
	Seen   uint64 `json:",omitempty"` // up to here, in the archive, a member was sent all for sure; 0: he was never in the room
}

// affiliationOf returns what an account is to the room: its own entry counts, then
// one of its domain. Admins of the service are owners.
func (r *room) affiliationOf(account jid.JID) Affiliation {
	account = account.Bare()
	if r.service.admins[account] {
		return Owner
	}
	if a := r.affiliates[account]; a != nil {
		return a.Is
	}
	if a := r.affiliates[account.DomainJID()]; a != nil {
		return a.Is
	}
	return None
}

// defaultRole returns the role of who enters, and of whose affiliation has changed (5.1.2).
func (c *Config) defaultRole(a Affiliation) Role {
	switch {
	case a == Outcast:
		return NoRole
	case a >= Admin:
		return Moderator
	case a == Member, !c.Moderated:
		return Participant
	}
	return Visitor
}
