package roster

import (
	"strings"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Item is one contact. Items are values that snapshots share; a server holds
// many of them, so what most of them lack takes no room.
type Item struct {
	Contact  jid.JID
	text     string // name, request and groups, parted by NUL, which none of them can hold; "" if there are none
	State    State
	Approved bool
	Listed   bool // in the roster as the client sees it
}

// Name returns the name that the user gave the contact, "" for none.
func (i *Item) Name() string {
	name, _, _ := strings.Cut(i.text, "\x00")
	return name
}

// Request returns the contact's subscribe stanza as XML, while PendingIn.
func (i *Item) Request() string {
	_, rest, _ := strings.Cut(i.text, "\x00")
	request, _, _ := strings.Cut(rest, "\x00")
	return request
}

// Groups returns the groups that the user put the contact in.
func (i *Item) Groups() []string {
	parts := strings.SplitN(i.text, "\x00", 3)
	if len(parts) < 3 {
		return nil
	}
	return strings.Split(parts[2], "\x00")
}

// Describe sets name and groups.
func (i *Item) Describe(name string, groups []string) { i.write(name, i.Request(), groups) }

// SetRequest sets the request.
func (i *Item) SetRequest(xml string) { i.write(i.Name(), xml, i.Groups()) }

func (i *Item) write(name, request string, groups []string) {
	switch {
	case len(groups) > 0:
		i.text = name + "\x00" + request + "\x00" + strings.Join(groups, "\x00")
	case request != "":
		i.text = name + "\x00" + request
	default:
		i.text = strings.Clone(name)
	}
}

// empty says that the item need not be kept.
func (i *Item) empty() bool { return !i.Listed && i.State == None && !i.Approved }

func same(a, b *Item) bool {
	return a.text == b.text && a.State == b.State && a.Approved == b.Approved && a.Listed == b.Listed
}

func fromStored(s *storage.RosterItem) Item {
	i := Item{Contact: s.Contact, Approved: s.Approved, Listed: !s.Hidden}
	i.write(s.Name, string(s.Request), s.Groups)
	switch s.Subscription {
	case storage.SubTo:
		i.State = To
	case storage.SubFrom:
		i.State = From
	case storage.SubBoth:
		i.State = Both
	}
	if s.Ask {
		i.State |= PendingOut
	}
	if s.Request != nil {
		i.State |= PendingIn
	}
	return i
}

func stored(i *Item) storage.RosterItem {
	s := storage.RosterItem{
		Contact: i.Contact, Name: i.Name(), Groups: i.Groups(), Subscription: i.State.Subscription(),
		Ask: i.State.Has(PendingOut), Approved: i.Approved, Hidden: !i.Listed,
	}
	if i.State.Has(PendingIn) {
		s.Request = []byte(i.Request())
	}
	return s
}
