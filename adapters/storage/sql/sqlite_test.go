package sql

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

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
	if err == nil || !strings.Contains(err.Error(), "version 4711") || !strings.Contains(err.Error(), "up to 2:") {
		t.Errorf("got %v, want an error with both versions", err)
	}
}

// A database of each older version is brought up to date, with all that is in it.
func TestMigration(t *testing.T) {
	o := Options{Path: filepath.Join(t.TempDir(), "hexmpp.db"), BusyTimeout: 20 * time.Second}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	d, err := newSQLite(o)
	if err != nil {
		t.Fatal(err)
	}
	db, err := d.openWriter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old := d
	old.migrations = upTo(t, d.migrations, 1)
	if err := migrate(t.Context(), old, db, zaptest.NewLogger(t)); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"INSERT INTO accounts (id, domain, local, created) VALUES (7, 'example.org', 'romeo', 1)",
		"INSERT INTO account_entries (owner, space, key, revision, value) VALUES (7, 's', CAST('k' AS BLOB), 41, CAST('v' AS BLOB))",
		"INSERT INTO extension_entries (space, key, revision, value) VALUES ('s', CAST('k' AS BLOB), 42, CAST('v' AS BLOB))",
		"UPDATE entries_revision SET value = 42",
	} {
		db.MustExec(statement)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, o)
	romeo := jid.MustParse("romeo@example.org")
	e, err := s.Get(t.Context(), "s", romeo, "k")
	if err != nil || string(e.Value) != "v" || e.Revision != 41 {
		t.Errorf("entry: %+v, %v", e, err)
	}
	mustPut(t, s, "k")
	if e, err := s.Get(t.Context(), "s", jid.JID{}, "k"); err != nil || e.Revision <= 42 {
		t.Errorf("revision %d after 42, %v", e.Revision, err)
	}
	if err := s.ChangeRoster(t.Context(), romeo, 0, nil, nil); err != nil {
		t.Error(err)
	}
}

// upTo leaves out the migrations behind a version.
func upTo(t *testing.T, all fs.FS, version int) fs.FS {
	t.Helper()
	names, err := fs.Glob(all, "*.sql")
	if err != nil || len(names) <= version {
		t.Fatalf("migrations %v, %v", names, err)
	}
	older := make(fstest.MapFS)
	for _, name := range names[:version] { // in order of their names
		content, err := fs.ReadFile(all, name)
		if err != nil {
			t.Fatal(err)
		}
		older[name] = &fstest.MapFile{Data: content}
	}
	return older
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
	queries := []string{selectRoster, insertRoster, updateRoster, putRosterItem, deleteRosterItem,
		selectOffline, insertOffline, deleteOffline, selectAccount, selectAccounts, selectSecret, selectAccountID, touchAccount, deleteAccount, deleteKeys}
	for _, e := range []entryStatements{accountEntries, extensionEntries} {
		queries = append(queries, e.get, e.scan, e.exists, e.put, e.create, e.update, e.delete, e.deleteAt)
	}
	// What ON DELETE CASCADE looks up.
	for _, table := range []string{"account_entries", "rosters", "roster_items", "offline_messages"} {
		queries = append(queries, "DELETE FROM "+table+" WHERE owner = ?")
	}
	queries = append(queries, "DELETE FROM account_keys WHERE account = ?")
	// Scans of what was found already: the one row of the owner, the messages
	// that count for a quota, the row to be inserted.
	harmless := []string{"SCAN o", "SCAN stored", "SCAN CONSTANT ROW"}
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
			if strings.HasPrefix(step.Detail, "SCAN") && !slices.Contains(harmless, step.Detail) || strings.Contains(step.Detail, "TEMP B-TREE") {
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
	item := storage.RosterItem{Contact: user, Subscription: storage.SubNone}
	if err := s.ChangeRoster(t.Context(), user, 0, []storage.RosterItem{item}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddOffline(t.Context(), user, storage.OfflineMessage{XML: []byte("x")}, 1); err != nil {
		t.Fatal(err)
	}
	rows := func() (sum int) {
		t.Helper()
		for _, table := range []string{"accounts", "account_keys", "account_entries", "rosters", "roster_items", "offline_messages"} {
			var n int
			if err := s.readers.Get(&n, "SELECT count(*) FROM "+table); err != nil {
				t.Fatal(err)
			}
			sum += n
		}
		return sum
	}
	if n := rows(); n != 6 {
		t.Fatalf("%d rows before the removal", n)
	}
	if err := s.RemoveAccount(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	if n := rows(); n != 0 {
		t.Errorf("%d rows after the removal", n)
	}
}
