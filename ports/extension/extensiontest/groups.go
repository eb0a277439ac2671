package extensiontest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// members are those of one group, by their JIDs as strings.
type members map[string]extension.Member

// Bounds of package extension.
const (
	maxGroups       = 100_000
	maxMembers      = 500_000
	maxGroupMembers = 20_000
	maxGroupName    = 2048
	maxClasses      = 8
	maxClassName    = 64
	maxExcept       = 1000
	maxVariants     = 8
)

// Members returns the members of a group, in order.
func (h *Harness) Members(group string) []extension.Member {
	h.mu.Lock()
	defer h.mu.Unlock()
	return inOrder(h.groups[group])
}

func inOrder(m members) (list []extension.Member) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		list = append(list, m[key])
	}
	return list
}

// groups implements extension.Groups.
type groups struct{ t *tx }

// view is what the handler sees of a group.
func (x groups) view(group string) members {
	x.t.open()
	x.t.h.mu.Lock()
	all := maps.Clone(x.t.h.groups[group])
	x.t.h.mu.Unlock()
	if all == nil {
		all = members{}
	}
	for _, change := range x.t.changes[group] {
		change(all)
	}
	return all
}

// change buffers a change of a group.
func (x groups) change(group string, f func(members)) {
	if x.t.changes == nil {
		x.t.changes = map[string][]func(members){}
	}
	x.t.changes[group] = append(x.t.changes[group], f)
	x.t.later(func() {
		h := x.t.h
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.groups[group] == nil {
			h.groups[group] = members{}
		}
		if f(h.groups[group]); len(h.groups[group]) == 0 {
			delete(h.groups, group)
		}
	})
}

// owns says whether the extension may send from an address to a group.
func (x groups) owns(from jid.JID) error {
	h := x.t.h
	own := slices.ContainsFunc(h.componentDomains(), func(c component) bool { return c.domain == from.Domain() })
	if own || !from.IsZero() && from.Local() == "" && h.hosted(from.Domain()) {
		return nil
	}
	if from.Local() != "" && from.IsBare() && h.hosted(from.Domain()) {
		return h.permit(extension.SendAsAccount)
	}
	return fmt.Errorf("%w: %s may not send from %q to a group", extension.ErrPermission, h.reg.Name, from)
}

func (x groups) Join(group string, m extension.Member) error {
	all := x.view(group)
	_, there := all[m.JID.String()]
	x.t.h.mu.Lock()
	count, total := len(x.t.h.groups), 0
	for _, g := range x.t.h.groups {
		total += len(g)
	}
	x.t.h.mu.Unlock()
	wrong := func(c string) bool { return c == "" || len(c) > maxClassName }
	switch {
	case m.JID.IsZero():
		return errors.New("extensiontest: a member without an address")
	case group == "" || len(group) > maxGroupName || len(m.Classes) > maxClasses || slices.ContainsFunc(m.Classes, wrong):
		return fmt.Errorf("%w: names of groups and classes", extension.ErrBound)
	case !there && (len(all) >= maxGroupMembers || total >= maxMembers || len(all) == 0 && count >= maxGroups):
		return fmt.Errorf("%w: groups and members", extension.ErrBound)
	}
	if !m.From.IsZero() {
		if err := x.owns(m.From); err != nil {
			return err
		}
	}
	x.change(group, func(all members) { all[m.JID.String()] = m })
	return nil
}

func (x groups) Leave(group string, member jid.JID) {
	x.change(group, func(all members) { delete(all, member.String()) })
}

func (x groups) Remove(group string) {
	x.change(group, func(all members) { clear(all) })
}

func (x groups) Send(group string, c extension.Cast) error {
	if len(c.Except) > maxExcept || len(c.Variants) > maxVariants {
		return fmt.Errorf("%w: %d exceptions, %d variants", extension.ErrBound, len(c.Except), len(c.Variants))
	}
	if c.Stanza == nil && len(c.Variants) == 0 {
		return errors.New("extensiontest: a cast without a stanza")
	}
	for _, st := range append([]*stanza.Stanza{c.Stanza}, stanzasOf(c.Variants)...) {
		switch {
		case st == nil:
		case st.Kind != stanza.Message && st.Kind != stanza.Presence:
			return errors.New("extensiontest: what a group is sent is a message or a presence")
		case x.owns(st.From) != nil:
			return x.owns(st.From)
		case x.t.h.permit(extension.SendAsAccount) == nil && stanzas(x).carbon(st):
			return fmt.Errorf("%w: %s may not send carbon copies", extension.ErrPermission, x.t.h.reg.Name)
		}
	}
	if err := stanzas(x).count(); err != nil {
		return err
	}
	x.t.later(func() {
		for _, m := range x.t.h.Members(group) {
			if copied := copyFor(&c, &m); copied != nil {
				x.t.h.record(Effect{Kind: Cast, Group: group, Stanza: copied})
			}
		}
	})
	return nil
}

func stanzasOf(list []extension.Variant) (all []*stanza.Stanza) {
	for _, v := range list {
		all = append(all, v.Stanza)
	}
	return all
}

// copyFor returns what a member gets, nil for nothing.
func copyFor(c *extension.Cast, m *extension.Member) *stanza.Stanza {
	if slices.Contains(c.Except, m.JID) || c.Only != "" && !slices.Contains(m.Classes, c.Only) {
		return nil
	}
	st := c.Stanza
	for _, v := range c.Variants {
		if slices.Contains(m.Classes, v.Class) {
			st = v.Stanza
			break
		}
	}
	if st == nil {
		return nil
	}
	head := st.Header
	head.To = m.JID
	if !m.From.IsZero() {
		head.From = m.From
	}
	return st.With(head)
}

func (x groups) Members(_ context.Context, group string, after jid.JID, limit int) (page []extension.Member, err error) {
	for _, m := range inOrder(x.view(group)) {
		if len(page) < limit && m.JID.String() > after.String() {
			page = append(page, m)
		}
	}
	return page, nil
}

func (x groups) Size(_ context.Context, group string) (int, error) { return len(x.view(group)), nil }
