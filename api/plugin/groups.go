package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/overlay"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// groupView is what a handler has changed in one group.
type groupView struct {
	emptied bool // before what follows
	own     map[string]overlay.Change[extension.Member]
}

// groups implements extension.Groups.
type groups struct{ t *tx }

func (x groups) view(group string) *groupView {
	if x.t.groups == nil {
		x.t.groups = map[string]*groupView{}
	}
	v := x.t.groups[group]
	if v == nil {
		v = &groupView{own: map[string]overlay.Change[extension.Member]{}}
		x.t.groups[group] = v
	}
	return v
}

func (x groups) Join(group string, m extension.Member) error {
	switch {
	case group == "" || len(group) > maxGroupName:
		return fmt.Errorf("%w: the name of a group has 1 to %d bytes, this one %d", extension.ErrBound, maxGroupName, len(group))
	case m.JID.IsZero():
		return errors.New("plugin: a member without an address")
	case len(m.Classes) > maxClasses:
		return fmt.Errorf("%w: a member has at most %d classes", extension.ErrBound, maxClasses)
	}
	for _, c := range m.Classes {
		if c == "" || len(c) > maxClassName {
			return fmt.Errorf("%w: the name of a class has 1 to %d bytes, this one %d", extension.ErrBound, maxClassName, len(c))
		}
	}
	m.Classes = slices.Clone(m.Classes)
	if err := x.t.others.Join(group, m); err != nil {
		return err
	}
	x.view(group).own[m.JID.String()] = overlay.Change[extension.Member]{Key: m.JID.String(), Value: &m}
	return nil
}

func (x groups) Leave(group string, member jid.JID) {
	x.t.others.Leave(group, member)
	x.view(group).own[member.String()] = overlay.Change[extension.Member]{Key: member.String()}
}

func (x groups) Remove(group string) {
	x.t.others.RemoveGroup(group)
	*x.view(group) = groupView{emptied: true, own: map[string]overlay.Change[extension.Member]{}}
}

func (x groups) Send(group string, c extension.Cast) error {
	if len(c.Except) > maxExcept || len(c.Variants) > maxVariants {
		return fmt.Errorf("%w: a cast has at most %d exceptions and %d variants", extension.ErrBound, maxExcept, maxVariants)
	}
	if c.Stanza == nil && len(c.Variants) == 0 {
		return errors.New("plugin: a cast without a stanza")
	}
	wrong := func(s *stanza.Stanza) bool {
		return s != nil && s.Kind != stanza.Message && s.Kind != stanza.Presence
	}
	if wrong(c.Stanza) || slices.ContainsFunc(c.Variants, func(v extension.Variant) bool { return wrong(v.Stanza) }) {
		return errors.New("plugin: what a group is sent is a message or a presence")
	}
	return stanzas(x).count(func() error { return x.t.others.Cast(group, c) })
}

func (x groups) Members(ctx context.Context, group string, after jid.JID, limit int) ([]extension.Member, error) {
	v := x.t.groups[group]
	if v == nil {
		return x.t.reads.GroupMembers(ctx, group, after, limit)
	}
	var own []overlay.Change[extension.Member]
	for key, c := range v.own {
		if key > after.String() {
			own = append(own, c)
		}
	}
	ask := limit + len(own)
	var stored []extension.Member
	if !v.emptied {
		var err error
		if stored, err = x.t.reads.GroupMembers(ctx, group, after, ask); err != nil {
			return nil, err
		}
	}
	return overlay.Page(stored, len(stored) == ask, func(m *extension.Member) string { return m.JID.String() }, own, limit), nil
}

// Size counts the members where the handler has changed the group: who of those that it
// let join were members before is not known here.
func (x groups) Size(ctx context.Context, group string) (int, error) {
	if x.t.groups[group] == nil {
		return x.t.reads.GroupSize(ctx, group)
	}
	list, err := x.Members(ctx, group, jid.JID{}, maxGroupMembers)
	return len(list), err
}
