package muc

import (
	"slices"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// classFull is the class of members of the group who see real addresses in a room where not
// everybody does (7.2.4).
const classFull = "full"

// seesFull says whether an occupant sees real addresses.
func (r *room) seesFull(o *occupant) bool { return r.Config.FullJIDs || o.role == Moderator }

// facts are what a presence says of an occupant besides what the client said: the item and status codes
// of <x/> (16.6, 17.3).
type facts struct {
	role        Role
	affiliation Affiliation
	nick        string // a new one
	actor       string // nickname of who has brought it about
	reason      string
	statuses    []string // for all
	self        []string // for the occupant's own sessions, beside 110
	destroy     *stanza.Element
}

// factsOf returns what is so for now.
func (r *room) factsOf(o *occupant) facts {
	return facts{role: o.role, affiliation: r.affiliationOf(o.account)}
}

// element returns <x/>; j is the real address, zero if it is not told.
func (f *facts) element(j jid.JID, statuses ...string) *stanza.Element {
	item := stanza.El(nsUser, "item", stanza.At("affiliation", f.affiliation.String()), stanza.At("role", f.role.String()))
	if !j.IsZero() {
		item.Attrs = append(item.Attrs, stanza.At("jid", j.String()))
	}
	if f.nick != "" {
		item.Attrs = append(item.Attrs, stanza.At("nick", f.nick))
	}
	if f.actor != "" {
		item.Add(stanza.El(nsUser, "actor", stanza.At("nick", f.actor)))
	}
	if f.reason != "" {
		item.Add(stanza.El(nsUser, "reason").WithText(f.reason))
	}
	x := stanza.El(nsUser, "x").Add(item, f.destroy)
	for _, code := range f.statuses {
		x.Add(statusElement(code))
	}
	for _, code := range statuses {
		x.Add(statusElement(code))
	}
	return x
}

// dressed returns a presence of an occupant with what the room says of it.
func (t *turn) dressed(o *occupant, show *stanza.Stanza, x *stanza.Element) *stanza.Stanza {
	add := []*stanza.Element{x, occupantID(o.id)}
	if hats := t.r.worn(o.account); hats != nil {
		add = append(add, hats)
	}
	return show.Patch(func(stanza.Child) bool { return false }, add...)
}

func occupantID(id string) *stanza.Element {
	return stanza.El(nsOccupantID, "occupant-id", stanza.At("id", id))
}

// gone returns the presence of an occupant who leaves; content is what the client said.
func gone(o *occupant, said ...*stanza.Element) *stanza.Stanza {
	return stanza.New(stanza.Header{Kind: stanza.Presence, Type: stanza.Unavailable, From: o.addr}, said...)
}

// announce tells everybody of the presence of a session, show, as f has it: its occupant's own sessions,
// but those of except, last. id is that of the presence which brought it about, for the
// session that has sent it.
func (t *turn) announce(s *session, show *stanza.Stanza, f facts, except ...*session) error {
	if err := t.announceOthers(s, show, f); err != nil {
		return err
	}
	return t.announceSelf(s, show, f, except...)
}

// announceOthers tells all but the occupant's own sessions, if they are to see it.
func (t *turn) announceOthers(s *session, show *stanza.Stanza, f facts) error {
	if !t.r.Config.shows(s.of.role) {
		return nil
	}
	return t.tellOthers(s, show, f)
}

// tellOthers tells all but the occupant's own sessions.
func (t *turn) tellOthers(s *session, show *stanza.Stanza, f facts) error {
	o := s.of
	c := extension.Cast{}
	for _, own := range o.sessions {
		c.Except = append(c.Except, own.jid)
	}
	if !slices.Contains(c.Except, s.jid) {
		c.Except = append(c.Except, s.jid)
	}
	full := t.dressed(o, show, f.element(s.jid))
	if t.r.Config.FullJIDs {
		c.Stanza = full
	} else {
		c.Stanza = t.dressed(o, show, f.element(jid.JID{}))
		c.Variants = []extension.Variant{{Class: classFull, Stanza: full}}
	}
	return t.Groups.Send(t.group(), c)
}

// announceSelf tells the occupant's own sessions (7.2.2: status 110).
func (t *turn) announceSelf(s *session, show *stanza.Stanza, f facts, except ...*session) error {
	statuses := append([]string{statusSelf}, f.self...)
	st := t.dressed(s.of, show, f.element(s.jid, statuses...))
	for _, own := range s.of.sessions {
		if slices.Contains(except, own) {
			continue
		}
		if err := t.sendTo(own.jid, st); err != nil {
			return err
		}
	}
	return nil
}

// sendTo sends what has a from already.
func (t *turn) sendTo(to jid.JID, st *stanza.Stanza) error {
	h := st.Header
	h.To = to
	return t.Stanzas.Send(st.With(h))
}

// presenceFor returns the presence of an occupant as another one sees it.
func (t *turn) presenceFor(viewer, o *occupant) *stanza.Stanza {
	s := o.shown()
	f := t.r.factsOf(o)
	real := jid.JID{}
	if t.r.seesFull(viewer) {
		real = s.jid
	}
	return t.dressed(o, s.show, f.element(real))
}

// roster sends the presence of all others to a session that enters (7.2.2).
func (t *turn) roster(s *session) error {
	for _, o := range t.r.inOrder() {
		if o == s.of || !t.r.Config.shows(o.role) {
			continue
		}
		if err := t.sendTo(s.jid, t.presenceFor(s.of, o)); err != nil {
			return err
		}
	}
	return nil
}
