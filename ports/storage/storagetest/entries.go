package storagetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// awkward are keys that SQL patterns, C strings, text encodings or collations
// would treat specially, in byte order.
var awkward = []string{
	"\x00", "\x00\x00", "\x00a", " ", "%", "'", "'; DROP TABLE accounts; --", "A", "\\", "_", "a", "a\x00", "a\x00b",
	"a ", "a%", "a%b", "a_", "a_b", "aa", "ab", "a\x7f", "a\xff", "a\xff\xff", "b", "e\u0301", "Ω", "é", "日", "\xfe", "\xff", "\xff\xff",
}

func testEntries(t *testing.T, open Open) {
	ctx := t.Context()
	t.Run("ErrNotFound for what is not there", func(t *testing.T) {
		s := start(t, open, romeo)
		put(t, s, storage.Op{Space: "s", Owner: romeo, Key: "k", Value: []byte("v")})
		absent(t, s, "s", romeo, "other")
		absent(t, s, "s", jid.JID{}, "k")
		absent(t, s, "other", romeo, "k")
		absent(t, s, "s", nobody, "k")
		absent(t, s, "s", romeo, "")
		absent(t, s, "", romeo, "k")
		absent(t, s, "s\x00", romeo, "k")
		absent(t, s, "s\xff", jid.JID{}, "k")
	})
	t.Run("spaces and owners are apart", func(t *testing.T) {
		s := start(t, open, romeo, juliet)
		n := 0
		value := func() string { n++; return fmt.Sprint("value ", n) }
		for range 2 { // the second round overwrites
			want := make(map[[2]string]string)
			for _, owner := range []jid.JID{{}, romeo, juliet} {
				for _, space := range []string{"s", "t", "%", "s "} {
					v := value()
					want[[2]string{owner.String(), space}] = v
					put(t, s, storage.Op{Space: space, Owner: owner, Key: "k", Value: []byte(v)})
				}
			}
			for _, owner := range []jid.JID{{}, romeo, juliet} {
				for _, space := range []string{"s", "t", "%", "s "} {
					get(t, s, space, owner, "k", want[[2]string{owner.String(), space}])
				}
			}
		}
	})
	for _, owner := range []jid.JID{{}, romeo} {
		t.Run("keys of any bytes, owner "+owner.String(), func(t *testing.T) {
			s := start(t, open, romeo)
			var ops []storage.Op
			for _, k := range awkward {
				ops = append(ops, storage.Op{Space: "s", Owner: owner, Key: k, Value: []byte("value of " + k)})
			}
			put(t, s, ops...)
			for _, k := range awkward {
				get(t, s, "s", owner, k, "value of "+k)
			}
		})
	}
	t.Run("values of any bytes and every size up to the bound", func(t *testing.T) {
		s := start(t, open, romeo)
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		for _, v := range [][]byte{nil, {}, {0}, every, bytes.Repeat([]byte("x"), storage.MaxValue)} {
			put(t, s, storage.Op{Space: "s", Owner: romeo, Key: "k", Value: v})
			get(t, s, "s", romeo, "k", string(v))
		}
	})
	t.Run("a key of the longest length", func(t *testing.T) {
		s := start(t, open)
		k := strings.Repeat("\xff", storage.MaxKey)
		put(t, s, storage.Op{Space: strings.Repeat("s", storage.MaxName), Key: k, Value: []byte("v")})
		get(t, s, strings.Repeat("s", storage.MaxName), jid.JID{}, k, "v")
	})
	t.Run("the caller's and the store's memory are apart", func(t *testing.T) {
		s := start(t, open)
		v := []byte("value")
		put(t, s, storage.Op{Space: "s", Key: "k", Value: v})
		v[0] = 'X'
		e, err := s.Get(ctx, "s", jid.JID{}, "k")
		if err != nil {
			t.Fatal(err)
		}
		get(t, s, "s", jid.JID{}, "k", "value")
		e.Value[0] = 'Y'
		page, err := s.Scan(ctx, "s", jid.JID{}, "", "", 1)
		if err != nil || len(page) != 1 || string(page[0].Value) != "value" {
			t.Fatalf("Scan: got %v, %v", page, err)
		}
		page[0].Value[0] = 'Z'
		get(t, s, "s", jid.JID{}, "k", "value")
	})
}

func testScan(t *testing.T, open Open) {
	s := start(t, open, romeo, juliet)
	keys := slices.Clone(awkward)
	slices.Sort(keys)
	for _, owner := range []jid.JID{{}, romeo} {
		for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(keys)) {
			put(t, s, storage.Op{Space: "s", Owner: owner, Key: keys[i], Value: []byte(owner.String() + keys[i])})
		}
	}
	put(t, s, storage.Op{Space: "t", Owner: romeo, Key: "aaa"}, storage.Op{Space: "s", Owner: juliet, Key: "aaa"})

	scan := func(t *testing.T, owner jid.JID, prefix, after string, limit int) []string {
		t.Helper()
		page, err := s.Scan(t.Context(), "s", owner, prefix, after, limit)
		if err != nil {
			t.Fatalf("Scan(%q, %q, %d): %v", prefix, after, limit, err)
		}
		got := make([]string, 0, len(page))
		for _, e := range page {
			got = append(got, e.Key)
			if string(e.Value) != owner.String()+e.Key || e.Revision == 0 {
				t.Errorf("Scan(%q, %q, %d): got %q with value %q at revision %d", prefix, after, limit, e.Key, e.Value, e.Revision)
			}
		}
		return got
	}
	for _, owner := range []jid.JID{{}, romeo} {
		t.Run("prefix and after in byte order, owner "+owner.String(), func(t *testing.T) {
			for _, prefix := range append([]string{"", "nothing", "a\x00b\x00", "\xff\xff\xff"}, keys...) {
				for _, after := range append([]string{"", "nothing"}, keys...) {
					want := make([]string, 0, len(keys))
					for _, k := range keys {
						if strings.HasPrefix(k, prefix) && k > after {
							want = append(want, k)
						}
					}
					if got := scan(t, owner, prefix, after, 1000); !slices.Equal(got, want) {
						t.Errorf("prefix %q after %q: got %q, want %q", prefix, after, got, want)
					}
				}
			}
		})
		for _, limit := range []int{1, 2, 7, 31, 1000} {
			t.Run(fmt.Sprintf("pages of %d, owner %s", limit, owner), func(t *testing.T) {
				var got []string
				for after := ""; ; after = got[len(got)-1] {
					page := scan(t, owner, "", after, limit)
					if len(page) > limit {
						t.Fatalf("a page of %d", len(page))
					}
					if len(page) == 0 {
						break
					}
					got = append(got, page...)
				}
				if !slices.Equal(got, keys) {
					t.Errorf("got %q, want %q", got, keys)
				}
			})
		}
	}
	t.Run("nothing for a limit below 1, an unknown space or owner", func(t *testing.T) {
		if got := scan(t, romeo, "", "", 0); len(got) != 0 {
			t.Errorf("limit 0: got %q", got)
		}
		if got := scan(t, romeo, "", "", -1); len(got) != 0 {
			t.Errorf("limit -1: got %q", got)
		}
		if got := scan(t, nobody, "", "", 10); len(got) != 0 {
			t.Errorf("unknown owner: got %q", got)
		}
		if page, err := s.Scan(t.Context(), "unknown", romeo, "", "", 10); err != nil || len(page) != 0 {
			t.Errorf("unknown space: got %v, %v", page, err)
		}
		if page, err := s.Scan(t.Context(), "s\x00", romeo, "", "", 10); err != nil || len(page) != 0 {
			t.Errorf("a space that is no text: got %v, %v", page, err)
		}
	})
}
