package storagetest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func testCommit(t *testing.T, open Open) {
	ctx := t.Context()
	t.Run("applies all ops", func(t *testing.T) {
		s := start(t, open, romeo)
		put(t, s, storage.Op{Space: "s", Owner: romeo, Key: "old", Value: []byte("1")})
		put(t, s,
			storage.Op{Space: "s", Owner: romeo, Key: "a", Value: []byte("2")},
			storage.Op{Space: "s", Key: "a", Value: []byte("3")},
			storage.Op{Space: "t", Owner: romeo, Key: "a", Value: []byte("4")},
			storage.Op{Space: "s", Owner: romeo, Key: "old", Delete: true})
		get(t, s, "s", romeo, "a", "2")
		get(t, s, "s", jid.JID{}, "a", "3")
		get(t, s, "t", romeo, "a", "4")
		absent(t, s, "s", romeo, "old")
	})
	t.Run("no ops is no error", func(t *testing.T) {
		s := start(t, open)
		put(t, s)
	})
	t.Run("removing an absent entry is no error", func(t *testing.T) {
		s := start(t, open, romeo)
		put(t, s,
			storage.Op{Space: "s", Owner: romeo, Key: "k", Delete: true},
			storage.Op{Space: "s", Key: "k", Delete: true, If: true})
		// Nor when the owner is gone: what was stored for it is gone as well.
		put(t, s, storage.Op{Space: "s", Owner: nobody, Key: "k", Delete: true})
	})
	t.Run("a deletion ignores the value", func(t *testing.T) {
		s := start(t, open)
		put(t, s, storage.Op{Space: "s", Key: "k", Value: make([]byte, storage.MaxValue+1), Delete: true})
	})
	for _, c := range []struct {
		name string
		op   storage.Op
		want error
	}{
		{"a revision conflict", storage.Op{Space: "s", Key: "there", If: true, Revision: 1 << 40}, storage.ErrConflict},
		{"create-only on an entry that is there", storage.Op{Space: "s", Key: "there", If: true}, storage.ErrConflict},
		{"a deletion at a wrong revision", storage.Op{Space: "s", Key: "there", Delete: true, If: true, Revision: 1 << 40}, storage.ErrConflict},
		{"a deletion at a revision of what is absent", storage.Op{Space: "s", Key: "absent", Delete: true, If: true, Revision: 1}, storage.ErrConflict},
		{"an update of what is absent", storage.Op{Space: "s", Key: "absent", If: true, Revision: 1}, storage.ErrConflict},
		{"a deletion at a revision, owner gone", storage.Op{Space: "s", Owner: nobody, Key: "k", Delete: true, If: true, Revision: 1}, storage.ErrConflict},
		{"an owner that does not exist", storage.Op{Space: "s", Owner: nobody, Key: "k"}, storage.ErrNotFound},
		{"an owner that is no account", storage.Op{Space: "s", Owner: jid.MustParse("example.org"), Key: "k"}, storage.ErrNotFound},
		{"an owner with a resourcepart", storage.Op{Space: "s", Owner: jid.MustParse("romeo@example.org/x"), Key: "k"}, storage.ErrInvalid},
		{"an empty key", storage.Op{Space: "s"}, storage.ErrInvalid},
		{"an empty space", storage.Op{Key: "k"}, storage.ErrInvalid},
		{"a space with NUL", storage.Op{Space: "s\x00", Key: "k"}, storage.ErrInvalid},
		{"a space that is not UTF-8", storage.Op{Space: "s\xff", Key: "k"}, storage.ErrInvalid},
		{"a key over the bound", storage.Op{Space: "s", Key: strings.Repeat("k", storage.MaxKey+1)}, storage.ErrInvalid},
		{"a space over the bound", storage.Op{Space: strings.Repeat("s", storage.MaxName+1), Key: "k"}, storage.ErrInvalid},
		{"a value over the bound", storage.Op{Space: "s", Key: "k", Value: make([]byte, storage.MaxValue+1)}, storage.ErrInvalid},
		{"a key named twice", storage.Op{Space: "s", Key: "first"}, storage.ErrInvalid},
	} {
		t.Run("all or nothing: "+c.name, func(t *testing.T) {
			s := start(t, open, romeo)
			put(t, s,
				storage.Op{Space: "s", Key: "there", Value: []byte("old")},
				storage.Op{Space: "s", Owner: romeo, Key: "gone?", Value: []byte("still here")})
			first := storage.Op{Space: "s", Key: "first", Value: []byte("x")}
			second := storage.Op{Space: "s", Owner: romeo, Key: "second", Value: []byte("x")}
			del := storage.Op{Space: "s", Owner: romeo, Key: "gone?", Delete: true}
			for _, ops := range [][]storage.Op{{first, second, del, c.op}, {c.op, first, second, del}, {first, c.op, del, second}} {
				is(t, "Commit", s.Commit(ctx, storage.Writes{Ops: ops}), c.want)
				absent(t, s, "s", jid.JID{}, "first")
				absent(t, s, "s", romeo, "second")
				get(t, s, "s", jid.JID{}, "there", "old")
				get(t, s, "s", romeo, "gone?", "still here")
			}
			put(t, s, first, second, del) // and the store goes on
			get(t, s, "s", jid.JID{}, "first", "x")
			absent(t, s, "s", romeo, "gone?")
		})
	}
	t.Run("an owner that was removed", func(t *testing.T) {
		s := start(t, open, romeo)
		put(t, s, storage.Op{Space: "s", Owner: romeo, Key: "k"})
		if err := s.RemoveAccount(ctx, romeo); err != nil {
			t.Fatal(err)
		}
		is(t, "Commit", s.Commit(ctx, storage.Writes{Ops: []storage.Op{{Space: "s", Owner: romeo, Key: "k"}}}), storage.ErrNotFound)
	})
}

func testRevisions(t *testing.T, open Open) {
	ctx := t.Context()
	for _, owner := range []jid.JID{{}, romeo} {
		t.Run("compare and swap, owner "+owner.String(), func(t *testing.T) {
			s := start(t, open, romeo)
			op := storage.Op{Space: "s", Owner: owner, Key: "k", If: true}
			write := func(revision uint64, value string) error {
				op.Revision, op.Value = revision, []byte(value)
				return s.Commit(ctx, storage.Writes{Ops: []storage.Op{op}})
			}
			if err := write(0, "first"); err != nil {
				t.Fatal(err)
			}
			r1 := get(t, s, "s", owner, "k", "first")
			is(t, "create-only again", write(0, "x"), storage.ErrConflict)
			if err := write(r1, "second"); err != nil {
				t.Fatal(err)
			}
			r2 := get(t, s, "s", owner, "k", "second")
			is(t, "stale", write(r1, "x"), storage.ErrConflict)
			is(t, "from the future", write(r2+1, "x"), storage.ErrConflict)
			is(t, "beyond 63 bits", write(1<<63+r2, "x"), storage.ErrConflict)
			is(t, "stale deletion", s.Commit(ctx, storage.Writes{Ops: []storage.Op{{Space: "s", Owner: owner, Key: "k", Delete: true, If: true, Revision: r1}}}), storage.ErrConflict)
			get(t, s, "s", owner, "k", "second")
			put(t, s, storage.Op{Space: "s", Owner: owner, Key: "k", Delete: true, If: true, Revision: r2})
			absent(t, s, "s", owner, "k")
			is(t, "update after the deletion", write(r2, "x"), storage.ErrConflict)
		})
		t.Run("grow with each write, over deletions too, owner "+owner.String(), func(t *testing.T) {
			s := start(t, open, romeo)
			last := uint64(0)
			for i := range 20 {
				put(t, s, storage.Op{Space: "s", Owner: owner, Key: "k", Value: []byte("same")})
				r := get(t, s, "s", owner, "k", "same")
				if r <= last {
					t.Fatalf("write %d: revision %d after %d", i, r, last)
				}
				last = r
				if i%3 == 0 {
					put(t, s, storage.Op{Space: "s", Owner: owner, Key: "k", Delete: true})
				}
			}
		})
	}
	t.Run("Scan and Get agree", func(t *testing.T) {
		s := start(t, open, romeo)
		put(t, s, storage.Op{Space: "s", Owner: romeo, Key: "a", Value: []byte("x")}, storage.Op{Space: "s", Owner: romeo, Key: "b", Value: []byte("x")})
		page, err := s.Scan(ctx, "s", romeo, "", "", 10)
		if err != nil || len(page) != 2 {
			t.Fatalf("Scan: %v, %v", page, err)
		}
		for _, e := range page {
			if r := get(t, s, "s", romeo, e.Key, "x"); r != e.Revision {
				t.Errorf("%s: Scan says revision %d, Get %d", e.Key, e.Revision, r)
			}
		}
	})
}

func testConcurrent(t *testing.T, open Open) {
	ctx := t.Context()
	t.Run("increments of 32 goroutines end exact", func(t *testing.T) {
		s := start(t, open, romeo)
		const each = 4
		increment := func() error {
			for {
				op := storage.Op{Space: "s", Owner: romeo, Key: "n", If: true}
				n := 0
				e, err := s.Get(ctx, "s", romeo, "n")
				switch {
				case err == nil:
					op.Revision = e.Revision
					if n, err = strconv.Atoi(string(e.Value)); err != nil {
						return err
					}
				case !errors.Is(err, storage.ErrNotFound):
					return err
				}
				op.Value = []byte(strconv.Itoa(n + 1))
				if err := s.Commit(ctx, storage.Writes{Ops: []storage.Op{op}}); !errors.Is(err, storage.ErrConflict) {
					return err
				}
			}
		}
		for i, err := range inParallel(32, func(int) error {
			for range each {
				if err := increment(); err != nil {
					return err
				}
			}
			return nil
		}) {
			if err != nil {
				t.Errorf("goroutine %d: %v", i, err)
			}
		}
		get(t, s, "s", romeo, "n", strconv.Itoa(32*each))
	})
	t.Run("each of many writers fails or succeeds by itself", func(t *testing.T) {
		s := start(t, open, romeo)
		errs := inParallel(64, func(i int) error {
			owner := romeo
			if i%3 == 0 {
				owner = nobody
			}
			return s.Commit(ctx, storage.Writes{Ops: []storage.Op{
				{Space: "s", Key: fmt.Sprint("before ", i), Value: []byte("x")},
				{Space: "s", Owner: owner, Key: fmt.Sprint(i), Value: []byte("x")}}})
		})
		for i, err := range errs {
			if i%3 == 0 {
				is(t, "Commit", err, storage.ErrNotFound)
				absent(t, s, "s", jid.JID{}, fmt.Sprint("before ", i))
				continue
			}
			if err != nil {
				t.Errorf("writer %d: %v", i, err)
				continue
			}
			get(t, s, "s", romeo, fmt.Sprint(i), "x")
			get(t, s, "s", jid.JID{}, fmt.Sprint("before ", i), "x")
		}
	})
	t.Run("readers see whole commits while others write", func(t *testing.T) {
		s := start(t, open, romeo)
		both := func(v string) []storage.Op {
			return []storage.Op{
				{Space: "s", Owner: romeo, Key: "a", Value: []byte(v)},
				{Space: "s", Owner: romeo, Key: "b", Value: []byte(v)}}
		}
		put(t, s, both("0")...)
		done := make(chan struct{})
		var readers sync.WaitGroup
		for range 8 {
			readers.Go(func() {
				for {
					page, err := s.Scan(ctx, "s", romeo, "", "", 10)
					if err != nil || len(page) != 2 || string(page[0].Value) != string(page[1].Value) {
						t.Errorf("Scan: got %v, %v", page, err)
						return
					}
					if _, err := s.Account(ctx, romeo); err != nil {
						t.Errorf("Account: %v", err)
						return
					}
					select {
					case <-done:
						return
					default:
					}
				}
			})
		}
		for i := range 100 {
			put(t, s, both(strconv.Itoa(i))...)
			get(t, s, "s", romeo, "a", strconv.Itoa(i)) // one reads what one wrote
		}
		close(done)
		readers.Wait()
	})
	t.Run("nothing is left behind by a removal during writes", func(t *testing.T) {
		s := start(t, open, romeo)
		first := make(chan struct{}, 8)
		var writers sync.WaitGroup
		for i := range 8 {
			writers.Go(func() {
				for n := 0; ; n++ {
					err := s.Commit(ctx, storage.Writes{Ops: []storage.Op{{Space: "s", Owner: romeo, Key: fmt.Sprint(i, "/", n)}}})
					if n == 0 {
						first <- struct{}{}
					}
					if errors.Is(err, storage.ErrNotFound) {
						return
					}
					if err != nil {
						t.Errorf("Commit: %v", err)
						return
					}
				}
			})
		}
		for range 8 {
			<-first
		}
		if err := s.RemoveAccount(ctx, romeo); err != nil {
			t.Fatal(err)
		}
		writers.Wait()
		create(t, s, romeo)
		if page, err := s.Scan(ctx, "s", romeo, "", "", 10); err != nil || len(page) != 0 {
			t.Errorf("Scan: got %v, %v", page, err)
		}
	})
}

// inParallel runs f n times at once and returns what each run returned.
func inParallel(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-gate
			errs[i] = f(i)
		})
	}
	close(gate)
	wg.Wait()
	return errs
}
