package roster

import (
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace of roster queries (RFC 6121 2.1).
const NS = "jabber:iq:roster"

// Bounds of what a client may put in an item, in bytes and groups.
const (
	maxName   = 1023
	maxGroup  = 1023
	maxGroups = 50
)

// Edit is what a client asks for in a roster set (RFC 6121 2.1.5).
type Edit struct {
	Contact jid.JID // bare
	Remove  bool
	Name    string
	Groups  []string
}

// ParseEdit reads <query/> of a roster set. The errors are those of RFC 6121
// 2.3.3. What a client may not set (ask, approved, subscription but for remove)
// is ignored (2.1.2).
func ParseEdit(query *stanza.Element) (Edit, *stanza.Error) {
	items := query.Elements()
	if len(items) != 1 || items[0].Local != "item" || items[0].Space != NS {
		return Edit{}, stanza.Err(stanza.BadRequest, "a roster set has exactly one item")
	}
	item := items[0]
	contact, err := jid.Parse(item.Attr("jid"))
	if err != nil {
		return Edit{}, stanza.Err(stanza.BadRequest, "the item's jid is not an address")
	}
	e := Edit{Contact: contact.Bare().Clone(), Remove: item.Attr("subscription") == "remove", Name: item.Attr("name")}
	if e.Remove {
		return e, nil
	}
	if len(e.Name) > maxName {
		return Edit{}, stanza.Err(stanza.NotAcceptable, "the name is too long")
	}
	seen := map[string]bool{}
	for _, g := range item.Elements() {
		if g.Local != "group" || g.Space != NS {
			continue
		}
		name := strings.Clone(g.Text())
		switch {
		case name == "" || len(name) > maxGroup:
			return Edit{}, stanza.Err(stanza.NotAcceptable, "a group's name is empty or too long")
		case seen[name]:
			return Edit{}, stanza.Err(stanza.BadRequest, "a group is named twice")
		case len(seen) == maxGroups:
			return Edit{}, stanza.Err(stanza.NotAcceptable, "too many groups")
		}
		seen[name] = true
		e.Groups = append(e.Groups, name)
	}
	e.Name = strings.Clone(e.Name)
	return e, nil
}

// Element returns the item as a client sees it (RFC 6121 2.1.2).
func (i *Item) Element() *stanza.Element {
	e := stanza.El(NS, "item", stanza.At("jid", i.Contact.String()))
	if !i.Listed {
		e.Attrs = append(e.Attrs, stanza.At("subscription", "remove"))
		return e
	}
	if i.Approved {
		e.Attrs = append(e.Attrs, stanza.At("approved", "true"))
	}
	if i.State.Has(PendingOut) {
		e.Attrs = append(e.Attrs, stanza.At("ask", "subscribe"))
	}
	if name := i.Name(); name != "" {
		e.Attrs = append(e.Attrs, stanza.At("name", name))
	}
	e.Attrs = append(e.Attrs, stanza.At("subscription", string(i.State.Subscription())))
	for _, g := range i.Groups() {
		e.Add(stanza.El(NS, "group").WithText(g))
	}
	return e
}

// Query returns the whole roster with its version (RFC 6121 2.1.4, 2.6).
func (s *Snapshot) Query() *stanza.Element {
	q := stanza.El(NS, "query", stanza.At("ver", s.Ver()))
	for i := range s.Items {
		if s.Items[i].Listed {
			q.Add(s.Items[i].Element())
		}
	}
	return q
}

// Push returns a roster push of one item (RFC 6121 2.1.6).
func (s *Snapshot) Push(i *Item) *stanza.Element {
	return stanza.El(NS, "query", stanza.At("ver", s.Ver())).Add(i.Element())
}

// Ver returns the version as clients see it. It depends on what the roster
// holds, too: a number alone could come again when an account was removed and
// made anew, or a backup was put back.
func (s *Snapshot) Ver() string {
	h := fnv.New64a()
	for i := range s.Items {
		it := &s.Items[i]
		if !it.Listed {
			continue
		}
		h.Write([]byte(it.Contact.String()))
		h.Write([]byte{0, byte(it.State &^ PendingIn)})
		h.Write([]byte(it.Name()))
		if it.Approved {
			h.Write([]byte{1})
		}
		for _, g := range it.Groups() {
			h.Write([]byte{0})
			h.Write([]byte(g))
		}
		h.Write([]byte{'\n'})
	}
	return strconv.FormatUint(s.Version, 36) + "-" + strconv.FormatUint(h.Sum64(), 36)
}

// Visible says whether clients can see a change.
func Visible(before, after *Item) bool {
	if !before.Listed && !after.Listed {
		return false
	}
	b, a := *before, *after
	b.SetRequest("")
	a.SetRequest("")
	b.State &^= PendingIn
	a.State &^= PendingIn
	return !same(&b, &a)
}
