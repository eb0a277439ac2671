package muc

import "slices"

// Config is how an owner wants a room to be (10.1.3, 16.5.3).
type Config struct {
	Name        string `json:",omitempty"`
	Description string `json:",omitempty"`
	Lang        string `json:",omitempty"`

	Persistent    bool
	Public        bool
	MembersOnly   bool
	Moderated     bool
	FullJIDs      bool   // everybody sees real addresses: non-anonymous
	Password      string `json:",omitempty"` // "": none is needed
	ChangeSubject bool   // participants may
	AllowInvites  bool   // members of a room for members may invite others
	Register      bool   // who is no member may become one (7.10)
	Approve       bool   `json:",omitempty"` // where he may not, admins are asked (9.9)
	AllowPM       string `json:",omitempty"` // who may send private messages: pmAnyone, ...
	Archive       bool

	Broadcast []string // roles whose presence others see
	// Lists, unless it is nil, are the roles that may ask for the list of members: see mayList. nil: moderators
	// and participants.
	Lists []string `json:",omitzero"`

	SlowMode     int `json:",omitempty"` // seconds between two messages of an account (XEP-0500)
	MaxOccupants int
	History      int // messages for who enters
}

// newConfig is that of a room that nobody has configured.
func (o *Options) newConfig() Config {
	return Config{
		Register: true, AllowPM: pmAnyone, Persistent: o.Persistent, Public: o.Public, Archive: o.Archive,
		Broadcast:    []string{"moderator", "participant", "visitor"},
		MaxOccupants: o.MaxOccupants, History: o.History,
	}
}

// Who may send private messages.
const (
	pmAnyone       = "anyone"
	pmParticipants = "participants"
	pmModerators   = "moderators"
	pmNone         = "none"
)

// mayWhisper says whether somebody with this role may send private messages.
func (c *Config) mayWhisper(r Role) bool {
	switch c.AllowPM {
	case pmParticipants:
		return r >= Participant
	case pmModerators:
		return r >= Moderator
	case pmNone:
		return false
	}
	return true
}

// lists returns the roles that may ask for the list of members.
func (c *Config) lists() []string {
	if c.Lists == nil {
		return []string{"moderator", "participant"}
	}
	return c.Lists
}

// shows says whether others see the presence of occupants with this role.
func (c *Config) shows(r Role) bool { return slices.Contains(c.Broadcast, r.String()) }
