package sql

import (
	"context"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// testSchema are the tests of migrations, for every database. fresh gives the
// options of a new database each time.
func testSchema(t *testing.T, fresh func(*testing.T) Options) {
	t.Run("a newer schema is refused", func(t *testing.T) { testNewerSchema(t, fresh(t)) })
	t.Run("an older schema is brought up to date", func(t *testing.T) { testOlderSchema(t, fresh(t)) })
	t.Run("processes that start at once migrate once", func(t *testing.T) { testStartTogether(t, fresh(t)) })
	t.Run("the removal of an account leaves no rows", func(t *testing.T) { testRemovalLeavesNoRows(t, fresh(t)) })
}

func testNewerSchema(t *testing.T, o Options) {
	s := openTest(t, o)
	mustPut(t, s, "k")
	if err := s.write(t.Context(), "age", func(tx *tx) error {
		_, err := tx.exec("INSERT INTO schema_version (version_id, is_applied) VALUES (4711, ?)", true)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := New(t.Context(), o, zaptest.NewLogger(t))
	if err == nil || !strings.Contains(err.Error(), "version 4711") || !strings.Contains(err.Error(), "up to 4:") {
		t.Errorf("got %v, want an error with both versions", err)
	}
}

// testOlderSchema has something in each table of version 1.
func testOlderSchema(t *testing.T, o Options) {
	o.BusyTimeout = 20 * time.Second
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	d, err := newDialect(o, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	old := d
	old.migrations = upTo(t, d.migrations, 1)
	if err := migrate(t.Context(), old, false, zaptest.NewLogger(t)); err != nil {
		t.Fatal(err)
	}
	db, err := d.openWriter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key := []byte{'k'}
	for _, c := range []struct {
		statement string
		args      []any
	}{
		{"INSERT INTO accounts (id, domain, local, created) VALUES (7, 'example.org', 'romeo', 1)", nil},
		{"INSERT INTO account_keys (account, hash, salt, iterations, stored_key, server_key) VALUES (7, 'SHA-1', ?, 4096, ?, ?)", []any{key, key, key}},
		{"INSERT INTO account_entries (owner, space, key, revision, value) VALUES (7, 's', ?, 41, ?)", []any{key, key}},
		{"INSERT INTO extension_entries (space, key, revision, value) VALUES ('s', ?, 42, ?)", []any{key, key}},
		{"INSERT INTO secrets (name, value) VALUES ('s', ?)", []any{key}},
	} {
		if _, err := db.Exec(db.Rebind(c.statement), c.args...); err != nil {
			t.Fatalf("%s: %v", c.statement, err)
		}
	}
	latest := "UPDATE entries_revision SET value = 42"
	if !d.revisions.counted {
		latest = "SELECT setval('entry_revisions', 42)"
	}
	if _, err := db.Exec(latest); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	s := openTest(t, o)
	romeo := jid.MustParse("romeo@example.org")
	e, err := s.Get(t.Context(), "s", romeo, "k")
	if err != nil || string(e.Value) != "k" || e.Revision != 41 {
		t.Errorf("entry: %+v, %v", e, err)
	}
	if a, err := s.Account(t.Context(), romeo); err != nil || len(a.Keys) != 1 {
		t.Errorf("account: %+v, %v", a, err)
	}
	if secret, err := s.Secret(t.Context(), "s"); err != nil || string(secret) != "k" {
		t.Errorf("secret: %q, %v", secret, err)
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

func testStartTogether(t *testing.T, o Options) {
	log := zaptest.NewLogger(t)
	o.BusyTimeout = 20 * time.Second
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := New(context.Background(), o, log)
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

// The suite can't see rows whose owner is gone; the tables can.
func testRemovalLeavesNoRows(t *testing.T, o Options) {
	s := openTest(t, o)
	user := jid.MustParse("romeo@example.org")
	if err := s.CreateAccount(t.Context(), storage.Account{User: user, Keys: []storage.Key{{Hash: "SHA-1"}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), storage.Writes{Ops: []storage.Op{{Space: "s", Owner: user, Key: "k"}}}); err != nil {
		t.Fatal(err)
	}
	item := storage.RosterItem{Contact: user, Subscription: storage.SubNone}
	if err := s.ChangeRoster(t.Context(), user, 0, []storage.RosterItem{item}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddOffline(t.Context(), user, storage.OfflineMessage{XML: []byte("x")}, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), storage.Writes{Rows: []storage.Row{archiveRow(user, 1)}}); err != nil {
		t.Fatal(err)
	}
	rows := func() (sum int) {
		t.Helper()
		for _, table := range []string{"accounts", "account_keys", "account_entries", "rosters", "roster_items", "offline_messages", "archives", "archived_messages"} {
			var n int
			if err := s.readers.Get(&n, "SELECT count(*) FROM "+table); err != nil {
				t.Fatal(err)
			}
			sum += n
		}
		return sum
	}
	if n := rows(); n != 8 {
		t.Fatalf("%d rows before the removal", n)
	}
	if err := s.RemoveAccount(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	if n := rows(); n != 0 {
		t.Errorf("%d rows after the removal", n)
	}
}
