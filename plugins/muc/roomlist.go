package muc

import (
	"context"
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/rsm"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Bounds of the list of rooms.
const (
	maxItems = 500    // of a page
	maxCount = 10_000 // rooms that are looked at for a count, or a page from behind
)

// roomList answers which rooms there are that are not hidden (6.3), a page at a time (XEP-0059): in the order
// of their addresses, by which pages are asked for, so that rooms may come and go meanwhile. Without <set/> it
// is the first page, with one in the answer if there are more.
func (s *Service) roomList(ctx context.Context, h *extension.Host, iq extension.IQ) (*stanza.Element, error) {
	query := iq.Payload()
	if query.Attr("node") != "" {
		return nil, stanza.Err(stanza.ItemNotFound, "")
	}
	asked := query.Child(rsm.NS, "set")
	set, refused := rsm.Parse(asked)
	switch {
	case refused != nil:
		return nil, refused
	case set.Index != rsm.None:
		return nil, stanza.Err(stanza.FeatureNotImplemented, "Pages by index are not known here.")
	case set.Max == rsm.None:
		set.Max = maxItems
	}
	l := listed{h: h, domain: iq.To.Domain()}
	after, err := l.key(set.After)
	if err != nil {
		return nil, err
	}
	answer := stanza.El(nsDiscoItems, "query")
	page := rsm.Page{Index: rsm.None, Count: rsm.None}
	switch {
	case set.Max == 0:
		page.Count, err = l.count(ctx)
		return answer.Add(page.Element()), err
	case set.HasBefore:
		var before string
		if before, err = l.key(set.Before); err == nil {
			l.rooms, l.more, err = l.behind(ctx, after, before, min(set.Max, maxItems))
		}
	default:
		l.rooms, l.more, err = l.page(ctx, after, min(set.Max, maxItems))
		if page.Index = rsm.None; err == nil && after == "" {
			page.Index = 0
			if !l.more {
				page.Count = len(l.rooms)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	for _, e := range l.rooms {
		item := stanza.El(nsDiscoItems, "item", stanza.At("jid", l.address(e)))
		if len(e.Value) > 0 {
			item.Attrs = append(item.Attrs, stanza.At("name", string(e.Value)))
		}
		answer.Add(item)
	}
	if asked == nil && !l.more {
		return answer, nil
	}
	if n := len(l.rooms); n > 0 {
		page.First, page.Last = l.address(l.rooms[0]), l.address(l.rooms[n-1])
	}
	return answer.Add(page.Element()), nil
}

// listed are the rooms of a service that are not hidden: those that stay are in storage, others in memory.
type listed struct {
	h      *extension.Host
	domain string

	rooms []extension.Entry
	more  bool
}

// address is that of a room, and what a page is asked for by.
func (l *listed) address(e extension.Entry) string {
	return strings.TrimPrefix(e.Key, listPrefix(l.domain)) + "@" + l.domain
}

// key is that of a room's entry; "" for no address.
func (l *listed) key(address string) (string, error) {
	if address == "" {
		return "", nil
	}
	j, err := jid.Parse(address)
	if err != nil || j.Domain() != l.domain || j.Local() == "" {
		return "", stanza.Err(stanza.ItemNotFound, "There is no such place in the list.")
	}
	return listKey(j), nil
}

// page returns at most limit rooms behind a key, and whether there are more.
func (l *listed) page(ctx context.Context, after string, limit int) (rooms []extension.Entry, more bool, err error) {
	prefix := listPrefix(l.domain)
	stored, err := l.h.Store.Scan(ctx, jid.JID{}, prefix, after, limit+1)
	if err != nil {
		return nil, false, err
	}
	temporary, err := l.h.Memory.Scan(ctx, prefix, after, limit+1)
	if err != nil {
		return nil, false, err
	}
	rooms = append(slices.Clone(stored), temporary...)
	slices.SortFunc(rooms, func(a, b extension.Entry) int { return strings.Compare(a.Key, b.Key) })
	if len(rooms) > limit {
		return rooms[:limit], true, nil
	}
	return rooms, false, nil
}

// behind returns the last limit rooms in front of a key, and behind another one; "" is no bound.
// Storage reads forward: it is for lists that are not very long.
func (l *listed) behind(ctx context.Context, after, before string, limit int) (rooms []extension.Entry, more bool, err error) {
	for seen := 0; seen < maxCount; {
		part, rest, err := l.page(ctx, after, maxItems)
		if err != nil {
			return nil, false, err
		}
		seen += len(part)
		over := !rest
		for _, e := range part {
			if before != "" && e.Key >= before {
				over = true
				break
			}
			rooms = append(rooms, e)
		}
		if n := len(rooms) - limit; n > 0 {
			rooms, more = slices.Delete(rooms, 0, n), true
		}
		if over {
			return rooms, more, nil
		}
		after = part[len(part)-1].Key
	}
	return nil, false, stanza.Err(stanza.FeatureNotImplemented, "There are too many rooms for pages from behind; ask from the front.")
}

// count returns how many rooms there are, or maxCount if there are more.
func (l *listed) count(ctx context.Context) (n int, err error) {
	after := ""
	for n < maxCount {
		part, more, err := l.page(ctx, after, maxItems)
		if err != nil {
			return 0, err
		}
		if n += len(part); !more {
			break
		}
		after = part[len(part)-1].Key
	}
	return min(n, maxCount), nil
}
