package sql

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest"
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
	dir := t.TempDir()
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
		"no such folder":     {Path: filepath.Join(t.TempDir(), "none", "hexmpp.db")},
		"nothing there":      {Path: filepath.Join(t.TempDir(), "x"), Existing: true},
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

// frequentQueries are all but those of migrations.
func frequentQueries(s *Store) []string {
	queries := []string{selectRoster, insertRoster, updateRoster, putRosterItem, deleteRosterItem,
		selectOffline, insertOffline, deleteOffline, selectAccount, selectAccounts, selectSecret, selectAccountID, touchAccounts, deleteAccount, deleteKeys}
	for _, e := range []*entryStatements{s.queries.accountEntries, s.queries.extensionEntries} {
		queries = append(queries, e.get, e.scan, e.exists, e.put, e.create, e.update, e.delete, e.deleteAt)
	}
	// What ON DELETE CASCADE looks up.
	for _, table := range []string{"account_entries", "rosters", "roster_items", "offline_messages"} {
		queries = append(queries, "DELETE FROM "+table+" WHERE owner = ?")
	}
	queries = append(queries, "DELETE FROM account_keys WHERE account = ?", "UPDATE archives SET owner = NULL WHERE owner = ?")
	for _, q := range archiveQueries() {
		queries = append(queries, q.text(&s.dialect))
	}
	queries = append(queries, insertRow, selectArchive+s.dialect.lockRow, insertArchive(s.dialect.lockRow), deleteRows, selectAbandoned(&s.dialect), deleteArchive,
		insertOwnRow, selectOwnArchive+s.dialect.lockRow, insertOwnArchive, selectLast, selectOwnLast, removeArchive)
	if s.dialect.remote {
		queries = append(queries, lockArchives, insertArchives, insertRows, lockOwnArchives, insertOwnArchives)
	}
	return queries
}

// No query that runs often reads a whole table.
func TestQueryPlans(t *testing.T) {
	s := openTest(t, Options{Path: filepath.Join(t.TempDir(), "hexmpp.db")})
	// Scans of what was found or given: the one row of the owner, the messages
	// that count for a quota or that a filter selects, the row to be inserted, last logins.
	harmless := []string{"SCAN o", "SCAN selected", "SCAN stored", "SCAN CONSTANT ROW", "SCAN v", fmt.Sprintf("SCAN %d CONSTANT ROWS", touchedAtOnce)}
	for _, q := range frequentQueries(s) {
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
			if strings.HasPrefix(step.Detail, "SCAN") && !slices.Contains(harmless, step.Detail) || strings.Contains(step.Detail, "TEMP B-TREE") {
				t.Errorf("%s: %s", q, step.Detail)
			}
		}
	}
}

// The file is new for each of these; TestPostgres runs them too.
func TestSchema(t *testing.T) {
	testSchema(t, func(t *testing.T) Options { return Options{Path: filepath.Join(t.TempDir(), "hexmpp.db")} })
}
