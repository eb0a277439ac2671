package extensiontest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Archives of addresses of a component are the extension's own; those of others are none.
func TestOwnArchive(t *testing.T) {
	var call func(ctx context.Context, h *extension.Host) error
	reg := demo(func(ctx context.Context, h *extension.Host, _ extension.IQ) (*stanza.Element, error) {
		return nil, call(ctx, h)
	})
	reg.Components = []extension.Component{{Domain: "rooms.$domain", Handle: func(context.Context, *extension.Host, *extension.Envelope) error { return nil }}}
	h := extensiontest.New(t, reg, extensiontest.Options{})
	garden, juliet := jid.MustParse("garden@rooms.example.org"), jid.MustParse("juliet@example.org")
	row := func(h *extension.Host, owner jid.JID) {
		h.Archive.Append(storage.Row{Owner: owner, ID: h.Archive.NewID(), Stamp: h.Now(), With: juliet, XML: "<message/>"})
	}
	run := func(f func(h *extension.Host)) error {
		t.Helper()
		call = func(_ context.Context, h *extension.Host) error { f(h); return nil }
		do(t, h)
		return errors.Join(h.Errors()...)
	}
	if err := run(func(h *extension.Host) {
		row(h, garden)
		row(h, jid.MustParse("garden@rooms.example.org/nick"))
		row(h, juliet)
	}); err != nil {
		t.Fatal(err)
	}
	if rows := h.Rows(garden); len(rows) != 2 || !rows[0].Own || rows[1].Owner != garden {
		t.Errorf("%+v", rows)
	}
	if rows := h.Rows(juliet); len(rows) != 0 { // there is no such account
		t.Errorf("%+v", rows)
	}
	for name, f := range map[string]func(h *extension.Host){
		"a row of what is far": func(h *extension.Host) { row(h, jid.MustParse("garden@rooms.example")) },
		"removal of it":        func(h *extension.Host) { h.Archive.Remove(jid.MustParse("garden@rooms.example")) },
		"of an account's":      func(h *extension.Host) { h.Archive.Remove(juliet) },
	} {
		if err := run(func(h *extension.Host) { h.Archive.Remove(garden); f(h) }); !errors.Is(err, extension.ErrPermission) {
			t.Errorf("%s: %v", name, err)
		}
	}
	call = func(ctx context.Context, h *extension.Host) error {
		_, _, err := h.Archive.Rows(ctx, jid.MustParse("garden@rooms.example"), storage.Filter{}, storage.Page{Limit: 1})
		return err
	}
	if do(t, h); !errors.Is(errors.Join(h.Errors()...), extension.ErrPermission) {
		t.Error("what is far is read")
	}
	if err := run(func(h *extension.Host) { h.Archive.Replace(garden, 1, "<message/>"); h.Archive.Replace(garden, 0, "") }); err == nil {
		t.Error("a row is to say nothing")
	}
	if err := run(func(h *extension.Host) {
		h.Archive.Replace(garden, 1, "<message/>") // is not there
		h.Archive.Replace(garden, h.Archive.NewID()-1, "<message/>")
	}); err != nil {
		t.Error(err)
	}
	if id := h.Rows(garden)[1].ID; run(func(h *extension.Host) { h.Archive.Replace(garden, id, "<message id='x'/>") }) != nil || h.Rows(garden)[1].XML != "<message id='x'/>" {
		t.Errorf("%+v", h.Rows(garden))
	}
	// In order, and in front of rows of the same handler.
	if err := run(func(h *extension.Host) { row(h, garden); h.Archive.Remove(garden); row(h, garden) }); err != nil || len(h.Rows(garden)) != 1 {
		t.Errorf("%v, %d rows", err, len(h.Rows(garden)))
	}
	if err := run(func(h *extension.Host) { h.Archive.Remove(garden) }); err != nil || len(h.Rows(garden)) != 0 {
		t.Errorf("%v, %d rows", err, len(h.Rows(garden)))
	}
}
