package host

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	memory "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// shelf is a store of which each read can wait or fail behind what it found.
type shelf struct {
	storage.Store
	reads atomic.Int32
	after func(ctx context.Context) error // of a read that found what it found; nil lets it pass
	lost  error                           // of commits, which are done all the same
}

func (s *shelf) Get(ctx context.Context, space string, owner jid.JID, key string) (storage.Entry, error) {
	s.reads.Add(1)
	e, err := s.Store.Get(ctx, space, owner, key)
	if s.after != nil {
		if err := s.after(ctx); err != nil {
			return storage.Entry{}, err
		}
	}
	return e, err
}

func (s *shelf) Commit(ctx context.Context, w storage.Writes) error {
	return errors.Join(s.Store.Commit(ctx, w), s.lost)
}

func accountN(n int) jid.JID { return jid.MustParse(fmt.Sprintf("user%d@example.test", n)) }

// withResidents returns a guest whose "list" is resident, and accounts.
func withResidents(t *testing.T, accounts int) (*Hosts, *shelf, *Guest) {
	t.Helper()
	s := &shelf{Store: memory.New()}
	h, _ := hostsWith(s, nil)
	t.Cleanup(func() { stop(t, h) })
	for n := range accounts {
		if err := s.CreateAccount(t.Context(), storage.Account{User: accountN(n)}); err != nil {
			t.Fatal(err)
		}
	}
	h.NewGuest(&extension.Registration{Name: "other", Residents: []string{"x"}}, nil, nil)
	return h, s, h.NewGuest(&extension.Registration{Name: "test", Residents: []string{"list"}}, nil, nil)
}

// put writes an entry as a handler of g does.
func put(t *testing.T, g *Guest, owner jid.JID, key, value string) {
	t.Helper()
	if err := run(t, g, func(_ context.Context, h *extension.Host) error {
		h.Store.Put(owner, key, []byte(value))
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// load returns what is resident of g's "list".
func load(t *testing.T, h *Hosts, account jid.JID) string {
	t.Helper()
	r, err := h.LoadResident(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	e, ok := r.Get("test", "list")
	if !ok {
		return "none"
	}
	return string(e.Value)
}

func TestResidents(t *testing.T) {
	h, s, g := withResidents(t, 2)
	a := accountN(0)
	if h.Resident(a) != nil {
		t.Error("known before the first load")
	}
	const keys = 2 // that are resident of any extension
	for _, step := range []struct {
		does  string
		do    func()
		want  string
		reads int32
	}{
		{"the first use reads", func() {}, "none", keys},
		{"that there is nothing is known", func() {}, "none", 0},
		{"a write", func() { put(t, g, a, "list", "1") }, "1", keys},
		{"is read once", func() {}, "1", 0},
		{"a write of something else", func() { put(t, g, a, "elsewhere", "2") }, "1", 0},
		{"a write to another account", func() { put(t, g, accountN(1), "list", "2") }, "1", 0},
		{"a write to a full JID, which is the account's", func() { put(t, g, jid.MustParse("user0@example.test/x"), "list", "3") }, "3", keys},
		{"a write of which nobody knows whether it is done", func() {
			s.lost = storage.ErrUnavailable
			if err := run(t, g, func(_ context.Context, h *extension.Host) error { h.Store.Put(a, "list", []byte("4")); return nil }); err == nil {
				t.Error("no error")
			}
			s.lost = nil
		}, "4", keys},
		{"a deletion", func() {
			if err := run(t, g, func(_ context.Context, h *extension.Host) error { h.Store.Delete(a, "list"); return nil }); err != nil {
				t.Error(err)
			}
		}, "none", keys},
		{"an account that was removed, of a full JID", func() {
			put(t, g, a, "list", "5")
			load(t, h, a)
			if err := errors.Join(s.RemoveAccount(t.Context(), a), s.CreateAccount(t.Context(), storage.Account{User: a})); err != nil {
				t.Error(err)
			}
			h.Forget(jid.MustParse("user0@example.test/x"))
		}, "none", keys},
	} {
		step.do()
		s.reads.Store(0)
		if got := load(t, h, a); got != step.want || s.reads.Load() != step.reads {
			t.Errorf("%s: %s, want %s; %d reads, want %d", step.does, got, step.want, s.reads.Load(), step.reads)
		}
		if h.Resident(a) == nil {
			t.Errorf("%s: not in memory", step.does)
		}
	}
	if _, ok := h.Resident(accountN(1)).Get("test", "list"); ok {
		t.Error("what is not in memory has an entry")
	}
	if load(t, h, accountN(1)); h.Resident(accountN(1)).bytes != 1 {
		t.Error("bytes:", h.Resident(accountN(1)).bytes)
	}
	if e, ok := h.Resident(accountN(1)).Get("other", "list"); ok {
		t.Error("another extension's entry:", e)
	}
}

// Without Residents nothing is read.
func TestNoResidents(t *testing.T) {
	s := &shelf{Store: memory.New()}
	h, _ := hostsWith(s, nil)
	defer stop(t, h)
	if r, err := h.LoadResident(t.Context(), accountN(0)); r == nil || err != nil || h.Resident(accountN(0)) == nil || s.reads.Load() != 0 {
		t.Error(r, err, s.reads.Load())
	}
}

// loads starts so many loads at once; outcome returns what they found.
func loads(ctx context.Context, h *Hosts, account jid.JID, n int) (outcome func() map[string]int) {
	var all notes[string]
	var wait sync.WaitGroup
	for range n {
		wait.Go(func() {
			r, err := h.LoadResident(ctx, account)
			if err != nil {
				all.add(err.Error())
				return
			}
			e, _ := r.Get("test", "list")
			all.add(string(e.Value))
		})
	}
	return func() map[string]int {
		wait.Wait()
		count := map[string]int{}
		for _, s := range all.take() {
			count[s]++
		}
		return count
	}
}

// Many who need an account at once read it once.
func TestResidentsAreReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, g := withResidents(t, 2)
		put(t, g, accountN(0), "list", "1")
		goOn := make(chan struct{})
		s.after = func(context.Context) error { <-goOn; return nil }
		outcome := loads(t.Context(), h, accountN(0), 100)
		other := loads(t.Context(), h, accountN(1), 1) // which need not wait
		synctest.Wait()
		if n := s.reads.Load(); n != 2 {
			t.Errorf("%d reads have begun", n)
		}
		close(goOn)
		if got := outcome(); got["1"] != 100 {
			t.Error(got)
		}
		other()
		if n := s.reads.Load(); n != 4 {
			t.Errorf("%d reads", n)
		}
	})
}

// A write while a load is under way is not missed: by nobody, and neither in
// what stays in memory.
func TestWriteDuringLoad(t *testing.T) {
	for name, write := range map[string]func(t *testing.T, h *Hosts, s *shelf, g *Guest){
		"a commit": func(t *testing.T, _ *Hosts, _ *shelf, g *Guest) { put(t, g, accountN(0), "list", "new") },
		"a commit that says it failed": func(t *testing.T, _ *Hosts, s *shelf, g *Guest) {
			s.lost = storage.ErrUnavailable
			run(t, g, func(_ context.Context, h *extension.Host) error {
				h.Store.Put(accountN(0), "list", []byte("new"))
				return nil
			})
		},
		"an account made anew": func(t *testing.T, h *Hosts, s *shelf, g *Guest) {
			a := accountN(0)
			if err := errors.Join(s.RemoveAccount(t.Context(), a), s.CreateAccount(t.Context(), storage.Account{User: a})); err != nil {
				t.Error(err)
			}
			h.Forget(a)
			put(t, g, a, "list", "new")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, s, g := withResidents(t, 1)
				put(t, g, accountN(0), "list", "old")
				goOn := make(chan struct{})
				s.after = func(context.Context) error { <-goOn; return nil }
				outcome := loads(t.Context(), h, accountN(0), 10)
				synctest.Wait() // the old value was found
				write(t, h, s, g)
				late := loads(t.Context(), h, accountN(0), 10)
				synctest.Wait()
				close(goOn)
				if got, behind := outcome(), late(); got["new"] != 10 || behind["new"] != 10 || load(t, h, accountN(0)) != "new" {
					t.Errorf("%v; behind the write %v", got, behind)
				}
			})
		})
	}
}

// A store that fails is told to all who wait, and asked again by the next.
func TestResidentsThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, g := withResidents(t, 1)
		put(t, g, accountN(0), "list", "1")
		goOn := make(chan struct{})
		s.after = func(context.Context) error { <-goOn; return storage.ErrUnavailable }
		outcome := loads(t.Context(), h, accountN(0), 10)
		synctest.Wait()
		close(goOn)
		got := outcome()
		for text, n := range got {
			if n != 10 || text == "1" {
				t.Error(got)
			}
		}
		if n := s.reads.Load(); n != 1 || h.Resident(accountN(0)) != nil {
			t.Errorf("%d reads; in memory: %v", n, h.Resident(accountN(0)))
		}
		s.after = nil
		if got := load(t, h, accountN(0)); got != "1" {
			t.Error(got)
		}
	})
}

// Whoever reads may be cut off: then another one does, and whoever waits does so
// no longer than its own time.
func TestLoadThatIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, g := withResidents(t, 1)
		put(t, g, accountN(0), "list", "1")
		goOn := make(chan struct{})
		s.after = func(ctx context.Context) error {
			select {
			case <-goOn:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		first := loads(ctx, h, accountN(0), 1)
		synctest.Wait()
		brief, end := context.WithCancel(t.Context())
		impatient, others := loads(brief, h, accountN(0), 3), loads(t.Context(), h, accountN(0), 10)
		synctest.Wait()
		end()
		if got := impatient(); got[context.Canceled.Error()] != 3 {
			t.Error(got)
		}
		cancel()
		first()
		synctest.Wait() // one of the others reads
		close(goOn)
		if got := others(); got["1"] != 10 {
			t.Error(got)
		}
		if n := s.reads.Load(); n != 3 { // one of the first, who was cut off; two keys
			t.Errorf("%d reads", n)
		}
	})
}

// inMemory checks the books: what is counted is there.
func (r *residents) inMemory(t *testing.T) (accounts, bytes int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for account, k := range r.known {
		bytes += len(account.String()) + k.bytes
	}
	if bytes != r.held || len(r.loading) != 0 {
		t.Errorf("%d bytes are counted, %d are there; %d loads", r.held, bytes, len(r.loading))
	}
	return len(r.known), bytes
}

// Accounts without sessions make room, for accounts and for bytes.
func TestResidentsAreBounded(t *testing.T) {
	const accounts, online, value = 60, 5, 1000
	size := value + len(accountN(accounts).String())
	h, _, g := withResidents(t, accounts)
	r := h.residents
	for n := range accounts {
		put(t, g, accountN(n), "list", string(make([]byte, value)))
		if n < online {
			full, err := accountN(n).WithResource("x")
			if err != nil {
				t.Fatal(err)
			}
			h.Sessions.Claim(cluster.Entry{JID: full, Receiver: &receiver{}})
		}
	}
	for _, row := range []struct{ most, bytes, wantAccounts int }{
		{20, 1 << 20, 20},
		{1 << 20, 20*size + 1, 20},
		{1 << 20, size / 2, 1}, // one that is larger than all may be is used once
	} {
		r.most, r.bytes = row.most, row.bytes
		for n := range accounts {
			load(t, h, accountN(n))
			if got, bytes := r.inMemory(t); got > row.wantAccounts || bytes > max(row.bytes, size) {
				t.Fatalf("%+v: %d accounts, %d bytes", row, got, bytes)
			}
		}
		got, _ := r.inMemory(t)
		if got != row.wantAccounts {
			t.Errorf("%+v: %d accounts", row, got)
		}
		for n := range online {
			if row.wantAccounts > online && h.Resident(accountN(n)) == nil {
				t.Errorf("%+v: an account with a session made room", row)
			}
		}
		for n := range accounts {
			h.Forget(accountN(n))
		}
		if got, bytes := r.inMemory(t); got != 0 || bytes != 0 {
			t.Errorf("%d accounts, %d bytes are left", got, bytes)
		}
	}
}

// Loads, writes and removals from everywhere: what was committed before a load is
// in it. With -race, nothing is shared without a lock.
func TestResidentsUnderLoad(t *testing.T) {
	const accounts, rounds = 4, 300
	h, _, g := withResidents(t, accounts)
	h.residents.most = accounts - 1 // so that some make room
	var committed [accounts]atomic.Int64
	var wait sync.WaitGroup
	for n := range accounts {
		wait.Go(func() {
			for i := range rounds {
				put(t, g, accountN(n), "list", strconv.Itoa(i+1))
				committed[n].Store(int64(i + 1))
			}
		})
		for range 4 {
			wait.Go(func() {
				for range rounds {
					least := committed[n].Load()
					r, err := h.LoadResident(t.Context(), accountN(n))
					if err != nil {
						t.Error(err)
						return
					}
					e, _ := r.Get("test", "list")
					if got, _ := strconv.ParseInt(string(e.Value), 10, 64); got < least {
						t.Errorf("loaded %d, %d was committed", got, least)
						return
					}
				}
			})
		}
		wait.Go(func() {
			for range rounds {
				h.Forget(accountN(n))
			}
		})
	}
	wait.Wait()
	h.residents.inMemory(t)
}

// A handler of a stage whose Swap of a resident entry fails runs again with what
// is stored by now, whoever wrote it.
func TestSwapOfResidentRunsAgainWithTheNew(t *testing.T) {
	h, s, g := withResidents(t, 1)
	a := accountN(0)
	put(t, g, a, "list", "old")
	r, err := h.LoadResident(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	put(t, g, a, "list", "new")
	s.reads.Store(0)
	var seen []string
	var fx Effects
	if err := fx.Collect(g, &About{a, r}, true, func(ctx context.Context, h *extension.Host) error {
		e, _, err := h.Store.Get(ctx, a, "list")
		seen = append(seen, string(e.Value))
		h.Store.Swap(a, "list", append([]byte("from "), e.Value...), e.Revision)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if s.reads.Load() != 0 {
		t.Error("a handler that may not wait read storage")
	}
	if err := fx.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	if got := load(t, h, a); got != "from new" || len(seen) != 2 {
		t.Errorf("%q is stored, behind %q", got, seen)
	}
}

// Addresses count, too: those that nobody has, as long as they may be.
func TestResidentsOfNobodyAreBounded(t *testing.T) {
	h, _, _ := withResidents(t, 0)
	r := h.residents
	r.bytes = 10_000
	for n := range 100 {
		load(t, h, jid.MustParse(fmt.Sprintf("%s%d@example.test", strings.Repeat("x", 980), n)))
		if got, bytes := r.inMemory(t); bytes > r.bytes || got > 10 {
			t.Fatalf("%d accounts, %d bytes", got, bytes)
		}
	}
}
