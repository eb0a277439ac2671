package host

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	registry "github.com/hexmpp/hexmpp/adapters/cluster/memory"
	memory "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// failing is a store whose commits fail.
type failing struct {
	storage.Store
	err   error
	tries int
}

func (f *failing) Commit(context.Context, storage.Writes) error {
	f.tries++
	return f.err
}

func hostsWith(s storage.Store, a Accounts) (*Hosts, *router) {
	h := New(Deps{Domains: []string{"example.test"}, Store: s, Accounts: a, Sessions: registry.New(),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now, Workers: 2})
	r := &router{}
	h.Start(r)
	return h, r
}

// A commit that fails applies nothing, and says to the sender what it may know.
func TestFailedCommit(t *testing.T) {
	for _, row := range []struct {
		rule  string
		err   error
		want  stanza.Condition
		tries int
	}{
		{"a conflict is tried three times", storage.ErrConflict, stanza.ResourceConstraint, ConflictRetries},
		{"the account was removed", storage.ErrNotFound, stanza.ItemNotFound, 1},
		{"the disk is full", errors.New("disk full"), stanza.InternalServerError, 1},
	} {
		s := &failing{Store: memory.New(), err: row.err}
		h, r := hostsWith(s, nil)
		runs := 0
		err := run(t, h.NewGuest(&extension.Registration{Name: "test"}, nil, nil), func(_ context.Context, h *extension.Host) error {
			runs++
			h.Store.Put(romeo, "k", nil)
			return h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, From: server, To: romeo}))
		})
		if err == nil || stanza.AsError(err).Condition != row.want || s.tries != row.tries || runs != row.tries || len(r.routed) != 0 {
			t.Errorf("%s: %v, %d tries, %d runs, %d sent", row.rule, err, s.tries, runs, len(r.routed))
		}
		stop(t, h)
	}
}

// A handler that fails when it runs again has failed.
func TestConflictThenRefusal(t *testing.T) {
	s := &failing{Store: memory.New(), err: storage.ErrConflict}
	h, _ := hostsWith(s, nil)
	defer stop(t, h)
	g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
	for name, second := range map[string]error{"refuses": stanza.Err(stanza.Forbidden, ""), "writes no more": nil} {
		runs := 0
		err := run(t, g, func(_ context.Context, h *extension.Host) error {
			if runs++; runs == 2 {
				return second
			}
			h.Store.Put(romeo, "k", nil)
			return nil
		})
		if err != second || runs != 2 {
			t.Errorf("%s: %v, %d runs", name, err, runs)
		}
	}
}

func TestSendAs(t *testing.T) {
	h, r := hostsWith(memory.New(), nil)
	defer stop(t, h)
	msg := stanza.New(stanza.Header{Kind: stanza.Message, From: server, To: server}, stanza.El("", "body"))
	granted := h.NewGuest(&extension.Registration{Name: "test"}, []extension.Permission{extension.SendAsAccount}, nil)
	for _, row := range []struct {
		g    *Guest
		from string
		ok   bool
	}{{granted, "romeo@example.test/x", true}, {granted, "romeo@far.test", false}, {granted, "example.test", false}, {h.NewGuest(&extension.Registration{Name: "poor"}, nil, nil), "romeo@example.test", false}} {
		r.submitted = nil
		err := run(t, row.g, func(_ context.Context, h *extension.Host) error {
			return h.Stanzas.SendAs(jid.MustParse(row.from), msg)
		})
		if row.ok && (err != nil || len(r.submitted) != 1 || r.submitted[0].From != romeo.Bare() || r.submitted[0].Content() != msg.Content()) {
			t.Errorf("%s: %v, %v", row.from, err, r.submitted)
		}
		if !row.ok && (!errors.Is(err, extension.ErrPermission) || len(r.submitted) != 0) {
			t.Errorf("%s: %v, %v", row.from, err, r.submitted)
		}
	}
	if msg.From != server {
		t.Error("the extension's stanza was changed")
	}
}

// noted is a source of accounts that notes what is asked of it.
type noted struct{ calls []string }

func (n *noted) note(call string) error { n.calls = append(n.calls, call); return nil }

func (n *noted) VerifyPassword(context.Context, jid.JID, string) error { return n.note("verify") }
func (n *noted) Create(context.Context, jid.JID, string) error         { return n.note("create") }
func (n *noted) SetPassword(context.Context, jid.JID, string) error    { return n.note("set") }
func (n *noted) Remove(context.Context, jid.JID) error                 { return n.note("remove") }
func (n *noted) Get(context.Context, jid.JID) (auth.Account, error) {
	return auth.Account{}, n.note("get")
}
func (n *noted) List(context.Context, string, string, int) ([]auth.Account, error) {
	return nil, n.note("list")
}

func TestAccountsNeedThePermission(t *testing.T) {
	a := &noted{}
	h, _ := hostsWith(memory.New(), a)
	defer stop(t, h)
	calls := []func(context.Context, extension.Accounts) error{
		func(ctx context.Context, x extension.Accounts) error { return x.VerifyPassword(ctx, romeo, "pw") },
		func(ctx context.Context, x extension.Accounts) error { return x.Create(ctx, romeo, "pw") },
		func(ctx context.Context, x extension.Accounts) error { return x.SetPassword(ctx, romeo, "pw") },
		func(ctx context.Context, x extension.Accounts) error { return x.Remove(ctx, romeo) },
		func(ctx context.Context, x extension.Accounts) error { _, err := x.Get(ctx, romeo); return err },
		func(ctx context.Context, x extension.Accounts) error {
			_, err := x.List(ctx, "example.test", "", 1)
			return err
		},
	}
	for _, row := range []struct {
		granted []extension.Permission
		may     []bool // by call
	}{
		{nil, []bool{false, false, false, false, false, false}},
		{[]extension.Permission{extension.ManageAccounts}, []bool{true, true, true, true, true, true}},
		{[]extension.Permission{extension.ListAccounts}, []bool{false, false, false, false, true, true}},
	} {
		g := h.NewGuest(&extension.Registration{Name: "test"}, row.granted, nil)
		for i, call := range calls {
			a.calls = nil
			err := run(t, g, func(ctx context.Context, h *extension.Host) error { return call(ctx, h.Accounts) })
			if row.may[i] && err != nil || !row.may[i] && !errors.Is(err, extension.ErrPermission) || (len(a.calls) == 1) != row.may[i] {
				t.Errorf("%v, call %d: %v, %v", row.granted, i, err, a.calls)
			}
		}
	}
}

// receiver notes how its session ended.
type receiver struct {
	ended    *stream.Error
	did      []string
	features []string
}

func (r *receiver) Deliver(*transport.Batch, cluster.Delivery) bool         { return true }
func (r *receiver) Stored() bool                                            { return true }
func (r *receiver) End(_ *transport.Batch, e *stream.Error) <-chan struct{} { r.ended = e; return nil }

func (r *receiver) Mark(_ *transport.Batch, m cluster.Mark, on bool) {
	r.did = append(r.did, fmt.Sprint("mark ", m.Name, m.Connection, on))
}
func (r *receiver) Features() []string { return r.features }
func (r *receiver) Room() int          { return 77 }

func (r *receiver) Release(*transport.Batch) { r.did = append(r.did, "release") }
func (r *receiver) Show(_ *transport.Batch, v cluster.Show) transport.Wait {
	r.did = append(r.did, fmt.Sprint("show ", slices.Collect(maps.Keys(v.To)), slices.Collect(maps.Keys(v.Except)), v.Available))
	return nil
}

// friends says of whom it was asked.
type friends struct{ asked []jid.JID }

func (f *friends) Subscribed(_ context.Context, account, contact jid.JID) (bool, error) {
	f.asked = append(f.asked, account, contact)
	return true, nil
}

func (f *friends) Known(account, contact jid.JID) bool {
	f.asked = append(f.asked, account, contact)
	return false
}

func TestRostersOfHost(t *testing.T) {
	h, _ := hostsWith(memory.New(), nil)
	defer stop(t, h)
	var f friends
	h.Rosters = &f
	for name, row := range map[string]struct {
		ask  func(ctx context.Context, r extension.Rosters) (bool, error)
		want bool
	}{
		"Subscribed": {func(ctx context.Context, r extension.Rosters) (bool, error) {
			return r.Subscribed(ctx, romeo.Bare(), romeo)
		}, true},
		"Known": {func(_ context.Context, r extension.Rosters) (bool, error) { return r.Known(romeo.Bare(), romeo) }, false},
	} {
		got := !row.want
		ask := func(ctx context.Context, h *extension.Host) (err error) {
			got, err = row.ask(ctx, h.Rosters)
			return err
		}
		f.asked = nil
		if err := run(t, h.NewGuest(&extension.Registration{Name: "poor"}, nil, nil), ask); !errors.Is(err, extension.ErrPermission) || f.asked != nil {
			t.Error(name, err, f.asked)
		}
		if err := run(t, h.NewGuest(&extension.Registration{Name: "test"}, []extension.Permission{extension.ReadRosters}, nil), ask); err != nil || got != row.want || len(f.asked) != 2 || f.asked[1] != romeo {
			t.Error(name, err, got, f.asked)
		}
	}
}

func TestSessionsOfHost(t *testing.T) {
	h, _ := hostsWith(memory.New(), nil)
	defer stop(t, h)
	x, y := receiver{features: []string{"urn:a"}}, receiver{}
	h.Sessions.Claim(cluster.Entry{JID: romeo, Receiver: &x})
	h.Sessions.Claim(cluster.Entry{JID: jid.MustParse("juliet@example.test/y"), Receiver: &y})
	end := func(_ context.Context, h *extension.Host) error {
		if of := h.Sessions.Of(romeo); len(of) != 1 || of[0].JID != romeo || !of[0].Can("urn:a") || of[0].Can("urn:b") {
			t.Error(of)
		}
		return h.Sessions.End(romeo, "not-authorized", "removed")
	}
	if err := run(t, h.NewGuest(&extension.Registration{Name: "poor"}, nil, nil), end); !errors.Is(err, extension.ErrPermission) || x.ended != nil {
		t.Error(err)
	}
	g := h.NewGuest(&extension.Registration{Name: "test"}, []extension.Permission{extension.ManageAccounts}, nil)
	failed := errors.New("no")
	if err := run(t, g, func(ctx context.Context, h *extension.Host) error { end(ctx, h); return failed }); err != failed || x.ended != nil {
		t.Error("a handler that failed ended a session")
	}
	if err := run(t, g, end); err != nil || x.ended == nil || x.ended.Condition != stream.NotAuthorized || x.ended.Text != "removed" || y.ended != nil {
		t.Error(err, x.ended, y.ended)
	}
}

// What a handler asks for a session is not done to another one that has taken its
// name: neither while the handler ran, nor before it did.
func TestMarkIsOfTheSessionThatAsked(t *testing.T) {
	h, _ := hostsWith(memory.New(), nil)
	defer stop(t, h)
	g := h.NewGuest(&extension.Registration{Name: "test", Marks: []extension.Mark{{Name: "m"}}}, nil, nil)
	var all []*receiver
	claim := func() (fence uint64) {
		r := &receiver{}
		all = append(all, r)
		fence, _ = h.Sessions.Claim(cluster.Entry{JID: romeo, Receiver: r})
		return fence
	}
	marks := func(during func()) Handler {
		return func(_ context.Context, h *extension.Host) error {
			err := h.Sessions.Mark(romeo, "m", true)
			h.Sessions.Release(romeo)
			during()
			return err
		}
	}
	none, takeOver := func() {}, func() { claim() }
	for _, row := range []struct {
		name           string
		before, during func()
		known          bool // who asks
		marked         bool // the session that is there in the end
	}{
		{"nobody takes over", none, none, true, true},
		{"while it waits", takeOver, none, true, false},
		{"while it runs", none, takeOver, true, false},
		{"while it runs, about another session", none, takeOver, false, false},
		{"about another session", none, none, false, true},
	} {
		var o extension.Origin
		if fence := claim(); row.known {
			o = extension.Origin{Session: romeo, Fence: fence}
		}
		var err error
		w := g.Ask(o, marks(row.during), told(&err))
		row.before()
		w(t.Context())
		if last := all[len(all)-1]; err != nil || (len(last.did) == 2) != row.marked || len(last.did) == 1 {
			t.Errorf("%s: to the last session was done %q, %v", row.name, last.did, err)
		}
	}
}

// TestCertificates: who may have them, and of what.
func TestCertificates(t *testing.T) {
	of := map[string]*tls.Certificate{"example.test": {}, "rooms.example.test": {}}
	for _, granted := range []bool{true, false} {
		reg := &extension.Registration{Name: "a"}
		if granted {
			reg.Permissions = []extension.Permission{extension.ReadCertificates}
		}
		h, _ := hostsWith(memory.New(), nil)
		defer stop(t, h)
		h.Deps.Certificates = func(d string) (*tls.Certificate, error) { return of[d], nil }
		g := h.NewGuest(reg, reg.Permissions, nil)
		h.NewGuest(&extension.Registration{Name: "b"}, nil, []string{"rooms.example.test"})
		h.Start(nil) // all are admitted
		for d, want := range map[string]error{"example.test": nil, "rooms.example.test": nil, "far.test": extension.ErrNotServed, "": extension.ErrNotServed} {
			if !granted {
				want = extension.ErrPermission
			}
			var c *tls.Certificate
			err := run(t, g, func(ctx context.Context, h *extension.Host) (err error) {
				c, err = h.Certificates.Certificate(ctx, d)
				return err
			})
			if !errors.Is(err, want) || want == nil && c != of[d] {
				t.Errorf("granted %v: %s: %v, %v, want %v", granted, d, c, err, want)
			}
		}
	}
}

func TestSecrets(t *testing.T) {
	h, _ := hostsWith(memory.New(), nil)
	defer stop(t, h)
	get := func(guest, name string) (secret []byte) {
		if err := run(t, h.NewGuest(&extension.Registration{Name: guest}, nil, nil), func(ctx context.Context, h *extension.Host) (err error) {
			secret, err = h.Secrets.Secret(ctx, name)
			return err
		}); err != nil || len(secret) != 32 {
			t.Error(err, secret)
		}
		return secret
	}
	if a := get("a", "n"); !bytes.Equal(a, get("a", "n")) || bytes.Equal(a, get("b", "n")) || bytes.Equal(a, get("a", "m")) {
		t.Error("secrets are not the same, or shared")
	}
}

// What a Write handler asks for does not hold up the stanza, and is done all
// the same.
func TestDetach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, writes := range []bool{true, false} {
			for _, fail := range []bool{true, false} {
				s := &failing{Store: memory.New()}
				if fail {
					s.err = errors.New("disk full")
				}
				h, r := hostsWith(s, nil)
				g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
				var fx Effects
				if err := fx.Collect(g, nil, false, func(_ context.Context, h *extension.Host) error {
					if writes {
						h.Store.Put(romeo, "k", nil)
					}
					return h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, From: server, To: romeo}))
				}); err != nil {
					t.Error(err)
				}
				var b transport.Batch
				fx.Detach(&b)
				stop(t, h) // waits for it
				if sent := len(r.routed) == 1; sent != (!fail || !writes) || (s.tries == 1) != writes {
					t.Errorf("writes %v, fail %v: sent %v, %d commits", writes, fail, sent, s.tries)
				}
			}
		}
		h, _ := hostsWith(memory.New(), nil)
		defer stop(t, h)
		var fx Effects
		var b transport.Batch
		fx.Detach(&b) // nothing was asked for
	})
}
