package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func testSecrets(t *testing.T, open Open) {
	ctx := t.Context()
	t.Run("32 bytes, the same for everybody who asks at once", func(t *testing.T) {
		s := start(t, open)
		got := make([][]byte, 16)
		for i, err := range inParallel(len(got), func(i int) (err error) {
			got[i], err = s.Secret(ctx, "salts")
			return err
		}) {
			if err != nil {
				t.Fatal(err)
			}
			if len(got[i]) != 32 || !bytes.Equal(got[i], got[0]) {
				t.Errorf("caller %d got %x, caller 0 %x", i, got[i], got[0])
			}
		}
	})
	t.Run("names have secrets of their own, stores too", func(t *testing.T) {
		seen := make(map[string]string)
		for n, s := range []storage.Store{start(t, open), start(t, open)} {
			for _, name := range []string{"a", "b", "a ", "%", "é"} {
				secret, err := s.Secret(ctx, name)
				if err != nil {
					t.Fatal(err)
				}
				if other, twice := seen[string(secret)]; twice {
					t.Errorf("%q of store %d has the secret of %s", name, n, other)
				}
				seen[string(secret)] = fmt.Sprintf("%q of store %d", name, n)
			}
		}
	})
	t.Run("the caller's and the store's memory are apart", func(t *testing.T) {
		s := start(t, open)
		a, err := s.Secret(ctx, "salts")
		if err != nil {
			t.Fatal(err)
		}
		kept := bytes.Clone(a)
		clear(a)
		if b, err := s.Secret(ctx, "salts"); err != nil || !bytes.Equal(b, kept) {
			t.Errorf("got %x, %v, want %x", b, err, kept)
		}
	})
	t.Run("ErrInvalid for a name that is empty, too long or no text", func(t *testing.T) {
		s := start(t, open)
		for _, name := range []string{"", strings.Repeat("n", storage.MaxName+1), "a\x00", "a\xff"} {
			_, err := s.Secret(ctx, name)
			is(t, "Secret", err, storage.ErrInvalid)
		}
	})
}

// calls are all calls of the port, as they would succeed on a store that has
// the account romeo and in space s the entry k of romeo.
var calls = []struct {
	name  string
	write bool
	call  func(context.Context, storage.Store) error
}{
	{"CreateAccount", true, func(ctx context.Context, s storage.Store) error { return s.CreateAccount(ctx, account(nobody)) }},
	{"Account", false, func(ctx context.Context, s storage.Store) error { _, err := s.Account(ctx, romeo); return err }},
	{"SetKeys", true, func(ctx context.Context, s storage.Store) error { return s.SetKeys(ctx, romeo, nil) }},
	{"ListAccounts", false, func(ctx context.Context, s storage.Store) error {
		_, err := s.ListAccounts(ctx, "example.org", "", 1)
		return err
	}},
	{"TouchAccounts", true, func(ctx context.Context, s storage.Store) error {
		return s.TouchAccounts(ctx, map[jid.JID]time.Time{romeo: time.Unix(1, 0)})
	}},
	{"Get", false, func(ctx context.Context, s storage.Store) error { _, err := s.Get(ctx, "s", romeo, "k"); return err }},
	{"Scan", false, func(ctx context.Context, s storage.Store) error {
		_, err := s.Scan(ctx, "s", romeo, "", "", 1)
		return err
	}},
	{"Commit", true, func(ctx context.Context, s storage.Store) error {
		return s.Commit(ctx, storage.Writes{Ops: []storage.Op{{Space: "s", Owner: romeo, Key: "new"}}})
	}},
	{"Commit of a row", true, func(ctx context.Context, s storage.Store) error {
		return s.Commit(ctx, storage.Writes{Rows: []storage.Row{row(romeo, 1, "juliet@example.org", "x")}})
	}},
	{"Rows", false, func(ctx context.Context, s storage.Store) error {
		_, _, err := s.Rows(ctx, storage.ArchiveKey{Space: "a", Owner: romeo}, storage.Filter{}, storage.Page{Limit: 1})
		return err
	}},
	{"Rows by ID", false, func(ctx context.Context, s storage.Store) error {
		_, _, err := s.Rows(ctx, storage.ArchiveKey{Space: "a", Owner: romeo}, storage.Filter{IDs: []uint64{1}}, storage.Page{Limit: 1})
		return err
	}},
	{"CountRows", false, func(ctx context.Context, s storage.Store) error {
		_, _, err := s.CountRows(ctx, storage.ArchiveKey{Space: "a", Owner: romeo}, storage.Filter{}, 10)
		return err
	}},
	{"LastRow", false, func(ctx context.Context, s storage.Store) error { _, err := s.LastRow(ctx); return err }},
	{"ExpireRows", true, func(ctx context.Context, s storage.Store) error {
		_, err := s.ExpireRows(ctx, "a", 2, 10)
		return err
	}},
	{"Secret", true, func(ctx context.Context, s storage.Store) error { _, err := s.Secret(ctx, "new"); return err }},
	{"Roster", false, func(ctx context.Context, s storage.Store) error { _, err := s.Roster(ctx, romeo); return err }},
	{"Subscription", false, func(ctx context.Context, s storage.Store) error {
		_, err := s.Subscription(ctx, romeo, juliet)
		return err
	}},
	{"ChangeRoster", true, func(ctx context.Context, s storage.Store) error {
		return s.ChangeRoster(ctx, romeo, 0, []storage.RosterItem{contact(juliet)}, nil)
	}},
	{"AddOffline", true, func(ctx context.Context, s storage.Store) error {
		_, err := s.AddOffline(ctx, romeo, message("new"), 10)
		return err
	}},
	{"AddOfflineEach", true, func(ctx context.Context, s storage.Store) error {
		results, err := s.AddOfflineEach(ctx, []storage.OfflineAdd{{Owner: romeo, Message: message("new")}}, 10)
		return errors.Join(append(results, err)...)
	}},
	{"AddOfflineAll", true, func(ctx context.Context, s storage.Store) error {
		return s.AddOfflineAll(ctx, romeo, []storage.OfflineMessage{message("new")})
	}},
	{"OfflineMessages", false, func(ctx context.Context, s storage.Store) error {
		_, err := s.OfflineMessages(ctx, romeo, 0, 1)
		return err
	}},
	{"DeleteOffline", true, func(ctx context.Context, s storage.Store) error { return s.DeleteOffline(ctx, romeo, []uint64{1}) }},
	{"RemoveAccount", true, func(ctx context.Context, s storage.Store) error { return s.RemoveAccount(ctx, romeo) }},
}

func testLifecycle(t *testing.T, open Open) {
	prepared := func(t *testing.T) storage.Store {
		s := start(t, open, romeo)
		put(t, s, storage.Op{Space: "s", Owner: romeo, Key: "k", Value: []byte("v")})
		return s
	}
	t.Run("every call works, then gets ErrUnavailable after Close", func(t *testing.T) {
		s := prepared(t)
		for _, c := range calls {
			if err := c.call(t.Context(), s); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		for _, c := range calls {
			is(t, c.name, c.call(t.Context(), s), storage.ErrUnavailable)
		}
		if err := s.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
	t.Run("Close while others write and read", func(t *testing.T) {
		s := prepared(t)
		var wg sync.WaitGroup
		begun := make(chan struct{}, 16)
		for i := range 16 {
			wg.Go(func() {
				for n := 0; ; n++ {
					err := s.Commit(context.Background(), storage.Writes{Ops: []storage.Op{{Space: "s", Owner: romeo, Key: fmt.Sprint(i)}}})
					if err == nil {
						_, err = s.Get(context.Background(), "s", romeo, "k")
					}
					if n == 0 {
						begun <- struct{}{}
					}
					if err != nil {
						is(t, "call during Close", err, storage.ErrUnavailable)
						return
					}
				}
			})
		}
		for range 16 {
			<-begun
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		wg.Wait()
	})
	for _, c := range calls {
		t.Run("a cancelled context: "+c.name, func(t *testing.T) {
			s := prepared(t)
			// The call may succeed or be abandoned, but it says which.
			err := c.call(cancelled(t), s)
			if err != nil {
				is(t, c.name, err, storage.ErrUnavailable)
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%v does not name the cause", err)
				}
			}
			// Either way the store goes on.
			get(t, s, "s", romeo, "k", "v")
			put(t, s, storage.Op{Space: "s", Key: "next", Value: []byte("v")})
		})
	}
	t.Run("cancelled writes are whole, and known when nil", func(t *testing.T) {
		s := prepared(t)
		for i := range 50 {
			ctx, cancel := context.WithCancel(t.Context())
			result := make(chan error, 1)
			a, b := fmt.Sprint("a", i), fmt.Sprint("b", i)
			go func() {
				result <- s.Commit(ctx, storage.Writes{Ops: []storage.Op{{Space: "s", Key: a, Value: []byte("v")}, {Space: "s", Key: b, Value: []byte("v")}}})
			}()
			cancel()
			err := <-result
			if err == nil {
				get(t, s, "s", jid.JID{}, a, "v")
				get(t, s, "s", jid.JID{}, b, "v")
				continue
			}
			is(t, "Commit", err, storage.ErrUnavailable)
			// A later write of ours comes behind the abandoned one, so that one is decided now.
			put(t, s, storage.Op{Space: "s", Key: "behind", Value: []byte("v")})
			page, err := s.Scan(t.Context(), "s", jid.JID{}, "", "", 1000)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, e := range page {
				if e.Key == a || e.Key == b {
					n++
				}
			}
			if n == 1 {
				t.Errorf("commit %d was applied in part", i)
			}
		}
	})
}

func testDurable(t *testing.T, open Open, reopen Reopen) {
	ctx := t.Context()
	s := open(t)
	t.Cleanup(func() { s.Close() })
	create(t, s, romeo)
	create(t, s, juliet)
	put(t, s,
		storage.Op{Space: "s", Owner: romeo, Key: "k", Value: []byte("v")},
		storage.Op{Space: "s", Key: "k", Value: []byte("w")},
		storage.Op{Space: "s", Key: "latest", Value: []byte("x")})
	before := get(t, s, "s", jid.JID{}, "latest", "x")
	put(t, s, storage.Op{Space: "s", Key: "latest", Delete: true})
	if err := s.RemoveAccount(ctx, juliet); err != nil {
		t.Fatal(err)
	}
	secret, err := s.Secret(ctx, "salts")
	if err != nil {
		t.Fatal(err)
	}
	full := rosterOf(t, s, romeo, 0, contact(juliet), contact(nobody))
	kept, deleted := add(t, s, romeo, "kept"), add(t, s, romeo, "deleted")
	if err := s.DeleteOffline(ctx, romeo, []uint64{deleted}); err != nil {
		t.Fatal(err)
	}
	message := row(romeo, 7, "juliet@example.org", "archived")
	archive(t, s, message)
	s = reopen(t, s)

	t.Run("what was committed is there", func(t *testing.T) {
		sameAccount(t, s, account(romeo))
		get(t, s, "s", romeo, "k", "v")
		get(t, s, "s", jid.JID{}, "k", "w")
		sameRoster(t, s, romeo, full)
		waiting(t, s, romeo, stored{kept, "kept"})
		archived(t, s, romeo, message)
	})
	t.Run("what was removed is gone", func(t *testing.T) {
		_, err := s.Account(ctx, juliet)
		is(t, "Account", err, storage.ErrNotFound)
		absent(t, s, "s", jid.JID{}, "latest")
	})
	t.Run("revisions go on behind those of removed entries", func(t *testing.T) {
		put(t, s, storage.Op{Space: "s", Key: "latest", Value: []byte("y")})
		if r := get(t, s, "s", jid.JID{}, "latest", "y"); r <= before {
			t.Errorf("revision %d, before the restart it was %d", r, before)
		}
	})
	t.Run("IDs of messages go on behind those of deleted ones", func(t *testing.T) {
		if id := add(t, s, romeo, "next"); id <= deleted {
			t.Errorf("ID %d, before the restart one had %d", id, deleted)
		}
	})
	t.Run("secrets are the same", func(t *testing.T) {
		if again, err := s.Secret(ctx, "salts"); err != nil || !bytes.Equal(again, secret) {
			t.Errorf("got %x, %v, want %x", again, err, secret)
		}
	})
}
