package sql

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/storage/storagetest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func TestStore(t *testing.T) {
	storagetest.Run(t,
		func(t *testing.T) storage.Store {
			return openTest(t, Options{Path: filepath.Join(t.TempDir(), "hexmpp.db")})
		},
		func(t *testing.T, s storage.Store) storage.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return openTest(t, Options{Path: s.(*Store).dialect.where})
		})
}

func openTest(t testing.TB, o Options) *Store {
	t.Helper()
	if o.BusyTimeout == 0 {
		o.BusyTimeout = 20 * time.Second // a loaded machine isn't what these tests are about
	}
	s, err := New(t.Context(), o, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func testDomains(t *testing.T, s *Store) {
	for _, user := range []string{"romeo@a.test", "juliet@b.test", "nurse@b.test"} {
		if err := s.CreateAccount(t.Context(), storage.Account{User: jid.MustParse(user), Created: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Domains(t.Context()); err != nil || !maps.Equal(got, map[string]int{"a.test": 1, "b.test": 2}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDomains(t *testing.T) {
	testDomains(t, openTest(t, Options{Path: filepath.Join(t.TempDir(), "hexmpp.db")}))
}

// Groups are read as both databases give them back, and nothing else is taken
// for groups.
func TestGroupsOfRosterItems(t *testing.T) {
	for in, want := range map[string][]string{
		`[]`: nil, `["a"]`: {"a"}, `["a","b"]`: {"a", "b"}, `["a", "b"]`: {"a", "b"}, `["a, b","c"]`: {"a, b", "c"},
		`["]","["]`: {"]", "["}, `["a\"","\\\""]`: {`a"`, `\"`}, `["\u003cb\u003e","é"]`: {"<b>", "é"},
	} {
		if got, err := decodeGroups([]byte(in)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", `[`, `["a"`, `["a`, `[1]`, `{"a":"b"}`, `"a"`, `["a\"]`, `["a" "b"]`, `["a",,"b"]`, `["a"]"b"]`, `["a",]`} {
		if got, err := decodeGroups([]byte(in)); err == nil {
			t.Errorf("%s is read as %q", in, got)
		}
	}
	for _, groups := range [][]string{{"Friends"}, {`"`, `\`, `","`, `", "`}, {"a,b", " ", "\n"}, {"<&>'", "\U0001F339"}} {
		in, err := encodeGroups(groups)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeGroups([]byte(in)); err != nil || !slices.Equal(got, groups) {
			t.Errorf("%q came back as %q, %v", groups, got, err)
		}
	}
}
