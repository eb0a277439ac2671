package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	memory "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/core/ids"
	"github.com/hexmpp/hexmpp/core/underway"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func withAccounts(t *testing.T, s storage.Store, users ...jid.JID) {
	t.Helper()
	for _, u := range users {
		if err := s.CreateAccount(t.Context(), storage.Account{User: u.Bare()}); err != nil {
			t.Fatal(err)
		}
	}
}

func archiveRow(owner jid.JID, id uint64) storage.Row {
	return storage.Row{Owner: owner, ID: id, Stamp: time.Now(), With: owner, XML: "<message xmlns='jabber:client'/>"}
}

// Rows are of the guest's own archives, and are read back.
func TestArchive(t *testing.T) {
	s := memory.New()
	withAccounts(t, s, romeo)
	h, _ := hostsWith(s, nil)
	defer stop(t, h)
	g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
	other := h.NewGuest(&extension.Registration{Name: "other"}, nil, nil)
	nobody := jid.MustParse("nobody@example.test")
	var first uint64
	if err := run(t, g, func(_ context.Context, h *extension.Host) error {
		first = h.Archive.NewID()
		r := archiveRow(romeo, first) // by its bare JID
		r.Space = "other"
		h.Archive.Append(r)
		h.Archive.Append(archiveRow(nobody, h.Archive.NewID())) // left out
		h.Archive.Append(archiveRow(romeo, h.Archive.NewID()))
		h.Store.Put(romeo, "k", nil) // the same commit
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		g     *Guest
		owner jid.JID
		want  int
	}{"own": {g, romeo, 2}, "of nobody": {g, nobody, 0}, "of another guest": {other, romeo, 0}} {
		if err := run(t, c.g, func(ctx context.Context, h *extension.Host) error {
			rows, more, err := h.Archive.Rows(ctx, c.owner, storage.Filter{}, storage.Page{Limit: 10})
			n, all, failed := h.Archive.Count(ctx, c.owner, storage.Filter{}, 10)
			if len(rows) != c.want || more || n != c.want || !all {
				t.Errorf("%s: %d rows, %d counted", name, len(rows), n)
			}
			return errors.Join(err, failed)
		}); err != nil {
			t.Error(err)
		}
	}
	if err := run(t, g, func(ctx context.Context, h *extension.Host) error {
		after, before := h.Archive.Between(time.Now().Add(-time.Hour), time.Now())
		if first <= after || first >= before {
			t.Errorf("%d is not between %d and %d", first, after, before)
		}
		for _, c := range []struct {
			before time.Time
			want   int
		}{{time.Time{}, 0}, {time.Now().Add(-time.Hour), 0}, {time.Now().Add(time.Hour), 2}} {
			if n, err := h.Archive.Expire(ctx, c.before, 10); n != c.want || err != nil {
				t.Errorf("before %v: %d expired, %v", c.before, n, err)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// IDs that were not given out have no place: nothing could be appended behind them.
func TestAppendOfOtherIDs(t *testing.T) {
	h, _ := newHosts(1)
	defer stop(t, h)
	withAccounts(t, h.Store, romeo)
	g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
	for name, make := range map[string]func(uint64) uint64{
		"none": func(uint64) uint64 { return 0 }, "not yet": func(id uint64) uint64 { return id + ids.Nodes }, "never": func(uint64) uint64 { return storage.MaxID },
	} {
		if err := run(t, g, func(_ context.Context, h *extension.Host) error {
			h.Archive.Append(archiveRow(romeo, make(h.Archive.NewID())))
			return nil
		}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if last, err := h.Store.LastRow(t.Context()); err != nil || last != 0 {
		t.Error(last, err)
	}
}

// Another node has appended with a later clock: the handler runs again, with an ID
// above.
func TestAnotherNodeIsAhead(t *testing.T) {
	s := memory.New()
	withAccounts(t, s, romeo)
	h, _ := hostsWith(s, nil)
	defer stop(t, h)
	ahead := uint64(time.Now().Add(time.Hour).UnixMicro()) << 11
	r := archiveRow(romeo.Bare(), ahead)
	r.Space = "test"
	if err := s.Commit(t.Context(), storage.Writes{Rows: []storage.Row{r}}); err != nil {
		t.Fatal(err)
	}
	runs := 0
	var last uint64
	if err := run(t, h.NewGuest(&extension.Registration{Name: "test"}, nil, nil), func(_ context.Context, h *extension.Host) error {
		runs++
		last = h.Archive.NewID()
		h.Archive.Append(archiveRow(romeo, last))
		return nil
	}); err != nil || runs != 2 || last <= ahead {
		t.Errorf("%v, %d runs, ID %d", err, runs, last)
	}
}

// poor is a store that takes no rows of some XML, and counts.
type poor struct {
	storage.Store
	mu      sync.Mutex
	begun   chan struct{} // closed by the first commit, which waits for hold
	hold    chan struct{}
	commits []int
}

func (p *poor) Commit(ctx context.Context, w storage.Writes) error {
	p.mu.Lock()
	p.commits = append(p.commits, len(w.Rows))
	first := len(p.commits) == 1
	p.mu.Unlock()
	if first {
		close(p.begun)
		<-p.hold
	}
	for i := range w.Rows {
		if strings.Contains(w.Rows[i].XML, "bad") {
			return storage.ErrInvalid
		}
	}
	return p.Store.Commit(ctx, w)
}

// A row that can't be stored fails whoever appended it, and nobody else of its group.
func TestOneOfAGroupFails(t *testing.T) {
	s := &poor{Store: memory.New(), begun: make(chan struct{}), hold: make(chan struct{})}
	users := make([]jid.JID, 10)
	for i := range users {
		users[i] = accountN(i)
	}
	withAccounts(t, s, users...)
	var told []int
	h, _ := hostsWith(s, nil)
	h.appender.told = func(rows int, _ time.Duration, _ error) { told = append(told, rows) }
	var group []*pending
	for i, u := range users {
		r := archiveRow(u, h.ids.Next())
		r.Space = "test"
		if i == 5 {
			r.XML = "<bad/>"
		}
		p, err := h.appender.add(writes{rows: []storage.Row{r}})
		if err != nil {
			t.Fatal(err)
		}
		group = append(group, p)
		<-s.begun // the rest waits behind the first
	}
	close(s.hold)
	for i, p := range group {
		if err := p.wait(t.Context()); (err != nil) != (i == 5) {
			t.Errorf("%d: %v", i, err)
		}
	}
	stop(t, h)
	if s.commits[0] != 1 || s.commits[1] != 9 || len(s.commits) != 11 || len(told) != 10 {
		t.Errorf("commits of %v, told %v", s.commits, told)
	}
	if _, err := h.appender.add(writes{rows: []storage.Row{archiveRow(users[0], h.ids.Next())}}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("behind the end: %v", err)
	}
}

// What comes with ops, or removes archives, is a commit of its own, in its place; groups are bounded.
func TestGroupsOfRows(t *testing.T) {
	a := newAppender(t.Context(), nil, nil, nil)
	wait := func(w writes) *pending { return &pending{writes: w, bytes: w.size()} }
	row := func(n int) *pending { return wait(writes{rows: slices.Repeat([]storage.Row{{XML: "x"}}, n)}) }
	ops := func() *pending { return wait(writes{ops: make([]storage.Op, 1), rows: make([]storage.Row, 1)}) }
	large := func() *pending {
		return wait(writes{rows: []storage.Row{{XML: strings.Repeat("x", maxAppendBytes)}}})
	}
	gone := row(maxAppendRows)
	gone.state.Store(givenUp)
	removal := func() *pending { return wait(writes{removed: make([]storage.ArchiveKey, 1)}) }
	a.queue = []*pending{row(2), gone, row(1), ops(), row(1), ops(), ops(), row(maxAppendRows), row(1), row(1), large(), large(), gone,
		row(1), removal(), removal(), row(1), row(1), removal()}
	var got []int
	for g := a.take(); g != nil; g = a.take() {
		got = append(got, len(g))
	}
	if want := []int{2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("groups of %v, want %v", got, want)
	}
}

// hung is an appender whose commits hang until it is told to go on.
func hung(ctx context.Context) (a *appender, written *notes[storage.Row], goOn chan error) {
	written, goOn = &notes[storage.Row]{}, make(chan error)
	return newAppender(ctx, func(ctx context.Context, w writes) error {
		select {
		case err := <-goOn:
			if err == nil {
				for _, r := range w.rows {
					written.add(r)
				}
			}
			return err
		case <-ctx.Done():
			return storage.ErrUnavailable
		}
	}, nil, nil), written, goOn
}

// A message under way whose commit did not begin in time goes back, and is never written;
// those whose commit has begun, or comes in time, go on.
func TestTooLateForAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a, written, goOn := hung(ctx)
		var finished []underway.Finished
		a.finish = func(all []underway.Finished) { finished = append(finished, all...) }
		add := func(id uint64) (m *underway.Message) {
			t.Helper()
			m = &underway.Message{N: uint32(id)}
			joined := false
			if err := a.addFor(writes{rows: []storage.Row{archiveRow(romeo.Bare(), id)}}, m, func() { joined = true }); err != nil || !joined {
				t.Fatal(err)
			}
			synctest.Wait()
			return m
		}
		first, second := add(1), add(2)
		time.Sleep(maxWorkTime + time.Second) // the first is cut off
		third := add(3)
		synctest.Wait()
		goOn <- nil
		synctest.Wait()
		want := map[*underway.Message]error{first: storage.ErrUnavailable, second: errGivenUp, third: nil}
		for _, f := range finished {
			if err, there := want[f.Message]; !there || !errors.Is(f.Err, err) {
				t.Errorf("%d: %v", f.Message.N, f.Err)
			}
			delete(want, f.Message)
		}
		rows := written.take()
		if len(want) > 0 || len(rows) != 1 || rows[0].ID != 3 {
			t.Errorf("%d are not finished, %d rows", len(want), len(rows))
		}
		if err := a.addFor(writes{rows: []storage.Row{archiveRow(romeo.Bare(), 2)}}, second, func() { t.Error("it joined") }); !Late(err) {
			t.Error(err)
		}
		a.stop()
		if err := a.addFor(writes{}, second, func() { t.Error("it joined") }); !errors.Is(err, storage.ErrUnavailable) {
			t.Error(err)
		}
	})
}

// Only rows of one archive are too late for each other, however many archives there are:
// other owners, other extensions, and an own archive of the same name.
func TestTooLateForOneArchiveOnly(t *testing.T) {
	a := newAppender(t.Context(), func(context.Context, writes) error { return nil }, nil, nil)
	defer a.stop()
	add := func(r storage.Row) error {
		p, err := a.add(writes{rows: []storage.Row{r}})
		if err == nil {
			err = p.wait(t.Context())
		}
		return err
	}
	const rooms = 10_000 // of 4,096 slots each would have several
	for i := range uint64(rooms) {
		r := archiveRow(jid.MustParse(fmt.Sprintf("room%d@rooms.example.test", i)), 2*rooms-i)
		if err := add(r); err != nil {
			t.Fatalf("room %d: %v", i, err)
		}
		if err := add(r); !Late(err) {
			t.Fatalf("room %d, the same ID: %v", i, err)
		}
	}
	r := archiveRow(jid.MustParse("room0@rooms.example.test"), 1)
	if err := add(r); !Late(err) {
		t.Errorf("room 0, an older ID: %v", err)
	}
	other, own := r, r
	other.Space += "x"
	own.Own = !own.Own
	if err := errors.Join(add(other), add(own)); err != nil {
		t.Error(err)
	}
}

// What is known of archives is bounded, and the last of them are.
func TestLastIDsAreBounded(t *testing.T) {
	var l lastIDs
	for i := uint64(1); i <= 5*maxRecent; i++ {
		l.note(i, i)
		if n := len(l.recent) + len(l.before); n > 2*maxRecent {
			t.Fatalf("%d are known", n)
		}
		if old := i - min(i, maxRecent-1); old > 0 && l.of(old) != old {
			t.Fatalf("behind %d, %d is not known", i, old)
		}
	}
	if l.of(1) != 0 {
		t.Error("the first one is still known")
	}
}

// Who waits for a storage that hangs, and gives up, is told so, and what was given up is
// never written.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a, written, goOn := hung(ctx)
		add := func(id uint64) *pending {
			t.Helper()
			p, err := a.add(writes{rows: []storage.Row{archiveRow(romeo.Bare(), id)}})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return p
		}
		short, end := context.WithTimeout(ctx, time.Second)
		defer end()
		first, given, kept := add(1), add(2), add(3)
		if err := given.wait(short); !errors.Is(err, errGivenUp) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.AfterFunc(2*time.Second, func() { goOn <- nil; goOn <- nil })
		if err := first.wait(short); err != nil { // it has begun: its end is waited for
			t.Error(err)
		}
		if err := kept.wait(ctx); err != nil {
			t.Error(err)
		}
		var ids []uint64
		for _, r := range written.take() {
			ids = append(ids, r.ID)
		}
		if !slices.Equal(ids, []uint64{1, 3}) {
			t.Errorf("written: %v", ids)
		}
		// What is written by now has not failed, and of what never ends nobody knows.
		done := add(4)
		goOn <- nil
		a.stop()
		for range 100 {
			if err := done.wait(short); err != nil {
				t.Fatal(err)
			}
			done.result <- nil
		}
		lost := &pending{result: make(chan error, 1)}
		lost.state.Store(begun)
		if err := lost.wait(short); !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, errGivenUp) {
			t.Error(err)
		}
	})
}

// What waits for a storage that hangs has a bound, and who is beyond is told to wait.
func TestBehind(t *testing.T) {
	for name, c := range map[string]struct{ bytes, fit int }{"rows": {10, maxQueued}, "bytes": {1 << 20, maxQueuedBytes >> 20}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				a, written, goOn := hung(ctx)
				xml := strings.Repeat("x", c.bytes)
				id := uint64(0)
				add := func() error {
					id++
					_, err := a.add(writes{rows: []storage.Row{{Owner: romeo.Bare(), ID: id, XML: xml}}})
					return err
				}
				if err := add(); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // the first has begun
				for i := range c.fit {
					if err := add(); err != nil {
						t.Fatalf("%d: %v", i, err)
					}
				}
				err := add()
				if told, ok := StoreError(err).(*stanza.Error); !ok || told.Condition != stanza.ResourceConstraint || !errors.Is(err, storage.ErrUnavailable) {
					t.Errorf("one more: %v", err)
				}
				close(goOn)
				a.stop()
				if n := len(written.take()); n != c.fit+1 || a.bytes != 0 {
					t.Errorf("%d written, %d bytes wait", n, a.bytes)
				}
				cancel()
			})
		})
	}
}

// recipient notes what it is given.
type recipient struct {
	receiver
	way *notes[string]
	got []cluster.Delivery
}

func (r *recipient) Deliver(_ *transport.Batch, d cluster.Delivery) bool {
	r.way.add(d.Stanza.ID)
	r.got = append(r.got, d)
	return true
}

// What precedes an answer is in front of it, and of all else; it goes to the session
// that asked, and if it is lost that is the end of it.
func TestPrecede(t *testing.T) {
	h, _ := newHosts(1)
	defer stop(t, h)
	r := &waiting{waits: func(string) bool { return false }}
	h.Start(r)
	to := &recipient{way: &r.ways}
	h.Sessions.Claim(cluster.Entry{JID: romeo, Receiver: to})
	g := h.NewGuest(&extension.Registration{Name: "test", Components: []extension.Component{{Domain: "c.test"}}}, nil, []string{"c.test"})
	before := func(id, from, to string) *stanza.Stanza {
		return stanza.New(stanza.Header{Kind: stanza.Message, ID: id, From: jid.MustParse(from), To: jid.MustParse(to)})
	}
	var b transport.Batch
	if w := g.Run(t.Context(), &b, func(_ context.Context, h *extension.Host) error {
		return errors.Join(
			h.Stanzas.Send(messageID("after")),
			h.Stanzas.Precede(before("1", romeo.Bare().String(), romeo.String())),
			h.Stanzas.Precede(before("gone", romeo.Bare().String(), romeo.Bare().String()+"/gone")),
			h.Stanzas.Precede(before("far", "room@c.test", "a@far.test/x")),
			h.Stanzas.Precede(before("2", "room@c.test", romeo.String())),
		)
	}, func(*transport.Batch, error) transport.Wait { r.ways.add("answer"); return nil }); w != nil {
		w(t.Context())
	}
	if got := strings.Join(r.ways.take(), " "); got != "1 far 2 answer after" {
		t.Errorf("in the order %q", got)
	}
	for _, d := range to.got {
		if d.Fork == nil || d.Fork.Message != nil {
			t.Errorf("%s would be given to others", d.Stanza.ID)
		}
	}
	for name, s := range map[string]*stanza.Stanza{
		"from another account": before("x", "juliet@example.test", romeo.String()),
		"no message":           stanza.New(stanza.Header{Kind: stanza.Presence, From: server, To: romeo}),
		"nothing":              nil,
	} {
		if err := run(t, g, func(_ context.Context, h *extension.Host) error { return h.Stanzas.Precede(s) }); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := run(t, g, func(_ context.Context, h *extension.Host) error {
		for i := range maxSends + 1 {
			if err := h.Stanzas.Precede(before("x", "c.test", romeo.String())); err != nil {
				return fmt.Errorf("number %d: %w", i, err)
			}
		}
		return nil
	}); !errors.Is(err, extension.ErrBound) {
		t.Errorf("without end: %v", err)
	}
}

func TestRoom(t *testing.T) {
	h, _ := newHosts(1)
	defer stop(t, h)
	h.Sessions.Claim(cluster.Entry{JID: romeo, Receiver: &receiver{}})
	if err := run(t, h.NewGuest(&extension.Registration{Name: "test"}, nil, nil), func(_ context.Context, h *extension.Host) error {
		if n := h.Sessions.Room(romeo); n != (&receiver{}).Room() {
			t.Errorf("room for %d", n)
		}
		if n := h.Sessions.Room(server); n != 0 {
			t.Errorf("of no session: %d", n)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// The roster is in memory where the account has the entry, as it is, and nowhere else.
func TestResidentRoster(t *testing.T) {
	s := memory.New()
	owner, plain := accountN(1), accountN(2)
	withAccounts(t, s, owner, plain)
	if err := s.Commit(t.Context(), storage.Writes{Ops: []storage.Op{{Space: "test", Owner: owner, Key: "roster"}, {Space: "test", Owner: plain, Key: "list"}}}); err != nil {
		t.Fatal(err)
	}
	h, _ := hostsWith(s, nil)
	defer stop(t, h)
	friend, stranger, asks := jid.MustParse("friend@far.test"), jid.MustParse("stranger@far.test"), jid.MustParse("asks@far.test")
	change := func(version uint64, items ...storage.RosterItem) {
		t.Helper()
		if err := s.ChangeRoster(t.Context(), owner, version, items, nil); err != nil {
			t.Fatal(err)
		}
		h.RosterChanged(owner)
	}
	change(0, storage.RosterItem{Contact: friend, Subscription: storage.SubNone}, storage.RosterItem{Contact: asks, Subscription: storage.SubNone, Hidden: true})
	g := h.NewGuest(&extension.Registration{Name: "test", Residents: []string{"list", "roster"}, ResidentRoster: "roster"}, []extension.Permission{extension.ReadRosters}, nil)
	listed := func(g *Guest, account, contact jid.JID) (ok bool, err error) {
		t.Helper()
		r, err := h.LoadResident(t.Context(), account)
		if err != nil {
			t.Fatal(err)
		}
		var fx Effects
		err = fx.Collect(g, &About{account, r}, false, func(_ context.Context, h *extension.Host) (err error) {
			ok, err = h.Rosters.Listed(account, contact)
			return err
		})
		return ok, err
	}
	full, err := friend.WithResource("x")
	if err != nil {
		t.Fatal(err)
	}
	want := func(contact jid.JID, want bool) {
		t.Helper()
		if got, err := listed(g, owner, contact); got != want || err != nil {
			t.Errorf("%s: %v, %v", contact, got, err)
		}
	}
	want(friend, true)
	want(full, true)
	want(stranger, false)
	want(asks, false) // RFC 6121 2.1: a request that waits is not in the roster
	change(1, storage.RosterItem{Contact: stranger, Subscription: storage.SubNone})
	want(stranger, true)
	if _, err := listed(g, plain, friend); err == nil {
		t.Error("an account without the entry")
	}
	if err := run(t, g, func(_ context.Context, h *extension.Host) error {
		_, err := h.Rosters.Listed(owner, friend)
		return err
	}); err == nil {
		t.Error("not in a stage")
	}
	if _, err := listed(h.NewGuest(&extension.Registration{Name: "poor"}, nil, nil), owner, friend); !errors.Is(err, extension.ErrPermission) {
		t.Error(err)
	}
}
