package host

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// What an extension sends is from the server, from its own domains, or from an
// account to itself; never from those of another, of no one, or far away.
func TestFromIsTheGuestsOwn(t *testing.T) {
	h, r := newHosts(1)
	defer stop(t, h)
	reg := &extension.Registration{Name: "rooms", Reply: func(context.Context, *extension.Host, extension.Reply) error { return nil }}
	g := h.NewGuest(reg, nil, []string{"rooms.example.test"})
	h.NewGuest(&extension.Registration{Name: "files"}, nil, []string{"files.example.test"})
	for _, row := range []struct {
		from, to string
		ok       bool
	}{
		{"example.test", "juliet@far.test", true},
		{"example.test/x", "juliet@far.test", true},
		{"rooms.example.test", "romeo@example.test/x", true},
		{"verona@rooms.example.test/nurse", "juliet@far.test", true},
		{"romeo@example.test", "romeo@example.test", true},
		{"romeo@example.test", "romeo@example.test/x", true},

		{"", "romeo@example.test", false},
		{"romeo@example.test", "juliet@example.test", false},
		{"romeo@example.test/x", "romeo@example.test/x", false},
		{"romeo@far.test", "romeo@far.test/x", false},
		{"far.test", "far.test", false},
		{"files.example.test", "files.example.test", false},
		{"a@files.example.test", "a@files.example.test/x", false},
		{"files.example.test", "romeo@example.test", false},
		{"verona@sub.rooms.example.test", "romeo@example.test", false},
		{"sub.example.test", "romeo@example.test", false},
		{"test", "romeo@example.test", false},
	} {
		head := stanza.Header{Kind: stanza.IQ, Type: stanza.Get, ID: "1", To: jid.MustParse(row.to)}
		if row.from != "" {
			head.From = jid.MustParse(row.from)
		}
		s := stanza.New(head, stanza.El("urn:x", "q"))
		for name, send := range map[string]func(h *extension.Host) error{
			"Send":    func(h *extension.Host) error { return h.Stanzas.Send(s) },
			"Request": func(h *extension.Host) error { return h.Stanzas.Request(s, time.Minute, nil) },
		} {
			r.routed = nil
			err := run(t, g, func(_ context.Context, h *extension.Host) error { return send(h) })
			if row.ok != (err == nil) || row.ok != (len(r.routed) == 1) || err != nil && !errors.Is(err, extension.ErrPermission) {
				t.Errorf("%s from %q to %s: %v, %d sent", name, row.from, row.to, err, len(r.routed))
			}
		}
	}
}

// An extension asserts no more by a component, or in the name of an account, than
// others may; in the name of the server it is the server.
func TestForgedBySending(t *testing.T) {
	h, r := newHosts(1)
	defer stop(t, h)
	g := h.NewGuest(&extension.Registration{Name: "rooms"}, []extension.Permission{extension.SendAsAccount}, []string{"rooms.example.test"})
	id := func(by string) *stanza.Element {
		return stanza.El("urn:xmpp:sid:0", "stanza-id", stanza.At("id", "1"), stanza.At("by", by))
	}
	msg := func(from string) *stanza.Stanza {
		return stanza.New(stanza.Header{Kind: stanza.Message, From: jid.MustParse(from), To: romeo}, id("verona@rooms.example.test"), id("rooms.example.test"), id("romeo@example.test"))
	}
	account := jid.MustParse("romeo@example.test")
	for _, row := range []struct {
		what string
		send func(h *extension.Host) error
		left int
	}{
		{"a component's", func(h *extension.Host) error { return h.Stanzas.Send(msg("verona@rooms.example.test/nurse")) }, 2},
		{"the server's", func(h *extension.Host) error { return h.Stanzas.Send(msg("example.test")) }, 3},
		{"an account's own, to itself", func(h *extension.Host) error { return h.Stanzas.Send(msg("romeo@example.test")) }, 3},
		{"as an account", func(h *extension.Host) error { return h.Stanzas.SendAs(account, msg("example.test")) }, 1},
	} {
		r.routed, r.submitted = nil, nil
		err := run(t, g, func(_ context.Context, h *extension.Host) error { return row.send(h) })
		if out := append(r.routed, r.submitted...); err != nil || len(out) != 1 || len(out[0].Children()) != row.left {
			t.Errorf("%s: %v, %v", row.what, err, out)
		}
	}

	r.submitted = nil
	refused := func(what string, err error, s *stanza.Stanza) {
		t.Helper()
		var told error
		if run(t, g, func(_ context.Context, h *extension.Host) error { told = h.Stanzas.SendAs(account, s); return nil }) != nil || told == nil || err != nil && !errors.Is(told, err) || len(r.submitted) > 0 {
			t.Errorf("%s: %v, %v", what, told, r.submitted)
		}
	}
	refused("XEP-0280 11: a carbon in the name of an account", extension.ErrPermission,
		stanza.New(stanza.Header{Kind: stanza.Message, To: romeo}, stanza.El("urn:xmpp:carbons:2", "sent")))
	refused("RFC 6120 8.2.3: an iq of which nothing is left", nil,
		stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Set, ID: "1", To: romeo}, stanza.El("urn:xmpp:delegation:2", "delegation")))
}
