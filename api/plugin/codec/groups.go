package codec

import (
	"context"
	"math"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Remember is extension.Memory.Put.
func (x *Effects) Remember(key string, value []byte) error {
	if err := text("memory.key", key); err != nil {
		return err
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_Memory{Memory: &pluginv1.MemoryWrite{Key: key, Value: value}}})
	return nil
}

// Forget is extension.Memory.Delete.
func (x *Effects) Forget(key string) {
	if text("", key) != nil {
		return // there is none
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_Memory{Memory: &pluginv1.MemoryWrite{Key: key, Delete: true}}})
}

// Join is extension.Groups.Join.
func (x *Effects) Join(group string, m extension.Member) error {
	if m.JID.IsZero() {
		return &Error{"join.member.jid", errMissing}
	}
	if err := text("join.group", group); err != nil {
		return err
	}
	if err := texts("join.member.classes", m.Classes); err != nil {
		return err
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_Join{Join: &pluginv1.GroupJoin{Group: group, Member: member(&m)}}})
	return nil
}

func member(m *extension.Member) *pluginv1.GroupMember {
	return &pluginv1.GroupMember{Jid: m.JID.String(), From: m.From.String(), Classes: m.Classes}
}

func readMember(m *pluginv1.GroupMember) (out extension.Member, err error) {
	out.Classes = m.GetClasses()
	if out.JID, err = somebody("jid", m.GetJid()); err != nil {
		return out, err
	}
	out.From, err = address("from", m.GetFrom())
	return out, err
}

// Leave is extension.Groups.Leave.
func (x *Effects) Leave(group string, member jid.JID) {
	if text("", group) != nil || member.IsZero() {
		return // it is in none
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_Leave{Leave: &pluginv1.GroupLeave{Group: group, Jid: member.String()}}})
}

// RemoveGroup is extension.Groups.Remove.
func (x *Effects) RemoveGroup(group string) {
	if text("", group) != nil {
		return // there is none
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_GroupRemove{GroupRemove: group}})
}

// Cast is extension.Groups.Send.
func (x *Effects) Cast(group string, c extension.Cast) error {
	if err := texts("group_send", []string{group, c.Only}); err != nil {
		return err
	}
	s, err := Stanza(c.Stanza)
	if err != nil {
		return in("group_send.stanza", err)
	}
	m := &pluginv1.GroupSend{Group: group, Stanza: s, Except: addressTexts(c.Except), Only: c.Only}
	for i, v := range c.Variants {
		s, err := Stanza(v.Stanza)
		if err == nil {
			err = text("class", v.Class)
		}
		if err != nil {
			return in("group_send", at("variants", i, err))
		}
		m.Variants = append(m.Variants, &pluginv1.GroupVariant{Class: v.Class, Stanza: s})
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_GroupSend{GroupSend: m}})
	return nil
}

func (l *Limits) cast(m *pluginv1.GroupSend) (c extension.Cast, err error) {
	c.Only = m.GetOnly()
	if c.Stanza, err = l.optional("stanza", m.GetStanza()); err != nil {
		return c, err
	}
	if c.Except, err = addresses("except", m.GetExcept()); err != nil {
		return c, err
	}
	for i, p := range m.GetVariants() {
		v := extension.Variant{Class: p.GetClass()}
		if v.Stanza, err = l.optional("stanza", p.GetStanza()); err != nil {
			return c, at("variants", i, err)
		}
		c.Variants = append(c.Variants, v)
	}
	return c, nil
}

func groupMembers(ctx context.Context, h *extension.Host, m *pluginv1.GroupMembers) (*pluginv1.Members, error) {
	after, err := address("after", m.GetAfter())
	if err != nil {
		return nil, err
	}
	if m.GetLimit() == 0 {
		n, err := h.Groups.Size(ctx, m.GetGroup())
		return &pluginv1.Members{Size: uint64(max(0, n))}, err
	}
	out := new(pluginv1.Members)
	list, err := h.Groups.Members(ctx, m.GetGroup(), after, number(m.GetLimit(), maxList))
	size := 0
	for i := range list {
		if size >= maxBytes {
			out.More = true
			return out, err
		}
		p := member(&list[i])
		size += len(p.Jid) + len(p.From)
		out.Members = append(out.Members, p)
	}
	out.More = len(list) == maxList && m.GetLimit() > maxList
	return out, err
}

// MemoryGet is extension.Memory.Get.
func (r Reads) MemoryGet(ctx context.Context, key string) (extension.Entry, bool, error) {
	if err := text("memory_get.key", key); err != nil {
		return extension.Entry{}, false, err
	}
	p, err := r.do(ctx, &pluginv1.Request{What: &pluginv1.Request_MemoryGet{MemoryGet: &pluginv1.GetMemory{Key: key}}})
	if err != nil || p.GetEntry() == nil {
		return extension.Entry{}, false, err
	}
	return ReadEntry(p.GetEntry()), true, nil
}

// MemoryScan is extension.Memory.Scan.
func (r Reads) MemoryScan(ctx context.Context, prefix, after string, limit int) ([]extension.Entry, error) {
	if err := texts("memory_scan", []string{prefix, after}); err != nil {
		return nil, err
	}
	return pages(limit, func(rest int, last *extension.Entry) ([]extension.Entry, bool, error) {
		if last != nil {
			after = last.Key
		}
		p, err := r.do(ctx, &pluginv1.Request{What: &pluginv1.Request_MemoryScan{MemoryScan: &pluginv1.ScanMemory{
			Prefix: prefix, After: after, Limit: small(rest),
		}}})
		return readEntries(p), p.GetEntries().GetMore(), err
	})
}

// GroupMembers is extension.Groups.Members.
func (r Reads) GroupMembers(ctx context.Context, group string, after jid.JID, limit int) ([]extension.Member, error) {
	return pages(limit, func(rest int, last *extension.Member) ([]extension.Member, bool, error) {
		if last != nil {
			after = last.JID
		}
		m, err := r.members(ctx, &pluginv1.GroupMembers{Group: group, After: after.String(), Limit: small(rest)})
		if err != nil {
			return nil, false, err
		}
		var list []extension.Member
		for i, p := range m.GetMembers() {
			out, err := readMember(p)
			if err != nil {
				return nil, false, at("members.members", i, err)
			}
			list = append(list, out)
		}
		return list, m.GetMore(), nil
	})
}

// GroupSize is extension.Groups.Size.
func (r Reads) GroupSize(ctx context.Context, group string) (int, error) {
	m, err := r.members(ctx, &pluginv1.GroupMembers{Group: group})
	return number(m.GetSize(), math.MaxInt), err
}

func (r Reads) members(ctx context.Context, q *pluginv1.GroupMembers) (*pluginv1.Members, error) {
	if err := text("group_members.group", q.Group); err != nil {
		return nil, err
	}
	p, err := r.do(ctx, &pluginv1.Request{What: &pluginv1.Request_GroupMembers{GroupMembers: q}})
	return p.GetMembers(), err
}
