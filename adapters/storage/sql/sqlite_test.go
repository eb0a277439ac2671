package sql

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap/zaptest"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func TestSettings(t *testing.T) {
	s := openTest(t, Options{Path: filepath.Join(t.TempDir(), "hexmpp.db")})
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		err := s.write(t.Context(), "read settings", func(tx *tx) error {
			_, err := tx.first("PRAGMA "+pragma, nil, &got)
			return err
		})
		if err != nil || got != want {
			t.Errorf("%s of the writer: got %s, %v, want %s", pragma, got, err, want)
		}
	}
	if _, err := s.readers.Exec("DELETE FROM accounts"); err == nil {
		t.Error("a reader can write")
	}
}

func TestFileModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	path := filepath.Join(dir, "a b?c#d%20.db") // no part of it may be taken for a part of a URI
	s := openTest(t, Options{Path: path})
	mustPut(t, s, "k")
	mode := func(path string, want os.FileMode) {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
	mode(dir, 0o700)
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		mode(path+suffix, 0o600)
	}
	t.Run("a file that others could read is taken away from them", func(t *testing.T) {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		again := openTest(t, Options{Path: path})
		mode(path, 0o600)
		if !has(t, again, "k") {
			t.Error("the entry is gone")
		}
	})
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no path":            {},
		"negative":           {Path: filepath.Join(t.TempDir(), "x"), Readers: -1},
		"a folder as file":   {Path: t.TempDir()},
		"no folder to be":    {Path: "/dev/null/hexmpp.db"},
		"no database at all": {Path: garbage(t)},
	} {
		if s, err := New(t.Context(), o, zaptest.NewLogger(t)); err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

func garbage(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "hexmpp.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("this is no database ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hexmpp.db")
	s := openTest(t, Options{Path: path})
	mustPut(t, s, "k")
	if err := s.write(t.Context(), "age", func(tx *tx) error {
		_, err := tx.exec("INSERT INTO schema_version (version_id, is_applied) VALUES (4711, 1)")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := New(t.Context(), Options{Path: path}, zaptest.NewLogger(t))
	if err == nil || !strings.Contains(err.Error(), "version 4711") || !strings.Contains(err.Error(), "up to 1:") {
		t.Errorf("got %v, want an error with both versions", err)
	}
}

// Processes that start at once on a new file migrate it once.
func TestStartTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hexmpp.db")
	log := zaptest.NewLogger(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := New(context.Background(), Options{Path: path}, log)
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// No query that runs often reads a whole table.
func TestQueryPlans(t *testing.T) {
	s := openTest(t, Options{Path: filepath.Join(t.TempDir(), "hexmpp.db")})
	queries := []string{selectAccount, selectAccounts, selectSecret, selectAccountID, touchAccount, deleteAccount, deleteKeys}
	for _, e := range []entryStatements{accountEntries, extensionEntries} {
		queries = append(queries, e.get, e.scan, e.exists, e.put, e.create, e.update, e.delete, e.deleteAt)
	}
	// What ON DELETE CASCADE looks up.
	queries = append(queries, "DELETE FROM account_entries WHERE owner = ?", "DELETE FROM account_keys WHERE account = ?")
	for _, q := range queries {
		args := make([]any, strings.Count(q, "?"))
		var steps []struct {
			ID      int
			Parent  int
			Notused int
			Detail  string
		}
		if err := s.readers.Select(&steps, "EXPLAIN QUERY PLAN "+q, args...); err != nil {
			t.Errorf("%s: %v", q, err)
		}
		for _, step := range steps {
			// The one row of the owner, once it was found, is "scanned".
			if strings.HasPrefix(step.Detail, "SCAN") && step.Detail != "SCAN o" || strings.Contains(step.Detail, "TEMP B-TREE") {
				t.Errorf("%s: %s", q, step.Detail)
			}
		}
	}
}

// The suite can't see rows whose owner is gone; the tables can.
func TestRemovalLeavesNoRows(t *testing.T) {
	s := openTest(t, Options{Path: filepath.Join(t.TempDir(), "hexmpp.db")})
	user := jid.MustParse("romeo@example.org")
	if err := s.CreateAccount(t.Context(), storage.Account{User: user, Keys: []storage.Key{{Hash: "SHA-1"}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), []storage.Op{{Space: "s", Owner: user, Key: "k"}}); err != nil {
		t.Fatal(err)
	}
	rows := func() (n int) {
		t.Helper()
		query := "SELECT (SELECT count(*) FROM accounts) + (SELECT count(*) FROM account_keys) + (SELECT count(*) FROM account_entries)"
		if err := s.readers.Get(&n, query); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := rows(); n != 3 {
		t.Fatalf("%d rows before the removal", n)
	}
	if err := s.RemoveAccount(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	if n := rows(); n != 0 {
		t.Errorf("%d rows after the removal", n)
	}
}
