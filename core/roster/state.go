package roster

import (
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// State is the state of a subscription between a user and a contact, from the
// user's side (RFC 6121 A.1): a set of what holds.
type State uint8

const (
	To         State = 1 << iota // the user is subscribed to the contact
	From                         // the contact is subscribed to the user
	PendingOut                   // the user asked the contact
	PendingIn                    // the contact asked the user
	None       State = 0
	Both             = To | From
)

// Has says whether all of what holds in t holds in s.
func (s State) Has(t State) bool { return s&t == t }

// Subscription returns the state as a client sees it (RFC 6121 2.1.2.5).
func (s State) Subscription() storage.Subscription {
	switch s & Both {
	case To:
		return storage.SubTo
	case From:
		return storage.SubFrom
	case Both:
		return storage.SubBoth
	}
	return storage.SubNone
}

// Step is what a subscription stanza does on one side.
type Step struct {
	State    State
	Approved bool   // pre-approval holds (RFC 6121 3.4)
	Pass     bool   // outbound: route the stanza; inbound: deliver it
	Reply    string // inbound: the type of the stanza that answers by itself, or ""
}

// Outbound is the step of a stanza that the user sends (RFC 6121 A.2, 3.4).
func (s State) Outbound(typ string, approved bool) Step {
	step := Step{State: s, Approved: approved}
	switch typ {
	case stanza.Subscribe: // A.2.1
		step.Pass = true
		if !s.Has(To) {
			step.State |= PendingOut
		}
	case stanza.Unsubscribe: // A.2.2
		step.Pass = true
		step.State &^= To | PendingOut
	case stanza.Subscribed: // A.2.3
		switch {
		case s.Has(PendingIn):
			step.Pass = true
			step.State = s&^PendingIn | From
			step.Approved = false
		case !s.Has(From):
			step.Approved = true
		}
	case stanza.Unsubscribed: // A.2.4
		step.Pass = s&(From|PendingIn) != 0
		step.State &^= From | PendingIn
		step.Approved = false
	}
	return step
}

// Inbound is the step of a stanza that the contact sends (RFC 6121 A.3, 3.4).
func (s State) Inbound(typ string, approved bool) Step {
	step := Step{State: s, Approved: approved}
	switch typ {
	case stanza.Subscribe: // A.3.1
		switch {
		case s.Has(From):
			step.Reply = stanza.Subscribed
		case approved:
			step.State = s&^PendingIn | From
			step.Approved = false
			step.Reply = stanza.Subscribed
		case !s.Has(PendingIn):
			step.Pass = true
			step.State |= PendingIn
		}
	case stanza.Unsubscribe: // A.3.2
		if s&(From|PendingIn) != 0 {
			step.Pass = true
			step.State &^= From | PendingIn
			step.Reply = stanza.Unsubscribed
		}
	case stanza.Subscribed: // A.3.3
		if s.Has(PendingOut) {
			step.Pass = true
			step.State = s&^PendingOut | To
		}
	case stanza.Unsubscribed: // A.3.4
		if s&(To|PendingOut) != 0 {
			step.Pass = true
			step.State &^= To | PendingOut
		}
	}
	return step
}
