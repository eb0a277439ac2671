package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Bounds of groups beside Limits.
const (
	maxGroupName = 2048
	maxClasses   = 8
	maxClassName = 64
	maxExcept    = 1000
	maxVariants  = 8
	fewExcept    = 8 // looked through one by one
)

// groups are those of one guest: extension.Groups.
type groups struct {
	limits Limits

	mu      sync.Mutex // guards what follows, and what group says
	named   map[string]*group
	members int  // of all groups
	filled  int  // how many groups have members
	relayed int  // what relays have left to do
	full    bool // something of that was dropped since there was nothing
}

// group is one group. Changes and casts have their turns, in the order in which
// they were asked for (cast.go).
type group struct {
	name string
	// members are changed with the lock of groups held, by who has the turn alone: so
	// it reads them without.
	members ordered[*extension.Member]

	// Guarded by groups.mu.
	busy  bool         // somebody has the turn
	queue []*groupTurn // behind it
	relay relay
}

// groupTurn is what a handler asks of a group in one go.
type groupTurn struct {
	ops  []groupOp     // those that are left
	done chan struct{} // closed when all are done; nil if nobody waits
}

// groupOp is one call.
type groupOp struct {
	join  *extension.Member
	leave string // JID of the member
	empty bool
	cast  *cast
}

// change does what op is but for casts. gs.mu is held.
func (gs *groups) change(gr *group, op *groupOp) {
	before := gr.members.n
	switch {
	case op.join != nil:
		gr.members.put(op.join.JID.String(), op.join)
	case op.empty:
		gr.members = ordered[*extension.Member]{}
	default:
		gr.members.remove(op.leave)
	}
	gs.members += gr.members.n - before
	switch {
	case before == 0 && gr.members.n > 0:
		gs.filled++
	case before > 0 && gr.members.n == 0:
		gs.filled--
	}
}

// grouped is what a handler has asked of groups: for its own reads, and for bounds.
type grouped struct {
	views         map[string]*groupView
	joins, founds int // members and groups that are new

	last   *groupTurn // what the last of all effects was, if it was for a group:
	name   string
	behind int // of so many effects
}

// groupView is what a handler has changed in one group.
type groupView struct {
	emptied bool                       // before what follows
	own     ordered[*extension.Member] // nil: it has left
	grows   int
}

// groupsOf implements extension.Groups.
type groupsOf struct{ t *tx }

func (x groupsOf) Join(name string, m extension.Member) error {
	g := x.t.g
	switch {
	case name == "" || len(name) > maxGroupName:
		return fmt.Errorf("%w: the name of a group has 1 to %d bytes, this one %d", extension.ErrBound, maxGroupName, len(name))
	case m.JID.IsZero():
		return errors.New("host: a member without an address")
	case len(m.Classes) > maxClasses:
		return fmt.Errorf("%w: a member has at most %d classes", extension.ErrBound, maxClasses)
	}
	for _, c := range m.Classes {
		if c == "" || len(c) > maxClassName {
			return fmt.Errorf("%w: the name of a class has 1 to %d bytes, this one %d", extension.ErrBound, maxClassName, len(c))
		}
	}
	if !m.From.IsZero() {
		if err := g.mayCast(m.From); err != nil {
			return err
		}
	}
	size, there := x.look(name, m.JID)
	if !there {
		if err := x.mayJoin(name, size); err != nil {
			return err
		}
	}
	kept := extension.Member{JID: m.JID.Clone(), From: m.From.Clone(), Classes: slices.Clone(m.Classes)}
	x.change(name, kept.JID, &kept, there)
	x.do(name, groupOp{join: &kept})
	return nil
}

// mayJoin says whether the bounds leave room for a new member of a group that has so
// many. Handlers that run at once may together go a little beyond.
func (x groupsOf) mayJoin(name string, size int) error {
	g, own := x.t.g, &x.t.grouped
	gs, most := &g.groups, &g.groups.limits
	gs.mu.Lock()
	defer gs.mu.Unlock()
	switch {
	case size >= most.GroupMembers:
		return fmt.Errorf("%w: a group has at most %d members", extension.ErrBound, most.GroupMembers)
	case gs.members+own.joins >= most.Members:
		return fmt.Errorf("%w: the groups of %s have at most %d members", extension.ErrBound, g.Reg.Name, most.Members)
	case size == 0 && gs.filled+own.founds >= most.Groups:
		return fmt.Errorf("%w: %s has at most %d groups", extension.ErrBound, g.Reg.Name, most.Groups)
	}
	own.joins++
	if size == 0 {
		own.founds++
	}
	return nil
}

func (x groupsOf) Leave(name string, member jid.JID) {
	_, there := x.look(name, member)
	x.change(name, member, nil, there)
	x.do(name, groupOp{leave: member.String()})
}

func (x groupsOf) Remove(name string) {
	*x.view(name) = groupView{emptied: true}
	x.do(name, groupOp{empty: true})
}

// view is what the handler has changed in a group, to be changed.
func (x groupsOf) view(name string) *groupView {
	own := &x.t.grouped
	if own.views == nil {
		own.views = map[string]*groupView{}
	}
	v := own.views[name]
	if v == nil {
		v = &groupView{}
		own.views[name] = v
	}
	return v
}

// change notes that somebody has joined, or left (m is nil); there says that they
// were a member before.
func (x groupsOf) change(name string, j jid.JID, m *extension.Member, there bool) {
	v := x.view(name)
	v.own.put(j.String(), m)
	switch {
	case there && m == nil:
		v.grows--
	case !there && m != nil:
		v.grows++
	}
}

func (x groupsOf) Send(name string, c extension.Cast) error {
	if len(c.Except) > maxExcept || len(c.Variants) > maxVariants {
		return fmt.Errorf("%w: a cast has at most %d exceptions and %d variants", extension.ErrBound, maxExcept, maxVariants)
	}
	var err error
	made := cast{only: c.Only}
	if made.plain, err = x.sendable(c.Stanza); err != nil {
		return err
	}
	for _, v := range c.Variants {
		st, err := x.sendable(v.Stanza)
		if err != nil {
			return err
		}
		made.variants = append(made.variants, variant{v.Class, st})
	}
	if made.plain.Stanza == nil && len(made.variants) == 0 {
		return errors.New("host: a cast without a stanza")
	}
	if len(c.Except) <= fewExcept {
		made.few = slices.Clone(c.Except)
	} else {
		made.except = make(map[jid.JID]struct{}, len(c.Except))
		for _, j := range c.Except {
			made.except[j] = struct{}{}
		}
	}
	if err := stanzas(x).count(); err != nil {
		return err
	}
	x.do(name, groupOp{cast: &made})
	return nil
}

// sendable returns what goes out of a stanza for a group.
func (x groupsOf) sendable(s *stanza.Stanza) (c castStanza, err error) {
	if s == nil {
		return c, nil
	}
	if s.Kind != stanza.Message && s.Kind != stanza.Presence {
		return c, errors.New("host: what a group is sent is a message or a presence")
	}
	g := x.t.g
	if err := g.mayCast(s.From); err != nil {
		return c, err
	}
	h := s.Header
	h.To = jid.JID{} // each copy has its own
	s = s.With(h)
	if g.permit(extension.SendAsAccount) == nil { // any copy may be from an account, by Member.From
		h.From = jid.JID{}
		if err := g.MayEmit(s.With(h)); err != nil {
			return c, err
		}
	}
	if !g.ofServer(s.From) {
		s = g.hosts.Forgery.Strip(s)
	}
	return newCastStanza(s), nil
}

// mayCast says whether what groups are sent may be from an address.
func (g *Guest) mayCast(from jid.JID) error {
	switch {
	case g.owns(from):
		return nil
	case from.Local() == "" || !from.IsBare() || !slices.Contains(g.hosts.Domains, from.Domain()):
		return fmt.Errorf("%w: %s may not send from %q to a group: send from the server, from a domain of its components, or from the bare JID of an account",
			extension.ErrPermission, g.Reg.Name, from)
	}
	return g.permit(extension.SendAsAccount)
}

// ofServer says whether an address that the guest may send from is the server's.
func (g *Guest) ofServer(from jid.JID) bool {
	return from.Local() == "" && slices.Contains(g.hosts.Domains, from.Domain())
}

// copyFor returns what a member gets of a stanza whose from is not its own: such a copy
// asserts no more than whom it is from may.
func (g *Guest) copyFor(m *extension.Member, st *stanza.Stanza) *stanza.Stanza {
	switch {
	case m.From.IsZero(), g.ofServer(m.From):
		return st
	case m.From.Domain() == st.From.Domain() && slices.Contains(g.domains, m.From.Domain()): // it may say the same
		return st
	}
	h := st.Header
	h.From = m.From
	return g.hosts.Forgery.Strip(st.With(h))
}

// do has op be done with the effects of the handler: in one go with the one before, if
// that is for the same group.
func (x groupsOf) do(name string, op groupOp) {
	g, own := x.t.g, &x.t.grouped
	if own.last != nil && own.name == name && own.behind == len(x.t.after) {
		own.last.ops = append(own.last.ops, op)
		return
	}
	one := &groupTurn{ops: []groupOp{op}}
	x.t.later(func(b *transport.Batch) transport.Wait { return g.ask(b, name, one) })
	own.last, own.name, own.behind = one, name, len(x.t.after)
}

// unchanged is the view of a group that the handler has not changed.
var unchanged = &groupView{}

// look returns how many members a group has as the handler sees it, and whether j is
// one of them.
func (x groupsOf) look(name string, j jid.JID) (size int, there bool) {
	v := x.t.grouped.views[name]
	if v == nil {
		v = unchanged
	}
	m, changed := v.own.get(j.String())
	gs := &x.t.g.groups
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gr := gs.named[name]; gr != nil && !v.emptied {
		size = gr.members.n
		if !changed {
			m, _ = gr.members.get(j.String())
		}
	}
	return max(0, size+v.grows), m != nil
}

func (x groupsOf) Members(_ context.Context, name string, after jid.JID, limit int) ([]extension.Member, error) {
	v := x.t.grouped.views[name]
	if v == nil {
		v = unchanged
	}
	base := &ordered[*extension.Member]{}
	gs := &x.t.g.groups
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gr := gs.named[name]; gr != nil && !v.emptied {
		base = &gr.members
	}
	var found []extension.Member
	for _, p := range page(base, &v.own, behind(after.String(), ""), "", limit) {
		found = append(found, *p.value)
	}
	return found, nil
}

func (x groupsOf) Size(_ context.Context, name string) (int, error) {
	size, _ := x.look(name, jid.JID{})
	return size, nil
}
