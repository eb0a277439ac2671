package muc

import (
	"fmt"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Options are those of the configuration, as JSON.
type Options struct {
	Admins       []string `json:"admins" jsonschema:"Accounts that are owners of every room."`
	Create       string   `json:"create" jsonschema:"Who may make rooms: local (accounts of this server), anybody, or admins."`
	LockNew      bool     `json:"lock-new-rooms" jsonschema:"Whether a new room is locked until its owner has configured it (XEP-0045 10.1)."`
	Public       bool     `json:"public" jsonschema:"Whether new rooms are listed."`
	Persistent   bool     `json:"persistent" jsonschema:"Whether new rooms stay when nobody is in them."`
	Archive      bool     `json:"archive" jsonschema:"Whether new rooms keep what is said (XEP-0313)."`
	History      int      `json:"history" jsonschema:"Messages that who enters a room is sent unless the room or the client says otherwise."`
	MaxHistory   int      `json:"max-history" jsonschema:"The most of them that a room or a client may ask for."`
	MaxOccupants int      `json:"max-occupants" jsonschema:"The most occupants of a room, and what a new room allows."`
	MaxRooms     int      `json:"max-rooms" jsonschema:"The most rooms that one account may have made."`
	Retention    int      `json:"retention-days" jsonschema:"Days for which messages are kept; 0: for ever."`
	Rate         int      `json:"rate" jsonschema:"Messages that one account may send to a room a second, for long; 0: any number."`
	Burst        int      `json:"burst" jsonschema:"How many of them may come at once."`
	MaxNick      int      `json:"max-nick" jsonschema:"The longest nickname, in bytes."`
	MaxMessage   int      `json:"max-message" jsonschema:"The longest message to a room, in bytes of XML."`
	MaxPresence  int      `json:"max-presence" jsonschema:"The longest presence in a room, in bytes of XML."`
}

// Defaults are the options of a configuration that says nothing.
var Defaults = Options{
	Create: "local", LockNew: true, Public: true, Archive: true,
	History: 20, MaxHistory: 500, MaxOccupants: 1000, MaxRooms: 100, Retention: 365, Rate: 20, Burst: 200,
	MaxNick: 128, MaxMessage: 64 << 10, MaxPresence: 4 << 10,
}

// Who may make rooms.
const (
	createLocal  = "local"
	createAny    = "anybody"
	createAdmins = "admins"
)

// mostOccupants is what a room takes: who enters is sent the presence of each, and the history,
// by one handler, which may send 4,000 stanzas; where a room is for members from now on, two of
// each occupant.
const mostOccupants = 1500

// mostPresence bounds the presences in a room, in bytes, for the same reason: what a handler asks for is
// 3 MiB at most.
const mostPresence = 2 << 20

// check says what is wrong with options, and reads Admins.
func (o *Options) check() (admins map[jid.JID]bool, err error) {
	admins = map[jid.JID]bool{}
	for _, a := range o.Admins {
		j, err := jid.Parse(a)
		if err != nil || j.Local() == "" || !j.IsBare() {
			return nil, fmt.Errorf("muc: admins: %q is no account", a)
		}
		admins[j] = true
	}
	switch o.Create {
	case createLocal, createAny, createAdmins:
	default:
		return nil, fmt.Errorf("muc: create: %q; it is one of %s, %s, %s", o.Create, createLocal, createAny, createAdmins)
	}
	for _, n := range []struct {
		name        string
		value       int
		least, most int
	}{
		{"history", o.History, 0, o.MaxHistory},
		{"max-history", o.MaxHistory, 0, 500},
		{"max-occupants", o.MaxOccupants, 1, mostOccupants},
		{"max-rooms", o.MaxRooms, 1, 10_000},
		{"retention-days", o.Retention, 0, 36_500},
		{"rate", o.Rate, 0, 10_000},
		{"burst", o.Burst, 1, 100_000},
		{"max-nick", o.MaxNick, 1, 1023},
		{"max-message", o.MaxMessage, 256, 256 << 10},
		{"max-presence", o.MaxPresence, 256, 8 << 10},
	} {
		if n.value < n.least || n.value > n.most {
			return nil, fmt.Errorf("muc: %s: %d; allowed are %d to %d", n.name, n.value, n.least, n.most)
		}
	}
	return admins, nil
}
