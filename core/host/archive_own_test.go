package host

import (
	"context"
	"errors"
	"runtime"
	"testing"

	memory "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Archives of addresses of a guest's components are its own: there without an account,
// until they are removed, in order with what is appended.
func TestOwnArchive(t *testing.T) {
	s := memory.New()
	withAccounts(t, s, romeo)
	h, _ := hostsWith(s, nil)
	defer stop(t, h)
	g := h.NewGuest(&extension.Registration{Name: "rooms"}, nil, []string{"rooms.test"})
	other := h.NewGuest(&extension.Registration{Name: "other"}, nil, []string{"other.test"})
	garden, crypt := jid.MustParse("garden@rooms.test"), jid.MustParse("crypt@rooms.test")
	far := jid.MustParse("garden@far.test")
	in := func(h *extension.Host, owner jid.JID) {
		h.Archive.Append(archiveRow(owner, h.Archive.NewID()))
	}
	do := func(g *Guest, want error, call func(h *extension.Host)) {
		t.Helper()
		if err := run(t, g, func(_ context.Context, h *extension.Host) error { call(h); return nil }); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	check := func(g *Guest, owner jid.JID, want int, fails error) {
		t.Helper()
		if err := run(t, g, func(ctx context.Context, h *extension.Host) error {
			rows, _, err := h.Archive.Rows(ctx, owner, storage.Filter{}, storage.Page{Limit: 10})
			n, _, failed := h.Archive.Count(ctx, owner, storage.Filter{}, 10)
			if len(rows) != want || n != want || !errors.Is(failed, fails) {
				t.Errorf("%s has %d rows, %d counted, want %d; %v", owner, len(rows), n, want, failed)
			}
			for _, r := range rows {
				if r.Own != (owner.Domain() == "rooms.test") || r.Owner != owner.Bare() || r.Space != g.Reg.Name {
					t.Errorf("%+v", r)
				}
			}
			return err
		}); !errors.Is(err, fails) {
			t.Errorf("%s: %v, want %v", owner, err, fails)
		}
	}
	nick, err := garden.WithResource("nick")
	if err != nil {
		t.Fatal(err)
	}
	do(g, nil, func(h *extension.Host) {
		in(h, garden)
		in(h, romeo)
		in(h, nick)
		in(h, crypt)
		in(h, jid.MustParse("rooms.test"))
	})
	check(g, nick, 2, nil)
	check(g, crypt, 1, nil)
	check(g, romeo, 1, nil)
	check(g, jid.MustParse("rooms.test"), 1, nil)

	// Nobody else's, and no account's is removed: and then nothing is done.
	for name, call := range map[string]func(h *extension.Host){
		"a row of a domain that is far": func(h *extension.Host) { in(h, far) },
		"a row of another's component":  func(h *extension.Host) { in(h, jid.MustParse("x@other.test")) },
		"a row of nobody":               func(h *extension.Host) { in(h, jid.JID{}) },
		"removal of what is far":        func(h *extension.Host) { h.Archive.Remove(far) },
		"removal of another's":          func(h *extension.Host) { h.Archive.Remove(jid.MustParse("x@other.test")) },
		"removal of an account's":       func(h *extension.Host) { h.Archive.Remove(romeo) },
		"removal of nobody's":           func(h *extension.Host) { h.Archive.Remove(jid.JID{}) },
	} {
		t.Run(name, func(t *testing.T) {
			do(g, extension.ErrPermission, func(h *extension.Host) { h.Archive.Remove(garden); call(h) })
		})
	}
	do(other, extension.ErrPermission, func(h *extension.Host) { h.Archive.Remove(garden) })
	check(g, garden, 2, nil)
	check(other, garden, 0, extension.ErrPermission)
	check(g, far, 0, extension.ErrPermission)

	// In order: two rows of before are gone, and one of the same handler.
	do(g, nil, func(h *extension.Host) {
		in(h, garden)
		h.Archive.Remove(nick)
		in(h, garden)
		h.Archive.Remove(jid.MustParse("none@rooms.test"))
	})
	check(g, garden, 1, nil)
	check(g, crypt, 1, nil)
	// Handlers of one stanza are one commit, in their order.
	var fx Effects
	for _, call := range []func(h *extension.Host){
		func(h *extension.Host) { in(h, garden); in(h, crypt) },
		func(h *extension.Host) { h.Archive.Remove(garden) },
		func(h *extension.Host) { in(h, garden); in(h, garden) },
	} {
		if err := fx.Collect(g, nil, false, func(_ context.Context, h *extension.Host) error { call(h); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if fx.Plain() {
		t.Error("a removal passes for rows alone")
	}
	fx.Queue()
	if err := fx.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	check(g, garden, 2, nil)
	check(g, crypt, 2, nil)
	do(g, nil, func(h *extension.Host) { h.Archive.Remove(garden) })
	check(g, garden, 0, nil)
}

// A removal has its place behind rows that wait for their commit.
func TestRemovalIsBehindRowsThatWait(t *testing.T) {
	s := &poor{Store: memory.New(), begun: make(chan struct{}), hold: make(chan struct{})}
	h, _ := hostsWith(s, nil)
	defer stop(t, h)
	g := h.NewGuest(&extension.Registration{Name: "rooms"}, nil, []string{"rooms.test"})
	garden := jid.MustParse("garden@rooms.test")
	ended := make(chan error, 3)
	begin := func(waiting int, call func(h *extension.Host)) {
		go func() {
			ended <- run(t, g, func(_ context.Context, h *extension.Host) error { call(h); return nil })
		}()
		if waiting == 0 {
			<-s.begun
			return
		}
		for { // until it is queued
			h.appender.mu.Lock()
			n := len(h.appender.queue)
			h.appender.mu.Unlock()
			if n == waiting {
				return
			}
			runtime.Gosched()
		}
	}
	row := func(h *extension.Host) { h.Archive.Append(archiveRow(garden, h.Archive.NewID())) }
	begin(0, row)
	begin(1, row)
	begin(2, func(h *extension.Host) { h.Archive.Remove(garden) })
	close(s.hold)
	for range 3 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	rows, _, err := s.Rows(t.Context(), storage.ArchiveKey{Space: "rooms", Owner: garden, Own: true}, storage.Filter{}, storage.Page{Limit: 10})
	if len(rows) != 0 || err != nil {
		t.Errorf("%d rows outlived the removal, %v", len(rows), err)
	}
}

// What a row says is replaced in order with what was asked for before, and only of archives that are the
// guest's.
func TestReplace(t *testing.T) {
	s := memory.New()
	h, _ := hostsWith(s, nil)
	defer stop(t, h)
	g := h.NewGuest(&extension.Registration{Name: "rooms"}, nil, []string{"rooms.test"})
	garden := jid.MustParse("garden@rooms.test")
	var id uint64
	if err := run(t, g, func(_ context.Context, h *extension.Host) error {
		id = h.Archive.NewID()
		h.Archive.Append(archiveRow(garden, id))
		h.Archive.Replace(garden, id, "<message id='new'/>")
		h.Archive.Replace(garden, id+1, "<message id='absent'/>")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	says := func(want string) {
		t.Helper()
		rows, _, err := s.Rows(t.Context(), storage.ArchiveKey{Space: "rooms", Owner: garden, Own: true}, storage.Filter{}, storage.Page{Limit: 10})
		if err != nil || len(rows) != 1 || rows[0].ID != id || rows[0].XML != want {
			t.Errorf("%+v, %v", rows, err)
		}
	}
	says("<message id='new'/>")
	if err := run(t, g, func(_ context.Context, h *extension.Host) error {
		h.Archive.Replace(garden, id, "<message id='x'/>")
		h.Archive.Replace(jid.MustParse("garden@far.test"), id, "<message/>")
		return nil
	}); !errors.Is(err, extension.ErrPermission) {
		t.Errorf("of another one's: %v", err)
	}
	says("<message id='new'/>")
	if err := run(t, g, func(_ context.Context, h *extension.Host) error { h.Archive.Replace(garden, id, ""); return nil }); err == nil {
		t.Error("a row is to say nothing")
	}
}
