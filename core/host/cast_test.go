package host

import (
	"context"
	"errors"
	"testing"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Copies in the name of accounts need the permission, and assert no more than these may.
func TestCastAsAccount(t *testing.T) {
	h, _ := newHosts(2)
	r := &keeper{}
	h.Start(r)
	defer stop(t, h)
	none := h.NewGuest(&extension.Registration{Name: "none"}, nil, []string{roomDomain})
	g := h.NewGuest(&extension.Registration{Name: "pep"}, []extension.Permission{extension.SendAsAccount}, []string{"pep.example.test"})
	account := jid.MustParse("juliet@example.test")
	by := func(by string) *stanza.Element {
		return stanza.El("urn:xmpp:sid:0", "stanza-id", stanza.At("id", "1"), stanza.At("by", by))
	}
	msg := func(from jid.JID, children ...*stanza.Element) *stanza.Stanza {
		return stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.Headline, From: from}, children...)
	}
	ids := []*stanza.Element{by("juliet@example.test"), by("pep.example.test"), by("x@far.test")}
	carbon := stanza.El("urn:xmpp:carbons:2", "sent")
	for _, row := range []struct {
		what         string
		g            *Guest
		from, member jid.JID
		payload      []*stanza.Element
		left         int // children of the copy; 0: it is refused
	}{
		{"an account, without the permission", none, account, jid.JID{}, ids, 0},
		{"a member from an account, without the permission", none, server, account, ids, 0},
		{"an account", g, account, jid.JID{}, ids, 1},
		{"an account that is not here", g, jid.MustParse("juliet@far.test"), jid.JID{}, ids, 0},
		{"a session", g, jid.MustParse("juliet@example.test/x"), jid.JID{}, ids, 0},
		{"no from", g, jid.JID{}, account, ids, 0},
		{"a component of another", g, jid.MustParse("a@" + roomDomain), jid.JID{}, ids, 0},
		{"the server", g, server, jid.JID{}, ids, 3},
		{"the server's, to a member from an account", g, server, account, ids, 1},
		{"the server's, to a member from the component", g, server, jid.MustParse("pep.example.test"), ids, 2},
		{"a component's, to a member from an account", g, jid.MustParse("pep.example.test"), account, ids, 1},
		{"a component's, to a member of the same", g, jid.MustParse("pep.example.test"), jid.MustParse("a@pep.example.test"), ids, 2},
		{"a carbon from an account", g, account, jid.JID{}, []*stanza.Element{carbon}, 0},
		{"a carbon for a member from an account", g, server, account, []*stanza.Element{carbon}, 0},
		{"what looks like a carbon, from a component", none, inRoom, jid.JID{}, []*stanza.Element{carbon}, 1},
	} {
		r.copies = nil
		err := run(t, row.g, func(_ context.Context, h *extension.Host) error {
			return errors.Join(h.Groups.Join("a", extension.Member{JID: romeo, From: row.member}),
				h.Groups.Send("a", extension.Cast{Stanza: msg(row.from, row.payload...)}))
		})
		want := row.from
		if !row.member.IsZero() {
			want = row.member
		}
		switch {
		case row.left == 0:
			if !errors.Is(err, extension.ErrPermission) || len(r.copies) != 0 {
				t.Errorf("%s: %v, %v", row.what, err, r.copies)
			}
		case err != nil || len(r.copies) != 1 || len(r.copies[0].Children()) != row.left || r.copies[0].From != want:
			t.Errorf("%s: %v, %v", row.what, err, r.copies)
		}
	}
}

// keeper is a router that keeps copies.
type keeper struct {
	router
	copies []*stanza.Stanza
}

func (r *keeper) Copy(_ *transport.Batch, c *Copy) Fate {
	r.copies = append(r.copies, c.Addressed())
	return Fate{}
}
