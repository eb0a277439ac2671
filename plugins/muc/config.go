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
	Archive       bool

	Broadcast []string // roles whose presence others see

	MaxOccupants int
	History      int // messages for who enters

}

// newConfig is that of a room that nobody has configured.
func (o *Options) newConfig() Config {
	return Config{
		Persistent: o.Persistent, Public: o.Public, Archive: o.Archive,
		Broadcast:    []string{"moderator", "participant", "visitor"},
		MaxOccupants: o.MaxOccupants, History: o.History,
	}
}

// shows says whether others see the presence of occupants with this role.
func (c *Config) shows(r Role) bool { return slices.Contains(c.Broadcast, r.String()) }
